"""The HTTP under the simulated REST API: a thread per connection, and the faults that only a socket has."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from server.simulator.twilio.rest_faults import Fault, FaultPlan

MAX_BODY_BYTES = 1024 * 1024
DRIP_S = 0.1
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read to its end."""

    method: str
    path: str
    form: dict[str, str]
    authorization: str = field(repr=False)
    is_form: bool
    at_s: float
    """When it was read: time.monotonic()."""


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class RestHttpServer(ThreadingHTTPServer):
    """Listens as soon as it is made. `answer` gets each request and the name of its fault, or none."""

    daemon_threads = False  # closing waits for them, so that none outlives a test
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[Asked, str], Said],
        faults: FaultPlan,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Raises OSError when the port is not to be had."""
        self.answer = answer
        self.faults = faults
        self.is_stopping = threading.Event()
        self.asked: list[Asked] = []
        """Every request that could be read, whatever became of it."""
        self.connections_total = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def run(self) -> None:
        """Serve until `stop`, from another thread."""
        self.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Cut every connection and wait for the threads."""
        self.is_stopping.set()
        self.shutdown()
        with self._lock:
            for connection in self._open:
                _shutdown(connection)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:  # the handshake waits for the connection's own thread
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
            self.connections_total += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client may leave at any point
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the acknowledgement of its head
    server: RestHttpServer

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the paths hold account and call."""

    def _serve(self) -> None:
        server, asked = self.server, self._asked()
        if asked is None:
            return
        server.asked.append(asked)
        fault = server.faults.take() or Fault("")
        if fault.name in ("timeout", "drip", "drip_head", "reset"):
            self._fail(fault.name)
            return
        if fault.name == "slow" and server.is_stopping.wait(fault.seconds):
            self.close_connection = True
            return
        said = server.answer(asked, fault.name)
        if fault.name == "lost":
            self._fail("reset")
        else:
            self._say(said)

    def _asked(self) -> Asked | None:
        """The request with its body; None when it was refused for its size."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self.send_error(413)
            return None
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        kind = self.headers.get("Content-Type", "").split(";")[0].strip().lower()
        return Asked(
            method=self.command,
            path=self.path.split("?")[0],
            form=dict(parse_qsl(body, keep_blank_values=True)) if kind == FORM else {},
            authorization=self.headers.get("Authorization", ""),
            is_form=kind == FORM or not body,
            at_s=time.monotonic(),
        )

    def _say(self, said: Said) -> None:
        self.send_response(said.status)
        self.send_header("Content-Type", said.content_type)
        self.send_header("Content-Length", str(len(said.body)))
        for name, value in said.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said.body)

    def _fail(self, how: str) -> None:
        self.close_connection = True
        stopping = self.server.is_stopping
        if how == "timeout":
            stopping.wait()
        elif how in ("drip", "drip_head"):
            head = b"HTTP/1.1 200 OK"
            self.wfile.write(
                head if how == "drip_head" else head + b"\r\nContent-Type: application/json\r\n\r\n{"
            )
            while not stopping.wait(DRIP_S):
                self.wfile.write(b" ")
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # before anybody says goodbye on it


def _shutdown(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
