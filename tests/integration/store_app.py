"""A store in a real worker, with a clock beside it that measures how late the hub runs.

A plain WSGI application, so that what the hub does for the requests themselves stays small. Variables:
STORE_DATABASE_URL, STORE_REDIS_URL, STORE_PREFIX; STORE_MAX_FILE_BYTES makes every file's disk full there.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

from server import green, logs
from server.store.call_store import CallStore
from server.store.caller_messages import CallerMessage
from server.store.open_store import open_store
from server.store.parked_calls import ParkedCall

TICK_S = 0.001


class Ticker:
    def __init__(self) -> None:
        self.worst_ms = 0.0
        green.spawn(self._tick)

    def _tick(self) -> None:
        while True:
            at = time.monotonic()
            green.sleep(TICK_S)
            self.worst_ms = max(self.worst_ms, (time.monotonic() - at - TICK_S) * 1000)

    def take_worst_ms(self) -> float:
        worst_ms, self.worst_ms = self.worst_ms, 0.0
        return worst_ms


def parked(call_sid: str, n_bytes: int = 2_000) -> ParkedCall:
    return ParkedCall(call_sid, "flowers", "he", [("user", "x" * n_bytes), ("assistant", "שלום")], turns=2)


class App:
    def __init__(self, store: CallStore) -> None:
        self.store = store
        self.ticker = Ticker()

    def put(self, sid: str, n: str = "1", n_bytes: str = "2000") -> list[float]:
        """[longest put in ms]; others have their turn after each, as between the ends of many calls."""
        worst_s = 0.0
        for number in range(int(n)):
            record = parked(f"{sid}-{number}" if n != "1" else sid, int(n_bytes))
            started_at = time.monotonic()
            self.store.put(record)
            worst_s = max(worst_s, time.monotonic() - started_at)
            green.sleep(0)
        return [worst_s * 1000]

    def take(self, sid: str) -> list[Any]:
        """[whether it was there, ms it took]"""
        started_at = time.monotonic()
        record = self.store.take(sid)
        took_ms = (time.monotonic() - started_at) * 1000
        assert record is None or (record.call_sid, record.turns) == (sid, 2)
        return [record is not None, took_ms]

    def note(self, text: str) -> None:
        self.store.note_message(CallerMessage(text, "CA1", "flowers", time.time(), "דנה", "+972501234567"))

    def messages(self) -> list[str]:
        return [message.text for message in self.store.messages()]

    def flush(self, timeout_s: str = "2") -> bool:
        return self.store.flush(float(timeout_s))

    def worst_ms(self) -> float:
        return self.ticker.take_worst_ms()

    def pid(self) -> int:
        return os.getpid()

    def is_patched(self) -> bool:
        return time.sleep.__module__.startswith("eventlet")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        method = getattr(self, environ["PATH_INFO"].removeprefix("/"))
        body = json.dumps(method(**dict(parse_qsl(environ["QUERY_STRING"])))).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


def make_app() -> App:
    """In the worker, after its fork."""
    if limit := os.environ.get("STORE_MAX_FILE_BYTES"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    logs.configure("info", green.start_native_thread)
    made = App(
        open_store(
            os.environ.get("STORE_DATABASE_URL", "sqlite://"),
            os.environ.get("STORE_REDIS_URL", ""),
            key_prefix=os.environ.get("STORE_PREFIX", "kav-test:"),
        )
    )
    gc.collect()
    gc.freeze()  # as server.main does: a collection of all that was imported would hold the hub
    return made
