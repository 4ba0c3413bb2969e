"""How does one client's socket carry its session?

Two threads: the reader turns frames into the session's events and never waits for the network's
other direction; the speaker alone writes, first what was answered, then what has become due. The
session belongs to whoever holds `_wake`. Standard `socket` and `threading` only, so that the same
code runs on green threads in a patched process; work is done in small portions with a yield
between them, because there a loop that does not yield stops every call.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.simulator.realtime.dialects import GA, Dialect
from server.simulator.realtime.event_log import SessionLog
from server.simulator.realtime.faults import Faults
from server.simulator.realtime.floor import Voice
from server.simulator.realtime.handshake import MAX_REQUEST_BYTES, Refused, judge
from server.simulator.realtime.session import RealtimeSession
from server.simulator.realtime.turn import Persona
from server.wire import websocket as ws

log = logging.getLogger(__name__)

BETA_REFUSED_CODE = 4000
_HANDSHAKE_S = 10.0
_SEND_S = 20.0
"""A client that takes nothing for so long is gone."""
_CLOSE_S = 2.0
"""How long the peer has for its half of the closing handshake."""
_DRAIN_S = 1.0
_CLOSE_FAULT_S = 1.0
_MAX_OUTBOX_BYTES = 32 * 1024 * 1024
_MESSAGES_PER_BATCH = 32
_RECEIVE_BYTES = 64 * 1024
_EVENTS_BETWEEN_NOISE = 5
_UNKNOWN = {"type": "response.telepathy.delta", "event_id": "event_unknown", "thought": "?"}
_GARBAGE = (
    '{"type": "response.output_audio.delta", "delta": "',
    "not JSON at all",
    "[]",
    '{"event_id": "x"}',
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What every connection of a server has in common."""

    persona_factory: Callable[[], Persona]
    dialect: Dialect
    faults: Faults
    voice: Voice
    seed: int
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class _Outgoing:
    frame: bytes
    shown: Any
    """For the log: the event, or a text; None for control frames."""
    is_close: bool = False


class Connection:
    """One accepted socket, from its first byte to its last."""

    def __init__(
        self, sock: socket.socket, number: int, terms: Terms, session_log: SessionLog, *, is_full: bool
    ) -> None:
        self.number = number
        self.is_session = False
        """The handshake succeeded."""
        self._sock = sock
        self._terms = terms
        self._log = session_log
        self._seed = terms.seed + number
        self._is_full = is_full
        self._wake = threading.Condition()
        self._outbox: deque[_Outgoing] = deque()
        self._outbox_bytes = 0
        self._session: RealtimeSession | None = None
        self._receiver = ws.Receiver(expect_mask=True, max_message_bytes=terms.max_message_bytes)
        self._is_closing = False  # a close frame is queued: nothing may follow it
        self._reader_done = threading.Event()
        self._reset_at_s: float | None = None
        self._is_reset = False  # closing will reset TCP: nothing may announce it
        self._close_at_s: float | None = None
        self._since_noise = 0
        self._noise_count = 0

    def run(self, on_session: Callable[[], None]) -> None:
        """Serve until the end; the caller's thread is the reader. Closes the socket."""
        speaker: threading.Thread | None = None
        how = "the client left"
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._handshake():
                how = "refused"
                return
            self.is_session = True
            on_session()
            speaker = threading.Thread(target=self._speak_loop, name="realtime-speaker", daemon=True)
            speaker.start()
            how = self._read_loop()
        except OSError as error:
            how = f"socket error: {error}"
        except Exception:
            how = "a fault of the simulator's"
            log.exception("realtime simulator: connection ended by a fault of its own")
        finally:
            self._reader_done.set()
            with self._wake:
                self._is_closing = True
                self._wake.notify_all()
            if speaker is not None:
                speaker.join(_CLOSE_S + _SEND_S)
            if not self._is_reset:
                _shut(self._sock)
            self._sock.close()
            self._log.ended(how)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; from any thread."""
        with self._wake:
            self._queue_close(code, reason)
            self._wake.notify_all()

    def abort(self) -> None:
        """Wake both threads from whatever they wait for; a close alone does not wake a green reader."""
        _shut(self._sock)

    def _handshake(self) -> bool:
        """Answer the upgrade request; False when it was refused and answered so."""
        deadline_s = time.monotonic() + _HANDSHAKE_S
        request = b""
        while b"\r\n\r\n" not in request:
            self._sock.settimeout(max(deadline_s - time.monotonic(), 0.001))
            if len(request) > MAX_REQUEST_BYTES or not (data := self._sock.recv(4096)):
                return False
            request += data
        head, _, rest = request.partition(b"\r\n\r\n")
        terms = self._terms
        decision = judge(
            head + b"\r\n\r\n", terms.dialect, refuse=terms.faults.refused_status, is_full=self._is_full
        )
        self._sock.sendall(decision.response)
        if isinstance(decision, Refused):
            self._log.sent(f"HTTP {decision.status.value} {decision.code}")
            return False
        self._sock.settimeout(_SEND_S)
        self._begin(decision.model, decision.wants_beta and terms.dialect is GA)
        self._handle(self._receiver.feed(rest))
        return True

    def _begin(self, model: str, is_wrong_shape: bool) -> None:
        faults = self._terms.faults
        if is_wrong_shape:
            message = "The beta shape of the Realtime API is disabled; drop the OpenAI-Beta header."
            self._reject("invalid_request_error", "beta_api_shape_disabled", message, BETA_REFUSED_CODE)
        elif faults.quota:
            message = "You exceeded your current quota, please check your plan and billing details."
            self._reject("insufficient_quota", "insufficient_quota", message, ws.CloseCode.POLICY)
        elif not faults.no_session:
            self._session = RealtimeSession(
                self._terms.persona_factory(),
                now_s=time.monotonic(),
                unix_s=time.time(),
                model=model,
                dialect=self._terms.dialect,
                faults=faults,
                voice=self._terms.voice,
                seed=self._seed,
                breathe=lambda: time.sleep(0),
            )
            self._queue(self._session.open())

    def _reject(self, kind: str, code: str, message: str, close_code: int) -> None:
        error = {"type": kind, "code": code, "message": message, "param": None, "event_id": None}
        self._queue([{"type": "error", "event_id": "event_000001", "error": error}])
        self._queue_close(close_code, message)

    def _read_loop(self) -> str:
        """Until the peer closes, breaks the protocol or vanishes; says which."""
        while True:
            try:
                data = self._sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                continue  # silence is the client's right; the timeout is there for sending
            if not data:
                return "closed without a closing handshake"
            if ended := self._handle(self._receiver.feed(data)):
                return ended

    def _drain(self) -> None:
        """Read on for a moment: closing with unread bytes would reset TCP and destroy our close frame."""
        deadline_s = time.monotonic() + _DRAIN_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._sock.settimeout(left_s)
            try:
                if not self._sock.recv(_RECEIVE_BYTES):
                    return
            except OSError:
                return

    def _handle(self, events: list[ws.Event]) -> str:
        for event in events:
            with self._wake:
                if isinstance(event, ws.Text):
                    self._receive(event.data)
                elif isinstance(event, ws.Binary):
                    self._receive(b"")  # answered as any text that is no JSON
                elif isinstance(event, ws.Ping):
                    self._put(_Outgoing(ws.encode(ws.PONG, event.data), None))
                elif isinstance(event, ws.Close | ws.Violation):
                    self._queue_close(event.code, "")
                self._wake.notify_all()
            if isinstance(event, ws.Close):
                return f"closed by the client: {event.code} {event.reason}".rstrip()
            if isinstance(event, ws.Violation):
                self._drain()
                return f"the client broke the protocol: {event.reason}"
        return ""

    def _receive(self, message: bytes) -> None:
        self._log.received(message)
        if self._session is not None and not self._is_closing:
            self._queue(self._session.receive(message, time.monotonic()))

    def _speak_loop(self) -> None:
        """Write until a close frame has gone out or the reader is done."""
        try:
            while batch := self._next_batch():
                for outgoing in batch:
                    self._sock.sendall(outgoing.frame)
                    if outgoing.shown is not None:
                        self._log.sent(outgoing.shown)
                if batch[-1].is_close:
                    self._reader_done.wait(_CLOSE_S)
                    break
                time.sleep(0)
        except OSError as error:
            self._log.sent(f"could not send: {error}")
        except Exception:
            log.exception("realtime simulator: the speaker ended by a fault of its own")
        finally:
            self._end_socket()

    def _next_batch(self) -> list[_Outgoing]:
        """Wait for something to say. Empty when there will be nothing more."""
        with self._wake:
            while True:
                now_s = time.monotonic()
                if self._reset_at_s is not None and now_s >= self._reset_at_s:
                    return []
                if not self._outbox:
                    self._act(now_s)
                if self._outbox:
                    count = min(len(self._outbox), _MESSAGES_PER_BATCH)
                    batch = [self._outbox.popleft() for _ in range(count)]
                    self._outbox_bytes -= sum(len(o.frame) for o in batch)
                    return batch
                if self._is_closing:
                    return []
                self._wake.wait(self._wait_s(now_s))

    def _act(self, now_s: float) -> None:
        """Queue what is due."""
        if self._close_at_s is not None and now_s >= self._close_at_s:
            self._queue_close(self._terms.faults.close or ws.CloseCode.NORMAL, "fault: close")
        elif self._session is not None and not self._is_closing:
            self._queue(self._session.tick(now_s))
            if (ending := self._session.ending) is not None:
                self._queue_close(ending.code, ending.reason)

    def _wait_s(self, now_s: float) -> float | None:
        due = [self._reset_at_s, self._close_at_s, self._session.next_at_s if self._session else None]
        times = [at_s for at_s in due if at_s is not None]
        return max(min(times) - now_s, 0.0) if times else None

    def _queue(self, events: list[dict[str, Any]]) -> None:
        faults = self._terms.faults
        for event in events:
            self._put(_Outgoing(ws.encode(ws.TEXT, json.dumps(event).encode("ascii")), event))
            if event["type"] == "session.updated" and self._reset_at_s is None and self._close_at_s is None:
                now_s = time.monotonic()
                self._reset_at_s = None if faults.drop is None else now_s + faults.drop
                self._close_at_s = None if faults.close is None else now_s + _CLOSE_FAULT_S
            if faults.garbage or faults.unknown_events:
                self._make_noise()

    def _make_noise(self) -> None:
        self._since_noise += 1
        if self._since_noise < _EVENTS_BETWEEN_NOISE:
            return
        self._since_noise = 0
        self._noise_count += 1
        texts = [json.dumps(_UNKNOWN)] + (list(_GARBAGE) if self._terms.faults.garbage else [])
        text = texts[self._noise_count % len(texts)]
        self._put(_Outgoing(ws.encode(ws.TEXT, text.encode("utf-8")), text))

    def _queue_close(self, code: int, reason: str) -> None:
        if not self._is_closing:
            self._put(
                _Outgoing(ws.encode_close(code, reason), f"close {code} {reason}".rstrip(), is_close=True)
            )
            self._is_closing = True

    def _put(self, outgoing: _Outgoing) -> None:
        if self._is_closing:
            return
        self._outbox.append(outgoing)
        self._outbox_bytes += len(outgoing.frame)
        if self._outbox_bytes > _MAX_OUTBOX_BYTES:
            log.warning("realtime simulator: a client does not read, %s bytes wait", self._outbox_bytes)
            self._is_closing = True
            self.abort()

    def _end_socket(self) -> None:
        """Let the reader see the end. A reset must not be announced by the FIN of a full shutdown."""
        if self._reset_at_s is not None and time.monotonic() >= self._reset_at_s:
            self._is_reset = True
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # the peer was faster
        else:
            self.abort()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # never connected, or already shut
