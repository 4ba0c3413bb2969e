"""Where in the appended audio does somebody speak?

The input audio buffer of a session and its voice detection. Every time is a position in the audio
that was appended since the session began, 8 bytes of μ-law a millisecond: a client that sends
nothing for a while stops this clock, and one that sends a file at once is judged as if it were live.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from server.audio.framing import Framer
from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, ms, rms
from server.audio.vad import VoiceDetector
from server.simulator.realtime.checks import Rejected

MIN_COMMIT_MS = 100
MIN_VOICE_FRAMES = 3
"""60 ms: a click is no speech, and the shortest word is."""
MAX_BUFFER_BYTES = 3600 * 1000 * BYTES_PER_MS
"""An hour, as long as a session lasts."""
_FRAMES_BETWEEN_BREATHS = 100


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    audio_start_ms: int
    """Includes the prefix padding."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    audio_end_ms: int
    """Includes the silence that ended the turn."""
    payload: bytes
    """μ-law from the padding to that silence: exactly audio_start_ms to audio_end_ms."""
    speech_ms: int


def threshold_rms(threshold: float) -> int:
    """RMS for the protocol's 0.0 to 1.0: 30 at 0, 150 at the default of 0.5, 750 at 1.

    The real threshold is a probability and has no level; these three let a quiet caller
    (RMS 300) through at the default and a hissing line (RMS 60) not.
    """
    return round(30.0 * math.pow(25.0, threshold))


class Ear:
    """One session's input audio buffer."""

    def __init__(self, breathe: Callable[[], None]) -> None:
        self._breathe = breathe
        """Called every 2 s of audio, so that a large append does not hold an event loop."""
        self._detector: VoiceDetector | None = None
        self._prefix_bytes = 0
        self._silence_ms = 0
        self._framer = Framer()
        self._buffer = bytearray()
        self._start = 0  # position of _buffer[0]; all positions in bytes since the session began
        self._judged = 0
        self._appended = 0
        self._committed = 0
        self._voice_from = 0
        self.is_speech = False

    @property
    def appended_ms(self) -> int:
        return ms(self._appended)

    def detect(self, threshold: float, prefix_ms: int, silence_ms: int) -> None:
        """Turn voice detection on, from the next frame on."""
        self._prefix_bytes = prefix_ms * BYTES_PER_MS
        self._silence_ms = silence_ms
        self._detector = VoiceDetector(threshold_rms(threshold), MIN_VOICE_FRAMES, silence_ms)
        self.is_speech = False

    def stop_detecting(self) -> None:
        self._detector = None
        self.is_speech = False

    def append(self, payload: bytes) -> list[SpeechStarted | SpeechStopped]:
        """Take μ-law of any length; tell where speech began and ended in it. Raises Rejected when full."""
        if len(self._buffer) + len(payload) > MAX_BUFFER_BYTES:
            raise Rejected(None, "The input audio buffer is full: commit or clear it.")
        self._buffer += payload
        self._appended += len(payload)
        found: list[SpeechStarted | SpeechStopped] = []
        for index, frame in enumerate(self._framer.push(payload), 1):
            self._judged += FRAME_BYTES
            if self._detector is not None:
                self._judge(self._detector, frame, found)
            if index % _FRAMES_BETWEEN_BREATHS == 0:
                self._breathe()
        return found

    def _judge(
        self, detector: VoiceDetector, frame: bytes, found: list[SpeechStarted | SpeechStopped]
    ) -> None:
        voice = detector.update(rms(frame))
        if voice.started:
            self._voice_from = self._judged - MIN_VOICE_FRAMES * FRAME_BYTES
            self._drop_before(self._voice_from - self._prefix_bytes)
            self.is_speech = True
            found.append(SpeechStarted(ms(self._start)))
        elif self.is_speech and not voice.is_voice:
            speech_ms = ms(self._judged - self._voice_from) - max(FRAME_MS, self._silence_ms)
            payload = self._take(self._judged)
            found.append(SpeechStopped(ms(self._judged), payload, max(speech_ms, 0)))
        elif not self.is_speech:
            self._drop_before(self._judged - self._prefix_bytes - MIN_VOICE_FRAMES * FRAME_BYTES)

    def commit(self) -> bytes:
        """Everything held. Raises Rejected when less than 100 ms came since the last commit."""
        new_bytes = self._appended - self._committed
        if new_bytes < MIN_COMMIT_MS * BYTES_PER_MS:
            raise Rejected(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{MIN_COMMIT_MS}ms of audio, but buffer only has {new_bytes / BYTES_PER_MS:.2f}ms of audio.",
            )
        return self._take(self._appended)

    def commit_silence(self) -> bytes:
        """Everything held, however little: what the idle timeout commits."""
        return self._take(self._appended)

    def clear(self) -> None:
        self._take(self._appended)

    def _take(self, end: int) -> bytes:
        payload = bytes(self._buffer[: end - self._start])
        self._drop_before(end)
        self._committed = end
        self.is_speech = False
        return payload

    def _drop_before(self, position: int) -> None:
        if position > self._start:
            del self._buffer[: position - self._start]
            self._start = position
