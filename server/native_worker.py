"""How does what blocks run beside the calls? In one native thread, with green threads waiting for it.

For libraries that wait in C and cannot be made green, such as sqlite3: a lock on its file would hold the
hub, and with it every call, for as long as another process likes. eventlet's own pool of threads is no
way out, for it hangs as soon as one of them logs.
"""

from __future__ import annotations

import logging
import os
from _queue import SimpleQueue  # the C queue: its locks stay real when `queue` is patched
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from server import green
from server.faults import FAULTS

log = logging.getLogger(__name__)

T = TypeVar("T")


class _Job(Generic[T]):
    """One callable on its way through a `NativeWorker`."""

    def __init__(self, run: Callable[[], T]) -> None:
        self._run = run
        self._undecided = [True]
        self.then: Callable[[T], None] | None = None
        self.unclaimed: Callable[[T], None] | None = None
        self.answered: green.Signal | None = None
        self.result: T | None = None
        self.error: BaseException | None = None

    def is_first(self) -> bool:
        """True for one caller only, of two threads: the result was there first, or nobody waits for it."""
        try:
            return self._undecided.pop()
        except IndexError:
            return False

    def do(self) -> None:
        """In the native thread."""
        if not self._undecided:
            return
        try:
            self.result = self._run()
            if not self.is_first() and self.unclaimed is not None:
                self.unclaimed(self.result)
        except BaseException as error:  # noqa: BLE001  it is raised again, or logged, in the hub's thread
            self.error = error
            self.is_first()


class NativeWorker:
    """Runs callables one after the other, in the order they were given.

    What is run must touch nothing green: no logging, no lock of a patched module. Make and use it in the
    hub's thread, after the fork. No other thread can wake a green one: answers come over a pipe that the
    hub watches.
    """

    MAX_WAITING = 10_000

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._finished: deque[_Job[Any]] = deque()
        self._is_closed = False
        reader, self._waker = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(self._waker, False)
        self._watch = green.watch_readable(reader, self._on_finished, lambda: None)
        green.start_native_thread(self._run_forever, name)

    def post(self, run: Callable[[], T], then: Callable[[T], None] | None = None) -> bool:
        """Never waits; `then(result)` runs in the hub. False when too much waits already, or when closed."""
        if self._is_closed or self._jobs.qsize() >= self.MAX_WAITING:
            return False
        job = _Job(run)
        job.then = then
        self._jobs.put(job)
        return True

    def call(self, run: Callable[[], T], timeout_s: float, unclaimed: Callable[[T], None] | None = None) -> T:
        """Block this green thread until `run()` has returned, and return the same or raise what it raised.

        Raises TimeoutError. What has not begun by then is not run at all; when it was under way, its result
        goes to `unclaimed`, in the native thread, so that it can be undone.
        """
        if self._is_closed:
            raise TimeoutError("the worker is closed")
        job = _Job(run)
        job.unclaimed = unclaimed
        job.answered = green.Signal()
        self._jobs.put(job)
        try:
            job.answered.wait(timeout_s)
        finally:  # also when this green thread is killed
            is_late = job.is_first()
        if is_late:
            raise TimeoutError(f"not done after {timeout_s:g} s")
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # it was set: there is no error

    def close(self) -> None:
        """Returns at once; what was given before is still run."""
        if not self._is_closed:
            self._is_closed = True
            self._jobs.put(None)

    def _run_forever(self) -> None:
        """The native thread."""
        while (job := self._jobs.get()) is not None:
            job.do()
            self._finished.append(job)
            try:
                green.native_write(self._waker, b"x")
            except BlockingIOError:  # the pipe is full: the hub has every reason to look
                pass
        os.close(self._waker)

    def _on_finished(self, reader: int) -> None:
        """In the hub."""
        try:
            is_over = not green.native_read(reader, 4096)
        except BlockingIOError:
            return
        while self._finished:
            job = self._finished.popleft()
            if job.answered is not None:
                job.answered.set()
                continue
            try:
                if job.error is not None:
                    raise job.error
                if job.then is not None:
                    job.then(job.result)
            except Exception:  # one job's fault must not keep the others' answers back
                log.exception("%s", FAULTS["KAV-199"].line("beside the calls"))
        if is_over:
            self._watch.stop()
            os.close(reader)
