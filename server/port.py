"""Non-blocking bytes in and out of a socket that another library set up, plain or TLS.

Goes below the green socket's own methods, which would wait: to the real socket, and for TLS to the
SSL object.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Port:
    """One connected socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.is_open = True
        self.fileno: int = sock.fileno()
        self._tls: Any = getattr(sock, "_sslobj", None)
        plain = sock
        while (inner := getattr(plain, "fd", None)) is not None:  # a green socket wraps the real one
            plain = inner
        if self._tls is None:
            plain.setblocking(False)
        self.is_tls = self._tls is not None
        self.recv: Callable[[int], bytes] = plain.recv if self._tls is None else self._tls.read
        """Bytes; b"" at the end. Raises one of NOT_NOW when there are none, OSError when it is over."""
        self.send: Callable[[bytes | bytearray], int] = plain.send if self._tls is None else self._tls.write
        """How many bytes went out. Raises one of NOT_NOW when none could, OSError when it is over."""

    def pending(self) -> bool:
        """TLS has decrypted bytes that the kernel no longer reports."""
        return self._tls is not None and self._tls.pending() > 0

    def write(self, data: bytes | bytearray) -> int:
        """`send`, or 0 when nothing could be sent now."""
        try:
            return self.send(data)
        except NOT_NOW:
            return 0

    def close(self) -> None:
        """Shut down before closing: closing alone wakes nobody who still waits on the socket."""
        if self.is_open:
            self.is_open = False
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was faster
            self._sock.close()


def tune(sock: Any) -> None:
    """Small messages leave at once; a peer that vanished without a word is noticed within 6 s."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 2),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 5000),
    ):
        if (option := getattr(socket, name, None)) is not None:  # not every platform has all of them
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
