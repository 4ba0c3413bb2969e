"""Every test says when things happen; nothing here waits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audio.g711 import FRAME_BYTES, SILENCE, from_pcm16
from server.simulator.twilio.virtual_line import PAUSE_MS, Hole, Position, VirtualLine

QUIET = SILENCE * FRAME_BYTES


def tone(ms: int) -> bytes:
    """400 Hz at RMS 5,600: loud, and the same in every frame of 20 ms."""
    wave = (int(8000 * math.sin(math.tau * 400 * n / 8000)) for n in range(ms * 8))
    return from_pcm16(b"".join(sample.to_bytes(2, "little", signed=True) for sample in wave))


FRAME = tone(20)


@pytest.fixture
def line() -> VirtualLine:
    return VirtualLine()


# Playing


def test_audio_plays_from_the_moment_it_arrives(line: VirtualLine):
    line.media(FRAME, 100)
    assert line.heard(140) == SILENCE * 800 + FRAME + SILENCE * FRAME_BYTES


def test_a_burst_plays_in_order_and_in_real_time(line: VirtualLine):
    line.media(b"a" * 160, 0)
    line.media(b"b" * 80, 0)
    line.media(b"c" * 160, 1)
    assert line.heard() == b"a" * 160 + b"b" * 80 + b"c" * 160
    assert line.playing_until_ms == 50
    assert [line.heard_bytes(at) for at in (0, 1, 25, 50, 90)] == [0, 8, 200, 400, 400]
    assert [line.queued_bytes(at) for at in (1, 25, 50, 90)] == [392, 200, 0, 0]


def test_a_message_of_any_size_plays_whole(line: VirtualLine):
    line.media(b"z" * 80_001, 5)
    assert line.playing_until_ms == 5 + 80_001 / 8


def test_silence_between_messages_is_heard_as_silence_and_not_counted(line: VirtualLine):
    line.media(FRAME, 0)
    line.media(FRAME, 1000)
    assert line.heard_bytes(5000) == 320
    assert line.heard(1020) == FRAME + SILENCE * 980 * 8 + FRAME
    assert line.played(5000) == FRAME + FRAME


def test_a_recording_ends_where_it_is_cut_off(line: VirtualLine):
    line.media(FRAME * 3, 0)
    assert line.heard(30) == (FRAME * 3)[:240]
    assert line.played(30) == (FRAME * 3)[:240]


def test_a_fraction_of_a_millisecond_counts_whole_samples(line: VirtualLine):
    line.media(b"x" * 8, 0.25)
    assert line.arrivals[0].start == 2
    assert line.playing_until_ms == 1.25


# Positions


def test_the_position_names_the_message_and_the_bytes_before_it(line: VirtualLine):
    line.media(b"a" * 160, 0)
    line.media(b"b" * 320, 0)
    line.media(b"c" * 160, 200)
    where = [line.position(at) for at in (0, 19.875, 20, 59.875, 60, 200, 220)]
    assert where == [
        *(Position(0, 0), Position(0, 159), Position(1, 0), Position(1, 319)),
        *(None, Position(2, 0), None),
    ]


def test_bytes_heard_since_an_answer_began_are_what_a_truncate_should_say(line: VirtualLine):
    line.media(FRAME * 10, 0)  # an earlier answer
    answer = len(line.arrivals)
    line.media(FRAME * 10, 100)
    line.media(FRAME * 10, 110)
    assert line.heard_bytes(150, answer) == 0
    assert line.heard_bytes(330, answer) // 8 == 130
    line.clear(330)
    assert line.heard_bytes(900, answer) // 8 == 130


def test_arrivals_tell_when_each_message_is_heard(line: VirtualLine):
    line.media(FRAME, 10)
    line.media(FRAME, 10)
    assert [(a.arrived_ms, a.start_ms, a.end_ms) for a in line.arrivals] == [(10, 10, 30), (10, 30, 50)]


# Marks


def test_a_mark_on_an_idle_line_is_due_at_once(line: VirtualLine):
    line.mark("idle", 7)
    assert line.due_marks(7) == ["idle"]
    assert line.due_marks(8) == []


def test_a_mark_is_due_when_everything_sent_before_it_was_played(line: VirtualLine):
    line.media(FRAME, 0)
    line.mark("one", 0)
    line.media(FRAME, 0)
    line.mark("two", 3)
    assert line.next_mark_ms == 20
    assert line.due_marks(19.8) == []
    assert line.due_marks(20) == ["one"]
    assert line.next_mark_ms == 40
    assert line.due_marks(39.8) == []
    assert line.due_marks(500) == ["two"]
    assert line.next_mark_ms is None


def test_audio_sent_after_a_mark_does_not_hold_it_back(line: VirtualLine):
    line.media(FRAME, 0)
    line.mark("end of the first", 1)
    line.media(FRAME * 100, 2)
    assert line.due_marks(20) == ["end of the first"]


def test_marks_come_back_in_the_order_they_were_sent_and_under_equal_names(line: VirtualLine):
    line.media(FRAME, 0)
    for name in ("b", "a", "b"):
        line.mark(name, 0)
    assert line.outstanding_marks == 3
    assert line.due_marks(20) == ["b", "a", "b"]


# Clear


def test_clear_cuts_at_the_sample_being_played(line: VirtualLine):
    line.media(FRAME * 5, 0)
    assert line.clear(50.125) == []
    assert line.heard() == (FRAME * 5)[:401]
    assert line.cut_bytes == 800 - 401
    assert line.playing_until_ms == 50.125
    assert line.queued_bytes(50.125) == 0


def test_clear_brings_every_outstanding_mark_back_at_once(line: VirtualLine):
    for name in ("one", "two"):
        line.media(FRAME, 0)
        line.mark(name, 0)
    assert line.due_marks(20) == ["one"]
    assert line.clear(21) == ["two"]
    assert line.due_marks(1000) == []
    assert line.outstanding_marks == 0


def test_clear_on_an_idle_line_takes_nothing(line: VirtualLine):
    line.media(FRAME, 0)
    assert line.clear(500) == []
    assert line.cut_bytes == 0
    assert line.heard_bytes(500) == 160


def test_audio_after_a_clear_plays_at_once(line: VirtualLine):
    line.media(FRAME * 50, 0)
    line.clear(30)
    line.media(b"n" * 160, 31)
    assert line.heard() == (FRAME * 2)[:240] + SILENCE * 8 + b"n" * 160
    assert line.position(31) == Position(1, 0)


def test_a_message_cut_before_it_began_was_never_heard(line: VirtualLine):
    line.media(FRAME, 0)
    line.media(FRAME, 0)
    line.media(FRAME, 0)
    line.clear(30)
    assert [item.plays_bytes for item in line.arrivals] == [160, 80, 0]
    assert line.position(35) is None


def test_two_clears_cut_once(line: VirtualLine):
    line.media(FRAME * 2, 0)
    line.clear(10)
    line.clear(10)
    assert line.cut_bytes == 240


# What the ear notices


def test_sound_begins_with_the_first_frame_above_the_noise(line: VirtualLine):
    assert line.first_audible_ms is None
    line.media(QUIET * 2 + FRAME + QUIET, 100)
    assert line.first_audible_ms == 140
    assert line.audible_until_ms == 160
    assert line.playing_until_ms == 180


def test_sound_that_was_cut_before_it_played_was_not_heard(line: VirtualLine):
    line.media(QUIET * 5 + FRAME, 0)
    line.clear(50)
    assert line.first_audible_ms is None
    assert line.audible_until_ms == 50  # nothing to be heard after this, at the latest


def test_a_late_frame_inside_speech_is_an_underrun(line: VirtualLine):
    line.media(FRAME, 0)
    line.media(FRAME, 50)
    assert line.underruns == [Hole(at_ms=20, duration_ms=30)]


@pytest.mark.parametrize("late_ms", [0, 4.875])
def test_a_hole_too_short_to_notice_is_no_underrun(line: VirtualLine, late_ms: float):
    line.media(FRAME, 0)
    line.media(FRAME, 20 + late_ms)
    assert line.underruns == []


def test_a_pause_between_utterances_is_no_underrun(line: VirtualLine):
    line.media(FRAME, 0)
    line.media(FRAME, 20 + PAUSE_MS)
    assert line.underruns == []
    assert line.arrival_gaps_ms == []


def test_a_hole_in_silence_is_no_underrun(line: VirtualLine):
    line.media(QUIET, 0)
    line.media(QUIET, 60)
    assert line.underruns == []


def test_a_new_beginning_after_a_clear_is_no_underrun(line: VirtualLine):
    line.media(FRAME * 2, 0)
    line.clear(20)
    line.media(FRAME, 100)
    assert line.underruns == []
    line.media(FRAME, 150)
    assert [hole.duration_ms for hole in line.underruns] == [30]


def test_gaps_between_arrivals_are_kept_while_one_utterance_lasts(line: VirtualLine):
    line.media(FRAME * 50, 0)  # a second in hand
    line.media(FRAME, 21)
    line.media(FRAME, 940)
    line.media(FRAME, 3000)
    assert line.arrival_gaps_ms == [21, 919]


# The limit


def test_what_exceeds_the_buffer_is_discarded_and_the_rest_plays_on():
    line = VirtualLine(limit_ms=100)
    line.media(b"a" * 700, 0)
    line.media(b"b" * 300, 0)
    line.media(b"c" * 100, 0)
    assert line.discarded_bytes == 300
    assert line.heard() == b"a" * 700 + b"b" * 100
    line.media(b"d" * 300, 10)
    assert line.discarded_bytes == 300 + 220
    assert line.heard_bytes(1000) == 880


def test_twilio_holds_ten_minutes():
    line = VirtualLine()
    line.media(SILENCE * 600_000 * 8, 0)
    assert line.discarded_bytes == 0
    line.media(SILENCE, 0)
    assert line.discarded_bytes == 1


# Nothing is lost and nothing invented

Step = st.one_of(
    st.tuples(st.just("media"), st.integers(0, 1000)),
    st.tuples(st.just("mark"), st.integers(0, 0)),
    st.tuples(st.just("clear"), st.integers(0, 0)),
    st.tuples(st.just("wait"), st.integers(0, 1600)),  # eighths of a millisecond
)


@given(st.lists(Step, max_size=60))
def test_every_byte_is_heard_or_cut_or_queued_or_discarded(steps: list[tuple[str, int]]):
    line, now_ms, sent_marks, back = VirtualLine(limit_ms=150), 0.0, [], []
    for number, (kind, size) in enumerate(steps):
        if kind == "wait":
            now_ms += size / 8
        elif kind == "media":
            line.media(bytes([number]) * size, now_ms)
        elif kind == "mark":
            sent_marks.append(f"m{number}")
            line.mark(f"m{number}", now_ms)
        else:
            back += line.due_marks(now_ms)
            back += line.clear(now_ms)
        back += line.due_marks(now_ms)
        accounted = (
            line.heard_bytes(now_ms) + line.cut_bytes + line.queued_bytes(now_ms) + line.discarded_bytes
        )
        assert accounted == line.received_bytes
        assert line.played(now_ms) == b"".join(bytes([n]) for n in line.heard(now_ms) if n != SILENCE[0])
        starts = [item.start for item in line.arrivals]
        assert starts == sorted(starts)
    back += line.due_marks(line.playing_until_ms + now_ms)
    assert back == sent_marks
