"""An OpenAI to speak to instead of OpenAI's: on a port, in this process or another.

with OpenAIHttpServer(faults=["speech:cut"]) as server:
    server.base_url                          # http://127.0.0.1:40123/v1
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from typing import Any

from server.errors import ConfigError
from server.simulator.openai_http.faults import parse_faults
from server.simulator.openai_http.handler import Handler, Served, Terms
from server.simulator.openai_http.script import Persona, Script
from server.simulator.openai_http.voice import Voice

_POLL_S = 0.02
_HANDSHAKE_S = 5.0


class OpenAIHttpServer:
    """Listens from `start()` to `stop()`; may be started once. Every connection has a thread.

    `speed` is the multiple of real time at which speech and text go out. With `tls`, a server's
    context, it answers https. Raises ConfigError for a fault or a speed that makes no sense.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        script: Script | None = None,
        faults: Sequence[str] = (),
        speed: float = 8.0,
        *,
        use_espeak: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not speed > 0:
            raise ConfigError(f"speed {speed} is not above 0")
        self.host, self.port = host, port
        """The port is the real one once started."""
        self._terms = Terms(
            Persona(script or Script()), Voice(use_espeak=use_espeak), parse_faults(faults), speed
        )
        self._tls = tls
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL has to be."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/v1"

    @property
    def served(self) -> list[Served]:
        """Every request so far that was for one of the three endpoints."""
        return list(self._terms.served)

    @property
    def connections_open(self) -> int:
        return len(self._listener.connections) if self._listener else 0

    @property
    def connections_total(self) -> int:
        return self._listener.connections_total if self._listener else 0

    def add_fault(self, word: str) -> None:
        """From the next request on. Raises ConfigError."""
        self._terms.faults.planned.extend(parse_faults([word]).planned)

    def start(self) -> OpenAIHttpServer:
        """Return when connections are taken. Raises OSError when the port is not to be had."""
        handler = type("_Handler", (Handler,), {"terms": self._terms})
        self._listener = _Listener((self.host, self.port), handler, self._tls)
        self.port = self._listener.server_address[1]
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(_POLL_S,), name="openai-http", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection, whatever it is about."""
        if self._listener is not None and self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._listener.hang_up()
            self._listener.server_close()

    def __enter__(self) -> OpenAIHttpServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Any, tls: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.connections: set[socket.socket] = set()
        self.connections_total = 0
        self._tls = tls
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Without looking up the host's own name, which takes seconds where there is no DNS."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread."""
        self.connections.add(request)
        self.connections_total += 1
        sock = request
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                request.settimeout(_HANDSHAKE_S)
                sock = self._tls.wrap_socket(request, server_side=True)
                sock.settimeout(None)
                self.connections.discard(request)
                self.connections.add(sock)
            super().finish_request(sock, client_address)
        except OSError:
            pass  # it left, or hung up on us
        finally:
            self.connections.discard(request)
            self.connections.discard(sock)
            sock.close()

    def hang_up(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
