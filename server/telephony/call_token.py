"""May this stream begin?

Twilio signs the WebSocket's upgrade, but only deployments with a token can check that, and any
address may open the socket. So each webhook hands out a token that the stream must bring back in
`start.customParameters` (Twilio strips query strings): an HMAC over the CallSid, an expiry and a
nonce. It is good for 120 s and for one stream, so that one overheard is worth nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from enum import StrEnum

VALID_S = 120
CLOCK_SLACK_S = 60
"""A clock that was set back between webhook and stream must not refuse the caller."""
MAX_REMEMBERED = 50_000


class TokenVerdict(StrEnum):
    GOOD = "good"
    MISSING = "no token"
    FORGED = "not a token of ours, or of another call"
    EXPIRED = "expired"
    USED = "used before"


class CallTokens:
    """Issues tokens and takes each of them once. One instance per process and secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._used: dict[int, set[int]] = {}  # second of expiry -> nonces taken: 0.1 kB a call
        self._used_count = 0

    @classmethod
    def for_deployment(cls, auth_tokens: tuple[str, ...]) -> CallTokens:
        """From Twilio's token all processes derive one secret; without it, one of this process only."""
        if not auth_tokens:
            return cls(secrets.token_bytes(32))
        return cls(hashlib.sha256(b"kav call token\0" + auth_tokens[0].encode("utf-8")).digest())

    def issue(self, call_sid: str, now_s: float) -> str:
        """A token for this call. `now_s` is wall-clock time: another process may check it."""
        expires = int(now_s) + VALID_S
        nonce = secrets.token_hex(8)
        return f"{expires}.{nonce}.{self._mac(call_sid, expires, nonce)}"

    def take(self, token: str | None, call_sid: str, now_s: float) -> TokenVerdict:
        """Judge a token, and use it up if it is good."""
        if not token:
            return TokenVerdict.MISSING
        expires_text, _, rest = token.partition(".")
        nonce, _, mac = rest.partition(".")
        if not (expires_text.isascii() and expires_text.isdigit() and len(expires_text) < 16):
            return TokenVerdict.FORGED
        expires = int(expires_text)
        if not hmac.compare_digest(
            mac.encode("utf-8", "surrogatepass"), self._mac(call_sid, expires, nonce).encode("ascii")
        ):
            return TokenVerdict.FORGED
        if now_s > expires + CLOCK_SLACK_S:
            return TokenVerdict.EXPIRED
        number = int(nonce, 16)  # ours, as the MAC proves
        if number in self._used.get(expires, ()):
            return TokenVerdict.USED
        self._forget(now_s)
        self._used.setdefault(expires, set()).add(number)
        self._used_count += 1
        return TokenVerdict.GOOD

    def _forget(self, now_s: float) -> None:
        """Drop expired nonces. Seconds come nearly in order: look at the first."""
        while self._used:
            oldest = next(iter(self._used))
            if oldest + CLOCK_SLACK_S >= now_s and self._used_count < MAX_REMEMBERED:
                return
            self._used_count -= len(self._used.pop(oldest))

    def _mac(self, call_sid: str, expires: int, nonce: str) -> str:
        message = f"{call_sid}\0{expires}\0{nonce}".encode("utf-8", "surrogatepass")
        digest = hmac.new(self._secret, message, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:18]).decode("ascii")
