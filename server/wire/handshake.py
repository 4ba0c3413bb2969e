"""The opening handshake of a WebSocket server, as text in and text out (RFC 6455 section 4.2)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from server.wire.websocket import accept_key


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is no handshake, and the HTTP status that says so."""

    status: HTTPStatus
    reason: str


def refuse(method: str, http_version: str, headers: Mapping[str, str]) -> Refusal | None:
    """None when the request may be answered with 101. Header names are lower case."""
    if method != "GET":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "a WebSocket handshake is a GET")
    upgrade = {token.strip().lower() for token in headers.get("upgrade", "").split(",")}
    connection = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if "websocket" not in upgrade or "upgrade" not in connection:
        return Refusal(HTTPStatus.UPGRADE_REQUIRED, "this address speaks WebSocket only")
    if http_version != "HTTP/1.1":
        return Refusal(HTTPStatus.BAD_REQUEST, "a WebSocket handshake needs HTTP/1.1")
    if headers.get("sec-websocket-version", "").strip() != "13":
        return Refusal(HTTPStatus.UPGRADE_REQUIRED, "WebSocket version 13 is spoken here")
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        return Refusal(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes of base64")
    return None


def response(headers: Mapping[str, str], subprotocol: str | None = None) -> bytes:
    """The 101 answer to a request that `refuse` let pass."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(headers['sec-websocket-key'].strip())}",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
