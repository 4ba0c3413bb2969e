"""The smallest far end a simulated call can have: webhooks by http.server, media by simple-websocket.

It shares no protocol code with the simulator. A test says in TwiML and in one function per stream
what it does, and reads afterwards what reached it.
"""

from __future__ import annotations

import base64
import json
import math
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import simple_websocket

from server.audio.g711 import from_pcm16

Reply = tuple[int, str | None, bytes]


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class FarStream:
    """One accepted stream as the gateway's own code would see it."""

    ws: Any
    received: list[dict[str, Any]] = field(default_factory=list)
    sid: str = ""

    def messages(self) -> Iterator[dict[str, Any]]:
        """Each message as it comes, until the caller closes."""
        try:
            while True:
                text = self.ws.receive()
                assert isinstance(text, str)
                message = json.loads(text)
                self.received.append(message)
                self.sid = message.get("streamSid", self.sid)
                yield message
        except simple_websocket.ConnectionClosed:
            return

    def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """Read on up to the `count`th message of that event."""
        for message in self.messages():
            count -= message["event"] == event
            if not count:
                return message
        raise EOFError(f"closed before {event}")

    def play(self, payload: bytes) -> None:
        self.send(event="media", streamSid=self.sid, media={"payload": base64.b64encode(payload).decode()})

    def mark(self, name: str) -> None:
        self.send(event="mark", streamSid=self.sid, mark={"name": name})

    def clear(self) -> None:
        self.send(event="clear", streamSid=self.sid)

    def send(self, **message: Any) -> None:
        try:
            self.ws.send(json.dumps(message))
        except simple_websocket.ConnectionClosed:
            pass  # the caller hung up in the same moment

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["event"] == event]


class TinyGateway:
    """Serves until closed; `replies` maps a path to what it answers."""

    def __init__(self, on_stream: Callable[[FarStream], None] | None = None) -> None:
        self.requests: list[Request] = []
        self.streams: Queue[FarStream] = Queue()
        """Each stream when its function has returned."""
        self.replies: dict[str, Reply | Callable[[Request], Reply]] = {}
        self.refuse_upgrade: bytes | None = None
        """Sent instead of a handshake."""
        self.on_upgrade: Callable[[BaseHTTPRequestHandler], None] | None = None
        """Does the handshake, or something else, in its own way."""
        self.subprotocols = ["audio.twilio.com"]
        self.on_stream = on_stream or (lambda stream: None)
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                gateway._answer(
                    self, dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
                )

            def do_GET(self) -> None:
                if self.headers.get("Upgrade", "").lower() == "websocket":
                    gateway._upgrade(self)
                else:
                    gateway._answer(self, dict(parse_qsl(urlsplit(self.path).query)))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # many calls may ring at once

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # the caller may hang up anywhere
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # closing waits for the streams, so that none leaks
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.webhook_url = f"{self.url}/webhook/incoming_call"
        self.replies["/webhook/incoming_call"] = self.twiml(self.connect())
        self.replies["/status"] = (204, None, b"")

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def connect(self, attributes: str = "", parameters: str = "", path: str = "/ws/twilio-media") -> str:
        """A <Connect> to ourselves, told in the words of production: wss://."""
        return (
            f'<Connect {attributes}><Stream url="wss://127.0.0.1:{self.port}{path}"'
            f' statusCallback="{self.url}/status">{parameters}</Stream></Connect>'
        )

    @staticmethod
    def twiml(verbs: str) -> Reply:
        return 200, "text/xml", f"<Response>{verbs}</Response>".encode()

    def requests_of(self, path: str) -> list[Request]:
        return [request for request in self.requests if urlsplit(request.path).path == path]

    def _answer(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        request = Request(handler.command, handler.path, dict(handler.headers.items()), form)
        self.requests.append(request)
        reply = self.replies.get(urlsplit(handler.path).path, (404, "text/plain", b"no such page"))
        status, content_type, body = reply(request) if callable(reply) else reply
        handler.send_response(status)
        if content_type:
            handler.send_header("Content-Type", content_type)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _upgrade(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        self.requests.append(Request("GET", handler.path, dict(handler.headers.items()), {}))
        if self.on_upgrade:
            self.on_upgrade(handler)
            return
        if self.refuse_upgrade is not None:
            handler.connection.sendall(self.refuse_upgrade)
            return
        environ = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in handler.headers.items()}
        environ["werkzeug.socket"] = handler.connection
        ws = simple_websocket.Server(environ, subprotocols=self.subprotocols)
        stream = FarStream(ws)
        try:
            self.on_stream(stream)
            if ws.connected:
                ws.close()
        except (EOFError, simple_websocket.ConnectionClosed):
            pass  # the caller hung up first
        finally:
            ws.thread.join(timeout=5)
            self.streams.put(stream)


def echo(stream: FarStream) -> None:
    """Every frame goes straight back."""
    for message in stream.messages():
        if message["event"] == "media":
            stream.play(base64.b64decode(message["media"]["payload"]))


def beep(stream: FarStream) -> None:
    """Say 100 ms of tone and stay on the line."""
    stream.until("start")
    stream.play(tone(100))
    for _ in stream.messages():
        pass


def mute(stream: FarStream) -> None:
    for _ in stream.messages():
        pass


def tone(ms: int) -> bytes:
    wave = (int(8000 * math.sin(math.tau * 400 * n / 8000)) for n in range(ms * 8))
    return from_pcm16(b"".join(sample.to_bytes(2, "little", signed=True) for sample in wave))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
