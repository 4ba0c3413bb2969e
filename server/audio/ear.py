"""What of the caller's audio goes to the model, and does the caller speak?

Cuts whatever comes into 20 ms frames, measures each once, and answers both questions (`vad`).
"""

from __future__ import annotations

from dataclasses import dataclass

from server.audio.framing import Framer
from server.audio.g711 import FRAME_BYTES, SILENT_FRAME, rms
from server.audio.vad import NoiseGate, Voice, VoiceDetector


@dataclass(slots=True)  # not frozen: one for each frame of each call
class Heard:
    """One frame, as the model shall hear it."""

    payload: bytes
    """The caller's own bytes, or silence where the gate is closed."""
    voice: Voice
    is_gated: bool


class Ear:
    """One caller's ear: state from frame to frame."""

    def __init__(self, threshold: int, min_frames: int, *, gate: bool) -> None:
        self._framer = Framer()
        self._detector = VoiceDetector(threshold, min_frames)
        self._gate = NoiseGate(threshold) if gate else None

    def hear(self, payload: bytes) -> list[Heard]:
        """The frames that `payload` completes."""
        if len(payload) == FRAME_BYTES and not self._framer.waiting_bytes:
            return [self._judge(payload)]
        return [self._judge(frame) for frame in self._framer.push(payload)]

    def _judge(self, frame: bytes) -> Heard:
        level = rms(frame)
        voice = self._detector.update(level)
        is_open = self._gate is None or self._gate.is_open(level) or voice.is_voice
        return Heard(frame if is_open else SILENT_FRAME, voice, not is_open)
