"""A business's own computer, for tests: a threaded HTTP server that does what its test says.

Each request is put on `requests` as it came; `answer` decides what happens to it, with the raw socket
in its hands.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Got:
    """One request, as it came."""

    method: str
    target: str
    headers: Any
    body: bytes
    client: Any


@dataclass
class Receiver:
    """`answer(request, socket)` returns the bytes to answer with; None: it has dealt with the socket."""

    answer: Callable[[Got, socket.socket], bytes | None]
    requests: list[Got] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    scheme: str = "http"
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: whoever dawdles stops."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/kav/tool"


def http(body: bytes | str, kind: str = "application/json", status: str = "200 OK", more: str = "") -> bytes:
    """A whole HTTP answer."""
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{more}\r\n"
    return head.encode() + data


@contextmanager
def receiver(
    answer: Callable[[Got, socket.socket], bytes | None] | bytes,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Receiver]:
    """A server until the block ends. Bytes as `answer`: the same for everyone."""
    there = Receiver((lambda got, sock: answer) if isinstance(answer, bytes) else answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            there.connections += 1
            if tls is not None:
                self.request = tls.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
                try:
                    self.request.do_handshake()
                except OSError:
                    self.request.close()
                    raise
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()  # the server itself closes what was below TLS

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            got = Got(self.command, self.path, self.headers, self.rfile.read(length), self.client_address)
            there.requests.append(got)
            data = there.answer(got, self.connection)
            if data is None:
                self.close_connection = True
            else:
                self.wfile.write(data)

        do_GET = do_POST = handle_any

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            """A client that goes away in the middle, or refuses our certificate, is what tests do."""

    with Server((host, 0), Handler) as server:
        there.port = server.server_address[1]
        there.scheme = "https" if tls is not None else "http"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield there
        finally:
            there.closing.set()
            server.shutdown()
            thread.join()
