"""One socket of the load, and the loop that knows them all.

Raw non-blocking sockets under one epoll. A leg is handed its bytes and writes when it wants; what the
kernel does not take waits with the leg until it does.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
from time import monotonic_ns

MAX_UNSENT_BYTES = 1 << 20
READ_BYTES = 65536

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Loop:
    """Who waits for which socket."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._legs: dict[int, Leg] = {}

    def add(self, leg: Leg) -> None:
        self._legs[leg.fileno] = leg
        self._epoll.register(leg.fileno, select.EPOLLIN)

    def remove(self, leg: Leg) -> None:
        if self._legs.pop(leg.fileno, None) is not None:
            self._epoll.unregister(leg.fileno)

    def want_writes(self, leg: Leg, wanted: bool) -> None:
        self._epoll.modify(leg.fileno, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def turn(self, wait_s: float) -> None:
        """Wait so long at most for something to do, then do all of it."""
        if wait_s > 0:
            # epoll's own wait is rounded to whole ms, which is what is to be measured
            select.select((self._epoll,), (), (), wait_s)
        legs = self._legs
        for fileno, events in self._epoll.poll(0, 1024):
            leg = legs.get(fileno)
            if leg is None:  # closed by one before it
                continue
            if events & select.EPOLLOUT:
                leg.write(b"")
            if events != select.EPOLLOUT:
                leg.readable()

    def close(self) -> None:
        for leg in list(self._legs.values()):
            leg.close()
        self._epoll.close()


class Leg:
    """A connected, or listening, socket. Subclasses say what its bytes mean."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.is_open = True
        self.fileno = sock.fileno()
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._loop = loop
        self._rest = b""
        self._unsent = b""
        sock.setblocking(False)
        loop.add(self)

    def received(self, data: bytes, now_ns: int) -> bytes:
        """Make something of the bytes; return those still needed."""
        raise NotImplementedError

    def lost(self) -> None:
        """The peer is gone. The leg is closed already."""

    def readable(self) -> None:
        while self.is_open:
            try:
                data = self._sock.recv(READ_BYTES)
            except _NOT_NOW:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                self.lost()
                return
            self._rest = self.received(self._rest + data if self._rest else data, monotonic_ns())
            if self._tls is None or not self._tls.pending():  # what TLS holds, epoll does not see
                return

    def write(self, data: bytes) -> None:
        if not self.is_open:
            return
        was_waiting = bool(self._unsent)
        if was_waiting:
            data = self._unsent + data
        try:
            sent = self._sock.send(data)
        except _NOT_NOW:
            sent = 0
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # not yet
                self.close()
                self.lost()
                return
            sent = 0
        self._unsent = data[sent:] if sent != len(data) else b""
        if len(self._unsent) > MAX_UNSENT_BYTES:  # the peer does not read
            self.close()
            self.lost()
        elif bool(self._unsent) != was_waiting:
            self._loop.want_writes(self, not was_waiting)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove(self)
            self._sock.close()


def connect(address: tuple[str, int]) -> socket.socket:
    """A socket on its way to `address`; what is written to it waits until it is there."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect_ex(address)
    return sock


class HttpExchange(Leg):
    """One request on a connection of its own; `body` is None until the answer is complete."""

    def __init__(self, loop: Loop, address: tuple[str, int], request: bytes) -> None:
        super().__init__(loop, connect(address))
        self.body: bytes | None = None
        self.status = 0
        self.write(request)

    def received(self, data: bytes, now_ns: int) -> bytes:
        return data

    def lost(self) -> None:
        head, _, body = self._rest.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        self.body = body
        self.answered()

    def answered(self) -> None:
        """The answer is complete, or there is none (status 0)."""


def request(method: str, target: str, host: str, form: bytes = b"") -> bytes:
    """An HTTP request after whose answer the server closes."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    if form:
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(form)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + form
