"""The composition root: knows every room, decides nothing.

`create_app` builds one process: settings, what its calls share, the model's endpoint (a real one, or
the built-in one on loopback in demo mode), and the routes.
"""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path

from flask import Flask

from server import green, routes_console, routes_media, routes_twilio
from server.businesses_file import read_businesses
from server.call_services import CallServices, MakePipeline
from server.call_stage import see_off
from server.call_tools import tell_of
from server.config import CallMode, Dialect, Settings
from server.gateway import CallerLeg, Gateway, Mode
from server.logs import call_tag
from server.media_ws_ai import RealtimeMode
from server.media_ws_echo import EchoMode
from server.media_ws_pipeline import PipelineMode
from server.metrics import Counters, GatewayCollector
from server.parked_sessions import ParkedSessions
from server.prompts import load_prompts
from server.services.http_tools import HttpToolClient
from server.services.model_dial import Endpoint, tls_context
from server.services.twilio_rest import TwilioRest
from server.services.warm_sessions import WarmSessions
from server.start_warnings import business_warnings
from server.store.caller_messages import CallerMessage
from server.store.live_calls import LiveCalls
from server.store.open_store import open_store
from server.telephony import twiml
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

        Returns when they have, and Twilio had time to ask what follows. Requests are served till then, and
        on connections that are open even longer: the store takes their messages until `on_end`.
        """
        if not self.gateway.is_draining:
            self.gateway.is_draining = True
            left_s = deadline_s - time.monotonic()
            log.info("DRAIN live_calls=%d deadline_s=%.1f", self.gateway.calls.live_count, left_s)
        streams = list(self.gateway.streams)
        for stream in streams:
            stream.drain(deadline_s - LAST_WORDS_S)
        has_parked = len(self.gateway.parked) > 0
        self.gateway.parked.close()  # who comes back goes on in the next process
        while self.gateway.streams and time.monotonic() < deadline_s:
            green.sleep(0.05)
        self.gateway.is_leaving = True
        if streams or has_parked:  # Twilio asks what follows each of them a moment after it was closed
            green.sleep(max(0.0, min(FOLLOW_UPS_S, deadline_s - time.monotonic())))
        self.gateway.settle(deadline_s)

    def on_end(self) -> None:
        """After the last connection. Blocks one and a half seconds at most."""
        self.gateway.close()


def create_app(settings: Settings) -> GatewayApp:
    """One process's application."""
    app = GatewayApp(__name__, static_folder=str(STATIC_DIR), static_url_path="/static")
    app.config["SOCK_SERVER_OPTIONS"] = routes_media.SOCK_SERVER_OPTIONS
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = routes_twilio.MAX_FORM_BYTES
    app.url_map.merge_slashes = False  # one address each: a redirect would lose the upgrade, and POST bodies
    app.before_request(routes_console.refuse_nameless_host(settings))
    app.before_request(routes_twilio.take_body)
    businesses = read_businesses(settings)
    for warning in (*settings.warnings, *business_warnings(settings, businesses)):
        log.warning("%s", warning)

    counters = Counters()
    app.gateway = gateway = Gateway(
        settings=settings,
        make_mode=lambda caller, start: EchoMode(caller),
        businesses=businesses,
        signature=SignatureCheck(settings.twilio_auth_tokens),
        tokens=CallTokens.for_deployment(settings.twilio_auth_tokens),
        calls=LiveCalls(),
        counters=counters,
        parked=ParkedSessions(settings.max_calls),
    )
    mode = settings.served_mode
    if mode is not CallMode.ECHO:
        services = _services(settings, gateway)
        gateway.make_mode = partial(_mode_of_call, services, mode)
        gateway.settle, gateway.close = services.settle, services.close
        gateway.forget_call = partial(_forget_call, services)
        gateway.on_message = partial(_keep_message, services)
        gateway.see_off = partial(see_off, services, lambda: gateway.is_draining)
        if mode is CallMode.REALTIME:
            gateway.expect_call = services.warm.expect
            if settings.realtime_warm:
                services.warm.start()
    hub_lag = green.HubLag()
    gateway.lag = hub_lag.p95_s
    collector = GatewayCollector(counters, lambda: gateway.calls.live_count, hub_lag.take_worst_s)
    app.register_blueprint(routes_twilio.create_blueprint(gateway, _greeting_path(app)))
    app.register_blueprint(routes_media.create_blueprint(gateway))
    app.register_blueprint(routes_console.create_blueprint(gateway, collector, hub_lag))
    routes_console.install_error_pages(app)
    return app


def _keep_message(services: CallServices, message: CallerMessage) -> None:
    services.store.note_message(message)
    business = services.businesses.by_id(message.business_id)
    tell_of(services, business, message, call_tag(message.call_sid))


def _mode_of_call(services: CallServices, name: CallMode, caller: CallerLeg, start: Start) -> Mode:
    """Another one for each stream; but a call whose line broke a moment ago goes on in its own."""
    parked = services.parked.take(start.call_sid)
    if isinstance(parked, RealtimeMode) and start.parameters.get("resume") == twiml.RESUME:
        parked.sit_down(caller)
        return parked
    if parked is not None:
        green.spawn(parked.close)
    make = PipelineMode if name is CallMode.PIPELINE else RealtimeMode
    return make(caller, start, services, name)


def _forget_call(services: CallServices, call_sid: str) -> None:
    services.parked.end(call_sid)
    green.spawn(services.store.take, call_sid)


def _services(settings: Settings, gateway: Gateway) -> CallServices:
    """What calls share. In demo mode the model is our own, in this process."""
    settings = gateway.settings
    endpoint = _demo_endpoint(settings) if settings.served_mode is CallMode.DEMO else _endpoint(settings)
    return CallServices(
        settings=settings,
        businesses=gateway.businesses,
        calls=gateway.calls,
        counters=gateway.counters,
        prompts=load_prompts(),
        store=open_store(settings.database_url, settings.redis_url),
        parked=gateway.parked,
        endpoint=endpoint,
        warm=WarmSessions(endpoint, settings.realtime_warm, gateway.counters),
        http_tools=HttpToolClient(),
        rest=TwilioRest.from_settings(settings),
        pipeline=_pipeline(settings),
    )


def _endpoint(settings: Settings) -> Endpoint:
    return Endpoint(
        settings.openai_realtime_url,
        settings.openai_realtime_model,
        settings.openai_api_key,
        Dialect(settings.realtime_dialect),
        tls_context(settings.openai_realtime_url),
    )


def _pipeline(settings: Settings) -> MakePipeline | None:
    """The pipelined mode, as a mode of its own or below the realtime one."""
    base_url = settings.speech_base_url
    is_paid = settings.served_mode in (CallMode.REALTIME, CallMode.PIPELINE)
    if not is_paid or not settings.has_usable_key or not base_url:
        return None
    # Only here: numpy comes with it, which the other modes need not load.
    from server.services.openai_speech import OpenAISpeech, SpeechEndpoint
    from server.services.pipeline_client import PipelineClient

    speech = OpenAISpeech(
        SpeechEndpoint(
            base_url,
            settings.openai_api_key,
            settings.stt_model,
            settings.llm_model,
            settings.tts_model,
            settings.voice,
            tls_context(base_url.replace("http", "ws", 1)),
        )
    )
    return partial(
        PipelineClient,
        speech,
        voice_threshold=settings.voice_threshold,
        min_voice_frames=settings.min_consecutive_voice_frames,
        voice_detector=settings.voice_detector,
    )


def _demo_endpoint(settings: Settings) -> Endpoint:
    # Only here: it is no part of a process that serves a real model.
    from server.simulator.realtime.persona import demo_personas
    from server.simulator.realtime.server import RealtimeServer

    model = RealtimeServer(
        persona_factory=demo_personas(settings.call_language),
        max_sessions=settings.max_calls + 8,
        max_message_bytes=DEMO_MESSAGE_BYTES,
    )
    model.start()
    return Endpoint(model.url, "demo", "demo", Dialect.GA)


def _greeting_path(app: Flask) -> str | None:
    """A recorded greeting to play before the stream: only if its file is there and is really served.

    Asked without a whole request: after its first one an app takes no more routes.
    """
    for name in ("greeting.mp3", "greeting.wav"):
        if not os.access(Path(app.static_folder or "") / name, os.R_OK):
            continue
        path = f"{app.static_url_path}/{name}"
        with app.test_request_context(path) as asked:
            if app.preprocess_request() is None and asked.request.endpoint == "static":
                return path
        log.warning("%s is not served: it is not played", path)
    return None
