"""`store_app` under real gunicorn, as its tests speak to it; and what they have in common."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.integration.gunicorn_process import ROOT, GunicornProcess

APP = "tests.integration.store_app:make_app()"
HUB_MS = 10.0
"""The longest the hub may be held; a call's frames are at least this late."""
TRIES = 8
"""Other processes' work makes a hub late too, but not each time."""

RACER = """
import json, sys, time
from server.store.open_store import open_store
database_url, redis_url, prefix = sys.argv[1:4]
store = open_store(database_url, redis_url, key_prefix=prefix)
store.take("nothing")  # opened, connected
print("ready", flush=True)
call_sids = sys.stdin.readline().split()
print(json.dumps([call_sid for call_sid in call_sids if store.take(call_sid)]))
store.close()
"""


class StoreProcess(GunicornProcess):
    def __init__(self, database_url: str = "sqlite://", redis_url: str = "", **env: str) -> None:
        env |= {"STORE_DATABASE_URL": database_url, "STORE_REDIS_URL": redis_url}
        super().__init__(APP, env, ready_path="/worst_ms")

    def ask(self, path: str, **query: Any) -> Any:
        with urlopen(f"{self.base_url}/{path}?{urlencode(query)}", timeout=10) as response:
            return json.load(response)


def lateness_ms(process: StoreProcess, run: Callable[[int], object]) -> list[float]:
    """How late the hub was at worst while `run(number of the try)` ran; until once it was good."""
    seen: list[float] = []
    while len(seen) < TRIES and not (seen and seen[-1] < HUB_MS):
        process.ask("worst_ms")
        run(len(seen))
        seen.append(process.ask("worst_ms"))
    return seen


def race(call_sids: Sequence[str], database_url: str, redis_url: str, prefix: str) -> list[list[str]]:
    """What each of two processes got that ask for the same calls at the same time."""
    command = [sys.executable, "-c", RACER, database_url, redis_url, prefix]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(" ".join(call_sids) + "\n")
            racer.stdin.flush()
        return [json.loads(racer.communicate(timeout=30)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()


def until(is_so: Callable[[], object], timeout_s: float = 5.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.01)
