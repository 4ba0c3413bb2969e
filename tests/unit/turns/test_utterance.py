import audioop
from pathlib import Path

import pytest

from server.audio.ear import Ear
from server.audio.g711 import FRAME_BYTES, SILENT_FRAME, from_pcm16, to_pcm16
from server.turns.utterance import BEFORE_MS, ENDS_AFTER_MS, MAX_MS, Began, Ended, UtteranceCutter

DATA = Path(__file__).parents[2] / "data"
LOUD = from_pcm16(b"\x00\x10\x00\xf0" * (FRAME_BYTES // 2))


def cut(frames):
    cutter = UtteranceCutter(200, 5)
    return [(n, found) for n, frame in enumerate(frames) if (found := cutter.push(frame)) is not None]


def test_an_utterance_begins_when_the_detector_is_sure_and_holds_what_led_to_it():
    (began, ended) = cut([SILENT_FRAME] * 100 + [LOUD] * 50 + [SILENT_FRAME] * 60)
    assert began == (104, Began())
    assert ended[0] == 149 + ENDS_AFTER_MS // 20
    payload = ended[1].payload
    lead_frames = BEFORE_MS // 20 - 5
    assert payload.startswith(SILENT_FRAME * lead_frames + LOUD * 50)
    assert len(payload) // FRAME_BYTES < lead_frames + 50 + 20, "most of the silence is left out"


def test_a_pause_shorter_than_the_timer_ends_nothing():
    found = cut([LOUD] * 20 + [SILENT_FRAME] * 39 + [LOUD] * 20 + [SILENT_FRAME] * 60)
    assert [type(each) for _, each in found] == [Began, Ended]


def test_a_click_is_no_utterance():
    assert cut([SILENT_FRAME] * 10 + [LOUD] * 4 + [SILENT_FRAME] * 100) == []


def test_speech_without_an_end_is_cut():
    found = cut([LOUD] * (MAX_MS // 20 + 100))
    assert [type(each) for _, each in found][:2] == [Began, Ended]
    assert len(found[1][1].payload) == MAX_MS * 8


def test_two_utterances_share_no_audio():
    found = cut([LOUD] * 20 + [SILENT_FRAME] * 60 + [LOUD] * 20 + [SILENT_FRAME] * 60)
    first, second = (each.payload for _, each in found if isinstance(each, Ended))
    assert first.count(LOUD) == second.count(LOUD) == 20


def gated(audio: bytes) -> list[bytes]:
    """As the model's leg is given it: silence where only the line's noise is heard."""
    return [heard.payload for heard in Ear(200, 5, gate=True).hear(audio)]


@pytest.mark.parametrize("noise", ["vacuum_cleaner", "hum", "poor_line"])
def test_a_noisy_lines_utterances_are_its_callers(noise):
    """The gate's silence is not the line's: it would make the next noise a voice."""
    loud = audioop.mul(to_pcm16((DATA / "noise" / f"{noise}.ulaw").read_bytes()), 2, 0.5)
    speech = to_pcm16((DATA / "hebrew_question.ulaw").read_bytes())
    line = (loud * 20)[: 30 * 16_000]
    mixed = bytearray(line)
    mixed[12 * 16_000 : 12 * 16_000 + len(speech)] = audioop.add(
        speech, line[12 * 16_000 : 12 * 16_000 + len(speech)], 2
    )
    found = cut(gated(from_pcm16(bytes(mixed))))
    spans = [(n * 20 / 1000, type(each)) for n, each in found if n * 20 > 5_000]
    assert [kind for _, kind in spans] == [Began, Ended], spans
    assert 12.2 < spans[0][0] < 12.8 and 14.4 < spans[1][0] < 16.2, spans


def test_the_chosen_detector_hears_faint_callers_here_too():
    audio = (DATA / "noise" / "hebrew_faint.ulaw").read_bytes()
    cutter = UtteranceCutter(200, 5, "webrtc")
    frames = [audio[at : at + FRAME_BYTES] for at in range(0, len(audio) - FRAME_BYTES, FRAME_BYTES)]
    assert any(isinstance(cutter.push(frame), Began) for frame in frames)
    assert cut(frames) == []
