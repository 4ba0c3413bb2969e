import pytest

from server.audio.g711 import FRAME_BYTES, SILENCE, from_pcm16, to_pcm16
from server.audio.tones import dtmf
from server.media_ws_pipeline import send_tts
from server.simulator.twilio.schema import Media, check

STREAM = "MZ0123"


class Socket:
    """What Twilio would hear, checked as strictly as Twilio does."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, data: str) -> None:
        checked = check(data.encode(), STREAM)
        assert isinstance(checked.command, Media)
        assert checked.findings == ()
        self.frames.append(checked.command.payload)


def test_ready_audio_goes_out_in_order_in_frames_of_20_ms():
    spoken = dtmf("123")[: 4 * FRAME_BYTES + 50]
    ws = Socket()
    assert send_tts(ws, STREAM, to_pcm16(spoken)) == 5
    assert {len(frame) for frame in ws.frames} == {FRAME_BYTES}
    heard = b"".join(ws.frames)
    assert heard == from_pcm16(to_pcm16(spoken)) + SILENCE * (FRAME_BYTES - 50), "no part of a frame is lost"


def test_half_a_sample_is_refused_and_nothing_is_nothing():
    ws = Socket()
    with pytest.raises(ValueError):
        send_tts(ws, STREAM, b"\0\0\0")
    assert send_tts(ws, STREAM, b"") == 0
    assert ws.frames == []
