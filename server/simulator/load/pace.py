"""Who sends when: 50 frames a second for everyone, spread evenly, on a schedule that never drifts.

Twenty milliseconds are divided into as many slots as there are flows; caller and model take turns.
The k-th sending is due at start + k slots, whatever happened before: a sender that was held up sends
what it owes at once, and how late it was is kept, because a late load measures itself.
"""

from __future__ import annotations

from array import array
from collections import deque
from time import monotonic_ns
from typing import Protocol

PERIOD_NS = 20_000_000
BURST = 8
"""Sendings in a row before the sockets are read again."""


class Sender(Protocol):
    def speak(self, now_ns: int) -> None:
        """Send the next frame, stamped with this time."""


class Pace:
    """The slots of one load: `pairs` callers and as many models."""

    def __init__(self, pairs: int) -> None:
        self._n = 2 * pairs
        self._senders: list[Sender | None] = [None] * self._n
        self._free = {side: deque(range(side, self._n, 2)) for side in (0, 1)}
        self._slot_of: dict[int, int] = {}
        self._start_ns = monotonic_ns()
        self._k = 0
        self.late_ns = array("q")

    def join(self, sender: Sender, *, is_model: bool) -> bool:
        """Take part from the next turn on; False when all slots are taken."""
        free = self._free[int(is_model)]
        if not free:
            return False
        slot = self._slot_of[id(sender)] = free.popleft()
        self._senders[slot] = sender
        return True

    def leave(self, sender: Sender) -> None:
        slot = self._slot_of.pop(id(sender), None)
        if slot is not None:
            self._senders[slot] = None
            self._free[slot % 2].append(slot)

    def send_due(self) -> int:
        """Let speak whose time has come, a few at most. When the next is due, in ns."""
        k, n, senders = self._k, self._n, self._senders
        for _ in range(BURST):
            due_ns = self._start_ns + k * PERIOD_NS // n
            now_ns = monotonic_ns()
            if due_ns > now_ns:
                break
            sender = senders[k % n]
            k = self._k = k + 1
            if sender is not None:
                self.late_ns.append(now_ns - due_ns)
                sender.speak(now_ns)
        return self._start_ns + k * PERIOD_NS // n
