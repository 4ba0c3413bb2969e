"""N calls at once through a relay, and what they cost it.

One process is the telephone network and the model, so that one clock times both directions; it must
run on another core than the relay. A measurement: one call to warm up, N calls ramped in, a pause, the
window, and the end. Of the relay only its process is looked at, from outside.
"""

from __future__ import annotations

import gc
import re
import ssl
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

from server.simulator.load import procfs
from server.simulator.load.caller_side import Caller, Phase, Target
from server.simulator.load.legs import HttpExchange, Loop, request
from server.simulator.load.model_side import ModelServer, Session
from server.simulator.load.pace import Pace
from server.simulator.load.tally import Tally, in_ms, percentile

RAMP_STEP_S = 0.01
"""One call each: 100 a second."""
SETTLE_S = 2.0
CONNECT_S = 20.0
"""After the last call was dialled, all must be talking within this."""
TAIL_S = 5.0
"""How long frames of the window are waited for after it."""
CLOSE_S = 5.0
MAX_OWN_CORE_PERCENT = 85.0
MAX_OWN_LATE_P99_MS = 5.0
MAX_OTHERS_PERCENT = 10.0
"""What other processes may take of the relay's core without a remark."""

_HUB_LAG = re.compile(rb"^gateway_hub_lag_seconds (\S+)", re.MULTILINE)


class LoadFailed(Exception):
    """The relay did not carry the calls; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to measure. `core` is the one the relay is pinned to; None: it shares ours."""

    target: Target
    pid: int
    calls: int
    seconds: float
    core: int | None
    metrics_path: str = ""


@dataclass(frozen=True, slots=True)
class _Usage:
    """Clocks read together."""

    at_ns: int
    relay_s: float
    own_s: float
    core_s: float

    @classmethod
    def now(cls, pid: int, core: int | None) -> _Usage:
        core_s = 0.0 if core is None else procfs.core_busy_s(core)
        return cls(monotonic_ns(), procfs.cpu_s(pid), time.process_time(), core_s)


class Load:
    """Both far ends, and their loop. For one measurement."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.to_model, self.to_caller = Tally(), Tally()
        self.loop = Loop()
        self.pace = Pace(1)
        self.model = ModelServer(self.loop, self.to_model, self.to_caller, self, tls)
        self.talking_calls = self.speaking_sessions = 0
        self.failures: list[str] = []

    def close(self) -> None:
        self.loop.close()

    # What callers and sessions report

    def talking(self, caller: Caller) -> None:
        self.talking_calls += 1
        self.pace.join(caller, is_model=False)

    def heard(self, caller: Caller) -> None:
        pass

    def over(self, caller: Caller) -> None:
        self.pace.leave(caller)
        if caller.phase is Phase.FAILED:
            self.failures.append(caller.failure)

    def speaks(self, session: Session) -> None:
        self.speaking_sessions += 1
        self.pace.join(session, is_model=True)

    def gone(self, session: Session) -> None:
        self.pace.leave(session)

    # The loop

    def turn(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Send and read for so long, or until something is so; whether it became so."""
        end_ns = monotonic_ns() + int(seconds * 1e9)
        pace, loop = self.pace, self.loop
        while monotonic_ns() < end_ns:
            due_ns = min(pace.send_due(), end_ns)
            loop.turn((due_ns - monotonic_ns()) / 1e9)
            if until is not None and until():
                return True
        return until is None

    def dial(self, target: Target, number: int) -> Caller:
        return Caller(self.loop, target, number, self.to_model, self.to_caller, self)

    def warm_up(self, target: Target) -> None:
        """One short call: what a relay loads and builds at its first is no call's own cost.

        Raises LoadFailed.
        """
        caller = self.dial(target, 0)
        self.turn(CONNECT_S, lambda: caller.heard_frames > 2 or bool(self.failures))
        if caller.heard_frames <= 2:
            raise LoadFailed(self.why("not one call heard the model"))
        caller.hang_up()
        self.turn(CLOSE_S, lambda: self.model.live == 0)
        self.to_model.forget(0)
        self.talking_calls = self.speaking_sessions = 0
        self.turn(0.3)

    def why(self, what: str) -> str:
        return f"{what}: {self.failures[0]}" if self.failures else what

    # The measurement

    def measure(self, order: Order) -> dict[str, Any]:
        """Carry the calls and say what was seen. Raises LoadFailed, and OSError for a dead relay."""
        self.warm_up(order.target)
        idle_kb = procfs.rss_kb(order.pid)
        callers = self._ramp(order)
        self.turn(SETTLE_S - 0.5)
        self._hub_lag_ms(order)  # reading it starts it anew
        self.turn(0.5)
        gc.collect()
        gc.freeze()
        gc.disable()
        before = _Usage.now(order.pid, order.core)
        self.pace.late_ns = late_ns = array("q")
        self.to_model.open(before.at_ns)
        self.to_caller.open(before.at_ns)
        self.turn(order.seconds)
        after = _Usage.now(order.pid, order.core)
        self.to_model.close(after.at_ns)
        self.to_caller.close(after.at_ns)
        self.pace.late_ns = array("q")
        gc.enable()
        live_kb = procfs.rss_kb(order.pid)
        hub_lag_ms = self._hub_lag_ms(order)
        cut_off = len(self.failures)
        self.turn(TAIL_S, self._all_came)
        for caller in callers:
            caller.hang_up()
        self.turn(CLOSE_S, lambda: self.model.live == 0)
        return {
            "calls": order.calls,
            "seconds": round((after.at_ns - before.at_ns) / 1e9, 3),
            **_costs(order, before, after),
            "to_model": self.to_model.verdict(),
            "to_caller": self.to_caller.verdict(),
            "calls_cut_off": cut_off,
            "sessions_left": self.model.live,
            "rss_idle_kb": idle_kb,
            "rss_kb": live_kb,
            "rss_per_call_kb": round((live_kb - idle_kb) / order.calls, 1),
            "hub_lag_ms": hub_lag_ms,
            "load": _own(before, after, sorted(late_ns)),
        }

    def _ramp(self, order: Order) -> list[Caller]:
        self.pace = Pace(order.calls)
        callers = []
        for number in range(order.calls):
            callers.append(self.dial(order.target, number))
            self.turn(RAMP_STEP_S)
        n = order.calls
        self.turn(
            CONNECT_S, lambda: min(self.talking_calls, self.speaking_sessions) >= n or bool(self.failures)
        )
        if min(self.talking_calls, self.speaking_sessions) < n or self.failures:
            seen = f"{self.talking_calls} of {n} calls began and {self.speaking_sessions} models answered"
            raise LoadFailed(self.why(seen))
        return callers

    def _all_came(self) -> bool:
        return all(tally.received >= tally.sent_within for tally in (self.to_model, self.to_caller))

    def _hub_lag_ms(self, order: Order) -> float | None:
        """The worst lateness the relay has seen in itself since it was last asked."""
        if not order.metrics_path:
            return None
        target = order.target
        asked = request("GET", order.metrics_path, target.authority)
        exchange = HttpExchange(self.loop, target.address, asked)
        self.turn(2.0, lambda: exchange.body is not None)
        found = _HUB_LAG.search(exchange.body or b"")
        return round(float(found[1]) * 1000, 3) if found else None


def _costs(order: Order, before: _Usage, after: _Usage) -> dict[str, Any]:
    wall_s = (after.at_ns - before.at_ns) / 1e9
    cpu_s = after.relay_s - before.relay_s
    others: float | None = None
    if order.core is not None:
        others = round(max(0.0, after.core_s - before.core_s - cpu_s) / wall_s * 100, 1)
    return {
        "cpu_s_per_call_minute": round(cpu_s / (order.calls * wall_s / 60), 4),
        "core_percent": round(cpu_s / wall_s * 100, 1),
        "others_on_core_percent": others,
    }


def _own(before: _Usage, after: _Usage, late_ns: list[int]) -> dict[str, Any]:
    """What the load cost, and whether it was the bottleneck itself."""
    core_percent = round((after.own_s - before.own_s) / ((after.at_ns - before.at_ns) / 1e9) * 100, 1)
    late_p99_ms = in_ms(percentile(late_ns, 99))
    return {
        "core_percent": core_percent,
        "late_p99_ms": late_p99_ms,
        "late_max_ms": in_ms(percentile(late_ns, 100)),
        "is_bottleneck": core_percent > MAX_OWN_CORE_PERCENT or late_p99_ms > MAX_OWN_LATE_P99_MS,
    }
