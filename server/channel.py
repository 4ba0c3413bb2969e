"""A WebSocket after its handshake: whole text messages in, text messages out, never waiting long.

The libraries that make the handshakes would also carry the messages, but one of them loses bytes
when a peer reads slowly (it ignores what `send` returns) and keeps all that arrives, and each adds
and removes its hub listener for every read. So from the handshake on the socket is this channel's:
one listener, read until dry, messages handed over in batches; writes are buffered within a bound,
and a peer that does not read for 5 s is closed, never waited for.

Bytes move in hub callbacks (`_on_readable`, `_on_writable`); nothing in them may block. Green
threads call `receive`, `send` and `close`.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from server import green
from server.faults import FAULTS
from server.port import NOT_NOW, Port, tune
from server.wire.limits import TokenBucket
from server.wire.websocket import (
    PONG,
    Binary,
    Close,
    CloseCode,
    CloseFinder,
    Ping,
    Receiver,
    Text,
    Violation,
    encode,
    encode_close,
    encode_text,
)

log = logging.getLogger(__name__)

KIB = 1024
READ_BYTES = 65536
FLOOD_READ_BYTES = 4096
"""While a peer sends many small messages: 64 KiB could hold ten thousand, 15 ms of work in one go."""
FLOOD_EVENTS = 64
CREDIT = 50
READS_PER_PASS = 4
"""A flooding peer gets so many reads before the others have their turn."""
MAX_UNREAD_BYTES = 1 << 20
"""Messages waiting for `receive` beyond this stop the reading: TCP tells the peer to wait."""
MAX_UNSENT_BYTES = 1 << 20
WRITE_STALL_S = 5.0
CLOSE_WAIT_S = 0.5
"""How long a close handshake may take; both legs of a call must be gone within a second."""
MESSAGE_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may send. A message of several KiB counts as so many: few and huge ones are a flood too,
    and what is allowed must not depend on how fast this machine reads."""

    max_message_bytes: int
    messages_per_s: float
    message_burst: int
    pings_per_s: float = 20.0
    ping_burst: int = 40


class ChannelClosed(Exception):
    """Why the WebSocket is over. `code` is 1006 when no close frame came."""

    def __init__(self, code: int, reason: str, *, by_peer: bool) -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


class Channel:
    """One WebSocket. `is_client` says which side masks."""

    def __init__(self, sock: Any, *, is_client: bool, limits: Limits) -> None:
        self._port = Port(sock)
        self._masked = is_client
        self._limits = limits
        now_s = time.monotonic()
        self._messages = TokenBucket(limits.messages_per_s, limits.message_burst, now_s)
        self._credit = 0
        self._read_bytes = READ_BYTES
        self._is_closing = False
        self._goodbye = CloseFinder(expect_mask=not is_client)
        self._pings = TokenBucket(limits.pings_per_s, limits.ping_burst, now_s)
        self._receiver = Receiver(expect_mask=not is_client, max_message_bytes=limits.max_message_bytes)
        self._inbox: list[bytes] = []
        self._inbox_bytes = 0
        self._arrived = green.Signal()
        self._unsent = bytearray()
        self._closed: ChannelClosed | None = None
        self._gone = green.Signal()
        self._read_watch: green.Watch | None = None
        self._write_watch: green.Watch | None = None
        self._stall_timer: green.Timer | None = None
        self._message_timer: green.Timer | None = None
        self.ignored_binary = 0
        self.tap: Callable[[bytes], bool] | None = None
        """The short way: asked in the hub about each text message that nothing waits before, and
        true when it took the message. It must not block. All others go to `receive`."""
        self.last_message_at = now_s
        """Of text: pings alone are no life."""
        tune(sock)
        self._watch_reads()

    @property
    def closed(self) -> ChannelClosed | None:
        """Set as soon as nothing more can be sent."""
        return self._closed

    # Green threads

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        """The text messages that have come, in order; empty on time-out.

        Blocks until there is one. Raises ChannelClosed once all that came was handed over.
        """
        if not self._inbox and self._closed is None:
            self._arrived.wait(timeout_s)
        if self._inbox:
            batch, self._inbox, self._inbox_bytes = self._inbox, [], 0
            if self._read_watch is None and self._closed is None:
                self._watch_reads()
                green.call_later(0, self._on_readable)  # TLS may hold bytes that epoll cannot see
            return batch
        if self._closed is not None:
            raise self._closed
        return []

    def send(self, message: str | bytes) -> None:
        """Send one text message; bytes are its UTF-8, of a text half a character is left out. Never blocks.
        Raises ChannelClosed."""
        if self._closed is not None:
            raise self._closed
        text = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
        self._write(encode_text(text, masked=self._masked))

    def send_plain(self, text: bytes) -> None:
        """`send` for a media message, in fewer steps. Raises ChannelClosed."""
        if self._closed is not None:
            raise self._closed
        data = encode_text(text, masked=self._masked)
        if self._unsent:
            self._write(data)
            return
        try:
            sent = self._port.send(data)
        except NOT_NOW:
            sent = 0
        except OSError as error:
            self._lost(f"write failed: {error.strerror or error}")
            return
        if sent < len(data):
            self._keep_unsent(data, sent)

    def send_all(self, messages: Iterable[str | bytes]) -> None:
        """Like `send`, for several messages in one write."""
        if self._closed is not None:
            raise self._closed
        masked = self._masked
        texts = (m if isinstance(m, bytes) else m.encode("utf-8", "replace") for m in messages)
        self._write(b"".join([encode_text(text, masked=masked) for text in texts]))

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye, wait half a second at most for the peer's, and free the socket.

        Harmless when called again, or when the peer closed first.
        """
        if self._closed is None:
            self._finish(ChannelClosed(code, reason, by_peer=False), say=True)
        if self._is_closing:  # another green thread waits for the peer's goodbye: wait for that one
            while self._port.is_open:
                green.sleep(0.01)
            return
        self._is_closing = True
        try:
            if self._port.is_open and (self._unsent or not self._closed_by_peer()):
                self._gone.wait(CLOSE_WAIT_S)
        finally:
            self._free()

    def _closed_by_peer(self) -> bool:
        return self._closed is not None and self._closed.by_peer

    # In the hub

    def _watch_reads(self) -> None:
        if self._port.is_open:
            self._read_watch = green.watch_readable(self._port.fileno, self._on_readable, self._lost)

    def _is_over(self) -> bool:
        return self._closed is not None

    def _is_reading(self) -> bool:
        return self._read_watch is not None

    def _on_readable(self, _fileno: int = 0) -> None:
        if self._read_watch is None:
            return
        port = self._port
        try:
            for _ in range(READS_PER_PASS):
                data = port.recv(self._read_bytes)
                if not data:
                    self._lost("connection ended without a close frame")
                    return
                self._take(data)
                if not self._is_reading() or (
                    len(data) < READ_BYTES and not (port.is_tls and port.pending())
                ):
                    return
            if port.is_tls and port.pending():
                green.call_later(0, self._on_readable)
        except NOT_NOW:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._lost("connection ended without a close frame")
        except OSError as error:
            self._lost(f"read failed: {error.strerror or error}")
        except Exception:  # the hub would only print it, and this call would hang
            log.exception("%s", FAULTS["KAV-199"].line("reading a WebSocket"))
            self._lost("a fault of our own")

    def _take(self, data: bytes) -> None:
        if self._closed is not None:  # ours is sent: nothing but the peer's close matters now
            if self._goodbye.feed(data):
                self._gone.set()
            return
        now_s = time.monotonic()
        if self.tap is not None and not self._inbox and self._closed is None:
            text = self._receiver.whole_text(data)
            if text is not None:
                if not self._may_take(now_s, len(text) // KIB or 1):
                    self._refuse(CloseCode.POLICY, "too many messages")
                else:
                    self.last_message_at = now_s
                    if not self.tap(text):
                        self._deliver(text)
                        self._arrived.set()
                return
        events = self._receiver.feed(data)
        self._read_bytes = FLOOD_READ_BYTES if len(events) > FLOOD_EVENTS else READ_BYTES
        if not self._may_take(now_s, max(len(events), len(data) // KIB)):
            self._refuse(CloseCode.POLICY, "too many messages")
        for event in events:
            if self._is_over():
                break
            if isinstance(event, Text):
                self.last_message_at = now_s
                if self._inbox or self.tap is None or not self.tap(event.data):
                    self._deliver(event.data)
            elif isinstance(event, Ping):
                if self._pings.take(now_s):
                    self._write(encode(PONG, event.data, masked=self._masked))
                else:
                    self._refuse(CloseCode.POLICY, "too many pings")
            elif isinstance(event, Binary):
                self.ignored_binary += 1
            elif isinstance(event, Close):
                self._peer_closed(event)
            elif isinstance(event, Violation):
                self._refuse(event.code, event.reason)
        self._watch_for_stalled_message(completed=bool(events))
        if self._inbox:
            self._arrived.set()
            if self._inbox_bytes > MAX_UNREAD_BYTES:
                self._stop_reading()

    def _may_take(self, now_s: float, count: int) -> bool:
        """Count messages against the limit, which is settled for fifty of them at a time."""
        self._credit -= count
        if self._credit >= 0:
            return True
        for spare in (CREDIT, 0):
            if self._messages.take(now_s, spare - self._credit):
                self._credit = spare
                return True
        return False

    def _deliver(self, text: bytes) -> None:
        self._inbox.append(text)
        self._inbox_bytes += len(text)

    def _peer_closed(self, close: Close) -> None:
        self._closed = ChannelClosed(close.code, close.reason, by_peer=True)
        self._write(encode_close(close.code, masked=self._masked))
        self._stop_reading()
        self._arrived.set()
        if not self._unsent:
            self._gone.set()

    def _refuse(self, code: CloseCode, reason: str) -> None:
        """Close with a code. Reading goes on, for nothing: closing a socket with unread bytes resets
        the connection, and the peer might never see the code."""
        self._finish(ChannelClosed(code, reason, by_peer=False), say=True)

    def _finish(self, closed: ChannelClosed, *, say: bool) -> None:
        if self._closed is not None:
            return
        self._closed = closed
        if say:
            self._write(encode_close(closed.code, closed.reason, masked=self._masked))
        self._arrived.set()

    def _lost(self, reason: str = "connection closed") -> None:
        """The socket is of no more use."""
        self._finish(ChannelClosed(CloseCode.ABNORMAL, reason, by_peer=True), say=False)
        self._unsent.clear()
        self._stop_reading()
        self._stop_writing()
        self._gone.set()

    def _watch_for_stalled_message(self, *, completed: bool) -> None:
        """A peer that announces a message and never finishes it is not waited for."""
        if self._message_timer is not None and (completed or not self._receiver.is_mid_message):
            self._message_timer.cancel()
            self._message_timer = None
        if self._receiver.is_mid_message and self._message_timer is None and self._closed is None:
            self._message_timer = green.call_later(MESSAGE_DEADLINE_S, self._message_stalled)

    def _message_stalled(self) -> None:
        self._message_timer = None
        if self._closed is None:
            self._refuse(CloseCode.POLICY, "message not finished in time")

    def _write(self, data: bytes) -> None:
        if not self._port.is_open:
            return
        if self._unsent:
            self._unsent += data
        else:
            try:
                sent = self._port.write(data)
            except OSError as error:
                self._lost(f"write failed: {error.strerror or error}")
                return
            if sent < len(data):
                self._keep_unsent(data, sent)
        if len(self._unsent) > MAX_UNSENT_BYTES:
            self._lost("peer does not read: too much waits to be sent")

    def _keep_unsent(self, data: bytes, sent: int) -> None:
        """The socket took a part: the rest goes when it can be written again."""
        self._unsent += memoryview(data)[sent:]
        self._write_watch = green.watch_writable(self._port.fileno, self._on_writable, self._lost)
        self._stall_timer = green.call_later(WRITE_STALL_S, self._write_stalled)

    def _on_writable(self, _fileno: int = 0) -> None:
        try:
            sent = self._port.write(self._unsent)
        except OSError as error:
            self._lost(f"write failed: {error.strerror or error}")
            return
        if not sent:
            return
        del self._unsent[:sent]
        self._stop_stall_timer()
        if self._unsent:
            self._stall_timer = green.call_later(WRITE_STALL_S, self._write_stalled)
        else:
            self._stop_writing()
            if self._closed_by_peer():
                self._gone.set()

    def _write_stalled(self) -> None:
        self._stall_timer = None
        self._lost(f"peer does not read: nothing could be sent for {WRITE_STALL_S:.0f} s")

    def _stop_reading(self) -> None:
        if self._read_watch is not None:
            self._read_watch.stop()
            self._read_watch = None
        if self._message_timer is not None:  # the peer is not to blame for what we do not read
            self._message_timer.cancel()
            self._message_timer = None

    def _stop_writing(self) -> None:
        if self._write_watch is not None:
            self._write_watch.stop()
            self._write_watch = None
        self._stop_stall_timer()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _free(self) -> None:
        self._stop_reading()
        self._stop_writing()
        self._port.close()
