"""Which socket does this address lead to, when the gateway stands right here without its proxy?

In production TLS ends at a proxy, so the gateway's TwiML speaks of `wss://` and of a public host
even when it is called on 127.0.0.1. Such addresses lead back to where the webhook was fetched,
and the request carries what the proxy would have added: `Host` and `X-Forwarded-Proto`.
Signatures are always made over the address as Twilio knows it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_SECURE = {"http": "https", "ws": "wss", "https": "https", "wss": "wss"}
_PLAIN = {"http": "http", "ws": "ws", "https": "http", "wss": "ws"}
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as what."""

    url: str
    host: str = ""
    """For the Host header when it is not the one in `url`."""
    is_behind_proxy: bool = False
    """TLS was taken off on the way: say X-Forwarded-Proto: https."""


class Addresses:
    """The two names of one gateway: where it listens and how Twilio calls it."""

    def __init__(self, webhook_url: str, public_url: str = "") -> None:
        self._local = urlsplit(webhook_url)
        public = urlsplit(public_url) if public_url else None
        self._public = public
        self._own = {_authority(self._local)} | ({_authority(public)} if public else set())
        self.is_loopback = is_loopback(self._local.hostname or "")

    def signed(self, url: str) -> str:
        """The address as Twilio knows it: the webhook's under the public host.

        Like `target`, raises ValueError for a malformed address.
        """
        parts = urlsplit(url)
        if self._public is None or _authority(parts) != _authority(self._local):
            return url
        scheme = parts.scheme
        if self._public.scheme == "https":
            scheme = _SECURE.get(scheme, scheme)
        return parts._replace(scheme=scheme, netloc=self._public.netloc).geturl()

    def adopt(self, stream_url: str) -> None:
        """A loopback gateway names its public host in its `<Stream>`: that host is itself."""
        parts = urlsplit(stream_url)
        if self.is_loopback and self._local.scheme == "http" and parts.scheme == "wss":
            self._own.add(_authority(parts))

    def target(self, url: str) -> Target:
        """How to reach `url` from here."""
        parts = urlsplit(url)
        if _authority(parts) not in self._own:
            return Target(url)
        is_secure_here = self._local.scheme == "https"
        scheme = (_SECURE if is_secure_here else _PLAIN).get(parts.scheme, parts.scheme)
        reached = parts._replace(scheme=scheme, netloc=self._local.netloc).geturl()
        signed = urlsplit(self.signed(url))
        host = signed.netloc if signed.netloc != self._local.netloc else ""
        is_behind_proxy = signed.scheme in ("https", "wss") and not is_secure_here
        return Target(reached, host, is_behind_proxy)


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authority(parts: SplitResult) -> tuple[str, int]:
    return (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
