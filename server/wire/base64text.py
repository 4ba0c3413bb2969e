"""Base64 as both peers document it: the standard alphabet, padded, nothing before or after.

The standard library's strict mode is nearly that; before Python 3.13 it lets padding pass that stands
where none belongs (`QUJD=`, `QUJD====`), so the length must be what the bytes need.
"""

from __future__ import annotations

import binascii


def decode(text: str | bytes) -> bytes:
    """Raises ValueError (binascii.Error is one, and so is a text that is not ASCII)."""
    data = binascii.a2b_base64(text, strict_mode=True) if text else b""
    if len(text) != (len(data) + 2) // 3 * 4:
        raise ValueError("padding where none belongs")
    return data
