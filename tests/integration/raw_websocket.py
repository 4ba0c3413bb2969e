"""A WebSocket client that can do everything wrong.

It shares no framing code with the server: frames are put together bit by bit here, sent in whatever
slices a test wants, and read back as they came. Every wait has a deadline, and time is never used to
find out whether something has happened.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MEDIA_PATH = "/ws/twilio-media"
SUBPROTOCOL = "audio.twilio.com"
FRAME_BYTES = 160
WAIT_S = 3.0
"""How long a test waits for what must come: far more than it takes, for a busy machine."""

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_serial = itertools.count(1)


class Ended(Exception):
    """The server's side of the TCP connection is over."""


@dataclass(frozen=True, slots=True)
class Frame:
    opcode: int
    payload: bytes
    is_final: bool = True
    reserved: int = 0
    is_masked: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's head; `body` is what came in the same moment or by its Content-Length."""

    status: int
    headers: dict[str, str]
    body: bytes


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length_form: int | None = None,
    announced: int | None = None,
) -> bytes:
    """One frame of a client. `length_form` 0, 126 or 127 forces how the length is written;
    `announced` is the length it claims, whatever follows."""
    n = len(payload) if announced is None else announced
    if length_form is None:
        length_form = 0 if n < 126 else 126 if n < 65536 else 127
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if length_form == 0:
        head += bytes([bit | n])
    elif length_form == 126:
        head += struct.pack("!BH", bit | 126, n)
    else:
        head += struct.pack("!BQ", bit | 127, n)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + _mixed(payload, key)


def _mixed(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask."""
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return mixed.to_bytes(len(payload), "big")


def text(words: str | bytes, **how: Any) -> bytes:
    return frame(TEXT, words.encode() if isinstance(words, str) else words, **how)


def close(code: int = 1000, reason: str | bytes = b"") -> bytes:
    tail = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, struct.pack("!H", code) + tail)


def fragments(opcode: int, *parts: bytes) -> list[bytes]:
    """One message, one frame a part."""
    last = len(parts) - 1
    return [frame(CONTINUATION if i else opcode, part, final=i == last) for i, part in enumerate(parts)]


def upgrade_request(
    port: int,
    path: str = MEDIA_PATH,
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    headers: Mapping[str, str | None] | None = None,
    more: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A handshake. `headers` replaces one by name, or takes it away with None; `more` adds lines."""
    lines: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **(headers or {}),
    }
    pairs = [(name, value) for name, value in lines.items() if value is not None]
    pairs += more
    head = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"{method} {path} {version}\r\n{head}\r\n".encode()


def accept_key(request: bytes) -> str:
    """What the server must answer to the key in this request."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert key is not None
    return base64.b64encode(hashlib.sha1(key[1] + _GUID.encode()).digest()).decode()


def tcp(port: int, *, receive_buffer: int | None = None) -> socket.socket:
    """A connection. A small `receive_buffer` makes a peer that does not read felt soon."""
    sock = socket.socket()
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(WAIT_S)
        sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def http(port: int, request: bytes, timeout_s: float = WAIT_S) -> Answer:
    """Send these bytes on a connection of their own and read one answer. Raises Ended."""
    with tcp(port) as sock:
        try:
            sock.sendall(request)
        except OSError:
            pass  # refused before the end of a large body: the answer is there all the same
        return read_answer(sock, timeout_s)[0]


def post(
    port: int,
    path: str,
    form: Mapping[str, str] | Iterable[tuple[str, str]] | bytes = b"",
    headers: Mapping[str, str | None] | None = None,
    timeout_s: float = WAIT_S,
) -> Answer:
    """A form POST as Twilio makes it."""
    if isinstance(form, bytes):
        body = form
    else:
        body = urlencode(list(form.items() if isinstance(form, Mapping) else form)).encode()
    lines: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return http(
        port, f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body, timeout_s
    )


def get(port: int, path: str) -> Answer:
    return http(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())


def read_answer(sock: socket.socket, timeout_s: float = WAIT_S) -> tuple[Answer, bytes]:
    """The head and body of one answer, and what came behind it. Raises Ended."""
    until = time.monotonic() + timeout_s
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock, until)
    head, _, rest = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(status_line.split()[1])
    length = 0 if status in (101, 204, 304) else int(headers.get("content-length", 0))
    while len(rest) < length:
        rest += _some(sock, until)
    return Answer(status, headers, rest[:length]), rest[length:]


def _some(sock: socket.socket, until: float, limit: int = 65536) -> bytes:
    sock.settimeout(max(0.001, until - time.monotonic()))
    try:
        data = sock.recv(limit)
    except TimeoutError:
        raise AssertionError("nothing came in time") from None
    except OSError as error:
        raise Ended(str(error)) from error
    if not data:
        raise Ended("end of stream")
    return data


class RawWebSocket:
    """An opened WebSocket: a socket, and what has been read of it."""

    def __init__(self, sock: socket.socket, answer: Answer, rest: bytes = b"") -> None:
        self.sock = sock
        self.answer = answer
        self._buffer = bytearray(rest)

    @classmethod
    def open(
        cls, port: int, path: str = MEDIA_PATH, *, receive_buffer: int | None = None, **how: Any
    ) -> Self:
        """Connect and shake hands; the answer must be 101."""
        sock = tcp(port, receive_buffer=receive_buffer)
        try:
            request = upgrade_request(port, path, **how)
            sock.sendall(request)
            answer, rest = read_answer(sock)
            assert answer.status == 101, f"{answer.status} {answer.body!r}"
            assert answer.headers["sec-websocket-accept"] == accept_key(request)
        except BaseException:
            sock.close()
            raise
        return cls(sock, answer, rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, *frames: bytes) -> None:
        """All of these in one write, as far as the server takes them. Raises Ended."""
        self.sock.settimeout(WAIT_S)
        try:
            self.sock.sendall(b"".join(frames))
        except TimeoutError:
            raise AssertionError("the server does not read") from None
        except OSError as error:
            raise Ended(str(error)) from error

    def try_send(self, *frames: bytes) -> bool:
        """Like `send` to a peer that may hang up meanwhile."""
        try:
            self.send(*frames)
        except Ended:
            return False
        return True

    def send_sliced(self, data: bytes, size: int = 1) -> None:
        """`size` bytes a write."""
        for at in range(0, len(data), size):
            self.send(data[at : at + size])

    def read_frame(self, timeout_s: float = WAIT_S) -> Frame:
        """The next frame. Raises Ended; AssertionError when none comes."""
        until = time.monotonic() + timeout_s
        while True:
            got = _parse(self._buffer)
            if got is not None:
                return got
            self._buffer += _some(self.sock, until)

    def read_until(self, opcode: int, timeout_s: float = WAIT_S) -> Frame:
        """The next frame of this kind; others are passed over. Raises Ended."""
        until = time.monotonic() + timeout_s
        while True:
            got = self.read_frame(max(0.001, until - time.monotonic()))
            if got.opcode == opcode:
                return got

    def read_close(self, timeout_s: float = WAIT_S) -> tuple[int, str]:
        """The server's close frame: code (1005 without one) and reason. Raises Ended."""
        payload = self.read_until(CLOSE, timeout_s).payload
        if not payload:
            return 1005, ""
        return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8")

    def read_to_end(self, timeout_s: float = WAIT_S) -> list[Frame]:
        """Every frame until the server ends the connection."""
        frames = []
        until = time.monotonic() + timeout_s
        try:
            while True:
                frames.append(self.read_frame(max(0.001, until - time.monotonic())))
        except Ended:
            return frames

    def closed_with(self, timeout_s: float = WAIT_S) -> int:
        """The code the server closes with. We answer and end our side of TCP; it must end its own."""
        code, _ = self.read_close(timeout_s)
        if self.try_send(close(code) if code != 1005 else frame(CLOSE)):
            self.end_writing()
        self.read_to_end(timeout_s)
        return code

    def end_writing(self) -> None:
        """FIN, while we go on reading."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server was faster


def _parse(buffer: bytearray) -> Frame | None:
    """Take one whole frame off the buffer's front."""
    if len(buffer) < 2:
        return None
    length, body = buffer[1] & 0x7F, 2
    if length >= 126:
        width = 2 if length == 126 else 8
        if len(buffer) < 2 + width:
            return None
        length, body = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
    is_masked = bool(buffer[1] & 0x80)
    body += 4 if is_masked else 0
    if len(buffer) < body + length:
        return None
    payload = bytes(buffer[body : body + length])
    if is_masked:
        payload = _mixed(payload, bytes(buffer[body - 4 : body]))
    got = Frame(
        buffer[0] & 0x0F,
        payload,
        bool(buffer[0] & 0x80),
        (buffer[0] >> 4) & 7,
        is_masked,
    )
    del buffer[: body + length]
    return got


def sid(prefix: str) -> str:
    """A SID of Twilio's shape that no other call of this run has, not even in its first characters."""
    return f"{prefix}{next(_serial):06x}{os.urandom(13).hex()}"


def audio(number: int, size: int = FRAME_BYTES) -> bytes:
    """Audio that tells its number: every such piece differs from every other."""
    seed = hashlib.sha256(number.to_bytes(8, "big")).digest()
    return (number.to_bytes(4, "big") + seed * (size // len(seed) + 1))[:size]


def event(name: str, **fields: Any) -> bytes:
    return text(json.dumps({"event": name, **fields}, separators=(",", ":")))


def connected() -> bytes:
    return event("connected", protocol="Call", version="1.0.0")


def start_message(stream_sid: str, call_sid: str, token: str | None = None, **changes: Any) -> dict[str, Any]:
    """`start` as Twilio sends it; `changes` replaces fields of its inner object, None takes them away."""
    parameters = {"call_sid": call_sid} | ({"token": token} if token is not None else {})
    inner: dict[str, Any] = {
        "streamSid": stream_sid,
        "accountSid": "AC" + "0" * 32,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
        **changes,
    }
    inner = {name: value for name, value in inner.items() if value is not None}
    message = {"event": "start", "sequenceNumber": "1", "start": inner, "streamSid": stream_sid}
    return {name: value for name, value in message.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs as Twilio does for a deployment that checks it."""

    base_url: str
    auth_token: str

    def webhook(self, path: str, form: Mapping[str, str]) -> dict[str, str | None]:
        return signature(self.base_url + path, form, self.auth_token)

    def upgrade(self) -> dict[str, str | None]:
        return signature("wss" + self.base_url.removeprefix("https") + MEDIA_PATH, {}, self.auth_token)


def signature(url: str, form: Mapping[str, str], auth_token: str) -> dict[str, str | None]:
    """Twilio's header: an HMAC over the URL and the sorted fields."""
    signed = url + "".join(name + value for name, value in sorted(form.items()))
    digest = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()
    return {"X-Twilio-Signature": base64.b64encode(digest).decode()}


def incoming_call(
    port: int, call_sid: str, headers: Mapping[str, str | None] | None = None, **form: str
) -> dict[str, str]:
    """Ask the webhook as Twilio does; the stream's `<Parameter>`s of its answer."""
    answer = post(port, "/webhook/incoming_call", {"CallSid": call_sid, **form}, headers)
    assert answer.status == 200, f"{answer.status} {answer.body!r}"
    return dict(re.findall(r'<Parameter name="(\w+)" value="([^"]*)"', answer.body.decode("utf-8")))


@dataclass
class EchoCall:
    """A stream that has started, on a server in echo mode."""

    ws: RawWebSocket
    call_sid: str
    stream_sid: str
    token: str = ""
    chunks: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ws.sock.close()

    @property
    def tag(self) -> str:
        """How the server's log names this call."""
        return self.call_sid[:8]

    def media_message(self, payload: bytes, /, **changes: Any) -> dict[str, Any]:
        """`media` as Twilio sends it; `changes` replaces fields of its inner object."""
        chunk = next(self.chunks)
        inner: dict[str, Any] = {
            "track": "inbound",
            "chunk": str(chunk),
            "timestamp": str(chunk * 20),
            "payload": base64.b64encode(payload).decode(),
            **changes,
        }
        inner = {name: value for name, value in inner.items() if value is not None}
        return {
            "event": "media",
            "sequenceNumber": str(chunk + 1),
            "media": inner,
            "streamSid": self.stream_sid,
        }

    def media_json(self, payload: bytes, /, **changes: Any) -> bytes:
        return json.dumps(self.media_message(payload, **changes), separators=(",", ":")).encode()

    def media(self, payload: bytes, /, **changes: Any) -> bytes:
        return text(self.media_json(payload, **changes))

    def mark(self, name: str) -> bytes:
        return event("mark", streamSid=self.stream_sid, mark={"name": name})

    def stop(self) -> bytes:
        stop = {"accountSid": "AC" + "0" * 32, "callSid": self.call_sid}
        return event("stop", streamSid=self.stream_sid, stop=stop)

    def next_audio(self, timeout_s: float = WAIT_S) -> bytes:
        """The next frame the caller would hear; each is checked to be exactly what Twilio accepts."""
        until = time.monotonic() + timeout_s
        while True:
            got = self.ws.read_until(TEXT, max(0.001, until - time.monotonic()))
            message = json.loads(got.payload)
            assert message["streamSid"] == self.stream_sid
            if message["event"] == "media":
                assert set(message) == {"event", "streamSid", "media"}
                assert set(message["media"]) == {"payload"}
                heard = base64.b64decode(message["media"]["payload"], validate=True)
                assert len(heard) == FRAME_BYTES
                return heard
            assert message["event"] == "mark", message["event"]

    def echoes(self, timeout_s: float = WAIT_S) -> None:
        """Prove that the call still works: a frame never sent before comes back, byte for byte.

        Frames of earlier messages may come first.
        """
        payload = os.urandom(FRAME_BYTES)
        self.ws.send(self.media(payload))
        until = time.monotonic() + timeout_s
        while self.next_audio(max(0.001, until - time.monotonic())) != payload:
            pass

    def hang_up(self) -> int:
        """Say `stop` as Twilio does when the caller hangs up; the code of the server's close."""
        self.ws.send(self.stop())
        return self.ws.closed_with()


def start_call(
    port: int,
    *,
    call_sid: str | None = None,
    receive_buffer: int | None = None,
    signer: Signer | None = None,
) -> EchoCall:
    """A whole call: the webhook, the handshake, `connected`, and `start` with the webhook's token."""
    call_sid, stream_sid = call_sid or sid("CA"), sid("MZ")
    form = {"CallSid": call_sid}
    signed = signer.webhook("/webhook/incoming_call", form) if signer else None
    token = incoming_call(port, call_sid, signed)["token"]
    ws = RawWebSocket.open(port, receive_buffer=receive_buffer, headers=signer.upgrade() if signer else None)
    ws.send(connected(), start(stream_sid, call_sid, token))
    return EchoCall(ws, call_sid, stream_sid, token)


def start(stream_sid: str, call_sid: str, token: str | None = None, **changes: Any) -> bytes:
    return text(json.dumps(start_message(stream_sid, call_sid, token, **changes)))


def metric(port: int, name: str, **labels: str) -> float:
    """A value of `/metrics`; 0 when it is not there yet."""
    wanted = name + (
        "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
    )
    for line in get(port, "/metrics").body.decode().splitlines():
        if line.startswith(wanted + " "):
            return float(line.rpartition(" ")[2])
    return 0.0
