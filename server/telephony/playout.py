"""How much of the agent's speech has the caller heard?

Twilio plays our audio from a buffer of its own and echoes each `mark` once the audio sent before
it has played. `clear` empties that buffer and echoes every pending mark as well [1], so an echo
proves hearing only if no clear came between: each mark's name carries a generation, which a
barge-in ends.

Marks give certainty every half second; between them a clock gives resolution, because the buffer
plays in real time: what is sent at `t` starts at `t`, or when the audio before it ends. A mark
that comes back later than that tells the line's delay, of which one half is the way there. It
counts where we wait for the caller to have heard something. A cut needs none of it: the `clear`
that goes with it is under way as long as the audio was, and meanwhile the caller hears on.

Pure bookkeeping: no sockets, and the time is an argument (seconds, monotonic). Audio is G.711:
8 bytes are one millisecond.

[1] twilio.com/docs/voice/media-streams/websocket-messages#send-a-clear-message
"""

from __future__ import annotations

from dataclasses import dataclass, field

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES

BYTES_PER_S = BYTES_PER_MS * 1000
MARK_EVERY_BYTES = 500 * BYTES_PER_MS
KEPT_ITEMS = 16
MAX_STRETCHES = 64
FOLDED_AFTER_S = 1.0
"""What ended so long ago was heard, however the line's delay is judged from now on."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a barge-in cut one item short."""

    item_id: str
    heard_ms: int
    """From the item's first sample; never more than was sent. 0: nothing was heard."""
    sent_ms: int
    unheard_ms: int = 0
    """What was at hand of it to be heard next, sent or not, in whole frames. `Outbox.interrupt` tells it."""


@dataclass(slots=True)
class _Stretch:
    """Bytes of one item that play without a gap."""

    starts_at: float
    n_bytes: int

    @property
    def ends_at(self) -> float:
        return self.starts_at + self.n_bytes / BYTES_PER_S

    def played_bytes(self, now_s: float) -> int:
        return max(0, min(self.n_bytes, round((now_s - self.starts_at) * BYTES_PER_S)))


@dataclass(slots=True)
class _Item:
    sent_bytes: int = 0
    marked_bytes: int = 0
    proven_bytes: int = 0
    before_bytes: int = 0
    """Heard before the stretches began: the item was rewound, or is long."""
    is_complete: bool = False
    stretches: list[_Stretch] = field(default_factory=list)

    def heard_bytes(self, now_s: float) -> int:
        by_clock = self.before_bytes + sum(stretch.played_bytes(now_s) for stretch in self.stretches)
        return min(self.sent_bytes, max(self.proven_bytes, by_clock))

    def fold(self, until_s: float) -> None:
        """Count what had ended by then as heard: a model that speaks no faster than the line plays makes a
        stretch of each frame, and all are gone through whenever somebody asks what was heard."""
        over = 0
        while over < len(self.stretches) - 1 and self.stretches[over].ends_at <= until_s:
            self.before_bytes += self.stretches[over].n_bytes
            over += 1
        del self.stretches[:over]

    @classmethod
    def heard_until(cls, n_bytes: int) -> _Item:
        return cls(sent_bytes=n_bytes, marked_bytes=n_bytes, proven_bytes=n_bytes, before_bytes=n_bytes)

    def is_over(self, now_s: float) -> bool:
        return self.is_complete and self.heard_bytes(now_s) >= self.sent_bytes


@dataclass(frozen=True, slots=True)
class _PendingMark:
    item_id: str
    end_bytes: int
    due_at: float


class PlayoutLedger:
    """Matches what was sent to the caller with what came back, item by item."""

    def __init__(self) -> None:
        self._generation = 1
        self._marks = 0
        self._items: dict[str, _Item] = {}  # those not yet known to be heard to their end, in order
        self._pending: dict[str, _PendingMark] = {}
        self._ends_at = 0.0
        self._delay_s = 0.0
        self.marks_echoed = 0
        self.round_trip_ms = 0.0
        """How much later than due the last mark came back."""

    def expect(self, item_id: str) -> None:
        """The model began this item: from now on a cut names it, though nothing of it was sent."""
        self._items.setdefault(item_id, _Item())

    def sent(self, item_id: str, n_bytes: int, now_s: float) -> str | None:
        """Count audio handed to Twilio. Returns the name of the mark to send after it, if one is due."""
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = _Item()
        starts_at = max(now_s, self._ends_at)
        last = item.stretches[-1] if item.stretches else None
        if last is not None and starts_at - (last.starts_at + last.n_bytes / BYTES_PER_S) < 0.001:
            last.n_bytes += n_bytes
        else:
            item.stretches.append(_Stretch(starts_at, n_bytes))
            if len(item.stretches) > MAX_STRETCHES:
                item.fold(now_s - self._delay_s - FOLDED_AFTER_S)
        item.sent_bytes += n_bytes
        self._ends_at = starts_at + n_bytes / BYTES_PER_S
        if item.sent_bytes - item.marked_bytes >= MARK_EVERY_BYTES:
            return self._mark(item_id, item)
        return None

    def complete(self, item_id: str, now_s: float) -> str | None:
        """All of this item was sent. Returns the name of its last mark, if it needs one."""
        item = self._items.get(item_id)
        if item is None:
            return None
        item.is_complete = True
        if item.sent_bytes == item.proven_bytes:
            del self._items[item_id]
            return None
        if len(self._items) > KEPT_ITEMS:  # the line swallowed marks: the clock must do
            self._items = {k: v for k, v in self._items.items() if k == item_id or not v.is_over(now_s)}
        return self._mark(item_id, item) if item.marked_bytes < item.sent_bytes else None

    def _mark(self, item_id: str, item: _Item) -> str:
        self._marks += 1
        name = f"g{self._generation}:{self._marks}"
        item.marked_bytes = item.sent_bytes
        self._pending[name] = _PendingMark(item_id, item.sent_bytes, self._ends_at)
        return name

    def echoed(self, name: str, now_s: float) -> bool:
        """Credit a returned mark. False for one that a cut forgot, or that was never ours."""
        mark = self._pending.pop(name, None)
        if mark is None:
            return False
        self.marks_echoed += 1
        late_s = max(0.0, now_s - mark.due_at)
        self.round_trip_ms = late_s * 1000
        self._delay_s += (late_s / 2 - self._delay_s) / min(self.marks_echoed, 4)
        item = self._items.get(mark.item_id)
        if item is not None:
            item.proven_bytes = max(item.proven_bytes, mark.end_bytes)
            if item.is_complete and item.proven_bytes >= item.sent_bytes:
                del self._items[mark.item_id]
        return True

    def lead_ms(self, now_s: float) -> float:
        """How much audio waits at Twilio, by the clock."""
        return max(0.0, (self._ends_at - now_s) * 1000)

    def heard_ms(self, item_id: str, now_s: float) -> int | None:
        """How much of an item was heard by now; None for one that was heard to its end, or never sent."""
        item = self._items.get(item_id)
        return None if item is None else item.heard_bytes(now_s - self._delay_s) // BYTES_PER_MS

    def is_unheard(self, now_s: float) -> bool:
        """Something begun, queued or sent has not yet reached the caller's ear."""
        heard_at = now_s - self._delay_s
        return any(not item.is_over(heard_at) for item in self._items.values())

    def is_playing(self, now_s: float) -> bool:
        """Something that was sent has not yet reached the caller's ear."""
        heard_at = now_s - self._delay_s
        return heard_at < self._ends_at and any(
            item.heard_bytes(heard_at) < item.sent_bytes for item in self._items.values()
        )

    def cut(self, now_s: float) -> list[Cut]:
        """Forget all pending marks; say where each item stopped that was not heard to its end."""
        cuts = self.unfinished(now_s)
        self._forget_sent(now_s)
        self._items.clear()
        return cuts

    def rewind(self, now_s: float) -> list[Cut]:
        """The same, but the items go on later: what was sent of them unheard counts as not yet sent,
        in whole frames, so that up to 20 ms of what was heard is heard again."""
        cuts = self.unfinished(now_s)
        self._forget_sent(now_s)
        self._items = {cut.item_id: _Item.heard_until(_whole_frames(cut.heard_ms)) for cut in cuts}
        return cuts

    def unfinished(self, now_s: float) -> list[Cut]:
        """Where a cut would stop each item now: by what will have been heard when a `clear` gets there."""
        cuts = []
        for item_id, item in self._items.items():
            heard = item.heard_bytes(now_s)
            if heard < item.sent_bytes or not item.is_complete:
                cuts.append(Cut(item_id, heard // BYTES_PER_MS, item.sent_bytes // BYTES_PER_MS))
        return cuts

    def _forget_sent(self, now_s: float) -> None:
        self._generation += 1
        self._pending.clear()
        self._ends_at = now_s


def _whole_frames(heard_ms: int) -> int:
    return heard_ms * BYTES_PER_MS // FRAME_BYTES * FRAME_BYTES
