"""What does the caller hear, and when?

Twilio plays our audio from a buffer of its own, in order and in real time. A `mark` comes back
when everything sent before it has been played, or at once when nothing is queued; `clear` empties
the buffer and brings every outstanding mark back at once. The buffer holds ten minutes [1].

Pure bookkeeping: the time is an argument, in milliseconds since the call was answered, and never
runs backwards. Inside everything is counted in samples of G.711 μ-law, 8 kHz mono: one byte is
one sample, 8 bytes are one millisecond, so no rounding hides a byte.

[1] twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, SILENCE, rms

LIMIT_MS = 600_000
"""Of queued audio; Twilio discards the excess and warns once (31931)."""

AUDIBLE_RMS = 50
"""Above this, 20 ms count as something to hear: a quiet line shows 9 to 50."""

UNDERRUN_MIN_MS = 5
"""Shorter holes pass for a click nobody notices, and Twilio's own jitter buffer fills them."""

PAUSE_MS = 400
"""The line ran dry for longer: a pause between two utterances and no hole inside one."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One media message and its place on the line."""

    arrived_ms: float
    received_bytes: int
    start: int
    """Sample of the line at which it begins to play."""
    plays_bytes: int
    """What was or will be heard of it: less than received after a clear, or over the limit."""

    @property
    def start_ms(self) -> float:
        return self.start / BYTES_PER_MS

    @property
    def end_ms(self) -> float:
        return (self.start + self.plays_bytes) / BYTES_PER_MS


@dataclass(frozen=True, slots=True)
class Position:
    """Which message is playing, and how many of its bytes came before."""

    arrival: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Hole:
    """The line ran dry inside speech."""

    at_ms: float
    duration_ms: float


class VirtualLine:
    """Twilio's playout buffer and the caller's ear."""

    def __init__(self, limit_ms: int = LIMIT_MS) -> None:
        self._limit_bytes = limit_ms * BYTES_PER_MS
        self._timeline = bytearray()  # what plays at each sample since the call's start
        self._end = 0  # sample after the last one queued
        self._marks: deque[tuple[str, int]] = deque()  # name and the sample at which it is due
        self._was_cleared = False  # since the last media: the next one begins something new
        self._first_audible: int | None = None
        self._audible_end = 0
        self.arrivals: list[Arrival] = []
        self.arrival_gaps_ms: list[float] = []
        """Between two messages of one utterance; pauses are left out."""
        self.underruns: list[Hole] = []
        self.received_bytes = 0
        self.cut_bytes = 0
        """Taken away by clear before it was played."""
        self.discarded_bytes = 0
        """Over the limit of the buffer."""

    def media(self, payload: bytes, now_ms: float) -> None:
        """Queue `payload` behind everything that waits."""
        now = _sample(now_ms)
        start = max(now, self._end)
        fits = payload[: max(0, self._limit_bytes - (start - now))]
        self.received_bytes += len(payload)
        self.discarded_bytes += len(payload) - len(fits)
        self._note_gaps(start, payload, now_ms)
        self.arrivals.append(Arrival(now_ms, len(payload), start, len(fits)))
        self._was_cleared = False
        if not fits:
            return
        self._timeline += SILENCE * (start - len(self._timeline))
        self._timeline += fits
        self._end = start + len(fits)
        self._note_audible(start, fits)

    def mark(self, name: str, now_ms: float) -> None:
        """Remember a mark; `due_marks` gives it back when its time has come."""
        self._marks.append((name, max(_sample(now_ms), self._end)))

    def due_marks(self, now_ms: float) -> list[str]:
        """Marks whose audio has been played by now, in the order they came. Each is given once."""
        now, due = _sample(now_ms), []
        while self._marks and self._marks[0][1] <= now:
            due.append(self._marks.popleft()[0])
        return due

    def clear(self, now_ms: float) -> list[str]:
        """Fall silent at this very sample; return every outstanding mark."""
        now = _sample(now_ms)
        self.cut_bytes += max(0, self._end - now)
        for index in range(len(self.arrivals) - 1, -1, -1):
            item = self.arrivals[index]
            if item.start + item.plays_bytes <= now:
                break
            start = min(item.start, now)
            self.arrivals[index] = replace(item, start=start, plays_bytes=now - start)
        del self._timeline[now:]
        self._end = min(self._end, now)
        self._audible_end = min(self._audible_end, now)
        if self._first_audible is not None and self._first_audible >= now:
            self._first_audible = None
        self._was_cleared = True
        names = [name for name, _ in self._marks]
        self._marks.clear()
        return names

    @property
    def next_mark_ms(self) -> float | None:
        """When the next mark is due; None when none is outstanding."""
        return self._marks[0][1] / BYTES_PER_MS if self._marks else None

    @property
    def outstanding_marks(self) -> int:
        return len(self._marks)

    @property
    def playing_until_ms(self) -> float:
        """The end of everything queued; in the past when the line is idle."""
        return self._end / BYTES_PER_MS

    @property
    def audible_until_ms(self) -> float:
        """The end of the last thing worth hearing: queued silence does not count. 0 for none."""
        return self._audible_end / BYTES_PER_MS

    @property
    def first_audible_ms(self) -> float | None:
        """When the caller heard, or will hear, the first sound."""
        return None if self._first_audible is None else self._first_audible / BYTES_PER_MS

    def heard_bytes(self, at_ms: float, since_arrival: int = 0) -> int:
        """Bytes played by then, of the messages from number `since_arrival` on.

        With the first message of an answer, this divided by 8 is what a truncate's
        `audio_end_ms` should say.
        """
        now = _sample(at_ms)
        items = self.arrivals[since_arrival:]
        return sum(min(item.plays_bytes, max(0, now - item.start)) for item in items)

    def queued_bytes(self, at_ms: float) -> int:
        """Bytes that wait to be played."""
        return max(0, self._end - _sample(at_ms))

    def position(self, at_ms: float) -> Position | None:
        """What is playing at that time; None in silence between messages."""
        now = _sample(at_ms)
        index = bisect_right(self.arrivals, now, key=lambda item: item.start) - 1
        if index < 0 or now >= self.arrivals[index].start + self.arrivals[index].plays_bytes:
            return None
        return Position(index, now - self.arrivals[index].start)

    def heard(self, until_ms: float | None = None) -> bytes:
        """The line as a recording from the call's start: 0xFF where nothing plays."""
        if until_ms is None:
            return bytes(self._timeline)
        until = _sample(until_ms)
        return bytes(self._timeline[:until]).ljust(until, SILENCE)

    def between(self, start_ms: float, end_ms: float) -> bytes:
        """What plays from one time to the other, 0xFF where nothing does."""
        start, end = _sample(start_ms), _sample(end_ms)
        return bytes(self._timeline[start:end]).ljust(end - start, SILENCE)

    def played(self, at_ms: float) -> bytes:
        """What was played by then without the silence between messages."""
        now = _sample(at_ms)
        parts = (self._timeline[i.start : min(now, i.start + i.plays_bytes)] for i in self.arrivals)
        return b"".join(parts)

    def _note_gaps(self, start: int, payload: bytes, now_ms: float) -> None:
        """Classify the time since the message before: one utterance, a hole in it, or a pause."""
        if not self.arrivals or self._was_cleared:
            return
        dry_ms = (start - self._end) / BYTES_PER_MS
        if dry_ms >= PAUSE_MS:
            return
        self.arrival_gaps_ms.append(now_ms - self.arrivals[-1].arrived_ms)
        if dry_ms < UNDERRUN_MIN_MS:
            return
        before = bytes(self._timeline[max(0, self._end - FRAME_BYTES) : self._end])
        if rms(before) > AUDIBLE_RMS or rms(payload[:FRAME_BYTES]) > AUDIBLE_RMS:
            self.underruns.append(Hole(self.playing_until_ms, dry_ms))

    def _note_audible(self, start: int, payload: bytes) -> None:
        for at in range(0, len(payload), FRAME_BYTES):
            frame = payload[at : at + FRAME_BYTES]
            if rms(frame) > AUDIBLE_RMS:
                if self._first_audible is None:
                    self._first_audible = start + at
                self._audible_end = start + at + len(frame)


def _sample(ms: float) -> int:
    return round(ms * BYTES_PER_MS)
