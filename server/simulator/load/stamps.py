"""When was this frame sent, and which one is it? The audio itself tells.

A frame is 160 bytes of μ-law. Its first 15 are a stamp: direction, flow, sequence number and the time
of sending (monotonic, ns). The rest swings from full scale to full scale, so that no noise gate takes
the frame for silence. Both far ends live in one process, so one clock judges both directions, and a
gateway that changes a single byte is found out.

15 bytes are 20 characters of base64 with nothing left over: the text of a frame is the stamp's text
followed by one that never changes.
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64encode

from server.audio.g711 import FRAME_BYTES

FROM_CALLER, FROM_MODEL = 0xA5, 0x5A
MAX_FLOWS = 1 << 16

_STAMP = struct.Struct(">BHIQ")
STAMP_CHARS = _STAMP.size // 3 * 4
_LOUD = b"\x00\x80" * FRAME_BYTES
_REST = _LOUD[: FRAME_BYTES - _STAMP.size]
REST_B64 = b64encode(_REST)
"""What follows the stamp's text in every payload."""
PAYLOAD_CHARS = STAMP_CHARS + len(REST_B64)

Stamp = tuple[int, int, int, int]
"""Direction, flow, sequence number, time of sending in ns."""


def stamp_b64(direction: int, flow: int, seq: int, sent_ns: int) -> bytes:
    """The 20 characters before `REST_B64`."""
    return binascii.b2a_base64(_STAMP.pack(direction, flow, seq, sent_ns), newline=False)


def frame(direction: int, flow: int, seq: int, sent_ns: int) -> bytes:
    """The whole frame, as bytes."""
    return _STAMP.pack(direction, flow, seq, sent_ns) + _REST


def read(payload_b64: bytes) -> list[Stamp] | None:
    """The stamps of a payload of one frame or several; None when a byte of it was changed."""
    if len(payload_b64) == PAYLOAD_CHARS:
        if payload_b64[STAMP_CHARS:] != REST_B64:
            return None
        try:
            return [_STAMP.unpack(binascii.a2b_base64(payload_b64[:STAMP_CHARS]))]
        except (binascii.Error, struct.error):
            return None
    return _read_many(payload_b64)


def _read_many(payload_b64: bytes) -> list[Stamp] | None:
    try:
        payload = binascii.a2b_base64(payload_b64, strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    if not payload or len(payload) % FRAME_BYTES:
        return None
    frames = [payload[at : at + FRAME_BYTES] for at in range(0, len(payload), FRAME_BYTES)]
    if any(one[_STAMP.size :] != _REST for one in frames):
        return None
    return [_STAMP.unpack_from(one) for one in frames]
