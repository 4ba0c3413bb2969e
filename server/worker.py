"""How does one process carry many calls, and how does it end without cutting them?

gunicorn 26 dropped its eventlet worker; this is ours, for gunicorn 27. The main greenlet only keeps
the arbiter's heartbeat and obeys signals; one greenlet per listener accepts; each connection runs in
a greenlet of the pool. `gunicorn.conf.py` gives the class the name `-k eventlet`.

The end of a worker (SIGTERM, or the arbiter gone), with T = `graceful_timeout`:

    0 s          `app.on_drain(deadline)` runs in a greenlet of its own; new requests are still served
    L            the listeners close: L is `app.drain_listener_s` (default 0), or sooner once idle; with
                 `app.drain_holds_listener` not before `on_drain` has returned
    T - 3 s      the deadline: what still runs is killed, so that every `finally` has its turn
    T - 1.5 s    the process leaves, whatever those `finally` blocks still wait for: `app.on_end()`, the last
                 call of all, has a second
    T            the arbiter's SIGKILL, which nobody should ever see

These attributes of the WSGI app are optional; `deadline` is on the `time.monotonic()` clock. The worker
waits for connections, and for `on_drain` only where that holds the listener: with none left it leaves, at
whatever step. SIGQUIT and SIGINT jump to the deadline.

Patching happens in the forked worker, never on import: a patched arbiter would run its own threads,
locks and signal queue as greenlets that nobody schedules.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from gunicorn.workers.base_async import AsyncWorker

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # known; and why it has one seam

import eventlet  # noqa: E402  (after the filter: the warning is given on import)
import eventlet.green.thread  # noqa: E402
from eventlet import patcher  # noqa: E402
from greenlet import GreenletExit  # noqa: E402

from server.green import use_media_hub  # noqa: E402

HEARTBEAT_S = 0.5
"""How often the arbiter hears from us and we look for a vanished arbiter. Signals do not wait for it."""

DRAIN_POLL_S = 0.05
"""The longest the last call's end stays unnoticed while draining."""

ACCEPT_RETRY_S = 0.1
"""Pause after a failed accept(): with no descriptor left, the listener stays readable and would spin."""

ARBITER_MARGIN_S = 3.0
"""Our deadline is this much before the arbiter's SIGKILL."""

SHORTEST_DRAIN_S = 0.5

END_S = 1.0
"""For `on_end`, after which half a second is left to exit."""


class EventletWorker(AsyncWorker):  # type: ignore[misc]  # gunicorn ships no types
    """A gunicorn worker whose connections are eventlet greenlets."""

    alive: bool
    sockets: list[Any]

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse, once and at start, the two settings this worker cannot honour. Called by the arbiter."""
        if cfg.preload_app:  # by now the app has been imported, unpatched
            log.error("preload_app cannot work with the eventlet worker: it patches after the fork")
            sys.exit(2)
        if cfg.is_ssl:
            log.error("the eventlet worker speaks no TLS: the platform's proxy in front of it does")
            sys.exit(2)

    def init_process(self) -> None:
        self._signals: deque[int] = deque()
        self._cut_now = False
        use_media_hub()  # one of our own, whatever the arbiter may have had
        eventlet.monkey_patch()
        _fix_thread_join()
        self.cfg.set("sendfile", False)  # a GreenSocket has no sendfile(); files go out in blocks
        self.sockets = [_green_listener(listener) for listener in self.sockets]
        super().init_process()

    def timeout_ctx(self) -> Any:
        return eventlet.Timeout(self.cfg.keepalive or None, False)

    def run(self) -> None:
        self._pool = eventlet.GreenPool(self.worker_connections)
        acceptors = [eventlet.spawn(self._accept_loop, listener) for listener in self.sockets]
        while self.alive:
            self._beat(HEARTBEAT_S)
        self._drain(acceptors)

    def _accept_loop(self, listener: Any) -> None:
        """Give each connection to the pool, until killed by the drain.

        When the pool is full, `spawn` waits here, in this greenlet: the heartbeat goes on.
        """
        is_starved = False
        while True:
            try:
                client, addr = listener.accept()
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS; or a peer that left: ECONNABORTED
                if not is_starved:
                    self.log.warning("accept() failed, trying again until it works: %s", error)
                is_starved = True
                eventlet.sleep(ACCEPT_RETRY_S)
                continue
            is_starved = False
            if listener.family != socket.AF_UNIX:  # 20 ms frames must not wait for each other's ACK
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pool.spawn(self.handle, listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request. One whose body was not read to its end is the connection's last: before
        the next one gunicorn would read the rest, however much, without letting others run between.
        """
        super().handle_request(listener_name, req, sock, addr)
        reader = req.body.reader
        if getattr(reader, "length", 0) or getattr(reader, "parser", None):
            raise StopIteration

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Write an HTTP error page, but not for a handler we killed.

        Its socket may long be a WebSocket, whose client would read the page as broken frames
        (1002), or idle between two requests. gunicorn's `handle` catches everything and calls this.
        """
        if not isinstance(exc, GreenletExit):
            super().handle_error(req, client, addr, exc)

    def _beat(self, longest_s: float) -> None:
        """One turn of the main greenlet: at most `longest_s`, less when a signal arrives."""
        self.notify()
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        with eventlet.Timeout(longest_s, False):
            os.read(self.PIPE[0], 4096)  # green; Python's signal wake-up descriptor writes to it
        while self._signals:
            self._obey(self._signals.popleft())

    def _drain(self, acceptors: list[Any]) -> None:
        grace_s = self.cfg.graceful_timeout
        drain_s = max(SHORTEST_DRAIN_S, grace_s - ARBITER_MARGIN_S)
        started_at = time.monotonic()
        deadline_at = started_at + drain_s
        listen_until = started_at + float(getattr(self.wsgi, "drain_listener_s", 0.0))
        drainer = None
        if on_drain := getattr(self.wsgi, "on_drain", None):
            drainer = eventlet.spawn(self._call_on_drain, on_drain, deadline_at)

        self._wait_until_idle(min(listen_until, deadline_at))
        if drainer is not None and getattr(self.wsgi, "drain_holds_listener", False):
            self._beat_while(lambda: not drainer.dead, deadline_at)  # not by its truth: it may not have begun
        for acceptor in acceptors:
            acceptor.kill()
        for listener in self.sockets:
            listener.close()
        self._wait_until_idle(deadline_at)
        self._cut(unwind_s=max(0.1, (grace_s - drain_s) / 2))
        if on_end := getattr(self.wsgi, "on_end", None):
            self._call_on_end(on_end)

    def _wait_until_idle(self, at_most_until: float) -> None:
        self._beat_while(self._pool.running, at_most_until)

    def _beat_while(self, is_so: Callable[[], object], at_most_until: float) -> None:
        while is_so() and time.monotonic() < at_most_until and not self._cut_now:
            self._beat(DRAIN_POLL_S)

    def _call_on_drain(self, on_drain: Any, deadline_at: float) -> None:
        try:
            on_drain(deadline_at)
        except Exception:  # the app's own code: its failure must not keep the worker from ending
            self.log.exception("on_drain failed; calls go on until the deadline")

    def _call_on_end(self, on_end: Any) -> None:
        try:
            with eventlet.Timeout(END_S, False):
                on_end()
        except Exception:  # as above
            self.log.exception("on_end failed")

    def _cut(self, unwind_s: float) -> None:
        """Raise GreenletExit in every handler that is left and let its `finally` blocks finish."""
        handlers = list(self._pool.coroutines_running)
        if not handlers:
            return
        self.log.warning("Ending %d connections that did not end by themselves", len(handlers))
        for handler in handlers:
            handler.kill()  # not throw(): that would never come back to the main greenlet
        with eventlet.Timeout(unwind_s, False):
            self._pool.waitall()

    # Signals. A Python signal handler runs inside whatever greenlet is running, the hub included,
    # where nothing may block and nothing may be scheduled: it only leaves a note for `_beat`.
    # SIGTERM is gunicorn's handle_exit, which does just that: `alive = False`.

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        self._signals.append(sig)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        self._signals.append(sig)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """The arbiter heard no heartbeat for `timeout` seconds: something blocks the hub.

        SystemExit stops the blocking code, and often nothing more, because it surfaces in some
        handler. No call survived that silence, so the rest of the worker ends at once as well.
        """
        self._cut_now = True
        super().handle_abort(sig, frame)

    def _obey(self, sig: int) -> None:
        if sig == signal.SIGUSR1:
            super().handle_usr1(sig, None)
        else:  # SIGQUIT, SIGINT
            self.alive = False
            self._cut_now = True
            self.cfg.worker_int(self)


def _green_listener(listener: Any) -> Any:
    """Move gunicorn's listener into a GreenSocket around a socket of the unpatched module.

    The patched class would accept clients that are already green and wrap them once more: two
    Python layers under each recv() and send() of every call.
    """
    unpatched = patcher.original("socket")
    return eventlet.greenio.GreenSocket(unpatched.socket(fileno=listener.sock.detach()))


def _fix_thread_join() -> None:
    """Make `Thread.join(timeout)` return on Python 3.13, as the standard library promises.

    There eventlet 0.41 lets its own Timeout, a BaseException, escape to the caller as soon as the
    thread outlives the timeout; websocket-client and redis call it so. Earlier versions of Python
    join through a lock, not through this method, and are right. A Timeout that the caller has set
    around us still gets through.
    """

    def join(handle: Any, timeout: float | None = None) -> None:
        greenthread = handle._greenthread
        if hasattr(greenthread, "wait"):
            with eventlet.Timeout(timeout, False):
                greenthread.wait()

    eventlet.green.thread._ThreadHandle.join = join
