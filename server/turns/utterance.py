"""Where does what the caller says begin and end? For models that hear whole utterances.

An utterance begins when our voice detector is sure, and holds the half second before, so that no onset
is lost. It ends after 0.8 s without voice: less would cut callers off in the middle of a number, more is
felt as slowness. One that does not end is cut after 30 s. Pure: one call for each 20 ms frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.audio.ear import Ear
from server.audio.g711 import FRAME_MS

ENDS_AFTER_MS = 800
BEFORE_MS = 500
MAX_MS = 30_000


@dataclass(frozen=True, slots=True)
class Began:
    """The caller speaks."""


@dataclass(frozen=True, slots=True)
class Ended:
    payload: bytes
    """μ-law: the utterance with what led to it, without the silence that ended it."""


class UtteranceCutter:
    """One caller's utterances."""

    def __init__(self, threshold: int, min_frames: int, detector: str = "rms") -> None:
        """As `Ear` has them."""
        self._ear = Ear(threshold, min_frames, gate=False, detector=detector, hangover_ms=ENDS_AFTER_MS)
        self._before: deque[bytes] = deque(maxlen=BEFORE_MS // FRAME_MS)
        self._frames: list[bytes] = []

    def push(self, frame: bytes) -> Began | Ended | None:
        """The next 160 bytes of μ-law; what they tell, mostly nothing."""
        was_voice = self._ear.detector.is_voice
        self._ear.is_gated(frame)
        is_voice = self._ear.detector.is_voice
        if not self._frames:
            self._before.append(frame)
            if not is_voice:
                return None
            self._frames.extend(self._before)
            self._before.clear()
            return Began()
        self._frames.append(frame)
        if was_voice and not is_voice:
            silent = ENDS_AFTER_MS // FRAME_MS - BEFORE_MS // FRAME_MS // 2
            return self._end(self._frames[: len(self._frames) - silent])
        if len(self._frames) * FRAME_MS >= MAX_MS:
            return self._end(self._frames)
        return None

    def _end(self, frames: list[bytes]) -> Ended:
        self._frames = []
        return Ended(b"".join(frames))
