"""When the caller hangs up, and what the caller says: the time is an argument."""

import pytest

from server.audio.g711 import FRAME_BYTES, SILENCE
from server.simulator.twilio.caller import Caller, Key, keys
from server.simulator.twilio.live_call import HangupRule
from server.simulator.twilio.virtual_line import VirtualLine

LOUD = b"\x00" * FRAME_BYTES
QUIET = SILENCE * FRAME_BYTES
RULE = HangupRule(after_s=None, quiet_after_s=1.5, timeout_s=10)


def caller(audio: bytes = b"", *pressed: Key) -> Caller:
    """Whose stream began 100 ms after the call was answered."""
    speaking = Caller(audio, list(pressed))
    speaking.begin(100)
    return speaking


def line(*items: tuple[int, bytes]) -> VirtualLine:
    played = VirtualLine()
    for at_ms, audio in items:
        played.media(audio, at_ms)
    return played


def test_the_caller_says_everything_before_hanging_up():
    speaking, greeted = caller(QUIET * 500), line((200, LOUD * 10))
    assert RULE.reason(10_099, speaking, greeted) == ""
    assert RULE.reason(11_599, speaking, greeted) == ""
    assert RULE.reason(11_600, speaking, greeted) == "quiet"


def test_a_greeting_is_no_answer_to_what_is_said_after_it():
    speaking = caller(QUIET * 50 + LOUD * 50)
    greeted = line((200, LOUD * 10))
    assert RULE.reason(8000, speaking, greeted) == ""
    answered = line((200, LOUD * 10), (9000, LOUD * 10))
    assert RULE.reason(10_699, speaking, answered) == ""
    assert RULE.reason(10_700, speaking, answered) == "quiet"


def test_silence_that_is_sent_does_not_keep_the_caller():
    talking = line((200, LOUD * 10), (400, QUIET * 500))
    assert RULE.reason(1_900, caller(), talking) == "quiet"


def test_audio_still_queued_keeps_the_caller():
    assert RULE.reason(5_000, caller(), line((200, LOUD * 500))) == ""


def test_a_caller_who_is_not_answered_gives_up():
    assert RULE.reason(10_099, caller(), VirtualLine()) == ""
    assert RULE.reason(10_100, caller(), VirtualLine()) == "no answer"


def test_a_fixed_end_holds_whatever_goes_on():
    rule = HangupRule(after_s=5)
    assert rule.reason(4_999, caller(LOUD * 1000), line((0, LOUD * 1000))) == ""
    assert rule.reason(5_000, caller(LOUD * 1000), line((0, LOUD * 1000))) == "time"


def test_a_key_wants_an_answer_too():
    pressed = caller(b"", Key("1", 3000))
    assert RULE.reason(3_000, pressed, line((200, LOUD))) == ""
    assert pressed.due_keys(3_100) == [Key("1", 3000)]
    assert RULE.reason(9_000, pressed, line((200, LOUD))) == ""


def test_keys_are_pressed_a_quarter_second_apart_and_each_once():
    speaking = caller(b"", *keys("12#", 3.5))
    assert [key.digit for key in speaking.due_keys(100 + 3499)] == []
    assert [key.digit for key in speaking.due_keys(100 + 3750)] == ["1", "2"]
    assert [key.digit for key in speaking.due_keys(100 + 9000)] == ["#"]


def test_after_its_end_the_input_is_silence():
    speaking = caller(b"\x01" * 200)
    frames = [speaking.frame(n) for n in range(3)]
    assert frames == [b"\x01" * 160, b"\x01" * 40 + SILENCE * 120, QUIET]


def test_what_is_said_between_two_streams_is_lost_and_the_recording_keeps_time():
    speaking = caller(b"".join(bytes([n]) * FRAME_BYTES for n in range(100)))
    speaking.frame(0)
    assert speaking.begin(1100) == 50
    assert speaking.frame(50) == bytes([50]) * FRAME_BYTES
    track = speaking.track()
    assert track == SILENCE * 800 + b"\x00" * 160 + SILENCE * 49 * 160 + bytes([50]) * 160


@pytest.mark.parametrize("audio", [b"", QUIET * 10])
def test_a_silent_caller_says_nothing(audio: bytes):
    assert caller(audio).spoken() == []
