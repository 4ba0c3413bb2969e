"""A Realtime server to call instead of OpenAI's: on a port, in this process or another.

In demo mode it runs inside the gateway on loopback, in tests beside it, on the command line alone.
It needs no key, no network and no model; what is said comes from a persona.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from server.errors import ConfigError
from server.simulator.realtime.connection import Connection, Terms
from server.simulator.realtime.dialects import DIALECTS
from server.simulator.realtime.event_log import EventLog, Watch
from server.simulator.realtime.faults import first_and_later
from server.simulator.realtime.floor import Voice
from server.simulator.realtime.persona import demo_personas
from server.simulator.realtime.turn import Persona

log = logging.getLogger(__name__)

DEFAULT_MAX_MESSAGE_BYTES = 21 * 1024 * 1024
"""15 MiB of audio as base64, which the protocol allows in one append."""
_ACCEPT_POLL_S = 0.5
_BACKLOG = 128


class RealtimeServer:
    """Listens from `start()` to `stop()`; may be started once.

    `speed` is the multiple of real time at which audio goes out, `delta_bytes` the smallest and
    largest delta in bytes of μ-law. `log_path`, `audio_dir` and `watch` are described in
    `event_log`, `faults` in `faults`. Raises ConfigError for settings that make no sense.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        persona_factory: Callable[[], Persona] | None = None,
        dialect: str = "ga",
        faults: Sequence[str] = (),
        speed: float = 8.0,
        log_path: Path | str | None = None,
        seed: int = 0,
        *,
        delta_bytes: tuple[int, int] = (1, 4000),
        audio_dir: Path | str | None = None,
        max_sessions: int = 64,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        watch: Watch | None = None,
    ) -> None:
        if dialect not in DIALECTS:
            raise ConfigError(f"no dialect {dialect!r}; there are {', '.join(DIALECTS)}")
        if not speed > 0:
            raise ConfigError(f"speed {speed} is not above 0")
        if not 0 < delta_bytes[0] <= delta_bytes[1]:
            raise ConfigError(f"delta sizes {delta_bytes[0]} to {delta_bytes[1]} make no range")
        self.host = host
        self.port = port
        """The real one once started."""
        self.sessions_total = 0
        """Handshakes accepted so far."""
        first, later = first_and_later(faults)
        self._terms = Terms(
            persona_factory or demo_personas(),
            DIALECTS[dialect],
            first,
            Voice(speed, delta_bytes),
            seed,
            max_message_bytes,
        )
        self._later_terms = dataclasses.replace(self._terms, faults=later)
        self._max_sessions = max_sessions
        self._event_log = EventLog(
            Path(log_path) if log_path else None, Path(audio_dir) if audio_dir else None, watch
        )
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._accepted = 0
        self._is_stopping = False

    @property
    def url(self) -> str:
        """What OPENAI_REALTIME_URL has to be."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}/v1/realtime"

    @property
    def sessions_open(self) -> int:
        with self._lock:
            return sum(connection.is_session for connection in self._connections)

    def close_session(self, number: int, code: int, reason: str = "") -> None:
        """Begin the closing handshake of one connection, by its number from 1 in the order they came."""
        with self._lock:
            found = [connection for connection in self._connections if connection.number == number]
        for connection in found:
            connection.close(code, reason)

    def start(self) -> RealtimeServer:
        """Return when connections are taken. Raises OSError when the port is not to be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(_BACKLOG)
            listener.settimeout(_ACCEPT_POLL_S)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept_loop, name="realtime-accept", daemon=True)
        self._acceptor.start()
        return self

    def stop(self, timeout_s: float = 3.0) -> None:
        """Close every session with 1001 and wait for their threads; those that linger are cut off."""
        self._is_stopping = True
        if self._listener is not None:
            try:
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept loop
            except OSError:
                pass  # not every platform lets a listener be shut
        if self._acceptor is not None:
            self._acceptor.join(timeout_s)
        if self._listener is not None:
            self._listener.close()
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            connection.close(1001, "the simulator stops")
        for connection, thread in connections.items():
            thread.join(max(deadline_s - time.monotonic(), 0.0))
            if thread.is_alive():
                connection.abort()
        for thread in connections.values():
            thread.join(timeout_s)
        self._event_log.close()

    def __enter__(self) -> RealtimeServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept_loop(self) -> None:
        """Until `stop()`."""
        assert self._listener is not None
        while not self._is_stopping:
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if not self._is_stopping:
                    log.warning("realtime simulator: accept failed: %s", error)
                    time.sleep(_ACCEPT_POLL_S)
                continue
            self._take(sock)

    def _take(self, sock: socket.socket) -> None:
        with self._lock:
            open_count = len(self._connections)
            if open_count >= 2 * self._max_sessions:  # a flood of sockets, most without a handshake
                sock.close()
                return
            self._accepted += 1
            connection = Connection(
                sock,
                self._accepted,
                self._terms if self._accepted == 1 else self._later_terms,
                self._event_log.session(self._accepted),
                is_full=open_count >= self._max_sessions,
            )
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="realtime-reader", daemon=True
            )
            self._connections[connection] = thread
        thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.run(self._count_session)
        finally:
            with self._lock:
                del self._connections[connection]

    def _count_session(self) -> None:
        with self._lock:
            self.sessions_total += 1
