"""Does somebody speak, and which frames are worth hearing?

Two questions with two clocks. `VoiceDetector` decides slowly that somebody speaks: so many loud
frames in a row, so that a click or a cough does not count. `NoiseGate` decides at once, frame by
frame, what the model hears: it opens on the first frame over its threshold, because a word's
onset must not be lost, and closes after a hang-over.

Thresholds are RMS on the 16-bit scale (see `g711`). A fixed one of 35 hears line noise as speech
and one of 800 loses quiet callers; the detector starts from a moderate one and raises it above
the noise that this very line shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.audio.g711 import FRAME_MS

NOISE_MARGIN = 2.5
"""How far above the noise floor voice must stand: 8 dB."""
FLOOR_START = 30.0
"""A usual line. Not the first frame's level: a caller may speak from the first frame on."""
FLOOR_RISE = 1.01
"""Per frame: the floor doubles in 1.4 s of steady noise, and a spoken sentence hardly moves it."""
FLOOR_LIMIT = 400.0
"""A floor above this would be speech, not a line (telephone speech starts near 500)."""

HANGOVER_MS = 400
"""Of silence in a speech that goes on."""

GATE_MARGIN = 1.3
"""How far above the line's usual noise a frame must stand to be let through: 2.3 dB. An onset over line
noise begins no higher (85 over a mean of 62 and a peak of 73, in the clips this was tuned on)."""
GATE_START = 75.0
"""Taken for the line's noise until the line has shown its own, within a third of a second."""


class NoiseFloor:
    """A line's quietest frames: falls at once with a quieter one, rises slowly with louder ones. Digital
    silence is not counted: a gate made it, or a network that sends nothing, and the noise comes again."""

    def __init__(self) -> None:
        self._floor = FLOOR_START

    def update(self, rms: int) -> float:
        """Count one frame; return the floor."""
        floor = self._floor
        if not rms:
            return floor
        if rms < floor:
            self._floor = floor = float(rms)
        else:
            self._floor = floor = min(floor * FLOOR_RISE, float(rms), FLOOR_LIMIT)
        return floor


@dataclass(slots=True)  # not frozen: one for each frame of each call
class Voice:
    """What one frame of 20 ms told."""

    rms: int
    threshold: int
    is_voice: bool
    """Somebody speaks, as of this frame."""
    started: bool
    """This is the frame at which speech was noticed."""


class VoiceDetector:
    """Speech from `min_frames` loud frames in a row on; silence from `hangover_ms` without one on."""

    def __init__(self, threshold: int, min_frames: int, hangover_ms: int = HANGOVER_MS) -> None:
        self._fixed = threshold
        self._min_frames = min_frames
        self._hangover_frames = max(1, hangover_ms // FRAME_MS)
        self._floor = NoiseFloor()
        self._loud_frames = 0
        self._quiet_frames = 0
        self._voiced_frames = 0
        self.threshold = threshold
        """Of the last frame."""
        self.is_voice = False

    @property
    def voiced_ms(self) -> int:
        """How much of the utterance in progress was loud, from its first frame on; 0 when nobody speaks."""
        return self._voiced_frames * FRAME_MS if self.is_voice else 0

    @property
    def quiet_ms(self) -> int:
        """Since the last loud frame; 0 in the midst of them."""
        return self._quiet_frames * FRAME_MS

    def update(self, rms: int) -> Voice:
        """Judge the next 20 ms frame by its RMS."""
        started = self.judge(rms, self._floor.update(rms))
        return Voice(rms, self.threshold, self.is_voice, started)

    def judge(self, rms: int, floor: float) -> bool:
        """Like `update`, over a noise floor that others share; True when speech was noticed now."""
        threshold = int(floor * NOISE_MARGIN)
        if threshold < self._fixed:
            threshold = self._fixed
        self.threshold = threshold
        if rms > threshold:
            self._quiet_frames = 0
            self._loud_frames += 1
            if self.is_voice:
                self._voiced_frames += 1
            elif self._loud_frames >= self._min_frames:
                self.is_voice = True
                self._voiced_frames = self._loud_frames
                return True
        else:
            self._loud_frames = 0
            self._quiet_frames += 1
            if self._quiet_frames >= self._hangover_frames:
                self.is_voice = False
        return False


class NoiseGate:
    """Open for frames worth hearing, from the very first of a word on.

    Its threshold lies just above the noise of this line, far below the detector's. A closed gate
    means silence in place of the frame, never a gap: the model's clock counts the audio appended.
    """

    def __init__(self, threshold: int, hangover_ms: int = 600) -> None:
        self._least = threshold / 5
        self._hangover_frames = hangover_ms // FRAME_MS
        self._floor = NoiseFloor()
        self._noise = GATE_START
        self._open_frames = 0

    def is_open(self, rms: int) -> bool:
        """Whether this 20 ms frame goes through."""
        return self.judge(rms, self._floor.update(rms))

    def judge(self, rms: int, floor: float) -> bool:
        """Like `is_open`, over a noise floor that others share."""
        noise = self._noise
        if floor > noise:
            noise = floor
        threshold = max(self._least, noise * GATE_MARGIN)
        if rms > threshold:
            self._noise = noise
            self._open_frames = self._hangover_frames
            return True
        self._noise = noise + (rms - noise) * (0.2 if rms < noise else 0.05)
        if self._open_frames:
            self._open_frames -= 1
            return True
        return False
