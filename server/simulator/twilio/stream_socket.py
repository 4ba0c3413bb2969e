"""The socket of one media stream, as Twilio opens it: handshake, then whole messages without waiting.

The handshake's headers are those captured from Twilio: no Origin, no extensions, the agent
`Twilio.TmeWs/1.0`, a signature. After it nothing here blocks, so that one thread can keep the
20 ms schedule while it listens.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import websocket

from server.errors import GatewayError
from server.simulator.twilio.addresses import Target, is_loopback
from server.wire.websocket import PONG, TEXT, CloseCode, Event, Ping, Receiver, encode, encode_close

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBPROTOCOL = "audio.twilio.com"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Ten minutes of audio in one message, the most that Twilio's buffer takes, fit in."""
_READ_BYTES = 65536
_READS_AT_ONCE = 16  # a flood from the far end must not hold up our own frames


class StreamFailed(GatewayError):
    """No stream came up. Carries Twilio's code, and the HTTP status where one was given."""

    def __init__(self, code: int, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status


class StreamSocket:
    """Framed, masked, non-blocking. Not for several threads."""

    def __init__(self, raw: socket.socket, subprotocol: str = "") -> None:
        self.subprotocol = subprotocol
        self.is_eof = False
        """The far end is gone, with or without a goodbye."""
        self._raw = raw
        self._raw.setblocking(False)
        self._receiver = Receiver(expect_mask=False, max_message_bytes=MAX_MESSAGE_BYTES, max_fragments=4096)
        self._out = bytearray()
        self._may_hold_more = False

    @property
    def backlog_bytes(self) -> int:
        """Written by us and not taken by the far end."""
        return len(self._out)

    def send_text(self, text: str) -> None:
        self._send(encode(TEXT, text.encode("utf-8"), masked=True))

    def send_close(self, code: int, reason: str = "") -> None:
        self._send(encode_close(code, reason, masked=True))

    def receive(self) -> list[Event]:
        """Everything that has arrived; pings are answered on the way."""
        events: list[Event] = []
        self._may_hold_more = False
        for _ in range(_READS_AT_ONCE):
            try:
                data = self._raw.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:
                data = b""
            if not data:
                self.is_eof = True
                break
            events += self._receiver.feed(data)
        else:
            self._may_hold_more = True
        for event in events:
            if isinstance(event, Ping):
                self._send(encode(PONG, event.data, masked=True))
        return events

    def wait(self, timeout_s: float) -> None:
        """Until something arrives or the backlog can go on; at the most `timeout_s`.

        poll() counts whole milliseconds, so what is left below one is slept through.
        """
        if self._may_hold_more or timeout_s <= 0:
            self.flush()
            return
        whole_ms = int(timeout_s * 1000)
        if not whole_ms:
            time.sleep(timeout_s)
            return
        poll = select.poll()
        poll.register(self._raw, select.POLLIN | (select.POLLOUT if self._out else 0))
        poll.poll(whole_ms)
        self.flush()

    def flush(self) -> None:
        """Hand over what the far end takes now."""
        while self._out and not self.is_eof:
            try:
                sent = self._raw.send(self._out[:_READ_BYTES])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                self._out.clear()  # reading tells how it ended
                return
            del self._out[:sent]

    def close(self) -> None:
        self._raw.close()

    def _send(self, frame: bytes) -> None:
        self._out += frame
        self.flush()


def open_stream(
    target: Target, signature: Mapping[str, str], *, offer_subprotocol: bool, timeout_s: float
) -> StreamSocket:
    """Connect and upgrade. Blocks up to `timeout_s`. Raises StreamFailed."""
    headers = {"User-Agent": "Twilio.TmeWs/1.0", **signature}
    if offer_subprotocol:
        # Given as a plain header: the library's own option rejects a server that chooses none,
        # which RFC 6455 allows.
        headers["Sec-WebSocket-Protocol"] = SUBPROTOCOL
    if target.is_behind_proxy:
        headers["X-Forwarded-Proto"] = "https"
    parts = urlsplit(target.url)
    where = parts.netloc
    try:
        connection = websocket.create_connection(
            target.url,
            timeout=timeout_s,
            header=headers,
            host=target.host or None,
            suppress_origin=True,
            redirect_limit=0,
            socket=_loopback_socket(parts, timeout_s),
        )
    except websocket.WebSocketBadStatusException as error:
        status = int(error.status_code)
        raise StreamFailed(31920, f"{where}{parts.path} answered {status}, not 101", status) from error
    except (websocket.WebSocketTimeoutException, TimeoutError) as error:
        raise StreamFailed(31901, f"{where} did not answer within {timeout_s:g} s") from error
    except websocket.WebSocketAddressException as error:
        raise StreamFailed(31904, f"the host name of {where} is not known") from error
    except ssl.SSLError as error:
        raise StreamFailed(31910, f"TLS with {where} failed: {error.reason or error}") from error
    except ConnectionRefusedError as error:
        raise StreamFailed(31902, f"nothing listens on {where}") from error
    except (websocket.WebSocketException, ConnectionError, ValueError, IndexError) as error:
        raise StreamFailed(31920, f"{where}{parts.path} broke the handshake: {_first_line(error)}") from error
    except OSError as error:
        raise StreamFailed(31904, f"{where} cannot be reached: {_first_line(error)}") from error
    raw = connection.sock
    if raw is None:
        raise StreamFailed(31920, f"{where}{parts.path} hung up at the handshake")
    answered = connection.headers or {}
    chosen = answered.get("sec-websocket-protocol", "")
    if reason := _broken_promise(chosen, answered.get("sec-websocket-extensions", ""), offer_subprotocol):
        raw.close()
        raise StreamFailed(31920, f"{where}{parts.path} {reason}")
    return StreamSocket(raw, chosen)


def _loopback_socket(parts: SplitResult, timeout_s: float) -> socket.socket | None:
    """Connected, when the gateway runs here; None leaves it to the library.

    The library would go through the proxy this machine uses outwards, whatever it is told.
    """
    host = parts.hostname or ""
    if not is_loopback(host):
        return None
    is_secure = parts.scheme == "wss"
    raw = socket.create_connection((host, parts.port or (443 if is_secure else 80)), timeout_s)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not is_secure:
        return raw
    try:
        return ssl.create_default_context().wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _broken_promise(subprotocol: str, extensions: str, offered: bool) -> str:
    """What the 101 chose although it was not offered (RFC 6455 section 4.1)."""
    if subprotocol and not (offered and subprotocol == SUBPROTOCOL):
        return f"chose the subprotocol {subprotocol[:40]!r}, which was not offered"
    return f"chose the extension {extensions[:40]!r}, which was not offered" if extensions else ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


NORMAL = int(CloseCode.NORMAL)
