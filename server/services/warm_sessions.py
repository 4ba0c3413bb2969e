"""Connections to the model that are open before the caller is there.

A handshake with the model takes several round trips, TLS among them, and the caller hears that as
silence. `expect` is called when a webhook was answered with a stream: the connection is dialled while
Twilio opens its own. `target` spares are kept besides. What to dial and close is `WarmPlan`'s decision;
this acts it out: a green thread for each dial, one that keeps the plan, and none for a waiting socket.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from functools import partial

from server import green
from server.channel import ChannelClosed
from server.errors import ModelRefused, ModelUnreachable, RealtimeProtocolError
from server.faults import FAULTS
from server.logs import clean
from server.metrics import Counters
from server.realtime.events import ErrorKind, ServerError, classify, decode, fault_of
from server.realtime.warm_plan import WarmPlan, WarmTimes
from server.services.model_dial import Endpoint, ModelChannel, dial

log = logging.getLogger(__name__)

AFTER_FAULT_S = 1.0
APART_S = 0.005
"""Between the dials of one moment: a TLS handshake takes most of a millisecond in one go, and fifty of
them side by side held the hub for 39 ms."""


class _Waiter:
    """A call that waits for a dial under way."""

    def __init__(self) -> None:
        self.signal = green.Signal()
        self.channel: ModelChannel | None = None
        """None still when it is woken: the dial came to nothing."""


class WarmSessions:
    """One process's pool of unconfigured model sockets. Nothing but `take_or_wait` and `close` blocks."""

    def __init__(
        self, endpoint: Endpoint, target: int, counters: Counters, times: WarmTimes | None = None
    ) -> None:
        self._endpoint = endpoint
        self._counters = counters
        self._plan = WarmPlan(target, times)
        self._spares: dict[int, ModelChannel] = {}
        self._dials: dict[int, green.Thread] = {}
        self._waiters: deque[_Waiter] = deque()
        self._changed = green.Signal()
        self._keeper: green.Thread | None = None
        self._is_closed = False
        self._is_in_trouble = False

    def start(self) -> None:
        """Open the spares, in the process that will serve. Without it they open with the first call."""
        if self._keeper is None and not self._is_closed:
            self._keeper = green.spawn(self._keep_loop)

    def expect(self) -> None:
        """A call will want a connection in a moment: dial one unless a spare is free for it. It is given
        up when no call has come within 15 s."""
        if not self._is_closed:
            self._plan.expect(time.monotonic())
            self.start()
            self._changed.set()

    def take(self) -> ModelChannel | None:
        """An open connection for a call that is here, the newest, or None at once.

        The call owns it from then on. None counts as a cold dial: the call makes it.
        """
        channel = self._take()
        self._counters.model_connections["cold" if channel is None else "warm"] += 1
        return channel

    def take_or_wait(self, timeout_s: float) -> ModelChannel | None:
        """`take`; or if a connection is being dialled that no other call waits for, wait for that one.

        None when there is none, at once, or when it fails or takes too long.
        """
        channel = self._take()
        how = "warm"
        if channel is None and not self._is_closed and len(self._waiters) < self._plan.dial_count:
            channel, how = self._wait(timeout_s), "waited"
        self._counters.model_connections["cold" if channel is None else how] += 1
        return channel

    def close(self) -> None:
        """Close the spares and stop dialling, for good; taken ones are not touched. Blocks half a
        second at most."""
        self._is_closed = True
        self._changed.set()
        for thread in list(self._dials.values()):
            thread.kill()
        self._dials.clear()
        for waiter in self._waiters:
            waiter.signal.set()
        closing = [self._retire(number) for number in list(self._spares)]
        for thread in closing:
            thread.wait()

    # For calls

    def _take(self) -> ModelChannel | None:
        now_s = time.monotonic()
        self._plan.arrived(now_s)
        self._changed.set()
        for number in self._plan.takeable(now_s):
            channel = self._spares[number]
            if channel.closed is None:
                self._forget(number)
                self._plan.taken(number)
                return channel
        return None

    def _wait(self, timeout_s: float) -> ModelChannel | None:
        waiter = _Waiter()
        self._waiters.append(waiter)
        self._plan.waiting = len(self._waiters)
        try:
            waiter.signal.wait(timeout_s)
        except BaseException:  # the call was killed just when it was given one
            if waiter.channel is not None:
                green.spawn(waiter.channel.close)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._plan.waiting = len(self._waiters)
                self._changed.set()
        return waiter.channel

    # Green threads

    def _keep_loop(self) -> None:
        """Dial and close what is due, until `close`."""
        while not self._is_closed:
            try:
                again_in_s = self._act()
            except Exception:
                log.exception("%s", FAULTS["KAV-199"].line("warm sessions"))
                again_in_s = AFTER_FAULT_S
            self._changed.wait(again_in_s)

    def _act(self) -> float | None:
        due = self._plan.due(time.monotonic())
        for number in due.close:
            self._retire(number)
        for nth, number in enumerate(due.dial):
            self._dials[number] = green.spawn(self._dial, number, nth * APART_S)
        if self._is_in_trouble and not self._plan.back_off.failures:
            self._is_in_trouble = False
            log.info("[WARM] the model takes connections again")
        return due.again_in_s

    def _dial(self, number: int, after_s: float) -> None:
        """Make one connection; it is a spare then, or that of the call that has waited longest."""
        green.sleep(after_s)
        try:
            channel = dial(self._endpoint)
        except ModelRefused as error:
            self._refused(number, error.code, str(error))
        except ModelUnreachable as error:
            self._failed(number, "KAV-181", str(error))
        except Exception:
            log.exception("%s", FAULTS["KAV-199"].line("dialling the model"))
            self._failed(number, "KAV-181", "a fault of our own")
        else:
            self._opened(number, channel)
        self._dials.pop(number, None)
        while len(self._waiters) > self._plan.dial_count:  # the last to come has the least to lose
            self._waiters.pop().signal.set()
        self._plan.waiting = len(self._waiters)
        self._changed.set()

    def _bury(self, number: int) -> None:
        """The model ended a spare: learn from its last words, and free the socket."""
        channel = self._spares.get(number)
        if channel is None or channel.closed is None:
            return
        self._forget(number)
        refusal = _refusal_in(channel)
        if refusal is not None:
            self._refused(number, refusal.code, refusal.message)
        else:
            self._failed(number, "KAV-183", str(channel.closed))
        self._changed.set()
        channel.close()

    def _opened(self, number: int, channel: ModelChannel) -> None:
        self._plan.opened(number, time.monotonic())
        if self._waiters:
            waiter = self._waiters.popleft()
            waiter.channel = channel
            self._plan.taken(number)
            waiter.signal.set()
            return
        channel.on_closed = partial(self._on_closed, number)
        self._spares[number] = channel
        self._counters.model_spares = len(self._spares)

    def _on_closed(self, number: int) -> None:
        """In the hub, perhaps."""
        green.spawn(self._bury, number)

    def _refused(self, number: int, code: str, seen: str) -> None:
        self._counters.model_spare_failures["refused"] += 1
        self._is_in_trouble = True
        if self._plan.refused(number, time.monotonic()):
            log.error("%s", FAULTS["KAV-182"].line(clean(f"{fault_of(code)} {seen}")))

    def _failed(self, number: int, fault_id: str, seen: str) -> None:
        now_s = time.monotonic()
        if fault_id == "KAV-183":
            why, is_first = "ended", self._plan.ended(number, now_s)
        else:
            why, is_first = "unreachable", self._plan.failed(number, now_s)
        self._counters.model_spare_failures[why] += 1
        if is_first:
            self._is_in_trouble = True
            log.warning("%s", FAULTS[fault_id].line(clean(seen)))

    def _retire(self, number: int) -> green.Thread:
        """Close a spare of ours; it is none from now on."""
        return green.spawn(self._forget(number).close)

    def _forget(self, number: int) -> ModelChannel:
        channel = self._spares.pop(number)
        channel.on_closed = None
        self._counters.model_spares = len(self._spares)
        return channel


def _refusal_in(channel: ModelChannel) -> ServerError | None:
    """The error for which a closed session was ended, if it would meet the next one too."""
    try:
        texts = channel.receive(0)
    except ChannelClosed:
        return None
    for text in texts:
        try:
            _, event = decode(text)
        except RealtimeProtocolError:
            continue
        if isinstance(event, ServerError) and classify(event) is ErrorKind.FATAL:
            return event
    return None
