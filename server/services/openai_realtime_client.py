"""The model's leg: one WebSocket to an OpenAI Realtime endpoint.

`connect`, `configure_session`, then `read_events` in a green thread of its own until the end: audio
deltas become bytes on `audio_out_queue`, in order, and every event goes to the listener. What the
words on the wire are is `server.realtime`'s business; this is the socket and its two directions.
"""

from __future__ import annotations

import base64
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import websocket

from server import green
from server.audio.g711 import BYTES_PER_MS
from server.channel import Channel, ChannelClosed, Limits
from server.config import Dialect
from server.errors import FAULTS, ModelRefused, ModelUnreachable, RealtimeProtocolError
from server.realtime.commands import Commands, SessionSettings, append_audio
from server.realtime.events import AudioDelta, AudioDone, Event, ResponseDone, decode
from server.realtime.plain_audio import scan

log = logging.getLogger(__name__)

CONNECT_S = 5.0
MODEL_LIMITS = Limits(max_message_bytes=16 << 20, messages_per_s=5000, message_burst=100_000)
"""A delta may be a megabyte and an answer thousands of one byte; the model is trusted to that degree."""
MAX_QUEUED_BYTES = 5 * 60 * 1000 * BYTES_PER_MS
KEY_REFUSED = (401, 403)


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


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """What the model said next; no payload: the item's audio is complete, and without an item's id:
    that of the whole response."""

    response_id: str
    item_id: str
    payload: bytes


def _ignore() -> None:
    pass


class OpenAIRealtimeClient:
    """One session with a model. `listener` hears every event, in the green thread of `read_events`."""

    def __init__(self, endpoint: Endpoint, listener: Callable[[str, Event], None], call_tag: str) -> None:
        self.audio_out_queue: deque[AudioChunk] = deque()
        self.on_audio_queued: Callable[[], None] = _ignore
        """Called when something was put on `audio_out_queue`."""
        self.commands = Commands(endpoint.dialect)
        self.settings_event_id = ""
        self.audio_bytes_in = 0
        self.broken_messages = 0
        self.dropped_bytes = 0
        self._endpoint = endpoint
        self._listener = listener
        self._call_tag = call_tag
        self._queued_bytes = 0
        self.plain_audio: Callable[[str, str, bytes], bool] | None = None
        """The short way: asked in the hub about each plain audio delta (response id, item id, μ-law)
        that nothing waits before, and true when it took it. All others pass `audio_out_queue`."""
        self._channel: Channel | None = None
        self._is_closed = False

    def connect(self) -> float:
        """Open the WebSocket; return how many ms that took. Blocks this green thread 5 s at most.

        Raises ModelRefused for an answer that a second try would not change, else ModelUnreachable.
        """
        began_at = time.monotonic()
        try:
            with green.deadline(CONNECT_S):
                leg = websocket.create_connection(
                    self._endpoint.address,
                    header=self._endpoint.headers,
                    timeout=CONNECT_S,
                    suppress_origin=True,
                    redirect_limit=0,
                    sslopt={"context": self._endpoint.tls} if self._endpoint.tls else None,
                )
        except websocket.WebSocketBadStatusException as error:
            raise _refusal(error) from error
        except (OSError, ValueError, websocket.WebSocketException) as error:  # TimeoutError is an OSError
            host = urlsplit(self._endpoint.url).netloc
            raise ModelUnreachable(f"{host}: {error or type(error).__name__}"[:200]) from error
        self._channel = Channel(leg.sock, is_client=True, limits=MODEL_LIMITS)
        self._channel.tap = self._on_plain_audio
        if self._is_closed:  # the caller hung up meanwhile
            self._channel.close()
        return (time.monotonic() - began_at) * 1000

    def configure_session(
        self,
        *,
        voice: str,
        instructions: str,
        input_audio_format: str = "g711_ulaw",
        output_audio_format: str = "g711_ulaw",
        max_response_output_tokens: int = 4096,
        **more: Any,
    ) -> None:
        """Send the session's settings; `SessionUpdated` tells that they are in force.

        An error that carries `settings_event_id` refuses them as a whole. `more`: see SessionSettings.
        """
        settings = SessionSettings(
            voice=voice,
            instructions=instructions,
            input_audio_format=input_audio_format,
            output_audio_format=output_audio_format,
            max_response_output_tokens=max_response_output_tokens,
            **more,
        )
        command = self.commands.configure(settings)
        self.settings_event_id = command.event_id
        self.send(command)

    def append_audio(self, payload: bytes) -> None:
        """The caller's next audio, raw μ-law of any length."""
        self.append_audio_b64(base64.b64encode(payload))

    def append_audio_b64(self, payload_b64: bytes) -> None:
        """The same, of audio that is at hand as base64."""
        channel = self._channel
        if channel is not None and channel.closed is None:
            channel.send_plain(append_audio(payload_b64))

    def send(self, text: str | bytes) -> None:
        """One client event. Never blocks. Once the session is over it is lost: the reader tells of that."""
        if self._channel is not None and self._channel.closed is None:
            try:
                self._channel.send(text)
            except ChannelClosed:
                pass

    def read_events(self) -> ChannelClosed:
        """Read until the session is over; return how it ended. Blocks as long."""
        if self._channel is None:
            raise ModelUnreachable("not connected")
        try:
            while True:
                for text in self._channel.receive():
                    self._on_message(text)
        except ChannelClosed as closed:
            return closed

    def close(self) -> None:
        """End the session. Blocks half a second at most; harmless when called again."""
        self._is_closed = True
        if self._channel is not None:
            self._channel.close()

    @property
    def is_closed(self) -> bool:
        """We ended the session: what follows is no fault of the model."""
        return self._is_closed

    def take_audio(self) -> AudioChunk | None:
        """The next chunk of `audio_out_queue`; None when it is empty."""
        if not self.audio_out_queue:
            return None
        chunk = self.audio_out_queue.popleft()
        self._queued_bytes -= len(chunk.payload)
        return chunk

    def _on_message(self, text: bytes) -> None:
        try:
            kind, event = decode(text)
        except RealtimeProtocolError as error:
            self.broken_messages += 1
            if self.broken_messages == 1:
                log.warning("[REALTIME] unreadable event: %s, call_sid=%s", error, self._call_tag)
            return
        log.debug("[REALTIME] RAW EVENT TYPE: %s call_sid=%s", kind, self._call_tag)
        if isinstance(event, AudioDelta):
            self._listener(kind, event)
            self._put(AudioChunk(event.response_id, event.item_id, event.payload))
        elif isinstance(event, AudioDone):
            self._put(AudioChunk(event.response_id, event.item_id, b""))
        else:
            self._listener(kind, event)
            if isinstance(event, ResponseDone):  # whatever it said of its items: nothing more comes
                self._put(AudioChunk(event.response_id, "", b""))

    def _on_plain_audio(self, text: bytes) -> bool:
        """The short way out, in the hub: for deltas of an item that is already under way."""
        if self.plain_audio is None or self.audio_out_queue:
            return False
        plain = scan(text)
        if plain is None or not self.plain_audio(*plain):
            return False
        self.audio_bytes_in += len(plain[2])
        return True

    def _put(self, chunk: AudioChunk) -> None:
        self.audio_bytes_in += len(chunk.payload)
        if self._queued_bytes + len(chunk.payload) > MAX_QUEUED_BYTES:
            if not self.dropped_bytes:
                log.warning("%s call=%s", FAULTS["KAV-138"].line(), self._call_tag)
            self.dropped_bytes += len(chunk.payload)
            return
        self._queued_bytes += len(chunk.payload)
        self.audio_out_queue.append(chunk)
        self.on_audio_queued()


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
