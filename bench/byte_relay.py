"""The least a relay can do in Python: the floor for `python -m server bench`, not a product.

One epoll, non-blocking sockets, no queue, no voice detection, no marks, no parsing: a payload is found by
its name, cut out, and put into a prebuilt frame for the other side. Frames to the model are masked with
zeros, which costs nothing. What a peer does not take at once is lost. The reference shows how much of a
gateway's time is the kernel's and the framing's, and so cannot be saved.
PORT, OPENAI_REALTIME_URL and OPENAI_API_KEY are its settings.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

from server.wire import handshake
from server.wire.websocket import apply_mask

PORT = int(os.environ["PORT"])
MODEL = urlsplit(os.environ["OPENAI_REALTIME_URL"])
MODEL_KEY = os.environ["OPENAI_API_KEY"]

PAYLOAD_CHARS = 216
"""20 ms of μ-law in base64; nothing else is carried."""
APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def head(n: int, mask: bytes) -> bytes:
    """The head of a text frame of `n` bytes, 126 to 65,535; `mask` is b"" for a server."""
    return struct.pack("!BBH", 0x81, (0x80 if mask else 0) | 126, n) + mask


APPEND = head(len(APPEND_HEAD) + PAYLOAD_CHARS + 2, bytes(4)) + APPEND_HEAD
epoll = select.epoll()
readers: dict[int, Callable[[], None]] = {}
contexts: list[ssl.SSLContext] = [ssl.create_default_context()] if MODEL.scheme == "wss" else []


class Leg:
    """One side of a call: frames in, unmasked."""

    def __init__(
        self, sock: socket.socket, on_text: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._on_text = on_text
        self._on_end = on_end
        self._rest = b""
        sock.setblocking(False)
        readers[sock.fileno()] = self._read
        epoll.register(sock.fileno(), select.EPOLLIN)

    def send(self, data: bytes) -> None:
        try:
            self._sock.send(data)
        except NOT_NOW:
            pass
        except OSError:
            self._on_end()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            del readers[self._sock.fileno()]
            epoll.unregister(self._sock.fileno())
            self._sock.close()

    def _read(self) -> None:
        while self._sock.fileno() >= 0:
            try:
                data = self._sock.recv(65536)
            except NOT_NOW:
                return
            except OSError:
                data = b""
            if not data:
                self._on_end()
                return
            self._split(self._rest + data)
            if self._tls is None or not self._tls.pending():
                return

    def _split(self, data: bytes) -> None:
        at, end = 0, len(data)
        while end - at >= 2:
            second = data[at + 1]
            n, body = second & 0x7F, at + 2
            if n == 126:
                n, body = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            start = body + 4 if second & 0x80 else body
            if n == 127 or start + n > end:
                break
            payload = data[start : start + n]
            if start != body:
                payload = apply_mask(payload, data[body:start])
            if data[at] == 0x81:
                self._on_text(payload)
            elif data[at] == 0x88:
                self._on_end()
                return
            at = start + n
        self._rest = data[at:]


class Call:
    def __init__(self, sock: socket.socket) -> None:
        self._model: Leg | None = None
        self._media = b""
        self._caller = Leg(sock, self._from_caller, self._end)

    def _from_caller(self, text: bytes) -> None:
        at = text.find(b'"payload":"')
        if at >= 0 and self._model is not None:
            self._model.send(b'%b%b"}' % (APPEND, text[at + 11 : at + 11 + PAYLOAD_CHARS]))
        elif b'"event":"start"' in text:
            media = b'{"event":"media","streamSid":"%s","media":{"payload":"' % (
                json.loads(text)["start"]["streamSid"].encode()
            )
            self._media = head(len(media) + PAYLOAD_CHARS + 3, b"") + media
            self._model = Leg(open_model(), self._from_model, self._end)
            self._say({"type": "session.update", "session": {"type": "realtime", "instructions": "-" * 99}})
            self._say({"type": "response.create", "response": {"instructions": "-" * 99}})

    def _from_model(self, text: bytes) -> None:
        at = text.find(b'"delta":"')
        if at >= 0:
            self._caller.send(b'%b%b"}}' % (self._media, text[at + 9 : at + 9 + PAYLOAD_CHARS]))

    def _say(self, event: dict[str, object]) -> None:
        data = json.dumps(event).encode()
        if self._model is not None:
            self._model.send(head(len(data), bytes(4)) + data)

    def _end(self) -> None:
        self._caller.close()
        if self._model is not None:
            self._model.close()


def open_model() -> socket.socket:
    """A connected and upgraded socket. Blocks: on loopback that is nothing."""
    host, port = MODEL.hostname or "", MODEL.port or 443
    sock = socket.create_connection((host, port), 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for context in contexts:
        sock = context.wrap_socket(sock, server_hostname=host)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        (
            f"GET {MODEL.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {MODEL_KEY}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):  # byte by byte: what follows is the first event
        answer += sock.recv(1)
    return sock


def answer_http(sock: socket.socket) -> None:
    """The webhook, the upgrade, or any other request: one, complete in its first packet."""
    sock.settimeout(5)
    request = sock.recv(65536).decode("latin-1")
    lines = request.partition("\r\n\r\n")[0].split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "sec-websocket-key" in headers:
        sock.sendall(handshake.response(headers))
        Call(sock)
        return
    body = f'<Response><Connect><Stream url="wss://{headers.get("host")}/media"/></Connect></Response>'
    sock.sendall(
        f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    sock.close()


def accept_one(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        answer_http(sock)
    except OSError:
        sock.close()


def main() -> None:
    with socket.create_server(("127.0.0.1", PORT), backlog=1024) as listener:
        readers[listener.fileno()] = lambda: accept_one(listener)
        epoll.register(listener.fileno(), select.EPOLLIN)
        while True:
            for fileno, _ in epoll.poll():
                if fileno in readers:
                    readers[fileno]()


if __name__ == "__main__":
    main()
