"""Pipelined mode: voice detection → transcription → chat → speech, by three HTTP services.

    caller ─▶ on_media ─▶ PipelineClient ─▶ transcribe ─▶ chat ─▶ speak ─▶ tx_q ─▶ caller

The services behave as one session of a Realtime model (`services.pipeline_client`), so everything else
is the realtime mode: what interrupts, tools, silence, what was heard. It is also the rung below that mode:
a call whose model is gone goes on here, with what was said so far.
"""

from __future__ import annotations

from typing import Protocol

from server.audio.framing import frames_of
from server.audio.g711 import from_pcm16
from server.media_ws_ai import RealtimeMode
from server.telephony.messages import encode_media
from server.turns.ladder import Rung


class PipelineMode(RealtimeMode):
    """One call with three services."""

    first_rung = Rung.PIPELINE


class TextSocket(Protocol):
    """A WebSocket that sends text: flask-sock's, or any other."""

    def send(self, data: str) -> None: ...


def send_tts(ws: TextSocket, stream_sid: str, pcm16_8k: bytes) -> int:
    """Speak ready audio, PCM16 mono at 8 kHz, into a stream: in order, in frames of 20 ms, the last one
    padded with silence. Returns how many were sent. Blocks as `ws.send` does; raises ValueError for half
    a sample. For audio at 22 or 24 kHz see `audio.resample.TelephoneDownsampler`."""
    frames = frames_of(from_pcm16(pcm16_8k))
    for frame in frames:
        ws.send(encode_media(stream_sid, frame))
    return len(frames)
