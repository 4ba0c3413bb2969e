"""One HTTP request whose answer is read as it comes, and can be given up from another green thread.

urllib3's connections without its pools: measured beside OpenAI's own client library in the patched
worker, it takes 20 ms and 0.6 MB at start, that one 480 to 710 ms and 34 MB; and a pool shows nobody the
socket, which is what must be shut to end a read that another thread waits in (closing it wakes no one).

Connections are kept for the next request: a turn of a conversation makes three, and a TLS handshake
costs each of them a round trip or two. Proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from server import green
from server.errors import ConfigError, SpeechError, SpeechUnreachable, SpeechUnusable
from server.logs import clean, mask
from server.services.http_refusals import Refusal, refusal_of

CONNECT_S = 3.0
"""For a name look-up, TCP and TLS together; a second try still fits into the first byte's deadline."""
FIRST_BYTE_S = 8.0
"""From the request to the first byte of the answer's body, a second try included."""
BETWEEN_BYTES_S = 5.0
RETRY_PAUSE_S = 0.2
MOMENT_S = 0.05
"""With less left, the deadline is what ended the try."""
UNREACHABLE = "unreachable"
IDLE_S = 20.0
"""Kept no longer: a firewall that forgot the connection tells nobody."""
MAX_IDLE = 8
READ_BYTES = 8192
MAX_REFUSAL_BYTES = 16 * 1024
_FAILURES = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What connecting, sending and reading raise; ValueError is TLS's word for a socket that was shut."""


class Origin:
    """The connections to one address, and what every request to it carries."""

    def __init__(self, base_url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        """Raises ConfigError for an https address without a TLS context: one made for each connection
        would read the authorities' certificates each time, 30 ms for which every call waits."""
        parts = urlsplit(base_url)
        self.host = parts.netloc.rpartition("@")[2]
        self._name, self._port = parts.hostname or "", parts.port
        self._tls = tls if parts.scheme == "https" else None
        if parts.scheme == "https" and tls is None:
            raise ConfigError(f"{base_url}: an https address needs a TLS context")
        self._path, self._query = parts.path.rstrip("/"), f"?{parts.query}" if parts.query else ""
        self.headers = {"User-Agent": "kav", "Accept-Encoding": "identity", **headers}
        self._idle: deque[tuple[float, HTTPConnection]] = deque()

    def target(self, path: str) -> str:
        return f"{self._path}{path}{self._query}"

    def take(self) -> HTTPConnection:
        """The connection used last, if it is still there, else a new one that is not connected yet."""
        while self._idle:
            since_s, connection = self._idle.pop()
            if time.monotonic() - since_s < IDLE_S and connection.is_connected:
                return connection
            connection.close()
        if self._tls is not None:
            return HTTPSConnection(self._name, self._port, timeout=CONNECT_S, ssl_context=self._tls)
        return HTTPConnection(self._name, self._port, timeout=CONNECT_S)

    def give_back(self, connection: HTTPConnection) -> None:
        """One whose answer was read to its end."""
        self._idle.append((time.monotonic(), connection))
        if len(self._idle) > MAX_IDLE:
            self._idle.popleft()[1].close()

    def close_idle(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()


class Exchange:
    """A POST and its answer. Nothing happens before the first `read`.

    One second try in all, for what may be different a moment later; see `http_refusals`. `close` may
    be called at any time and by anyone: a `read` that waits elsewhere ends at once, and the connection
    with it. Only a TCP or TLS handshake is waited for, CONNECT_S at most.
    """

    def __init__(
        self,
        origin: Origin,
        path: str,
        body: bytes,
        content_type: str,
        expects: frozenset[str],
        first_byte_s: float = FIRST_BYTE_S,
        between_bytes_s: float = BETWEEN_BYTES_S,
    ) -> None:
        """`expects`: the media types that an answer of status 200 may have."""
        self.is_over = False
        """Nothing more comes: it has ended, failed, or was given up."""
        self.is_given_up = False
        """`close` came before its end."""
        self.media_type = ""
        """Of the answer, with its parameters."""
        self._origin = origin
        self._path, self._body, self._expects = path, body, expects
        self._headers = {**origin.headers, "Content-Type": content_type}
        self._first_byte_s, self._between_bytes_s = first_byte_s, between_bytes_s
        self._first_byte_by = 0.0
        self._has_begun = False
        self._connection: HTTPConnection | None = None
        self._response: Any = None
        self._sock: Any = None
        self._is_busy = False

    def read(self) -> bytes:
        """The next bytes, at most READ_BYTES; none when it is over. Blocks.

        Raises SpeechRefused, SpeechUnusable or SpeechUnreachable; the connection is free then.
        """
        if self.is_over:
            return b""
        self._is_busy = True
        try:
            if self._response is None:
                self._open()
            data = self._read_some()
            green.sleep(0)  # what has come already is read without waiting, and the hub has others
        except SpeechError:
            self._drop()
            self.is_over = True
            if self.is_given_up:  # the failure is our own doing
                return b""
            raise
        except BaseException:  # killed, or a deadline of the caller's
            self._drop()
            self.is_over = True
            raise
        finally:
            self._is_busy = False
        if self.is_given_up:
            self._drop()
            return b""
        if not data:
            self._finish()
        return data

    def drain(self) -> None:
        """Nothing more is wanted: keep the connection if the end is here, else close it. Blocks a moment."""
        self._between_bytes_s = MOMENT_S
        try:
            if self.read():
                self.close()
        except SpeechError:
            pass

    def close(self) -> None:
        """Give up what is left of it. Never blocks; harmless when it is over."""
        if self.is_over:
            return
        self.is_over = self.is_given_up = True
        if (sock := self._sock) is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError):
                pass  # the other side was quicker
        if not self._is_busy:
            self._drop()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        """Until an answer of status 200 has begun, of a type that is expected."""
        self._first_byte_by = time.monotonic() + self._first_byte_s
        may_retry = True
        while True:
            connection = self._connection = self._origin.take()
            was_kept = connection.sock is not None
            refusal = self._attempt(connection)
            if refusal is None:
                return
            self._drop()
            pause_s = refusal.retry_after_s
            if was_kept and refusal.error.code == UNREACHABLE:
                self._origin.close_idle()  # ended long ago, as the others will be: this was no try
            elif may_retry:
                may_retry = False
            else:
                raise refusal.error
            if pause_s is None or self.is_given_up or pause_s >= self._left_s():
                raise refusal.error
            green.sleep(pause_s)
            if self.is_given_up:
                raise refusal.error

    def _attempt(self, connection: HTTPConnection) -> Refusal | None:
        """One try: None when it worked."""
        try:
            with green.deadline(max(0.001, self._left_s())):
                response = self._response = self._ask(connection)
                self.media_type = response.headers.get("content-type", "")
                kind = self.media_type.partition(";")[0].strip().lower()
                if response.status == 200 and kind in self._expects:
                    return None
                body = response.read(MAX_REFUSAL_BYTES)
        except _FAILURES as error:
            if self._left_s() < MOMENT_S:
                return Refusal(self._silent(), None)
            seen = clean(mask(f"{self._origin.host}: {type(error).__name__}: {error}"))
            return Refusal(SpeechUnreachable("KAV-171", seen, code=UNREACHABLE), RETRY_PAUSE_S)
        if response.status == 200:
            words = clean(mask(body.decode("utf-8", "replace")))
            seen = f"{clean(kind, 60) or 'nothing'} in place of {min(self._expects)}: {words}"
            return Refusal(SpeechUnusable("KAV-177", seen, code="wrong_content_type"), None)
        return refusal_of(response.status, response.headers, body)

    def _ask(self, connection: HTTPConnection) -> urllib3.HTTPResponse:
        if connection.sock is None:
            connection.timeout = max(0.001, min(CONNECT_S, self._left_s()))
            with green.deadline(connection.timeout):
                connection.connect()
        self._sock = connection.sock
        if self.is_given_up:
            raise ConnectionAbortedError("given up while connecting")
        connection.timeout = max(0.001, self._left_s())
        self._sock.settimeout(connection.timeout)
        try:
            connection.request(
                "POST",
                self._origin.target(self._path),
                body=self._body,
                headers=self._headers,
                preload_content=False,
                decode_content=False,
            )
        except (BrokenPipeError, ConnectionResetError):
            pass  # a refusal may come before the whole body was taken
        return connection.getresponse()

    def _read_some(self) -> bytes:
        wait_s = self._between_bytes_s if self._has_begun else self._left_s()
        self._sock.settimeout(max(0.001, wait_s))
        try:
            data: bytes = self._response.read1(READ_BYTES) or b""
        except (urllib3.exceptions.ReadTimeoutError, TimeoutError):
            raise self._silent() from None
        except _FAILURES as error:
            seen = clean(mask(f"{self._origin.host}: {type(error).__name__}: {error}"))
            raise SpeechUnreachable("KAV-177", f"broken off by {seen}", code="broken_off") from error
        self._has_begun = True
        return data

    def _silent(self) -> SpeechUnreachable:
        what = (
            f"for {self._between_bytes_s:g} s in the middle"
            if self._has_begun
            else f"in {self._first_byte_s:g} s"
        )
        return SpeechUnreachable("KAV-178", f"{self._origin.host} {self._path} {what}", code="timeout")

    def _left_s(self) -> float:
        return self._first_byte_by - time.monotonic()

    def _finish(self) -> None:
        """The answer has come to its end: the connection serves the next request, if it may."""
        connection, self._connection = self._connection, None
        self._sock = self._response = None
        self.is_over = True
        if connection is not None and connection.sock is not None:
            self._origin.give_back(connection)

    def _drop(self) -> None:
        """Close the connection."""
        response, connection = self._response, self._connection
        self._sock = self._response = self._connection = None
        if response is not None:
            response.close()
        if connection is not None:
            connection.close()
