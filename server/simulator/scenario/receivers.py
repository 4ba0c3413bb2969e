"""The business's own computers, as a scenario wants them: HTTP servers on loopback that answer by a list.

    receivers:
      stock:                                   # {stock} in addresses stands for http://127.0.0.1:PORT
        - json: {in_stock: true, price_ils: 28}
        - {status: 500, json: {error: out of paper}}
        - {delay: 9, text: too late}
        - hang_up: true                        # the connection ends without an answer

Requests are answered in the order in which they come; the last answer of a list is that of all that follow.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from server.simulator.scenario.yaml_text import ScenarioError, Value

MAX_BODY_BYTES = 1 << 20
MAX_DELAY_S = 60.0
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KEYS = ("json", "text", "status", "delay", "hang_up")
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request is answered."""

    body: bytes = b"{}"
    content_type: str = "application/json"
    status: int = 200
    delay_s: float = 0.0
    hangs_up: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it came."""

    receiver: str
    path: str
    said: Any
    """Its body as JSON, or as text; of a GET its query, as an object of texts."""
    at_s: float
    """time.monotonic()"""


def read_receivers(value: Value | None) -> dict[str, tuple[Reply, ...]]:
    """The `receivers:` section. Raises ScenarioError."""
    found: dict[str, tuple[Reply, ...]] = {}
    for name, replies in value.block().entries() if value is not None else ():
        if not _NAME.fullmatch(name):
            raise replies.error(f"{name[:40]!r} is no name of small Latin letters, digits and _")
        found[name] = tuple(_reply(item) for item in replies.one_or_more())
        if not found[name]:
            raise replies.error(f"{name} has nothing to answer")
    return found


def _reply(item: Value) -> Reply:
    block = item.block(_KEYS, "of a receiver's answer")
    status, delay, hang_up = block.get("status"), block.get("delay"), block.get("hang_up")
    if "json" in block and "text" in block:
        raise ScenarioError(item.path, item.line, "json and text exclude each other")
    body, content_type = b"{}", "application/json"
    if (data := block.get("json")) is not None:
        body = json.dumps(data.plain(), ensure_ascii=False).encode()
    elif (text := block.get("text")) is not None:
        body, content_type = text.text().encode(), "text/plain; charset=utf-8"
    return Reply(
        body,
        content_type,
        status.integer(200, 599) if status else 200,
        delay.number(0, MAX_DELAY_S) if delay else 0.0,
        hangs_up=hang_up.flag() if hang_up else False,
    )


def with_addresses(text: str, urls: Mapping[str, str]) -> str:
    """`{stock}/kav` becomes `http://127.0.0.1:40123/kav`; other braces stay."""
    for name, url in urls.items():
        text = text.replace(f"{{{name}}}", url)
    return text


class Receivers:
    """All of one scenario's, listening inside `with`. `on_request` hears each request, in a thread of it."""

    def __init__(self, replies: Mapping[str, Sequence[Reply]], on_request: Callable[[Request], None]) -> None:
        self._servers = {name: _Server(name, tuple(of), on_request) for name, of in replies.items()}

    @property
    def urls(self) -> dict[str, str]:
        """Of each its address, without a path."""
        return {name: f"http://127.0.0.1:{server.server_port}" for name, server in self._servers.items()}

    def __enter__(self) -> Self:
        for server in self._servers.values():
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str, replies: tuple[Reply, ...], on_request: Callable[[Request], None]) -> None:
        self.name = name
        self.on_request = on_request
        self.stopping = threading.Event()
        self._replies = replies
        self._next = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_S,), daemon=True)
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Without looking up the host's own name, which takes seconds where there is no DNS."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Whoever still waits for an answer gets none."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def take_reply(self) -> Reply:
        with self._lock:
            self._next += 1
            return self._replies[min(self._next, len(self._replies)) - 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, as one does that has waited long enough."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._take(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, MAX_BODY_BYTES)).decode("utf-8", "replace")
        try:
            said = json.loads(body)
        except ValueError:
            said = body
        self._take(self.path, said)

    def _take(self, path: str, said: Any) -> None:
        reply = self.server.take_reply()  # before anybody hears of it: in the order of coming
        self.server.on_request(Request(self.server.name, path, said, time.monotonic()))
        if self.server.stopping.wait(reply.delay_s) or reply.hangs_up:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *args: object) -> None:
        pass
