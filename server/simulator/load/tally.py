"""What became of the frames of one direction?

Every flow numbers its frames from 0. A frame is lost when it was sent while the window was open and
never came; reordered when one sent after it came before it; late when it took more than 20 ms, the
time until the next is due. Pure: the times are arguments (monotonic, ns).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.simulator.load.stamps import Stamp

LATE_NS = 20_000_000
_NEVER = 1 << 63


def percentile(ordered: Sequence[int], q: float) -> int:
    """The smallest value that at least `q` percent are not above (nearest rank). 0 for none."""
    if not ordered:
        return 0
    rank = -(-len(ordered) * q // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One direction over one window. Times in ms."""

    sent: int
    received: int
    lost: int
    reordered: int
    duplicated: int
    altered: int
    """Payloads that came with a changed byte, since the window opened."""
    misrouted: int
    """Frames that came out at another call's end."""
    late: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(slots=True)
class _Flow:
    expected: int = 0
    missing: set[int] = field(default_factory=set)
    end: int | None = None
    """Where it comes out."""


class Tally:
    """Counts what comes, flow by flow."""

    def __init__(self) -> None:
        self.sent = 0
        """Added to by the senders, one for each frame."""
        self._altered = self._misrouted = 0
        self._flows: dict[int, _Flow] = {}
        self._latencies_ns = array("q")
        self._opened_ns = self._closed_ns = _NEVER
        self._sent_before = self._sent_within = 0
        self._reordered = self._duplicated = 0

    @property
    def received(self) -> int:
        """Frames sent within the window that came, each once."""
        return len(self._latencies_ns)

    @property
    def sent_within(self) -> int:
        return self._sent_within

    def open(self, now_ns: int) -> None:
        """From here on frames count. Nothing may be sent between `now_ns` and this call."""
        self._opened_ns, self._sent_before = now_ns, self.sent

    def close(self, now_ns: int) -> None:
        """Frames sent from here on do not count; those on their way still do."""
        self._closed_ns, self._sent_within = now_ns, self.sent - self._sent_before

    def forget(self, flow: int) -> None:
        """The flow has ended: its number may be used again."""
        self._flows.pop(flow, None)

    def spoil(self, now_ns: int) -> None:
        """A payload came that is none of ours any more. Before the window that is no fault: a gateway
        may hold a line's first frames for noise."""
        self._altered += now_ns >= self._opened_ns

    def misroute(self, now_ns: int) -> None:
        """A frame came where none of its flow should."""
        self._misrouted += now_ns >= self._opened_ns

    def take(self, stamp: Stamp, end: int, now_ns: int) -> None:
        """A frame has come out at `end`, a number for the connection it came on."""
        _, number, seq, sent_ns = stamp
        flow = self._flows.get(number)
        if flow is None:
            flow = self._flows[number] = _Flow()
        if flow.end != end:
            if flow.end is not None:
                self.misroute(now_ns)
            flow.end = end
        is_within = self._opened_ns <= sent_ns < self._closed_ns
        if seq == flow.expected:
            flow.expected = seq + 1
        elif not self._out_of_turn(flow, seq, is_within):
            return
        if is_within:
            self._latencies_ns.append(now_ns - sent_ns)

    def _out_of_turn(self, flow: _Flow, seq: int, is_within: bool) -> bool:
        """False for a frame that has come before."""
        if seq > flow.expected:
            flow.missing.update(range(flow.expected, seq))
            flow.expected = seq + 1
            return True
        if seq in flow.missing:
            flow.missing.discard(seq)
            self._reordered += is_within
            return True
        self._duplicated += is_within
        return False

    def verdict(self) -> Verdict:
        ordered = sorted(self._latencies_ns)
        return Verdict(
            sent=self._sent_within,
            received=len(ordered),
            lost=self._sent_within - len(ordered),
            reordered=self._reordered,
            duplicated=self._duplicated,
            altered=self._altered,
            misrouted=self._misrouted,
            late=sum(latency > LATE_NS for latency in ordered),
            p50_ms=in_ms(percentile(ordered, 50)),
            p99_ms=in_ms(percentile(ordered, 99)),
            max_ms=in_ms(percentile(ordered, 100)),
        )


def in_ms(ns: int) -> float:
    return round(ns / 1e6, 3)
