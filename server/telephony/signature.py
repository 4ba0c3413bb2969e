"""Did Twilio send this?

`X-Twilio-Signature` is an HMAC over the URL as Twilio was given it, and the form's fields. Behind
a proxy the request itself shows another scheme, host or port, so the URL is built from the public
base, never from the Host header when a base is configured: a forged Host must not choose what is
checked. Twilio signs a stream's upgrade over the `wss` URL of the TwiML, at times with a trailing
slash or the port written out, so these spellings of the one URL are tried.

`twilio`'s validator raises TypeError for a missing header; here that is simply False.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"


class SignatureCheck:
    """Holds one validator per auth token: two are valid while a token is being rotated."""

    def __init__(self, auth_tokens: tuple[str, ...]) -> None:
        self._validators = [RequestValidator(token) for token in auth_tokens]

    @property
    def is_on(self) -> bool:
        return bool(self._validators)

    def is_signed(self, url: str, form: Mapping[str, object], signature: str | None) -> bool:
        """Whether a form POST to `url` carries a signature of one of the tokens."""
        if not signature or not _has_host(url):
            return False
        return any(v.validate(url, form, signature) for v in self._validators)

    def is_signed_upgrade(self, url: str, signature: str | None) -> bool:
        """Whether a WebSocket upgrade of `url` (wss or https) is signed, in any spelling of it."""
        return _has_host(url) and any(self.is_signed(spelling, {}, signature) for spelling in _spellings(url))


def _has_host(url: str) -> bool:
    """Whether host and port can be read: of no other address could Twilio have signed a request."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _spellings(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    hosts = [parts.netloc] if parts.port else [parts.netloc, f"{parts.netloc}:443"]
    for scheme in ("wss", "https"):
        for host in hosts:
            yield f"{scheme}://{host}{path}"
            yield f"{scheme}://{host}{path}/"
