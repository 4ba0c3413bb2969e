"""A TCP proxy with bad weather: what is put between the gateway and either of its far ends.

    with FaultProxy("127.0.0.1", server_port) as proxy:
        client.connect(("127.0.0.1", proxy.port))
        proxy.weather(latency_ms=200, jitter_ms=100)  # each way: a round trip takes 400 ms more
        proxy.weather("down", bandwidth_bytes_s=1_000)
        proxy.stall("up")
        proxy.calm()
        proxy.cut("reset", after_bytes=5_000, times=1)
        proxy.black_hole(only=3)

`up` is from the client to the upstream server, `down` the way back. Each call returns when it is in
force, for the live connections and for later ones; or with `only` for one connection, by its number:
from 1, in the order they came. One thread carries them all; nothing is reordered.
"""

from __future__ import annotations

import dataclasses
import random
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Self

from server.simulator.faults_tcp.connection import READ, Connection, Direction, End, Plan, Way
from server.simulator.faults_tcp.flow import Flow, Weather

Fault = Literal["reset", "half_close", "stall", "black_hole"]
COMMAND_WAIT_S = 5.0

_STATES = {"stall": "is_stalled", "black_hole": "is_black_hole"}


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the proxy was entered."""

    connections: int
    live: int
    unreachable: int
    """The upstream could not be reached, and the client was reset."""
    bytes_up: int
    bytes_down: int
    """Forwarded."""
    in_flight_bytes: int
    """Read and not forwarded yet, both ways."""


class FaultProxy:
    """Context manager; 127.0.0.1:`port` is its own. Its calls are for all other threads."""

    def __init__(
        self, upstream_host: str, upstream_port: int, *, buffer_bytes: int = 65536, seed: int = 0
    ) -> None:
        """`buffer_bytes` bounds the kernel's buffers, which else hide a stall behind megabytes.
        `seed` is the jitter's."""
        self._upstream = (upstream_host, upstream_port)
        self._buffer_bytes = buffer_bytes
        self._dice = random.Random(seed)
        self._weather: dict[Way, Weather] = {"up": Weather(), "down": Weather()}
        self._plans: list[Plan] = []
        self._is_silent = False
        self._live: list[Connection] = []
        self._accepted = 0
        self._unreachable = 0
        self._passed_bytes: dict[Way, int] = {"up": 0, "down": 0}
        """Of connections that are over."""
        self._commands: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._is_ending = False
        self._door = self._bound(0)
        self.port: int = self._door.getsockname()[1]

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._waker = socket.socketpair()
        self._selector.register(self._wake_reader, READ)
        self._set_door(is_open=True)
        self._thread = threading.Thread(target=self._run, name=f"fault proxy {self.port}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self._waker.send(b"x")
        self._thread.join()
        for sock in (self._wake_reader, self._waker):  # not in the thread, which may end before it is woken
            sock.close()

    # What is asked for

    def weather(self, direction: Direction = "both", *, only: int | None = None, **changes: Any) -> None:
        """Change these fields of `Weather`."""

        def change() -> None:
            for way in self._weather if only is None else ():
                if direction in (way, "both"):
                    self._weather[way] = dataclasses.replace(self._weather[way], **changes)
            for connection in self._meant(only):
                connection.change(direction, **changes)

        self._do(change)

    def stall(self, direction: Direction = "both", *, only: int | None = None) -> None:
        """Forward nothing; connections stay, senders meet full buffers, and nothing is lost."""
        self.weather(direction, only=only, is_stalled=True)

    def black_hole(self, direction: Direction = "both", *, only: int | None = None) -> None:
        """Swallow everything, also that a peer closes. What was swallowed stays lost."""
        self.weather(direction, only=only, is_black_hole=True)

    def resume(self, direction: Direction = "both", *, only: int | None = None) -> None:
        """End `stall` and `black_hole`."""
        self.weather(direction, only=only, is_stalled=False, is_black_hole=False)

    def calm(self) -> None:
        """As at the start: plain weather, nothing planned, new connections are served."""

        def forget() -> None:
            self._plans.clear()
            for connection in self._live:
                connection.forget_plans()

        self._do(forget)
        self.weather(**dataclasses.asdict(Weather()))
        self.serve()

    def refuse(self) -> None:
        """New connections are refused by the kernel; live ones go on."""
        self._do(lambda: self._set_door(is_open=False))

    def accept_but_silent(self) -> None:
        """New connections are accepted and read, with nobody behind; they stay so."""
        self._do(lambda: self._set_door(is_open=True, is_silent=True))

    def serve(self) -> None:
        """End `refuse` and `accept_but_silent`."""
        self._do(lambda: self._set_door(is_open=True))

    def reset(self, direction: Direction = "both", *, only: int | None = None) -> None:
        """RST on every live connection: to the client (`down`), to the upstream (`up`), or to both."""

        def end() -> None:
            for connection in self._meant(only):
                connection.reset(direction)

        self._do(end)

    def half_close(self, direction: Direction, *, only: int | None = None) -> None:
        """FIN that way, after what is in flight; what comes later is swallowed."""

        def end() -> None:
            for connection in self._meant(only):
                for way, sender, _ in connection.ends():
                    if direction in (way, "both"):
                        sender.flow.came(b"", time.monotonic())

        self._do(end)

    def inject(
        self,
        data: bytes,
        way: Way = "down",
        *,
        after_bytes: int = 0,
        times: int | None = None,
        only: int | None = None,
    ) -> None:
        """Bytes that nobody sent, once for each connection (for `times` of them): after so many more
        that way, and on a later connection after so many of its first."""

        def put(connection: Connection) -> None:
            if (flow := connection.flow(way)) is not None:
                flow.put_next(data, time.monotonic())

        self._plan(Plan(put, way, after_bytes, None, times, only))

    def cut(
        self,
        how: Fault = "reset",
        way: Way = "down",
        *,
        after_bytes: int | None = None,
        after_s: float | None = None,
        times: int | None = None,
        only: int | None = None,
    ) -> None:
        """Do that to each connection (to `times` of them), so much later than now or than its start.

        Exactly so many bytes get through that `way`. `half_close` ends that way alone, all others both.
        """

        def run(connection: Connection) -> None:
            if how == "reset":
                connection.reset()
            elif how != "half_close":
                connection.change("both", **{_STATES[how]: True})
            elif (flow := connection.flow(way)) is not None:
                flow.drop()
                flow.put_next(b"", time.monotonic())

        self._plan(Plan(run, way, after_bytes, after_s, times, only))

    @property
    def counts(self) -> Counts:
        if not self._thread.is_alive():
            return self._count()
        counts: list[Counts] = []
        self._do(lambda: counts.append(self._count()))
        return counts[0]

    # The thread

    def _do(self, run: Callable[[], object]) -> None:
        done: Future[object] = Future()
        self._commands.append((run, done))
        self._waker.send(b"x")
        done.result(COMMAND_WAIT_S)

    def _plan(self, plan: Plan) -> None:
        def add() -> None:
            self._plans.append(plan)
            for connection in self._live:
                connection.plan(plan)

        self._do(add)

    def _meant(self, only: int | None) -> list[Connection]:
        """The live connections that are meant."""
        return [connection for connection in self._live if only in (None, connection.number)]

    def _run(self) -> None:
        try:
            while not self._is_ending:
                for key, events in self._selector.select(self._move_all()):
                    if key.fileobj is self._wake_reader:
                        self._wake_reader.recv(4096)
                    elif key.fileobj is self._door:
                        self._accept()
                    else:
                        connection, end = key.data
                        connection.ready(end, events)
                while self._commands:
                    run, done = self._commands.popleft()
                    try:
                        done.set_result(run())
                    except Exception as error:  # noqa: BLE001  whatever it is, it is the asker's
                        done.set_exception(error)
        finally:
            for connection in self._live:
                connection.close()
            self._count_over()
            self._door.close()
            self._selector.close()

    def _move_all(self) -> float | None:
        """Move what is due; how many seconds nothing else will be."""
        dues = [due for connection in self._live if (due := connection.move()) is not None]
        self._count_over()
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _count_over(self) -> None:
        for connection in [connection for connection in self._live if connection.is_over()]:
            self._live.remove(connection)
            self._unreachable += connection.is_unreachable
            for way, sender, _ in connection.ends():
                self._passed_bytes[way] += sender.flow.passed_bytes

    def _accept(self) -> None:
        try:
            sock, _ = self._door.accept()
        except OSError:  # it was closed in the same moment
            return
        upstream = None
        if not self._is_silent:
            family = socket.AF_INET6 if ":" in self._upstream[0] else socket.AF_INET
            far = self._small_buffers(socket.socket(family, socket.SOCK_STREAM))
            upstream = End(far, self._flow("down"), is_connected=False)
            far.connect_ex(self._upstream)  # a failure shows when it becomes writable
        self._accepted += 1
        connection = Connection(self._accepted, self._selector, End(sock, self._flow("up")), upstream)
        self._live.append(connection)
        for plan in self._plans:
            connection.plan(plan)

    def _flow(self, way: Way) -> Flow:
        return Flow(self._weather[way], self._dice)

    def _count(self) -> Counts:
        passed = dict(self._passed_bytes)
        for connection in self._live:
            for way, sender, _ in connection.ends():
                passed[way] += sender.flow.passed_bytes
        in_flight = sum(sender.flow.queued_bytes for c in self._live for _, sender, _ in c.ends())
        live = len(self._live)
        return Counts(self._accepted, live, self._unreachable, passed["up"], passed["down"], in_flight)

    def _set_door(self, *, is_open: bool, is_silent: bool = False) -> None:
        """While refusing, a socket that does not listen keeps the port ours."""
        self._is_silent = is_silent
        if is_open == (self._door.fileno() in self._selector.get_map()):
            return
        if is_open:
            self._door.listen(128)
            self._selector.register(self._door, READ)
        else:
            self._selector.unregister(self._door)
            self._door.close()
            self._door = self._bound(self.port)

    def _bound(self, port: int) -> socket.socket:
        sock = self._small_buffers(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.setblocking(False)
        return sock

    def _small_buffers(self, sock: socket.socket) -> socket.socket:
        """Accepted sockets inherit their listener's."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer_bytes)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        return sock
