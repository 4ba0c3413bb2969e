"""The composition root: knows every room, decides nothing.

`create_app` builds one process: settings, what its calls share, the model's endpoint (a real one, or
the built-in one on loopback in demo mode), and the routes.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from flask import Flask

from server import green, routes_console, routes_media, routes_twilio
from server.config import CallMode, Dialect, Settings
from server.gateway import CallerLeg, Gateway, Mode, ModeFactory
from server.media_ws_ai import RealtimeMode
from server.media_ws_echo import EchoMode
from server.metrics import Counters, GatewayCollector
from server.services.openai_realtime_client import Endpoint, tls_context
from server.telephony.call_token import CallTokens
from server.telephony.messages import Start
from server.telephony.signature import SignatureCheck

log = logging.getLogger(__name__)

STATIC_DIR = Path(__file__).parent.parent / "static"
DRAIN_LISTENER_S = 1.0
"""Load balancers ask `/readyz` again before the listener closes."""
FOLLOW_UPS_S = 2.0
LAST_WORDS_S = 1.5
"""Of the drain's deadline this much is kept for closing handshakes."""

DEMO_MESSAGE_BYTES = 256 * 1024
"""Our own frames are 0.3 kB; a large message would hold the hub that the demo shares with the calls."""


class GatewayApp(Flask):
    """The WSGI application, with what the worker calls when the process shall end."""

    gateway: Gateway
    drain_listener_s = DRAIN_LISTENER_S
    drain_holds_listener = True

    def on_drain(self, deadline_s: float) -> None:
        """Take no more calls; ask each stream to end at its next pause, before the deadline (monotonic).

        Returns when they have, and Twilio had time to ask what follows; requests are served till then.
        """
        if not self.gateway.is_draining:
            self.gateway.is_draining = True
            left_s = deadline_s - time.monotonic()
            log.info("DRAIN live_calls=%d deadline_s=%.1f", self.gateway.calls.live_count, left_s)
        streams = list(self.gateway.streams)
        for stream in streams:
            stream.drain(deadline_s - LAST_WORDS_S)
        while self.gateway.streams and time.monotonic() < deadline_s:
            green.sleep(0.05)
        if streams:  # Twilio asks what follows each of them a moment after it was closed
            green.sleep(max(0.0, min(FOLLOW_UPS_S, deadline_s - time.monotonic())))


def create_app(settings: Settings) -> GatewayApp:
    """One process's application."""
    app = GatewayApp(__name__, static_folder=str(STATIC_DIR), static_url_path="/static")
    app.config["SOCK_SERVER_OPTIONS"] = routes_media.SOCK_SERVER_OPTIONS
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = routes_twilio.MAX_FORM_BYTES
    app.url_map.merge_slashes = False  # one address each: a redirect would lose the upgrade, and POST bodies
    app.before_request(routes_console.refuse_nameless_host(settings))
    app.before_request(routes_twilio.take_body)
    for warning in settings.warnings:
        log.warning("%s", warning)

    counters = Counters()
    app.gateway = gateway = Gateway(
        settings=settings,
        make_mode=_mode_factory(settings, counters),
        signature=SignatureCheck(settings.twilio_auth_tokens),
        tokens=CallTokens.for_deployment(settings.twilio_auth_tokens),
        counters=counters,
    )
    hub_lag = green.HubLag()
    collector = GatewayCollector(counters, lambda: gateway.calls.live_count, hub_lag.take_worst_s)
    app.register_blueprint(routes_twilio.create_blueprint(gateway, _greeting_path(app)))
    app.register_blueprint(routes_media.create_blueprint(gateway))
    app.register_blueprint(routes_console.create_blueprint(gateway, collector, hub_lag))
    routes_console.install_error_pages(app)
    return app


def _mode_factory(settings: Settings, counters: Counters) -> ModeFactory:
    name = settings.served_mode
    if name is CallMode.ECHO:
        return lambda caller, start: EchoMode(caller)
    if name is CallMode.DEMO:
        # Only here: it is no part of a process that serves a real model.
        from server.simulator.realtime.persona import demo_personas
        from server.simulator.realtime.server import RealtimeServer

        model = RealtimeServer(
            persona_factory=demo_personas(settings.call_language),
            max_sessions=settings.max_calls + 8,
            max_message_bytes=DEMO_MESSAGE_BYTES,
        )
        model.start()
        endpoint = Endpoint(model.url, "demo", "demo", Dialect.GA)
    else:
        endpoint = Endpoint(
            settings.openai_realtime_url,
            settings.openai_realtime_model,
            settings.openai_api_key,
            Dialect(settings.realtime_dialect),
            tls_context(settings.openai_realtime_url),
        )

    def make_mode(caller: CallerLeg, start: Start) -> Mode:
        return RealtimeMode(caller, start, settings, endpoint, counters, name)

    return make_mode


def _greeting_path(app: Flask) -> str | None:
    """A recorded greeting to play before the stream: only if its file is there and is really served."""
    for name in ("greeting.mp3", "greeting.wav"):
        if not (Path(app.static_folder or "") / name).is_file():
            continue
        path = f"{app.static_url_path}/{name}"
        answer = app.test_client().get(path)
        answer.close()
        if answer.status_code == 200:
            return path
        log.warning("%s is answered with %d: it is not played", path, answer.status_code)
    return None
