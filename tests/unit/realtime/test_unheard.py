"""What the next session is told again: the sound of words that nobody took in, and nothing else."""

from __future__ import annotations

from server.realtime.events import (
    AudioDelta,
    CallerTranscript,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
)
from server.realtime.unheard import CHUNK_FRAMES, LEAD_FRAMES, MAX_FRAMES, Unheard


class Line:
    """A caller's line: frames that show their number."""

    def __init__(self) -> None:
        self.unheard = Unheard()
        self._count = 0

    def silence(self, frames: int) -> None:
        self._push(frames, is_voice=False)

    def voice(self, frames: int) -> None:
        self._push(frames, is_voice=True)

    def says(self, item_id: str, frames: int = 50) -> None:
        """An utterance that the session hears to its end."""
        self.voice(5)
        self.unheard.note(SpeechStarted(item_id, 0))
        self.voice(frames - 5)
        self.silence(25)
        self.unheard.note(SpeechStopped(item_id, 0))

    def told(self) -> list[int]:
        """The numbers of the frames that the next session is told."""
        told = b"".join(self.unheard.retold())
        return [int(told[at : at + 4]) for at in range(0, len(told), 4)]

    def _push(self, frames: int, *, is_voice: bool) -> None:
        for _ in range(frames):
            self.unheard.heard(b"%04d" % self._count, is_voice=is_voice)
            self._count += 1


def heard_first(line: Line) -> None:
    """The first session of the call is told everything, and takes it in."""
    line.silence(10)
    assert line.told() == list(range(10))


def test_the_first_session_hears_everything_since_the_call_began():
    line = Line()
    line.silence(30)
    line.voice(20)
    assert line.told() == list(range(50))


def test_silence_is_not_told_again():
    line = Line()
    heard_first(line)
    line.silence(400)
    assert line.told() == [] and not line.unheard.is_waiting


def test_words_that_were_written_down_are_history():
    line = Line()
    heard_first(line)
    line.says("item_1")
    assert line.unheard.is_waiting
    line.unheard.note(CallerTranscript("item_1", "מה שעות הפתיחה?"))
    line.silence(100)
    assert line.told() == [] and not line.unheard.is_waiting


def test_words_that_were_answered_are_settled_though_nobody_wrote_them_down():
    line = Line()
    heard_first(line)
    line.says("item_1")
    line.unheard.note(ResponseCreated("resp_1"))
    assert line.unheard.is_waiting, "an answer that has not begun may never come"
    line.unheard.note(AudioDelta("resp_1", "item_2", b""))
    assert line.told() == []


def test_an_answer_to_something_earlier_settles_nothing():
    line = Line()
    heard_first(line)
    line.unheard.note(ResponseCreated("resp_1"))
    line.says("item_1")
    line.unheard.note(AudioDelta("resp_1", "item_2", b""))
    assert line.unheard.is_waiting


def test_half_a_sentence_is_told_from_before_its_first_sound():
    line = Line()
    heard_first(line)
    line.silence(90)
    line.voice(20)
    assert line.told() == list(range(100 + 1 - LEAD_FRAMES, 120))


def test_what_is_said_while_there_is_no_session_is_told_too():
    line = Line()
    heard_first(line)
    line.voice(20)
    line.silence(40)
    line.voice(10)
    assert line.told() == list(range(80)), "the silence between is part of it"


def test_a_session_that_breaks_too_leaves_it_to_the_next():
    line = Line()
    heard_first(line)
    line.voice(20)
    first = line.told()
    assert first and line.told() == first


def test_the_next_words_are_kept_when_those_before_are_written_down():
    line = Line()
    heard_first(line)
    line.says("item_1")
    line.silence(10)
    line.voice(15)
    line.unheard.note(CallerTranscript("item_1", "כן"))
    assert line.told() == list(range(85, 110)), "from the end of what is settled"


def test_ten_seconds_are_kept():
    line = Line()
    heard_first(line)
    line.voice(2 * MAX_FRAMES)
    assert line.told() == list(range(10 + MAX_FRAMES, 10 + 2 * MAX_FRAMES))


def test_it_is_told_in_pieces_of_200_ms():
    line = Line()
    line.voice(25)
    assert [len(chunk) // 4 for chunk in line.unheard.retold()] == [CHUNK_FRAMES, CHUNK_FRAMES, 5]
