"""Did a request come from this gateway, and just now? How requests to businesses are signed.

    X-Kav-Timestamp: 1732118400                       seconds since 1970
    X-Kav-Signature: v1=hex(HMAC-SHA256(key, timestamp + "." + body))

A GET has no body: its path with the query stands in for it. `verify` is what a receiver does; it needs
nothing of this project, and docs/tools.md shows it as a few lines to copy.
"""

from __future__ import annotations

import hashlib
import hmac

MAX_AGE_S = 300
"""So far a receiver's clock may be off, and so long an overheard request would be taken again."""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Kav-Signature."""
    signed = timestamp.encode("ascii") + b"." + body
    return "v1=" + hmac.new(secret.encode("utf-8"), signed, hashlib.sha256).hexdigest()


def verify(secret: str, timestamp: str, body: bytes, signature: str, now_s: float) -> bool:
    """Whether a request is ours and not older than five minutes. `now_s` is wall-clock time.

    `timestamp` and `signature` are the two headers as they came, whoever sent them.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16) or not secret:
        return False
    expected = sign(secret, timestamp, body).encode("ascii")
    is_ours = hmac.compare_digest(expected, signature.encode("utf-8", "surrogatepass"))
    return is_ours and abs(now_s - int(timestamp)) <= MAX_AGE_S
