"""The media WebSocket's door: who may open a stream, and the handshake.

flask-sock and simple-websocket make the handshake; what they would take too lightly is refused
before it (no key, an old version, a foreign origin), and what they would agree to is taken out of
the request (compression). After it the socket belongs to a `Channel`.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from flask_sock import Sock

from server.channel import Channel
from server.faults import FAULTS
from server.gateway import Gateway
from server.media_ws import CALLER_LIMITS, MediaStream
from server.routes_twilio import public_base_url
from server.telephony.messages import SUBPROTOCOL
from server.telephony.signature import HEADER
from server.telephony.twiml import MEDIA_PATH, media_url
from server.wire.handshake import refuse
from server.wire.websocket import CloseCode, encode_close

log = logging.getLogger(__name__)

MAX_UNSTARTED_STREAMS = 200
"""Sockets that were opened and said nothing yet: a stranger may not take all there are."""


class _NoThread:
    """Stands in for the reader thread simple-websocket would start: the socket is ours."""

    name = ""

    def __init__(self, **_: Any) -> None:
        pass

    def start(self) -> None:
        pass


SOCK_SERVER_OPTIONS = {"subprotocols": [SUBPROTOCOL], "thread_class": _NoThread}


def create_blueprint(gateway: Gateway) -> Blueprint:
    """`GET /ws/twilio-media`, with and without a trailing slash."""
    bp = Blueprint("media", __name__)
    sock = Sock()

    @bp.before_request
    def guard() -> Response | None:
        environ = request.environ
        headers = {name.lower(): value for name, value in request.headers.items()}
        refusal = refuse(request.method, environ.get("SERVER_PROTOCOL", ""), headers)
        if refusal is not None:
            return _refused("KAV-113", refusal.status, refusal.reason)
        if not request.host.isascii():
            return _refused("KAV-113", 400, "the Host is not a name of ASCII letters")
        if not _is_own_origin(headers.get("origin"), public_base_url(gateway), request.host):
            return _refused("KAV-113", 403, "the Origin is another site's")
        if gateway.is_draining:
            return Response("draining", 503, {"Retry-After": "2"})
        if gateway.unstarted_streams >= MAX_UNSTARTED_STREAMS:
            return _refused("KAV-113", 503, f"{MAX_UNSTARTED_STREAMS} streams wait for their start message")
        if gateway.signature.is_on and not gateway.signature.is_signed_upgrade(
            media_url(public_base_url(gateway)), headers.get(HEADER.lower())
        ):
            return _refused(
                "KAV-112", 403, "no signature" if HEADER.lower() not in headers else "another URL's"
            )
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)  # a small deflated bomb would stall every call
        return None

    def _refused(fault_id: str, status: int, seen: str) -> Response:
        gateway.counters.refused[fault_id] += 1
        log.warning("%s", FAULTS[fault_id].line(seen))
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"} if status == 426 else {}
        return Response(f"{seen}\n", status, headers, content_type="text/plain; charset=utf-8")

    def twilio_media(ws: Any) -> None:
        ws.connected = False  # nothing is to be written behind the channel's back
        ws.ws = None  # its parser would be kept as long as the call lives
        try:
            channel = Channel(ws.sock, is_client=False, limits=CALLER_LIMITS)
            MediaStream(channel, gateway, ws.subprotocol).run()
        except Exception:  # what left here would become an HTTP page inside the WebSocket
            log.exception("%s", FAULTS["KAV-199"].line("media WebSocket"))
            say_fault(ws.sock)

    sock.route(MEDIA_PATH, bp=bp)(twilio_media)
    sock.route(MEDIA_PATH + "/", bp=bp, endpoint="twilio_media_slash")(twilio_media)

    @bp.errorhandler(ConnectionError)
    def left_early(error: ConnectionError) -> Response:
        """The peer hung up before the 101 was written."""
        log.info("WS_CONNECTED never: %s", error.strerror or error)
        return Response(status=400)

    return bp


def say_fault(sock: Any) -> None:
    """The last resort: 1011, if the socket still takes it."""
    try:
        sock.send(encode_close(CloseCode.SERVER_ERROR, "a fault of our own"))
    except OSError:
        pass


def _is_own_origin(origin: str | None, base_url: str, host: str) -> bool:
    """Twilio sends none; a browser sends its page's, which must be ours."""
    if not origin:
        return True
    try:
        site = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(site) and site in (urlsplit(base_url).netloc, host)
