"""The home page, health, readiness and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Blueprint, Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from server import __version__, green
from server.admission import why_full
from server.config import Settings
from server.faults import FAULTS
from server.gateway import Gateway
from server.metrics import GatewayCollector, exposition
from server.routes_twilio import public_base_url
from server.status import checklist
from server.telephony.twiml import INCOMING_CALL_PATH

log = logging.getLogger(__name__)

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_blueprint(gateway: Gateway, collector: GatewayCollector, hub_lag: green.HubLag) -> Blueprint:
    bp = Blueprint("console", __name__)
    bp.before_app_request(hub_lag.start)  # not before: the hub belongs to the process that serves

    @bp.get("/")
    def home() -> Response:
        page = render_template(
            "home.html",
            version=__version__,
            checks=checklist(gateway.settings, "he"),
            live=gateway.calls.live_count,
            webhook_url=public_base_url(gateway) + INCOMING_CALL_PATH,
        )
        return Response(page, 200, PAGE_HEADERS, content_type="text/html; charset=utf-8")

    @bp.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", 200, content_type="text/plain")

    @bp.get("/readyz")
    def readyz() -> Response:
        live, most = gateway.calls.live_count, gateway.settings.max_calls
        if gateway.is_draining:
            return Response(f"draining, {live} calls left\n", 503, content_type="text/plain")
        if (full := why_full(gateway)) is not None:
            what = "full" if full[0] == "KAV-141" else f"too slow ({full[1]})"
            return Response(f"{what}, {live} of {most} calls\n", 503, content_type="text/plain")
        return Response(f"ready, {live} of {most} calls\n", 200, content_type="text/plain")

    @bp.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(collector), 200, content_type="text/plain; version=0.0.4; charset=utf-8")

    return bp


def refuse_nameless_host(settings: Settings) -> Callable[[], Response | None]:
    """Without a public address of our own, the Host header names us in TwiML: it must name somebody."""

    def check() -> Response | None:
        if not settings.public_base_url and not request.host:
            return Response("400 the Host header is empty or malformed\n", 400, content_type="text/plain")
        return None

    return check


def install_error_pages(app: Flask) -> None:
    """Short text instead of HTML: a stack trace's page is what Twilio reports as 11750."""

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if isinstance(error, WebsocketMismatch):
            headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            return Response(
                f"{FAULTS['KAV-113'].line()}\n", 426, headers, content_type="text/plain; charset=utf-8"
            )
        if error.code is not None and error.code < 400 and error.response is None:
            return Response(status=error.code)
        response = Response(
            f"{error.code} {error.name}\n", error.code, content_type="text/plain; charset=utf-8"
        )
        if error.code == 405 and (allowed := getattr(error, "valid_methods", None)):
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.errorhandler(Exception)
    def fault(error: Exception) -> Response:
        log.error("%s", FAULTS["KAV-199"].line(f"{request.method} {request.path[:80]}"), exc_info=error)
        return Response("500 a fault of our own\n", 500, content_type="text/plain; charset=utf-8")
