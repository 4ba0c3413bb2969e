"""Was this recording heard on the line: from when, how much of it, and with what holes?

Audio passes the gateway byte for byte, so a clip is found by its bytes. The silence at its ends is left
out: it is the same everywhere. A clip that was cut off and taken up again near the cut counts as one
hearing of several pieces; what was lost or said twice between them is told.

All μ-law: one byte is one sample, 8 bytes are one millisecond. Times are on the call's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES
from server.simulator.scenario.clips import Clip
from server.simulator.scenario.sounds import sounding
from server.simulator.twilio.virtual_line import VirtualLine

KEY_BYTES = 40 * BYTES_PER_MS
"""So much sound is enough to tell one clip from all others."""
MIN_KEY_BYTES = 10 * BYTES_PER_MS
MAX_REPEATED_BYTES = 3000 * BYTES_PER_MS
"""Who takes up a sentence again may go back so far."""
MAX_LOST_BYTES = 40 * BYTES_PER_MS
"""Less is a click."""
_WINDOW_BYTES = 200 * BYTES_PER_MS


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the clip that were heard in one go."""

    clip_from: int
    clip_to: int
    start_ms: float

    @property
    def end_ms(self) -> float:
        return self.start_ms + (self.clip_to - self.clip_from) / BYTES_PER_MS


@dataclass(frozen=True, slots=True)
class Hearing:
    """One time that a clip was heard from its first word on."""

    name: str
    pieces: tuple[Piece, ...]
    clip_bytes: int
    """Of the clip without the silence at its ends."""

    @property
    def start_ms(self) -> float:
        return self.pieces[0].start_ms

    @property
    def end_ms(self) -> float:
        return self.pieces[-1].end_ms

    @property
    def heard_ms(self) -> float:
        """How far into the clip the caller got."""
        return self.pieces[-1].clip_to / BYTES_PER_MS

    @property
    def is_whole(self) -> bool:
        """To its last word, nothing lost on the way."""
        return self.pieces[-1].clip_to == self.clip_bytes and self.lost_ms == 0

    @property
    def lost_ms(self) -> float:
        gaps = [b.clip_from - a.clip_to for a, b in zip(self.pieces, self.pieces[1:], strict=False)]
        return sum(gap for gap in gaps if gap > MAX_LOST_BYTES) / BYTES_PER_MS

    @property
    def holes(self) -> list[tuple[float, float]]:
        """When it stood still, and for how long."""
        pairs = zip(self.pieces, self.pieces[1:], strict=False)
        return [(a.end_ms, b.start_ms - a.end_ms) for a, b in pairs]

    def __str__(self) -> str:
        span = f"{self.start_ms / 1000:.2f}–{self.end_ms / 1000:.2f} s {self.name}"
        if not self.is_whole:
            span += f" (its first {self.heard_ms:.0f} of {self.clip_bytes / BYTES_PER_MS:.0f} ms)"
        longest = max((hole_ms for _, hole_ms in self.holes), default=0.0)
        return span + (f" (with a hole of {longest:.0f} ms)" if longest >= 1 else "")


class Played:
    """All that one line played, searchable."""

    def __init__(self, line: VirtualLine, until_ms: float) -> None:
        self._audio = line.played(until_ms)
        self._starts: list[int] = []  # of each message that played, in bytes of `_audio`
        self._places: list[int] = []  # and where it stands on the line
        at = 0
        for arrival in line.arrivals:
            plays = min(arrival.plays_bytes, round(until_ms * BYTES_PER_MS) - arrival.start)
            if plays > 0:
                self._starts.append(at)
                self._places.append(arrival.start)
                at += plays

    def hearings(self, clip: Clip) -> list[Hearing]:
        """Each time it was heard from its first word on, in order."""
        start, end = sounding(clip.payload)
        sound = clip.payload[start:end]
        found: list[Hearing] = []
        at = 0
        while sound and (at := self._audio.find(sound[:KEY_BYTES], at)) >= 0:
            cut = _common(self._audio, at, sound, 0)
            pieces, at = self._pieces(at, 0, cut), at + cut
            while cut < len(sound) and (again := self._taken_up(sound, cut, at)) is not None:
                place, clip_from, cut = again
                pieces += self._pieces(place, clip_from, cut)
                at = place + cut - clip_from
            found.append(Hearing(clip.name, tuple(pieces), len(sound)))
        return found

    def heard_from(self, payload: bytes) -> float | None:
        """How many ms from its very first byte on were played; None when no sound of it was."""
        hearings = self.hearings(Clip("", payload))
        if not hearings:
            return None
        hearing = hearings[-1]
        start, end = sounding(payload)
        after = len(payload) - end if hearing.is_whole else 0  # the silence at its end was played too
        return (start + after) / BYTES_PER_MS + hearing.heard_ms

    def any_of(self, clip: Clip, least_ms: float) -> float | None:
        """When some stretch of the clip of that length was heard, from wherever in it; None for never."""
        start, end = sounding(clip.payload)
        sound = clip.payload[start:end]
        size = min(len(sound), _WINDOW_BYTES, round(least_ms * BYTES_PER_MS))
        for offset in range(0, max(len(sound) - size, 0) + 1, max(size // 2, 1)):
            window = sound[offset : offset + size]
            if sounding(window)[1] and (at := self._audio.find(window)) >= 0:
                back = _common_back(self._audio, at, sound, offset)
                length = back + _common(self._audio, at, sound, offset)
                if length >= min(len(sound), round(least_ms * BYTES_PER_MS)):
                    return self._at_ms(at - back)
        return None

    def _taken_up(self, sound: bytes, cut: int, after: int) -> tuple[int, int, int] | None:
        """Where the clip goes on after `cut`: a place in `_audio`, and from which byte of it to which."""
        last = max(len(sound) - KEY_BYTES, 0)
        if len(sound) - cut >= MIN_KEY_BYTES:
            last = max(last, cut)
        anchors = range(min(cut + MAX_LOST_BYTES, last), last, FRAME_BYTES)
        telling = (at for at in anchors if sounding(sound[at : at + KEY_BYTES])[1])  # silence is everywhere
        for anchor in (next(telling, last), last):  # right after the cut, else by its end
            place = self._audio.find(sound[anchor : anchor + KEY_BYTES], after)
            if place < 0:
                continue
            back = min(_common_back(self._audio, place, sound, anchor), place - after)
            back = min(back, anchor - max(0, cut - MAX_REPEATED_BYTES))
            return place - back, anchor - back, anchor + _common(self._audio, place, sound, anchor)
        return None

    def _pieces(self, at: int, clip_from: int, clip_to: int) -> list[Piece]:
        """That stretch of the clip, split where the line stood still in between."""
        pieces: list[Piece] = []
        while clip_from < clip_to:
            index = bisect_right(self._starts, at) - 1
            message_end = self._starts[index + 1] if index + 1 < len(self._starts) else len(self._audio)
            size = min(clip_to - clip_from, message_end - at)
            start_ms = self._at_ms(at)
            if pieces and abs(pieces[-1].end_ms - start_ms) < 1 / BYTES_PER_MS:
                pieces[-1] = Piece(pieces[-1].clip_from, clip_from + size, pieces[-1].start_ms)
            else:
                pieces.append(Piece(clip_from, clip_from + size, start_ms))
            at, clip_from = at + size, clip_from + size
        return pieces

    def _at_ms(self, at: int) -> float:
        index = bisect_right(self._starts, at) - 1
        return (self._places[index] + at - self._starts[index]) / BYTES_PER_MS


def told_apart(played: Played, clips: Sequence[Clip]) -> list[Hearing]:
    """What was heard, clip by clip, in order; where two begin alike, the one that was heard further."""
    found = [hearing for clip in clips for hearing in played.hearings(clip)]
    best: dict[int, Hearing] = {}
    for hearing in found:
        at = round(hearing.start_ms)
        if at not in best or hearing.heard_ms > best[at].heard_ms:
            best[at] = hearing
    return [best[at] for at in sorted(best)]


def _common(audio: bytes, at: int, sound: bytes, offset: int) -> int:
    """How many bytes are the same from there on."""
    low, high = 0, min(len(audio) - at, len(sound) - offset)
    while low < high:
        middle = (low + high + 1) // 2
        if audio[at : at + middle] == sound[offset : offset + middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_back(audio: bytes, at: int, sound: bytes, offset: int) -> int:
    """How many bytes before these places are the same."""
    low, high = 0, min(at, offset)
    while low < high:
        middle = (low + high + 1) // 2
        if audio[at - middle : at] == sound[offset - middle : offset]:
            low = middle
        else:
            high = middle - 1
    return low
