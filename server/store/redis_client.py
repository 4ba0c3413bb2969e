"""A Redis client for the serving process: green, and never waiting long.

Importing this takes a tenth of a second: once, at start, and only where there is a Redis.
"""

from __future__ import annotations

import ssl
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S = 0.3
MAX_CONNECTIONS = 16


def make_client(url: str) -> Any:
    """Connects when it is used. Its methods block a green thread, and raise redis.RedisError or OSError.

    Raises ValueError for a URL that is none of Redis.
    """
    kind = {"connection_class": _TlsConnection} if url.lower().startswith("rediss:") else {}
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=SOCKET_TIMEOUT_S,  # for a connection of the pool to become free
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),  # a connection that ended while it was idle
        protocol=2,  # the handshake of the other one costs a round trip more
        decode_responses=True,
        encoding_errors="replace",
        **kind,
    )
    return redis.Redis(connection_pool=pool)


class _TlsConnection(redis.SSLConnection):
    """With one context for all: redis-py makes one for each connection, which holds the hub for 20 ms."""

    _contexts: dict[tuple[object, ...], ssl.SSLContext] = {}

    def _connect(self) -> Any:
        sock = redis.Connection._connect(self)  # type: ignore[no-untyped-call]
        try:
            return self._context().wrap_socket(sock, server_hostname=self.host)
        except OSError:
            sock.close()
            raise

    def _context(self) -> ssl.SSLContext:
        key = (self.ca_certs, self.cert_reqs, self.check_hostname, self.certfile, self.keyfile)
        if key not in self._contexts:
            context = ssl.create_default_context(cafile=self.ca_certs)
            context.check_hostname = bool(self.check_hostname) and self.cert_reqs != ssl.CERT_NONE
            context.verify_mode = self.cert_reqs
            if self.certfile or self.keyfile:
                context.load_cert_chain(self.certfile, self.keyfile, self.certificate_password)
            self._contexts[key] = context
        return self._contexts[key]
