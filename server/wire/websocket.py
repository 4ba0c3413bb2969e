"""What do these bytes of a WebSocket mean, and which bytes say what we mean?

RFC 6455 framing with no socket: a `Receiver` eats bytes in any slices and returns whole
messages; `encode()` makes one frame. Both ends are served: the gateway is a server to Twilio
(whose frames are masked) and a client of the model (which masks its own).

Extensions are never negotiated, so the reserved bits must be zero (section 5.2). Sizes are
capped before a payload is read: a peer that announces 1 GB is refused at the frame's header.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN = 0x80
_RESERVED = 0x70
_WHOLE_TEXT = _FIN | TEXT


class CloseCode(IntEnum):
    """The status codes of RFC 6455 section 7.4.1 that this project sends or reads."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    BAD_UTF8 = 1007
    POLICY = 1008
    TOO_BIG = 1009
    SERVER_ERROR = 1011


@dataclass(slots=True)  # not frozen: made a hundred times a second for each call, and freezing triples that
class Text:
    """A whole text message; `data` is its UTF-8, already checked."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Binary:
    data: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer closes. `code` is 1005 when it gave none."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the protocol or a limit of ours: answer with this code and hang up.

    Always the last event; the receiver ignores whatever follows.
    """

    code: CloseCode
    reason: str


Event = Text | Binary | Ping | Pong | Close | Violation


def accept_key(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (section 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def mask_python(data: bytes, key: bytes) -> bytes:
    """XOR with the four-byte key, as one big integer: 1 μs for a media message."""
    n = len(data)
    pad = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(n, "little")


def _fastest_mask() -> Callable[[bytes, bytes], bytes]:
    try:
        from websockets.speedups import apply_mask
    except ImportError:  # a platform without the compiled wheel
        return mask_python
    return apply_mask


apply_mask = _fastest_mask()


def encode(opcode: int, payload: bytes, *, masked: bool = False) -> bytes:
    """One final frame. A client masks (section 5.3), a server never does."""
    n = len(payload)
    bit = 0x80 if masked else 0
    if n < 126:
        head = struct.pack("!BB", _FIN | opcode, bit | n)
    elif n < 65536:
        head = struct.pack("!BBH", _FIN | opcode, bit | 126, n)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, bit | 127, n)
    if not masked:
        return head + payload
    key = _mask_keys.take()
    return head + key + apply_mask(payload, key)


class _MaskKeys:
    """Unpredictable keys, as section 10.3 asks, fetched from the system a thousand at a time."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def take(self) -> bytes:
        at = self._at
        if at >= len(self._pool):
            self._pool, at = os.urandom(4096), 0
        self._at = at + 4
        return self._pool[at : at + 4]


_mask_keys = _MaskKeys()


def encode_text(text: bytes, *, masked: bool) -> bytes:
    """`encode(TEXT, …)` for messages of 126 to 65,535 bytes: what media frames are."""
    n = len(text)
    if not 126 <= n < 65536:
        return encode(TEXT, text, masked=masked)
    if not masked:
        return b"\x81\x7e%c%c%b" % (n >> 8, n & 0xFF, text)
    key = _mask_keys.take()
    return b"\x81\xfe%c%c%b%b" % (n >> 8, n & 0xFF, key, apply_mask(text, key))


def encode_close(code: int, reason: str = "", *, masked: bool = False) -> bytes:
    """A close frame; the reason is cut to what a control frame holds (123 bytes, whole characters)."""
    if code in (CloseCode.NO_STATUS, CloseCode.ABNORMAL):
        return encode(CLOSE, b"", masked=masked)
    text = reason.encode("utf-8")[:123].decode("utf-8", "ignore").encode("utf-8")
    return encode(CLOSE, struct.pack("!H", code) + text, masked=masked)


class Receiver:
    """Turns a peer's bytes into events, one message at a time, within limits.

    `expect_mask` is true for a server. `max_message_bytes` bounds a message over all its
    fragments, `max_fragments` their number: a flood of tiny ones costs a frame's work each.
    """

    def __init__(self, *, expect_mask: bool, max_message_bytes: int, max_fragments: int = 64) -> None:
        self._expect_mask = expect_mask
        self._two_byte_length = 0x80 | 126 if expect_mask else 126
        self._max_message_bytes = max_message_bytes
        self._max_fragments = max_fragments
        self._buffer = bytearray()
        self._opcode = 0  # of the message being assembled, 0 between messages
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._done = False

    @property
    def is_mid_message(self) -> bool:
        """Bytes of an unfinished frame or message are held: a peer may stall here for ever."""
        return not self._done and bool(self._buffer or self._opcode)

    def whole_text(self, data: bytes) -> bytes | None:
        """The text, when `data` is exactly one unfragmented text frame of 126 to 65,535 bytes in ASCII.

        That is what nearly every read of a call brings. None, and nothing taken, for all else.
        """
        n = len(data) - (8 if self._expect_mask else 4)
        if (
            n < 126
            or data[0] != _WHOLE_TEXT
            or data[1] != self._two_byte_length
            or (data[2] << 8) | data[3] != n
            or n > self._max_message_bytes
            or self._buffer
            or self._opcode
            or self._done
        ):
            return None
        text = apply_mask(data[8:], data[4:8]) if self._expect_mask else data[4:]
        return text if text.isascii() else None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes from the socket; return what they complete, in order."""
        events: list[Event] = []
        if self._done:
            return events
        held = self._buffer
        buffer: bytes | bytearray = data
        if held:
            held += data
            buffer = held
        at, end = 0, len(buffer)
        while not self._done and end - at >= 2:
            first, second = buffer[at], buffer[at + 1]
            length = second & 0x7F
            masked = second >= 0x80
            body = at + 2
            is_plain = first == _WHOLE_TEXT and masked is self._expect_mask and not self._opcode
            if not is_plain and (refusal := self._refuse_header(first, second, length)) is not None:
                self._violate(events, *refusal)
                break
            if length == 126:
                if end < body + 2:
                    break
                length = (buffer[body] << 8) | buffer[body + 1]
                body += 2
                if length < 126:
                    self._violate(events, CloseCode.PROTOCOL_ERROR, "length not in its shortest form")
                    break
            elif length == 127:
                if end < body + 8:
                    break
                length = int.from_bytes(buffer[body : body + 8], "big")
                body += 8
                if length < 65536 or length >> 63:
                    self._violate(events, CloseCode.PROTOCOL_ERROR, "length not in its shortest form")
                    break
            if self._parts_bytes + length > self._max_message_bytes and not first & CLOSE:
                limit = self._max_message_bytes
                self._violate(events, CloseCode.TOO_BIG, f"message over {limit} bytes")
                break
            start = body + 4 if masked else body
            if end < start + length:
                break
            at = start + length
            payload = bytes(buffer[start:at])
            if masked:
                payload = apply_mask(payload, bytes(buffer[body : body + 4]))
            if is_plain and payload.isascii():
                events.append(Text(payload))
            else:
                self._frame(events, first & 0x0F, bool(first & _FIN), payload)
        if events and isinstance(events[-1], Close | Violation):
            held.clear()
        elif held:
            del held[:at]
        elif at < end:
            held += buffer[at:]
        return events

    def _refuse_header(self, first: int, second: int, length: int) -> tuple[CloseCode, str] | None:
        """What the first two bytes already forbid (sections 5.1, 5.2, 5.4, 5.5)."""
        opcode, final = first & 0x0F, bool(first & _FIN)
        if first & _RESERVED:
            return CloseCode.PROTOCOL_ERROR, "reserved bits set, no extension was negotiated"
        if bool(second & 0x80) != self._expect_mask:
            return CloseCode.PROTOCOL_ERROR, "frame not masked" if self._expect_mask else "frame masked"
        if opcode in (CLOSE, PING, PONG):
            if not final or length > 125:
                return CloseCode.PROTOCOL_ERROR, "control frame fragmented or over 125 bytes"
        elif opcode == CONTINUATION:
            if not self._opcode:
                return CloseCode.PROTOCOL_ERROR, "continuation without a message"
        elif opcode in (TEXT, BINARY):
            if self._opcode:
                return CloseCode.PROTOCOL_ERROR, "new message inside a fragmented one"
        else:
            return CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}"
        return None

    def _frame(self, events: list[Event], opcode: int, final: bool, payload: bytes) -> None:
        if opcode == PING:
            events.append(Ping(payload))
        elif opcode == PONG:
            events.append(Pong(payload))
        elif opcode == CLOSE:
            self._close(events, payload)
        elif final and opcode != CONTINUATION:
            self._message(events, opcode, payload)
        else:
            self._opcode = self._opcode or opcode
            self._parts.append(payload)
            self._parts_bytes += len(payload)
            if len(self._parts) > self._max_fragments:
                self._violate(events, CloseCode.TOO_BIG, f"message of over {self._max_fragments} fragments")
            elif final:
                whole, opcode = b"".join(self._parts), self._opcode
                self._opcode, self._parts, self._parts_bytes = 0, [], 0
                self._message(events, opcode, whole)

    def _message(self, events: list[Event], opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            events.append(Binary(payload))
        elif payload.isascii() or _is_utf8(payload):
            events.append(Text(payload))
        else:
            self._violate(events, CloseCode.BAD_UTF8, "text is not UTF-8")

    def _close(self, events: list[Event], payload: bytes) -> None:
        if not payload:
            self._done = True
            events.append(Close(CloseCode.NO_STATUS, ""))
            return
        code = int.from_bytes(payload[:2], "big")
        if len(payload) == 1 or not _is_close_code(code):
            self._violate(events, CloseCode.PROTOCOL_ERROR, "bad close code")
        elif not _is_utf8(payload[2:]):
            self._violate(events, CloseCode.BAD_UTF8, "close reason is not UTF-8")
        else:
            self._done = True
            events.append(Close(code, payload[2:].decode("utf-8")))

    def _violate(self, events: list[Event], code: CloseCode, reason: str) -> None:
        self._done = True
        events.append(Violation(code, reason))


class CloseFinder:
    """After our own close: has the peer answered it? Looks at frame headers only, skips all else.

    Begins at whatever byte comes, perhaps within a frame, so it takes what looks like a peer's close
    frame at the end of the bytes for one. Being wrong costs nothing: the connection ends anyway.
    """

    def __init__(self, *, expect_mask: bool) -> None:
        self._head = 0x80 if expect_mask else 0
        self._tail = b""

    def feed(self, data: bytes) -> bool:
        """True once the bytes so far end in a close frame."""
        tail = (self._tail + data[-MAX_CLOSE_FRAME:])[-MAX_CLOSE_FRAME:]
        self._tail = tail
        at = tail.rfind(b"\x88")
        while at >= 0:
            second = tail[at + 1] if at + 1 < len(tail) else 0xFF  # a mask or a reason may end in 0x88 too
            size = 2 + (4 if second & 0x80 else 0) + (second & 0x7F)
            if second & 0x80 == self._head and at + size == len(tail):
                return True
            at = tail.rfind(b"\x88", 0, at)
        return False


MAX_CLOSE_FRAME = 2 + 4 + 125


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_close_code(code: int) -> bool:
    """Codes a peer may send (section 7.4 and the IANA registry: 1012-1014 were added later)."""
    return code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999
