"""How is a connection to the model made? Where it answers, the handshake, and what a refusal means.

The socket that comes out is an unconfigured session: it costs nothing until it is asked for something,
and its `session.created` waits in the channel for whoever reads first.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import websocket

from server import green
from server.channel import Channel, ChannelClosed, Limits
from server.config import Dialect
from server.errors import ModelRefused, ModelUnreachable
from server.wire.websocket import PING, Close, encode

CONNECT_S = 5.0
MODEL_LIMITS = Limits(max_message_bytes=16 << 20, messages_per_s=5000, message_burst=100_000)
"""A delta may be a megabyte and an answer thousands of one byte; the model is trusted to that degree."""
KEY_REFUSED = (401, 403)
PING_EVERY_S = 2.75
"""In a call. What is silent until the next one is due is gone: 5.5 s after its last word at worst, for a
caller shall not talk to nobody for longer than 6. A stall of the network is shorter."""
VANISHED = "no answer to a ping"
"""How the reason of a close begins that nobody but we made."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers."""

    url: str
    model: str
    api_key: str = field(repr=False)
    dialect: Dialect
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    """Made once: reading the authorities' certificates takes 30 ms, for which every call would wait."""

    @property
    def address(self) -> str:
        """The URL with the model in its query, unless the operator wrote a query of their own."""
        if urlsplit(self.url).query:
            return self.url
        return f"{self.url}?{urlencode({'model': self.model})}"

    @property
    def headers(self) -> list[str]:
        """Both spellings of the key: Azure reads `api-key`, all others `Authorization`. The header
        that once asked for the beta protocol must stay away: it closes a general session with 4000."""
        headers = [f"Authorization: Bearer {self.api_key}"]
        if (urlsplit(self.url).hostname or "").endswith(".azure.com"):
            headers.append(f"api-key: {self.api_key}")
        return headers


def tls_context(url: str) -> ssl.SSLContext | None:
    """The context for every connection to `url`; None for a plain one."""
    if urlsplit(url).scheme != "wss":
        return None
    paths = ssl.get_default_verify_paths()
    has_authorities = bool(paths.cafile) or bool(paths.capath and any(Path(paths.capath).iterdir()))
    return ssl.create_default_context(cafile=None if has_authorities else certifi.where())


class ModelChannel(Channel):
    """A channel to a model that tells of its end, for whoever keeps it without reading.

    It needs no reader to stay alive: pings are answered in the hub, and a peer that vanished is noticed
    by TCP within 6 s. While it waits for a call we send no pings of our own: they would hold a socket open
    behind which the provider has ended the session.
    """

    def __init__(self, sock: Any) -> None:
        self.on_closed: Callable[[], None] | None = None
        """Called once when `closed` was set, in the hub too: it must not block."""
        self._heard_at = self._asked_at = time.monotonic()
        self._ping_timer: green.Timer | None = None
        super().__init__(sock, is_client=True, limits=MODEL_LIMITS)

    def watch_peer(self) -> None:
        """A call talks through it from now on: ask the peer every 2.75 s whether it is there. TCP alone
        cannot tell, where something on the way still takes our bytes."""
        if self._ping_timer is None and self._closed is None:
            self._ask()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        self._write(encode(PING, b"", masked=True))
        if self._closed is None:
            self._ping_timer = green.call_later(PING_EVERY_S, self._judge)

    def _judge(self) -> None:
        if self._is_reading():
            self._on_readable()  # after a stall of ours, its answer has come and was not read yet
            if self._closed is None and self._heard_at < self._asked_at:
                self._lost(f"{VANISHED} for {PING_EVERY_S:g} s")
        if self._closed is None:
            self._ask()

    def _take(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        super()._take(data)

    def _peer_closed(self, close: Close) -> None:
        super()._peer_closed(close)
        self._tell()

    def _finish(self, closed: ChannelClosed, *, say: bool) -> None:
        super()._finish(closed, say=say)
        self._tell()

    def _tell(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        tell, self.on_closed = self.on_closed, None
        if tell is not None:
            tell()


def dial(endpoint: Endpoint) -> ModelChannel:
    """Open a WebSocket to the model. Blocks this green thread 5 s at most.

    Raises ModelRefused for an answer that a second try would not change, else ModelUnreachable.
    """
    try:
        with green.deadline(CONNECT_S):
            leg = websocket.create_connection(
                endpoint.address,
                header=endpoint.headers,
                timeout=CONNECT_S,
                suppress_origin=True,
                redirect_limit=0,
                sslopt={"context": endpoint.tls} if endpoint.tls else None,
            )
        return ModelChannel(leg.sock)
    except websocket.WebSocketBadStatusException as error:
        raise _refusal(error) from error
    except (OSError, ValueError, websocket.WebSocketException) as error:  # TimeoutError is an OSError
        host = urlsplit(endpoint.url).netloc.rpartition("@")[2]  # a password may stand before it
        raise ModelUnreachable(f"{host}: {error or type(error).__name__}"[:200]) from error


def _refusal(error: Any) -> ModelRefused | ModelUnreachable:
    """What an HTTP answer in place of the handshake means. Only 5xx may be different next time."""
    status = int(error.status_code or 0)
    body = error.resp_body or b""
    words = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    detail = f"HTTP {status} {' '.join(words.split())[:200]}".strip()
    if status >= 500 or status == 408:
        return ModelUnreachable(detail)
    if status in KEY_REFUSED:
        return ModelRefused(detail, code="invalid_api_key")
    if status == 429:
        return ModelRefused(detail, code="insufficient_quota" if "quota" in words else "rate_limited")
    return ModelRefused(detail, code="model_not_found" if status == 404 else "handshake_refused")
