"""A caller's steps: how they are read, and when they are taken. The time is an argument."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.audio.g711 import FRAME_BYTES, FRAME_MS, SILENCE, rms
from server.simulator.scenario.acting import ActingCaller
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.sounds import noise, trimmed
from server.simulator.scenario.steps import (
    Background,
    Drop,
    HangUp,
    Press,
    Say,
    Stay,
    Step,
    Trigger,
    When,
    read_steps,
)
from server.simulator.scenario.yaml_text import ScenarioError, read_yaml
from server.simulator.twilio.virtual_line import VirtualLine

DATA = Path(__file__).resolve().parents[2] / "data"
BEGAN_MS = 100.0
VOICE = noise(10.0, 1000)


def steps(text: str) -> tuple[Step, ...]:
    return read_steps(read_yaml(text, Path("talk.yaml")), ClipShelf(DATA, "he"))


class Talk:
    """One stream, 20 ms after 20 ms, on a clock of our own. The agent speaks when told."""

    def __init__(self, text: str) -> None:
        self.line = VirtualLine()
        self.clears_ms: list[float] = []
        self.caller = ActingCaller(steps(text))
        self.has_gone_ms: float | None = None
        self.keys: list[tuple[str, float]] = []
        self.now_ms = BEGAN_MS
        self.caller.meet(self.line, self.clears_ms, self._hang_up)
        self._index = self.caller.begin(BEGAN_MS)

    def _hang_up(self) -> None:
        self.has_gone_ms = self.now_ms

    def agent(self, ms: int) -> None:
        """Says something now, for so long."""
        self.line.media(VOICE[: ms * 8], self.now_ms)

    def clear(self) -> None:
        self.clears_ms.append(self.now_ms)
        self.line.clear(self.now_ms)

    def run(self, seconds: float) -> Talk:
        until_ms = self.now_ms + seconds * 1000
        while self.now_ms < until_ms:
            self.caller.listen(self._index, self.now_ms, self.line.audible_until_ms)
            self.caller.frame(self._index)
            self.keys += [(key.digit, key.at_ms) for key in self.caller.due_keys(self.now_ms)]
            self._index += 1
            self.now_ms += FRAME_MS
        return self

    @property
    def began_ms(self) -> list[float]:
        """When each step was begun."""
        return [did.start_ms for did in self.caller.done]

    def sounds(self) -> bytes:
        return trimmed(self.caller.track())


def test_times_are_of_the_call_and_of_the_deed_before() -> None:
    talk = Talk("[{at: 1.5, keys: '1'}, {after: 0.3, silent: 2}, {after: 0.5, keys: '2'}, {hang_up: }]").run(
        8
    )
    assert talk.began_ms == [1500, 1800, 4300, 4300]
    assert talk.has_gone_ms == 4300
    assert talk.caller.unreached == []


def test_a_time_that_has_passed_is_now() -> None:
    assert Talk("[{silent: 3}, {at: 1, hang_up: }]").run(4).has_gone_ms == 3100


def test_a_clip_is_said_from_its_first_to_its_last_sound() -> None:
    talk = Talk("[{at: 0.5, say: hebrew_barge_in}, {after: 0.2, hang_up: true}]").run(4)
    clip = trimmed((DATA / "hebrew_barge_in.ulaw").read_bytes())
    assert talk.sounds() == clip
    (did,) = talk.caller.said()
    assert (did.start_ms, did.end_ms) == (500, 500 + len(clip) / 8)
    assert talk.caller.track().find(clip[:160]) == 500 * 8, "the recording keeps the call's time"
    assert talk.has_gone_ms == pytest.approx(did.end_ms + 200, abs=20)


def test_agent_speaks_is_when_it_begins_to_be_heard_or_has_been_for_so_long() -> None:
    talk = Talk("[{when: agent_speaks, keys: '1'}, {when: agent_speaks, for: 1.2, keys: '2'}]")
    talk.run(1)
    talk.agent(2000)
    talk.run(3)
    assert talk.began_ms == [pytest.approx(1120, abs=21), pytest.approx(2300, abs=21)]


def test_an_agent_that_spoke_before_does_not_speak() -> None:
    talk = Talk("[{at: 3, keys: '1'}, {when: agent_speaks, for: 0.5, hang_up: }]")
    talk.agent(1000)
    assert talk.run(5).has_gone_ms is None


def test_an_agent_that_stops_earlier_has_not_spoken_for_so_long() -> None:
    talk = Talk("[{when: agent_speaks, for: 1.2, hang_up: }]")
    talk.agent(1000)
    talk.run(3)
    talk.agent(1100)
    talk.run(3)
    assert talk.has_gone_ms is None
    talk.agent(1300)
    assert talk.run(3).has_gone_ms is not None


def test_agent_quiet_is_an_agent_that_has_spoken_and_stopped() -> None:
    talk = Talk("[{when: agent_quiet, say: hebrew_barge_in}, {when: agent_quiet, for: 1, hang_up: }]")
    talk.run(2)
    assert talk.began_ms == [], "nothing was heard yet"
    talk.agent(1000)
    talk.run(5)
    assert talk.began_ms == [pytest.approx(2100 + 1000 + 600, abs=21)]
    assert talk.has_gone_ms is None, "no answer yet: the greeting's silence is none"
    talk.agent(500)
    talk.run(3)
    assert talk.has_gone_ms == pytest.approx(7100 + 500 + 1000, abs=21)


def test_what_was_being_interrupted_is_no_answer_but_going_on_is() -> None:
    text = "[{when: agent_speaks, for: 1, keys: '1'}, {when: agent_quiet, hang_up: }]"
    cut, on = Talk(text), Talk(text)
    for talk in (cut, on):
        talk.agent(3000)
        talk.run(1.24)
    cut.clear()
    assert cut.run(4).has_gone_ms is None
    assert on.run(4).has_gone_ms == pytest.approx(100 + 3000 + 600, abs=21)


def test_a_short_pause_is_one_utterance_and_the_nth_can_be_waited_for() -> None:
    talk = Talk("[{when: agent_speaks, of: 2, for: 0.5, keys: '1'}, {when: agent_quiet, of: 2, hang_up: }]")
    for pause_s in (0.8, 1.5):  # one pause of 300 ms, then one of a second
        talk.agent(500)
        talk.run(pause_s)
    assert talk.began_ms == []
    talk.agent(1000)
    talk.run(3)
    assert talk.began_ms[0] == pytest.approx(2400 + 500, abs=21)
    assert talk.has_gone_ms == pytest.approx(2400 + 1000 + 600, abs=21)


def test_a_clear_counts_from_the_begin_of_the_deed_before() -> None:
    talk = Talk("[{when: agent_speaks, for: 0.5, say: hebrew_barge_in}, {when: cleared, hang_up: }]")
    talk.clear()  # before: counts for nobody
    talk.agent(6000)
    talk.run(4)
    assert talk.has_gone_ms is None
    again = Talk("[{when: agent_speaks, for: 0.5, say: hebrew_barge_in}, {when: cleared, hang_up: }]")
    again.agent(4000)
    again.run(1)
    again.clear()
    again.run(3)
    assert again.has_gone_ms == pytest.approx(again.caller.done[0].end_ms, abs=20), "once it has spoken"


def test_keys_are_a_quarter_second_apart_and_the_next_step_waits_for_the_last() -> None:
    talk = Talk("[{at: 1, keys: 12#}, {hang_up: }]").run(3)
    assert talk.keys == [("1", 1000), ("2", 1250), ("#", 1500)]
    assert talk.has_gone_ms == 1500


def test_a_background_is_under_everything_until_it_is_taken_away() -> None:
    talk = Talk("[{background: noise, rms: 120}, {at: 1, say: hebrew_barge_in}, {background: none}]").run(5)
    track = talk.caller.track()
    assert rms(track[2000:8000]) == pytest.approx(120, rel=0.1)
    clip = trimmed((DATA / "hebrew_barge_in.ulaw").read_bytes())
    assert rms(track[8000 : 8000 + len(clip)]) > rms(clip)
    assert set(track[8000 + len(clip) + 160 :]) == set(SILENCE)


def test_a_cough_is_sound_and_no_words() -> None:
    talk = Talk("[{at: 0.2, cough: 0.4, rms: 900}, {noise: 0.2}]").run(2)
    assert rms(talk.caller.track()[200 * 8 : 600 * 8]) == pytest.approx(900, rel=0.05)
    assert talk.caller.said() == [] == talk.caller.spoken()


def test_a_drop_is_told_once() -> None:
    talk = Talk("[drop, {after: 1, hang_up: }]").run(0.1)
    assert [talk.caller.takes_drop(), talk.caller.takes_drop()] == [True, False]


def test_steps_go_on_while_nobody_asks_for_frames() -> None:
    talk = Talk("[{at: 1, say: hebrew_barge_in}, {after: 1, keys: '5'}, {after: 1, hang_up: }]")
    talk.run(0.5)
    for at_ms in range(600, 6000, 20):
        talk.now_ms = at_ms
        talk.caller.elsewhere(at_ms)
    assert talk.has_gone_ms == pytest.approx(1000 + 1640 + 2000, abs=21)
    assert talk.sounds() == trimmed((DATA / "hebrew_barge_in.ulaw").read_bytes()), "said, though lost"
    assert talk.caller.begin(6000) == (6000 - BEGAN_MS) // 20
    assert talk.caller.due_keys(6000) == [], "pressed while nobody listened"


def test_a_frame_that_was_lived_through_is_given_again_as_it_was() -> None:
    talk = Talk("[{noise: 1}]")
    first = talk.caller.frame(0)
    talk.caller.listen(0, BEGAN_MS, 0)
    talk.caller.elsewhere(BEGAN_MS + 200)
    assert talk.caller.frame(0) == first and len(talk.caller.frame(3)) == FRAME_BYTES


def test_a_frame_that_is_over_begins_no_step() -> None:
    talk = Talk("[{when: agent_speaks, hang_up: }]")
    talk.caller.elsewhere(BEGAN_MS + 200)
    talk.agent(500)
    talk.caller.listen(3, BEGAN_MS + 300, 0)
    assert talk.has_gone_ms is None
    talk.caller.listen(15, BEGAN_MS + 300, 0)
    assert talk.has_gone_ms is not None


def test_what_was_not_reached_is_known() -> None:
    talk = Talk("[{silent: 1}, {when: cleared, say: human_command}, hang_up]").run(2)
    assert [str(step) for step in talk.caller.unreached] == [
        "step 2 (line 1): when a clear came → say human_command",
        "step 3 (line 1): after 0 s → hang up",
    ]


def test_every_deed_and_trigger_is_read() -> None:
    text = """
- at: 3.5
  say: he/greeting
- after: 0.4
  keys: "*0#"
- when: agent_speaks
  for: 1.2
  of: 2
  silent: 3
- when: agent_quiet
  hang_up:
- when: cleared
  drop: true
- background: none
- drop
"""
    found = steps(text)
    assert [step.trigger for step in found] == [
        Trigger(When.AT, 3.5),
        Trigger(When.AFTER, 0.4),
        Trigger(When.SPEAKS, 1.2, 2),
        Trigger(When.QUIET, 0.6),
        Trigger(When.CLEARED),
        Trigger(When.AFTER),
        Trigger(When.AFTER),
    ]
    assert isinstance(found[0].deed, Say) and found[0].deed.is_speech
    assert [step.deed for step in found[1:]] == [
        Press("*0#"),
        Stay(3),
        HangUp(),
        Drop(),
        Background("none", b""),
        Drop(),
    ]
    assert [step.line for step in found] == [2, 4, 6, 10, 12, 14, 15]


def test_a_level_makes_a_voice_softer() -> None:
    loud, soft = steps("[{say: human_command}, {say: human_command, rms: 300}]")
    assert isinstance(loud.deed, Say) and isinstance(soft.deed, Say)
    assert rms(soft.deed.payload) < rms(loud.deed.payload) / 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {sya: greeting}", "unknown key 'sya' of a step; did you mean say?"),
        ("- {at: 1}", "a step does one thing, nothing is done here"),
        ("- {say: greeting, keys: '1'}", "say and keys are done here"),
        ("- {at: 1, after: 2, say: greeting}", "one trigger: at or after, not both"),
        ("- {at: 1, for: 2, say: greeting}", "'for' goes with `when: agent_speaks`"),
        ("- {when: agent_speeks, say: greeting}", "did you mean agent_speaks?"),
        ("- {when: cleared, for: 1, say: greeting}", "`cleared` has neither"),
        ("- {when: agent_speaks, of: 0, say: greeting}", "0 is not from 1"),
        ("- {say: greting}", "no clip 'greting'; did you mean greeting?"),
        ("- {keys: 12x}", "'12x' are no keys"),
        ("- {silent: 1, rms: 3}", "'rms' goes with say, speech, cough, noise, background"),
        ("- {say: greeting, voice: en}", "'voice' goes with speech"),
        ("- {at: -1, say: greeting}", "-1 is not from 0"),
        ("- {hang_up: false}", "leave the step out"),
        ("- {hang_up: no}", "true or false was expected, not 'no', which is a mere word here"),
        ("- hang_upp", "did you mean hang_up?"),
        ("- {noise: }", "a number was expected, not nothing"),
        ("say: greeting", "a list was expected"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        steps(f"\n\n{text}")
    assert str(caught.value).startswith("talk.yaml:3: ")
    assert words in str(caught.value)
