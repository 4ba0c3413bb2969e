"""The app behind the tests of warm sessions: a pool in a real worker, and calls that use it, by HTTP.

Variables:

    MODEL_URL    where the model answers
    MODEL_CA     the authority that vouches for it, if it speaks TLS
    WARM_TARGET  spares that are always open
    WARM_TIMES   fields of WarmTimes, as JSON
    DIAL_S       the longest a dial may take
"""

from __future__ import annotations

import gc
import json
import logging
import os
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, request
from greenlet import greenlet

from server import green
from server.channel import Channel
from server.config import Dialect
from server.errors import GatewayError
from server.metrics import Counters
from server.realtime.events import Event, SessionUpdated
from server.realtime.warm_plan import WarmTimes
from server.services import model_dial
from server.services.model_dial import CONNECT_S, Endpoint
from server.services.openai_realtime_client import OpenAIRealtimeClient
from server.services.warm_sessions import WarmSessions

logging.basicConfig(stream=sys.stdout, level="INFO", format="%(levelname)s %(message)s")
model_dial.CONNECT_S = float(os.environ.get("DIAL_S", CONNECT_S))
tls = ssl.create_default_context(cafile=os.environ["MODEL_CA"]) if "MODEL_CA" in os.environ else None
endpoint = Endpoint(os.environ["MODEL_URL"], "gpt-realtime", "sk-test", Dialect.GA, tls)
spare_counts: list[int] = []


class NotingCounters(Counters):
    """Keeps every number of spares there ever was."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "model_spares":
            spare_counts.append(value)


counters = NotingCounters()
times = WarmTimes(**json.loads(os.environ.get("WARM_TIMES", "{}")))
warm = WarmSessions(endpoint, int(os.environ.get("WARM_TARGET", "0")), counters, times)
warm.start()

app = Flask(__name__)
app.on_drain = lambda deadline_at: warm.close()
held: list[Channel] = []
lag = green.HubLag()
lag.start()


class Call:
    """One that says nothing: it is there when its settings are in force."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.ready_at = 0.0
        self.ready = green.Signal()
        self.client = OpenAIRealtimeClient(endpoint, self._on_event, "test")

    def run(self, find: Callable[[], Channel | None]) -> dict[str, Any]:
        """`find` its channel, configure the session, hang up; how long each took."""
        began_at = time.monotonic()
        channel = find()
        self.client.connect(channel)
        connected_at = time.monotonic()
        self.client.configure_session(voice="marin", instructions="")
        reader = green.spawn(self.client.read_events)
        is_ready = self.ready.wait(5)
        self.client.close()
        reader.wait()
        return {
            "is_warm": channel is not None,
            "is_ready": is_ready,
            "connect_ms": (connected_at - began_at) * 1000,
            "ready_ms": (self.ready_at - began_at) * 1000,
            "kinds": self.kinds,
        }

    def _on_event(self, kind: str, event: Event) -> None:
        self.kinds.append(kind)
        if isinstance(event, SessionUpdated):
            self.ready_at = time.monotonic()
            self.ready.set()


@app.get("/healthz")
def healthz() -> str:
    return "well"


@app.post("/expect")
def expect() -> str:
    for _ in range(int(request.args.get("count", 1))):
        warm.expect()
    return ""


@app.post("/take")
def take() -> dict[str, Any]:
    """Take one and keep it."""
    began_at = time.monotonic()
    timeout_s = request.args.get("timeout_s")
    channel = warm.take() if timeout_s is None else warm.take_or_wait(float(timeout_s))
    if channel is not None:
        held.append(channel)
    return {"is_warm": channel is not None, "took_ms": (time.monotonic() - began_at) * 1000}


@app.post("/killed_call")
def killed_call() -> dict[str, Any]:
    """A call that ends in the very moment in which it was given what it waits for."""
    found: list[Channel] = []
    opened = warm._opened

    def opened_and_killed(number: int, channel: model_dial.ModelChannel) -> None:
        opened(number, channel)
        found.append(channel)
        waiter.kill()

    warm._opened = opened_and_killed  # type: ignore[method-assign]
    warm.expect()
    green.sleep(0)
    waiter = green.spawn(warm.take_or_wait, 5.0)
    while not found or found[0].closed is None:
        green.sleep(0.001)
    warm._opened = opened  # type: ignore[method-assign]
    return {"why": str(found[0].closed)}


@app.post("/call")
def call() -> dict[str, Any]:
    """A whole call; `how`: cold, warm or wait."""
    finders: dict[str, Callable[[], Channel | None]] = {
        "cold": lambda: None,
        "warm": warm.take,
        "wait": lambda: warm.take_or_wait(5.0),
    }
    try:
        return Call().run(finders[request.args["how"]])
    except GatewayError as error:
        return {"error": f"{type(error).__name__}: {error}"}


@app.post("/cycles")
def cycles() -> dict[str, int]:
    """So many calls that are expected, take their connection and hang up, ten at a time."""
    count = int(request.args["count"])
    got = 0

    def one() -> None:
        nonlocal got
        warm.expect()
        green.sleep(0)  # Twilio takes longer
        channel = warm.take_or_wait(5.0)
        if channel is not None:
            got += 1
            channel.close()

    for _ in range(count // 10):
        for thread in [green.spawn(one) for _ in range(10)]:
            thread.wait()
    return {"got": got}


@app.get("/state")
def state() -> dict[str, Any]:
    return {
        "spares": counters.model_spares,
        "spare_counts": spare_counts,
        "expected": len(warm._plan._expected),
        "dials": warm._plan.dial_count,
        "waiting": len(warm._waiters),
        "connections": dict(counters.model_connections),
        "failures": dict(counters.model_spare_failures),
        "held_open": sum(channel.closed is None for channel in held),
        "worst_lag_ms": lag.take_worst_s() * 1000,
    }


@app.get("/resources")
def resources() -> dict[str, int]:
    """What could leak."""
    return {
        "fds": len(os.listdir("/proc/self/fd")),
        "greenlets": sum(isinstance(thing, greenlet) and not thing.dead for thing in gc.get_objects()),
    }


@app.post("/close")
def close() -> dict[str, float]:
    began_at = time.monotonic()
    warm.close()
    return {"took_ms": (time.monotonic() - began_at) * 1000}
