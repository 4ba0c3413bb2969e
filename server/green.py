"""Green threads, and the hub that wakes them: the one door to eventlet beside the worker.

Everything in the serving process shares one hub, so whatever holds it for 5 ms holds every call.
Two rules follow for what is used from here. A callback given to `watch` or `call_later` runs in
the hub itself: it must not block, wait or log to a pipe. And a green thread that computes for long
calls `sleep(0)` in between.

`Signal` and `watch` exist because the ready-made parts cost more than the media path can spend: a
green `recv` adds and removes its listener for every message (11 μs instead of 4), and an Event can
be used only once.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # known; this seam is the cure

import eventlet  # noqa: E402  (after the filter: the warning is given on import)
from eventlet import hubs, patcher  # noqa: E402
from eventlet.hubs import epolls  # noqa: E402
from greenlet import getcurrent  # noqa: E402

sleep = eventlet.sleep
BaseHub: Any = epolls.Hub if epolls.is_available() else object

_native_sleep = patcher.original("time").sleep
_READABLE = 1  # EPOLLIN, with the same value as POLLIN
_NOT_ONLY_WRITABLE = ~4  # anything but EPOLLOUT: end of file and errors wake readers and writers


class Thread(Protocol):
    """A running green thread."""

    def kill(self) -> None:
        """Raise GreenletExit in it; its `finally` blocks run."""

    def wait(self) -> Any:
        """Block until it ends."""


def spawn(run: Callable[..., Any], *args: Any) -> Thread:
    """Run `run(*args)` in a green thread. What escapes it is printed and lost: catch at its top."""
    thread: Thread = eventlet.spawn(run, *args)
    return thread


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError out of the block if it has not ended by then."""
    with eventlet.Timeout(seconds) as timeout:
        try:
            yield
        except eventlet.Timeout as fired:
            if fired is timeout:
                raise TimeoutError(f"not done after {seconds} s") from None
            raise


class Timer(Protocol):
    def cancel(self) -> None:
        """Harmless when it has fired or was cancelled."""


def call_later(delay_s: float, run: Callable[[], None]) -> Timer:
    """Run `run()` in the hub after a while; it must not block."""
    timer: Timer = hubs.get_hub().schedule_call_global(delay_s, run)
    return timer


class Signal:
    """Wakes one waiting green thread; remembers a `set` that came while none waited."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: Any = None

    def set(self) -> None:
        """May be called from anywhere on the hub's thread, hub callbacks included."""
        if not self._is_set:
            self._is_set = True
            if self._waiter is not None:
                hubs.get_hub().schedule_call_global(0, self._resume)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until set, then clear; False on time-out. One waiter at a time."""
        if not self._is_set:
            hub = hubs.get_hub()
            self._waiter = getcurrent()
            timer = None if timeout_s is None else hub.schedule_call_global(timeout_s, self._resume)
            try:
                hub.switch()
            finally:
                self._waiter = None  # a `_resume` still scheduled must not wake this thread elsewhere
                if timer is not None:
                    timer.cancel()
        was_set, self._is_set = self._is_set, False
        return was_set

    def _resume(self) -> None:
        if self._waiter is not None:
            self._waiter.switch()


class Watch:
    """A listener that stays with the hub until stopped."""

    def __init__(
        self, kind: str, fileno: int, ready: Callable[[int], None], gone: Callable[[], None]
    ) -> None:
        self._hub = hubs.get_hub()
        self._listener = self._hub.add(kind, fileno, ready, lambda _: gone(), gone)

    def stop(self) -> None:
        """Before the descriptor is closed: its number may be another's a moment later."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            try:
                self._hub.remove(listener)
            except KeyError:  # the hub dropped the descriptor itself, as after an error on it
                pass


def watch_readable(fileno: int, ready: Callable[[int], None], gone: Callable[[], None]) -> Watch:
    """Call `ready(fileno)` in the hub whenever bytes can be read; `gone()` if the descriptor is closed."""
    return Watch(hubs.get_hub().READ, fileno, ready, gone)


def watch_writable(fileno: int, ready: Callable[[int], None], gone: Callable[[], None]) -> Watch:
    """Call `ready(fileno)` in the hub whenever bytes can be written."""
    return Watch(hubs.get_hub().WRITE, fileno, ready, gone)


native_read: Callable[[int, int], bytes] = patcher.original("os").read
"""`os.read` as it was before the patching: in the hub, a green one could not wait."""

native_write: Callable[[int, bytes], int] = patcher.original("os").write


def start_native_thread(run: Callable[[], None], name: str) -> None:
    """Run `run()` in a real thread that may block. It must touch nothing green: no locks, no logging."""
    threading = patcher.original("threading")
    threading.Thread(target=run, name=name, daemon=True).start()


class MediaHub(BaseHub):  # type: ignore[misc]  # eventlet ships no types
    """eventlet's hub for Linux, made for many small messages.

    Two things differ. A ready socket's callback is called at once instead of by way of a set, which
    also keeps the order in which the kernel reported them. And when it is busy the hub naps for a
    millisecond before it asks the kernel again: what came meanwhile is handled in one pass, with one
    system call and warm caches, and whoever sends need not wake us for each message. At 150 calls that
    is a quarter of the CPU for a millisecond of latency; with few calls it does not nap at all.
    """

    NAP_S = 0.001
    BUSY_EVENTS_PER_S = 3000
    """About thirty calls."""
    WINDOW_S = 0.05

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__(clock)
        self._is_busy = False
        self._events = 0
        self._window_ends_at = 0.0

    @staticmethod
    def is_available() -> bool:
        return bool(epolls.is_available())

    def wait(self, seconds: float | None = None) -> None:
        if self._is_busy:
            _native_sleep(self.NAP_S if seconds is None or seconds > self.NAP_S else seconds)
            seconds = 0
        try:
            ready = self.poll.poll(seconds)
        except InterruptedError:
            return
        readers, writers = self.listeners[self.READ], self.listeners[self.WRITE]
        for fileno, event in ready:
            if event == _READABLE:
                self._call(readers.get(fileno), fileno)
                continue
            if event & _NOT_ONLY_WRITABLE:
                self._call(readers.get(fileno), fileno)
            if event & ~_READABLE:
                self._call(writers.get(fileno), fileno)
        self._events += len(ready)
        now_s = self.clock()
        if now_s >= self._window_ends_at:
            elapsed_s = now_s - self._window_ends_at + self.WINDOW_S
            self._is_busy = self._events > self.BUSY_EVENTS_PER_S * elapsed_s
            self._events, self._window_ends_at = 0, now_s + self.WINDOW_S

    def _call(self, listener: Any, fileno: int) -> None:
        if listener is not None:  # an earlier callback of this pass may have removed it
            try:
                listener.cb(fileno)
            except self.SYSTEM_EXCEPTIONS:
                raise
            except BaseException:  # noqa: BLE001  whatever it is, the hub and its calls go on
                self.squelch_exception(fileno, sys.exc_info())


def use_media_hub() -> None:
    """Give this thread its hub, before anything green runs."""
    hubs.use_hub(MediaHub if MediaHub.is_available() else None)


class HubLag:
    """How late the hub runs what is due: each call's frames are at least this late."""

    EVERY_S = 0.1
    KEPT = 100
    """Ten seconds."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._latest: deque[float] = deque(maxlen=self.KEPT)
        self._due_at = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        if self._timer is None:
            self._next()

    def _next(self) -> None:
        self._due_at = time.monotonic() + self.EVERY_S
        self._timer = call_later(self.EVERY_S, self._tick)

    def _tick(self) -> None:
        late_s = time.monotonic() - self._due_at
        self._worst_s = max(self._worst_s, late_s)
        self._latest.append(late_s)
        self._next()

    def p95_s(self) -> float:
        """Of the last ten seconds; 0 before there are as many, for a start is slow."""
        if len(self._latest) < self.KEPT:
            return 0.0
        return sorted(self._latest)[self.KEPT * 95 // 100]

    def take_worst_s(self) -> float:
        """The worst since it was last taken."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s
