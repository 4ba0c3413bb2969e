"""Thousands of short calls, a few at a time: what does each leave behind?"""

from __future__ import annotations

import ssl
import time
from typing import Any

from server.simulator.load import procfs
from server.simulator.load.caller_side import Caller, Phase
from server.simulator.load.load import CLOSE_S, Load, LoadFailed, Order
from server.simulator.load.pace import Pace
from server.simulator.load.stamps import MAX_FLOWS

AT_A_TIME = 20
FRAMES_EACH_WAY = 3
FIRST = 1000
"""Calls after which memory should have stopped growing."""
STUCK_S = 15.0


class Churn(Load):
    """A load whose calls hang up after three frames each way."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._live: set[Caller] = set()
        self._over = 0

    def churn(self, order: Order) -> dict[str, Any]:
        """Make `order.calls` calls. Raises LoadFailed when one is refused or none ends any more."""
        self.warm_up(order.target)
        self.pace = Pace(2 * AT_A_TIME)
        self._over = 0
        start = self._left(order.pid)
        cpu_s, began_at = procfs.cpu_s(order.pid), time.monotonic()
        first_kb: int | None = None
        dialled, last_over, moved_at = 0, 0, began_at
        while self._over < order.calls:
            while len(self._live) < AT_A_TIME and dialled < order.calls:
                self._live.add(self.dial(order.target, dialled % MAX_FLOWS))
                dialled += 1
            self.turn(0.002)
            if first_kb is None and self._over >= FIRST:
                first_kb = procfs.rss_kb(order.pid)
            if self.failures:
                raise LoadFailed(self.why(f"call {dialled} failed"))
            if self._over != last_over:
                last_over, moved_at = self._over, time.monotonic()
            elif time.monotonic() - moved_at > STUCK_S:
                raise LoadFailed(f"{self._over} calls ended, then none for {STUCK_S:.0f} s")
        took_s, cpu_s = time.monotonic() - began_at, procfs.cpu_s(order.pid) - cpu_s
        self.turn(CLOSE_S, lambda: self.model.live == 0)
        self.turn(1.0)
        end = self._left(order.pid)
        return {
            "calls": order.calls,
            "seconds": round(took_s, 1),
            "cpu_ms_per_call": round(cpu_s / order.calls * 1000, 2),
            "rss_start_kb": start["rss_kb"],
            "rss_first_kb": first_kb,
            "rss_end_kb": end["rss_kb"],
            "fds_start": start["fds"],
            "fds_end": end["fds"],
            "sessions_start": start["sessions"],
            "sessions_end": end["sessions"],
            "sessions_opened": self.model.opened,
        }

    def _left(self, pid: int) -> dict[str, int]:
        return {"rss_kb": procfs.rss_kb(pid), "fds": procfs.open_fds(pid), "sessions": self.model.live}

    def heard(self, caller: Caller) -> None:
        if min(caller.heard_frames, caller.sent_frames) >= FRAMES_EACH_WAY:
            caller.hang_up()

    def over(self, caller: Caller) -> None:
        super().over(caller)
        self._live.discard(caller)
        self.to_model.forget(caller.number)
        if caller.phase is Phase.ENDED:
            self._over += 1
