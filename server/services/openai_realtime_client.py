"""The model's leg: one WebSocket to an OpenAI Realtime endpoint.

`connect`, `configure_session`, then `read_events` in a green thread of its own until the end: audio
deltas become bytes on `audio_out_queue`, in order, and every event goes to the listener. What the
words on the wire are is `server.realtime`'s business, how the socket is made that of `model_dial`; this
is the socket's two directions.
"""

from __future__ import annotations

import base64
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server import green
from server.audio.g711 import BYTES_PER_MS
from server.channel import ChannelClosed
from server.errors import ModelUnreachable, RealtimeProtocolError
from server.faults import FAULTS
from server.realtime.commands import Commands, SessionSettings, append_audio
from server.realtime.events import AudioDelta, AudioDone, Event, ResponseDone, decode
from server.realtime.plain_audio import scan
from server.services.model_dial import Endpoint, ModelChannel, dial, tls_context

__all__ = ["AudioChunk", "Endpoint", "OpenAIRealtimeClient", "tls_context"]

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 5 * 60 * 1000 * BYTES_PER_MS


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
        self.broken_messages = 0
        self.dropped_bytes = 0
        self._endpoint = endpoint
        self._listener = listener
        self._call_tag = call_tag
        self._queued_bytes = 0
        self.plain_audio: Callable[[str, str, bytes], bool] | None = None
        """The short way: asked in the hub about each plain audio delta (response id, item id, μ-law)
        that nothing waits before, and true when it took it. All others pass `audio_out_queue`."""
        self._channel: ModelChannel | None = None
        self._is_closed = False

    def connect(self, channel: ModelChannel | None = None) -> float:
        """Take over `channel`, or open a WebSocket; return how many ms that took. Blocks this green
        thread 5 s at most, and not at all for an open channel, whose messages so far are read later.

        Raises ModelRefused for an answer that a second try would not change, else ModelUnreachable.
        """
        began_at = time.monotonic()
        if channel is not None and channel.closed is not None:  # it ended while it waited for us
            green.spawn(channel.close)
            channel = None
        self._channel = dial(self._endpoint) if channel is None else channel
        self._channel.tap = self._on_plain_audio
        self._channel.watch_peer()
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
        """Send the session's settings; `SessionUpdated` tells that they are in force. `more`: see
        SessionSettings."""
        self.configure(
            SessionSettings(
                voice=voice,
                instructions=instructions,
                input_audio_format=input_audio_format,
                output_audio_format=output_audio_format,
                max_response_output_tokens=max_response_output_tokens,
                **more,
            )
        )

    def configure(self, settings: SessionSettings) -> None:
        """`configure_session` for settings that are made already."""
        self.send(self.commands.configure(settings))

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
        if self.broken_messages > 1 and not self._is_closed:
            told = "[REALTIME] events that could not be read: %d in this session, call_sid=%s"
            log.warning(told, self.broken_messages, self._call_tag)
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
        return plain is not None and self.plain_audio(*plain)

    def _put(self, chunk: AudioChunk) -> None:
        if self._queued_bytes + len(chunk.payload) > MAX_QUEUED_BYTES:
            if not self.dropped_bytes:
                log.warning("%s call=%s", FAULTS["KAV-138"].line(), self._call_tag)
            self.dropped_bytes += len(chunk.payload)
            return
        self._queued_bytes += len(chunk.payload)
        self.audio_out_queue.append(chunk)
        self.on_audio_queued()
