"""What the caller says and presses, on the call's clock.

A polite caller listens first: until the agent has said something and is quiet again, or for a while
in vain. Then the input audio begins and runs on in real time: what is said while no stream is open is
lost, as on a real line. Before it and after its end the caller keeps silent (0xFF), and the frames go
on, so that the far end's voice detection can see that the turn is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, SILENCE, ms
from server.simulator.twilio.speech_spans import Span, spans

SPEECH_RMS = 200
PAUSE_IN_TURN_MS = 600
"""Shorter silence is a pause of breath, not the end of a turn."""
MIN_SPEECH_MS = 60
DIGIT_GAP_MS = 250
LISTENS_MS = 3000
"""So long a caller waits for a first word before asking whether anybody is there."""
HAS_ENDED_MS = 600
"""Of silence after which the agent is taken to have finished."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the telephone, pressed so long after the input audio began."""

    digit: str
    at_ms: float


def keys(digits: str, at_s: float) -> list[Key]:
    """The keys of `12#@3.5`: the first at 3.5 s, the others 250 ms apart."""
    return [Key(digit, at_s * 1000 + index * DIGIT_GAP_MS) for index, digit in enumerate(digits)]


class CallerSide(Protocol):
    """What a call asks of whoever plays its caller. Times are on the call's clock."""

    audio: bytes
    """What will be said, as far as that is known beforehand."""
    speech: list[Span]
    """In `audio`."""

    def begin(self, now_ms: float) -> int: ...

    def listen(self, index: int, now_ms: float, audible_until_ms: float) -> None: ...

    def frame(self, index: int) -> bytes: ...

    def elsewhere(self, now_ms: float) -> None:
        """The call is where nobody asks for frames: ringing somebody, or playing something."""

    def due_keys(self, now_ms: float) -> list[Key]: ...

    def takes_drop(self) -> bool:
        """Whether the stream is to break off now; true once for each time."""

    @property
    def end_ms(self) -> float: ...

    @property
    def last_word_ms(self) -> float: ...

    def spoken(self) -> list[Span]: ...

    def track(self) -> bytes: ...


class Caller:
    """The input audio and keys; reads no clock of its own."""

    def __init__(self, audio: bytes, pressed: list[Key], speak_at_s: float | None = 0.0) -> None:
        """`speak_at_s`: when to begin, since the stream opened; None listens first."""
        self.audio = audio
        self._speaks_from = None if speak_at_s is None else round(speak_at_s * 1000 / FRAME_MS)
        """Frame of the call at which the input audio begins; None while listening."""
        self._pressed = sorted(pressed, key=lambda key: key.at_ms)
        self._last_key_ms = self._pressed[-1].at_ms if self._pressed else 0.0
        self._began_ms: float | None = None
        self._sent = bytearray()
        self.speech = spans(
            audio, threshold_rms=SPEECH_RMS, hangover_ms=PAUSE_IN_TURN_MS, min_loud_ms=MIN_SPEECH_MS
        )

    def begin(self, now_ms: float) -> int:
        """A stream is open: return which 20 ms of the input it starts with (0 for the first)."""
        if self._began_ms is None:
            self._began_ms = now_ms
        return round((now_ms - self._began_ms) / FRAME_MS)

    def listen(self, index: int, now_ms: float, audible_until_ms: float) -> None:
        """Decide whether to begin with frame `index`; for a caller who listens first."""
        if self._speaks_from is not None:
            return
        if audible_until_ms > 0:
            is_my_turn = now_ms - audible_until_ms >= HAS_ENDED_MS
        else:
            is_my_turn = now_ms - (self._began_ms or 0.0) >= LISTENS_MS
        if is_my_turn:
            self._speaks_from = index

    def frame(self, index: int) -> bytes:
        """The 160 bytes of the call at `index`: of the input audio, or silence before and after it."""
        at = index * FRAME_BYTES
        said = SILENCE * FRAME_BYTES
        if self._speaks_from is not None and index >= self._speaks_from:
            start = at - self._speaks_from * FRAME_BYTES
            said = self.audio[start : start + FRAME_BYTES].ljust(FRAME_BYTES, SILENCE)
        self._sent += SILENCE * (at - len(self._sent)) + said
        return said

    def due_keys(self, now_ms: float) -> list[Key]:
        """Keys whose time has come; each is given once."""
        since = now_ms - self._speech_ms
        due = [key for key in self._pressed if key.at_ms <= since]
        self._pressed = self._pressed[len(due) :]
        return due

    def elsewhere(self, now_ms: float) -> None:
        pass  # it runs on by the clock alone

    def takes_drop(self) -> bool:
        return False

    @property
    def end_ms(self) -> float:
        """On the call's clock: nothing comes from the caller after this."""
        return self._speech_ms + max(ms(len(self.audio)), self._last_key_ms)

    @property
    def last_word_ms(self) -> float:
        """On the call's clock: what is heard later may be an answer to everything said."""
        return self._speech_ms + max(self.speech[-1].end_ms if self.speech else 0, self._last_key_ms)

    def spoken(self) -> list[Span]:
        """The stretches of speech on the call's clock."""
        if self._speaks_from is None:
            return []
        offset = round(self._speech_ms)
        return [Span(span.start_ms + offset, span.end_ms + offset) for span in self.speech]

    def track(self) -> bytes:
        """What was sent, as a recording from the call's start."""
        return SILENCE * round(self._start_ms * BYTES_PER_MS) + bytes(self._sent)

    @property
    def _speech_ms(self) -> float:
        """On the call's clock: when the input audio begins; never, while still listening."""
        return inf if self._speaks_from is None else self._start_ms + self._speaks_from * FRAME_MS

    @property
    def _start_ms(self) -> float:
        return self._began_ms or 0.0
