"""What of the caller's audio goes to the model, and does the caller speak?

Cuts whatever comes into 20 ms frames, measures each once, and answers both questions (`vad`).
"""

from __future__ import annotations

from audioop import rms, ulaw2lin  # as they are: a call between costs what the choice of detector does
from dataclasses import dataclass

from server.audio.framing import Framer
from server.audio.g711 import FRAME_BYTES, SILENT_FRAME
from server.audio.vad import HANGOVER_MS, NoiseFloor, NoiseGate, Voice, VoiceDetector
from server.audio.webrtc_detector import AGGRESSIVENESS, WebrtcDetector, least_rms

DETECTORS = ("rms", "webrtc")


@dataclass(slots=True)  # not frozen: one for each frame of each call
class Heard:
    """One frame, as the model shall hear it."""

    payload: bytes
    """The caller's own bytes, or silence where the gate is closed."""
    voice: Voice
    is_gated: bool


class Ear:
    """One caller's ear: state from frame to frame."""

    def __init__(
        self,
        threshold: int,
        min_frames: int,
        *,
        gate: bool,
        detector: str = "rms",
        aggressiveness: int = AGGRESSIVENESS,
        hangover_ms: int = HANGOVER_MS,
    ) -> None:
        """`detector` is "rms", loudness alone, or "webrtc", which must agree with half the loudness;
        `aggressiveness` is the latter's. Speech ends after `hangover_ms` without it. Raises ValueError for
        values there are not."""
        if detector not in DETECTORS:
            raise ValueError(f"detector {detector!r} is not one of {', '.join(DETECTORS)}")
        is_webrtc = detector == "webrtc"
        self._framer = Framer()
        self._floor = NoiseFloor()
        self._gate = NoiseGate(threshold) if gate else None
        self._webrtc = WebrtcDetector(aggressiveness) if is_webrtc else None
        self.detector = VoiceDetector(
            least_rms(threshold) if is_webrtc else threshold, min_frames, hangover_ms
        )
        self.rms = 0
        """Of the last frame."""
        self.has_started = False
        """Speech was noticed with the last frame."""

    @property
    def voiced_ms(self) -> int:
        """See `VoiceDetector.voiced_ms`."""
        return self.detector.voiced_ms

    @property
    def is_between_frames(self) -> bool:
        """No part of a frame waits: a whole frame may go to `is_gated` as it is."""
        return not self._framer.waiting_bytes

    def hear(self, payload: bytes) -> list[Heard]:
        """The frames that `payload`, of any length, completes."""
        frames = (
            [payload]
            if len(payload) == FRAME_BYTES and self.is_between_frames
            else self._framer.push(payload)
        )
        return [self._hear_one(frame) for frame in frames]

    def _hear_one(self, frame: bytes) -> Heard:
        is_gated = self.is_gated(frame)
        voice = Voice(self.rms, self.detector.threshold, self.detector.is_voice, self.has_started)
        return Heard(SILENT_FRAME if is_gated else frame, voice, is_gated)

    def is_gated(self, frame: bytes) -> bool:
        """Judge one whole frame, 50 times a second and so without an object made: shall the model
        hear silence in its place? `rms`, `has_started` and `detector` tell the rest."""
        pcm16 = ulaw2lin(frame, 2)
        self.rms = level = rms(pcm16, 2)
        floor = self._floor.update(level)
        webrtc = self._webrtc
        voice_rms = level if webrtc is None or webrtc.is_speech(pcm16) else 0
        self.has_started = self.detector.judge(voice_rms, floor)
        return self._gate is not None and not self._gate.judge(level, floor) and not self.detector.is_voice
