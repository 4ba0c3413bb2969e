"""Clips found again on the line: byte for byte, cut off, taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.audio.g711 import SILENCE
from server.simulator.scenario.clips import Clip, ClipShelf
from server.simulator.scenario.hearing import Played, told_apart
from server.simulator.scenario.sounds import noise
from server.simulator.twilio.virtual_line import VirtualLine

DATA = Path(__file__).resolve().parents[2] / "data"
SHELF = ClipShelf(DATA, "he")
LONG = SHELF.get("human_long")  # 300 ms of silence, 4,800 ms of speech, 900 ms of silence
MOMENT = SHELF.get("one_moment")
PAUSE_MS = 1400  # of `apology`: 30 ms before a pause of 180 ms


def play(line: VirtualLine, payload: bytes, at_ms: float) -> None:
    """In frames of 20 ms, all at once: the line queues them."""
    for at in range(0, len(payload), 160):
        line.media(payload[at : at + 160], at_ms)


def test_a_whole_clip_is_found_with_its_times() -> None:
    line = VirtualLine()
    play(line, noise(1.0, 500) + LONG.payload, 1000)
    (hearing,) = Played(line, 60_000).hearings(LONG)
    assert hearing.is_whole and hearing.holes == []
    assert hearing.start_ms == 2300 and hearing.heard_ms == 4800
    assert str(hearing) == "2.30–7.10 s human_long"


def test_one_that_was_cut_off_tells_how_far_it_came() -> None:
    line = VirtualLine()
    play(line, LONG.payload, 0)
    line.clear(1750.5)
    play(line, MOMENT.payload, 3000)
    played = Played(line, 60_000)
    (hearing,) = played.hearings(LONG)
    assert not hearing.is_whole
    assert hearing.heard_ms == 1450.5
    assert str(hearing).endswith("human_long (its first 1450 of 4800 ms)")
    assert played.heard_from(LONG.payload) == 1750.5, "with the silence before its first word"
    assert played.heard_from(SHELF.get("busy").payload) is None


@pytest.mark.parametrize(
    ("goes_on_at_ms", "lost_ms", "is_whole"),
    [(2000, 0, True), (1980, 0, True), (1200, 0, True), (2500, 500, False)],
)
def test_one_that_was_taken_up_again_is_one_hearing(
    goes_on_at_ms: int, lost_ms: float, is_whole: bool
) -> None:
    line = VirtualLine()
    play(line, LONG.payload, 0)
    line.clear(2000)
    play(line, LONG.payload[goes_on_at_ms * 8 :], 2700)
    (hearing,) = Played(line, 60_000).hearings(LONG)
    ((at_ms, hole_ms),) = hearing.holes
    assert (at_ms, hole_ms) == (2000, 700)
    assert hearing.lost_ms == lost_ms
    assert hearing.is_whole is is_whole


def test_it_may_be_taken_up_twice_and_something_else_be_said_between() -> None:
    line = VirtualLine()
    play(line, LONG.payload, 0)
    line.clear(1500)
    play(line, MOMENT.payload, 1600)
    play(line, LONG.payload[1500 * 8 :], 2500)
    line.clear(3500)
    play(line, LONG.payload[2400 * 8 :], 4000)
    played = Played(line, 60_000)
    (hearing,) = played.hearings(LONG)
    assert hearing.is_whole and [at_ms for at_ms, _ in hearing.holes] == [1500, 3500]
    assert [h.name for h in told_apart(played, [LONG, MOMENT])] == ["human_long", "he/one_moment"]
    assert played.heard_from(LONG.payload) == 6000, "to the silence at its end"


def test_a_pause_in_another_clip_is_not_where_it_went_on() -> None:
    """Prompts pause in digital silence, which is the same in all of them."""
    cut, other = SHELF.get("apology"), SHELF.get("goodbye")
    line = VirtualLine()
    play(line, cut.payload, 0)
    line.clear(PAUSE_MS)
    play(line, other.payload, 4000)
    (hearing,) = Played(line, 60_000).hearings(cut)
    assert hearing.holes == []
    assert hearing.heard_ms == pytest.approx(PAUSE_MS, abs=20)


def test_a_line_that_ran_dry_inside_a_clip_shows_the_hole() -> None:
    line = VirtualLine()
    play(line, LONG.payload[: 2000 * 8], 0)
    play(line, LONG.payload[2000 * 8 :], 2340)
    (hearing,) = Played(line, 60_000).hearings(LONG)
    assert hearing.is_whole and hearing.holes == [(2000, 340)]
    assert "a hole of 340 ms" in str(hearing)


def test_the_same_clip_twice_is_heard_twice() -> None:
    line = VirtualLine()
    play(line, MOMENT.payload * 2, 0)
    assert len(Played(line, 60_000).hearings(MOMENT)) == 2


def test_only_what_was_played_by_then_counts() -> None:
    line = VirtualLine()
    play(line, LONG.payload, 0)
    assert Played(line, 1000).hearings(LONG)[0].heard_ms == 700


def test_any_stretch_of_a_clip_is_noticed_and_less_than_that_is_not() -> None:
    line = VirtualLine()
    play(line, LONG.payload[3000 * 8 : 3400 * 8], 500)
    played = Played(line, 60_000)
    assert played.hearings(LONG) == []
    assert played.any_of(LONG, 200) == pytest.approx(500, abs=1)
    assert played.any_of(LONG, 600) is None
    assert played.any_of(MOMENT, 200) is None


def test_silence_is_no_clip() -> None:
    line = VirtualLine()
    play(line, SILENCE * 8000, 0)
    played = Played(line, 60_000)
    assert played.hearings(Clip("nothing", SILENCE * 800)) == []
    assert played.any_of(Clip("nothing", SILENCE * 800), 100) is None
    assert played.heard_from(SILENCE * 800) is None


def test_of_two_clips_that_begin_alike_the_one_heard_further_is_named() -> None:
    short = Clip("short", LONG.payload[: 1000 * 8])
    line = VirtualLine()
    play(line, LONG.payload, 0)
    assert [h.name for h in told_apart(Played(line, 60_000), [short, LONG])] == ["human_long"]
