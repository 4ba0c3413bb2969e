"""WebSocket framing for the load: only what its peers send, as fast as Python goes.

`server.wire` judges whatever a stranger may send; a load that did so would be busier than what it
loads. Here the peers are known: whole messages of at most 64 kB, extensions never agreed on.
"""

from __future__ import annotations

import os
import struct

from server.wire.websocket import apply_mask

_NO_MASK = bytes(4)
_heads: dict[int, bytes] = {}


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(opcode, payload) of each whole frame, unmasked, and the bytes left over."""
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        second = data[at + 1]
        length, body = second & 0x7F, at + 2
        if length == 126:
            if end < at + 4:
                break
            length, body = (data[at + 2] << 8) | data[at + 3], at + 4
        elif length == 127:
            if end < at + 10:
                break
            length, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        start = body + 4 if second & 0x80 else body
        stop = start + length
        if stop > end:
            break
        payload = data[start:stop]
        if start != body and (key := data[body:start]) != _NO_MASK:
            payload = apply_mask(payload, key)
        found.append((data[at] & 0x0F, payload))
        at = stop
    return found, data[at:]


def _head(n: int) -> bytes:
    """An unmasked text frame's head. Kept, for there are few lengths."""
    head = _heads.get(n)
    if head is None:
        form = "!BB" if n < 126 else "!BBH" if n < 65536 else "!BBQ"
        size = (n,) if n < 126 else (126, n) if n < 65536 else (127, n)
        head = _heads[n] = struct.pack(form, 0x81, *size)
    return head


def text(payload: bytes) -> bytes:
    """A server's text frame."""
    return _head(len(payload)) + payload


class Masker:
    """A client's text frames. One key for the whole connection, and not the key of zeros, for which
    some peers skip the unmasking: none shall be spared what a real caller asks of it."""

    def __init__(self) -> None:
        self._key = os.urandom(3) + b"\x01"
        self._heads: dict[int, bytes] = {}

    def text(self, payload: bytes) -> bytes:
        n = len(payload)
        head = self._heads.get(n)
        if head is None:
            plain = _head(n)
            head = self._heads[n] = plain[:1] + bytes((plain[1] | 0x80,)) + plain[2:] + self._key
        return head + apply_mask(payload, self._key)


def quoted(message: bytes, name: bytes) -> bytes | None:
    """The text value of `name` (given with its quotes) in a JSON message; spaces or not."""
    at = message.find(name)
    if at < 0:
        return None
    start = message.find(b'"', at + len(name)) + 1
    stop = message.find(b'"', start)
    return message[start:stop] if 0 < start <= stop else None
