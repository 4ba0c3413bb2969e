"""A pool of model connections in a real worker, and the Realtime server that it is connected to."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from server.simulator.realtime.server import RealtimeServer
from tests.integration.calls import eventually
from tests.integration.gunicorn_process import GunicornProcess

APP = "tests.integration.warm_app:app"
QUICK: dict[str, Any] = {
    "expected_s": 0.5,
    "settled_s": 0.3,
    "first_pause_s": 0.1,
    "longest_pause_s": 0.4,
    "refused_pause_s": 0.8,
}
"""A thirtieth of the real times: what takes a quarter of an hour is a matter for the plan's own tests."""


class Pool:
    """The app, by what one can ask of it."""

    def __init__(self, process: GunicornProcess) -> None:
        self.process = process

    def post(self, path: str) -> dict[str, Any]:
        with urlopen(Request(f"{self.process.base_url}/{path}", b""), timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if body else {}

    def state(self) -> dict[str, Any]:
        return self.get("state")

    def get(self, path: str) -> dict[str, Any]:
        with urlopen(f"{self.process.base_url}/{path}", timeout=10) as answer:
            return json.load(answer)

    def wait_for(self, timeout_s: float = 5.0, **facts: Any) -> None:
        """Until the state says so."""
        eventually(lambda: {name: self.state()[name] for name in facts} == facts, timeout_s)

    def resources(self, spares: int = 0) -> dict[str, Any]:
        """Descriptors and green threads, once nothing is under way."""
        self.wait_for(expected=0, dials=0, spares=spares)
        return self.get("resources")


@contextmanager
def pool(url: str, target: int = 0, times: dict[str, Any] | None = None, **env: str) -> Iterator[Pool]:
    env |= {"MODEL_URL": url, "WARM_TARGET": str(target), "WARM_TIMES": json.dumps(times or {})}
    with GunicornProcess(APP, env=env) as process:
        yield Pool(process)
        assert "Traceback" not in process.output()


@contextmanager
def model(**options: Any) -> Iterator[RealtimeServer]:
    with RealtimeServer(max_sessions=200, **options) as server:
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
