"""In which coding does this session's audio travel?

Inside the simulator everything is G.711 μ-law at 8 kHz. A session may ask for A-law or for 24 kHz
PCM instead; both are converted at the edge, with state kept from chunk to chunk so that no sample
is lost or doubled. The conversion to and from 24 kHz is linear interpolation: plain, with images
above 4 kHz, and good enough to hear which side is wrong. μ-law passes through untouched.
"""

from __future__ import annotations

import audioop
from typing import Any

from server.audio.g711 import SAMPLE_RATE_HZ

PCM_RATE_HZ = 24_000


class Encoder:
    """μ-law in, the session's output format out."""

    def __init__(self, audio_format: dict[str, Any]) -> None:
        self._kind = audio_format["type"]
        self._state: Any = None

    def encode(self, payload: bytes) -> bytes:
        if self._kind == "audio/pcmu":
            return payload
        linear = audioop.ulaw2lin(payload, 2)
        if self._kind == "audio/pcma":
            return audioop.lin2alaw(linear, 2)
        wide, self._state = audioop.ratecv(linear, 2, 1, SAMPLE_RATE_HZ, PCM_RATE_HZ, self._state)
        return wide


class Decoder:
    """The session's input format in, μ-law out. Half a PCM sample waits for the next chunk."""

    def __init__(self, audio_format: dict[str, Any]) -> None:
        self._kind = audio_format["type"]
        self._state: Any = None
        self._rest = b""

    def decode(self, payload: bytes) -> bytes:
        if self._kind == "audio/pcmu":
            return payload
        if self._kind == "audio/pcma":
            return audioop.lin2ulaw(audioop.alaw2lin(payload, 2), 2)
        data = self._rest + payload
        whole = len(data) - len(data) % 2
        self._rest = data[whole:]
        narrow, self._state = audioop.ratecv(data[:whole], 2, 1, PCM_RATE_HZ, SAMPLE_RATE_HZ, self._state)
        return audioop.lin2ulaw(narrow, 2)
