"""One direction of a proxied connection: what may be written now, under which weather.

Bookkeeping only: no sockets, no clock. `now_s` is monotonic. Bytes leave in the order they came, whatever
the latency and its jitter: a piece is never due before the one ahead of it.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

MAX_IN_FLIGHT_BYTES = 1 << 20
"""Read but not written yet. Beyond it nothing is read, and TCP tells the sender to wait."""
QUANTUM_S = 0.01
"""A limited link writes what it may send in this time, then pauses."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How one direction behaves. The default is a plain cable."""

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    """Each piece read is late by `latency_ms` plus or minus up to this much."""
    bandwidth_bytes_s: float = 0.0
    """0: as fast as the sockets take it. For each connection by itself."""
    slice_bytes: int = 0
    """So many bytes a write at most, one write a pass; 0: what there is."""
    is_stalled: bool = False
    """Nothing moves, the end of the stream included; nothing is lost."""
    is_black_hole: bool = False
    """Everything is read and thrown away, the end of the stream included."""


@dataclass(slots=True)
class _Piece:
    due_at_s: float
    data: memoryview
    """Empty: the end of the stream."""


@dataclass(slots=True)
class Flow:
    """What has been read of one direction and not been written yet."""

    weather: Weather
    dice: random.Random
    passed_bytes: int = 0
    """Written to the far end."""
    swallowed_bytes: int = 0
    is_shut: bool = False
    """The end of the stream is queued or written: what still comes is thrown away."""
    queued_bytes: int = 0
    _pieces: deque[_Piece] = field(default_factory=deque)
    _last_due_at_s: float = 0.0
    _link_free_at_s: float = 0.0

    def change(self, weather: Weather) -> None:
        """From now on. What is in flight keeps the time it was given; a black hole loses it."""
        self.weather = weather
        if weather.is_black_hole:
            self.drop()

    def drop(self) -> None:
        """Lose what is in flight."""
        self.swallowed_bytes += self.queued_bytes
        self._pieces.clear()
        self.queued_bytes = 0

    def came(self, data: bytes, now_s: float) -> None:
        """Bytes were read; none of them: the end of the stream."""
        if self.weather.is_black_hole or self.is_shut:
            self.swallowed_bytes += len(data)
            return
        if not data:
            self.is_shut = True
        late_ms = self.weather.latency_ms + self.dice.uniform(-1, 1) * self.weather.jitter_ms
        self._last_due_at_s = max(self._last_due_at_s, now_s + max(0.0, late_ms) / 1000)
        self._pieces.append(_Piece(self._last_due_at_s, memoryview(data)))
        self.queued_bytes += len(data)

    def wants_more(self) -> bool:
        """Whether reading may go on."""
        if self.weather.is_stalled:
            return False
        if self.weather.bandwidth_bytes_s:  # a slow link with a large buffer would be a link with latency
            return self.queued_bytes <= 2 * self._quantum()
        return self.queued_bytes < MAX_IN_FLIGHT_BYTES

    def due_at_s(self) -> float | None:
        """When something may be written; None while there is nothing, or never in this weather."""
        if not self._pieces or self.weather.is_stalled:
            return None
        return max(self._pieces[0].due_at_s, self._link_free_at_s)

    def next_bytes(self, at_most: int | None = None) -> memoryview:
        """What may be written in one go, once it is due. Empty: the end of the stream is next."""
        limits = (at_most, self.weather.slice_bytes or None)
        size = min([limit for limit in limits if limit is not None], default=len(self._pieces[0].data))
        if self.weather.bandwidth_bytes_s:
            size = min(size, self._quantum())
        return self._pieces[0].data[:size]

    def wrote(self, count: int, now_s: float) -> None:
        """So many of the `next_bytes` are gone; 0 when that was the end of the stream."""
        piece = self._pieces[0]
        piece.data = piece.data[count:]
        if not piece.data:
            self._pieces.popleft()
        self.queued_bytes -= count
        self.passed_bytes += count
        if self.weather.bandwidth_bytes_s:
            busy_s = count / self.weather.bandwidth_bytes_s
            self._link_free_at_s = max(self._link_free_at_s, now_s) + busy_s

    def put_next(self, data: bytes, now_s: float) -> None:
        """Bytes that nobody sent, ahead of all that waits; none: the end of the stream."""
        self.is_shut = self.is_shut or not data
        self._pieces.appendleft(_Piece(now_s, memoryview(data)))
        self.queued_bytes += len(data)

    def _quantum(self) -> int:
        return max(1, int(self.weather.bandwidth_bytes_s * QUANTUM_S))
