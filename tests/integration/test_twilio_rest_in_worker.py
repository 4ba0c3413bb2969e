"""Twilio's REST API asked from a green thread in real gunicorn: whoever waits for it waits alone."""

from __future__ import annotations

import json
import os
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from server.simulator.twilio.rest_server import RestServer
from tests.integration.calls import eventually
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.papers import make_papers

APP = "tests.integration.rest_worker_app:app"
CALL = "CA" + "1" * 32
MACHINE_S = 1.0


def worker(twilio: RestServer, **env: str) -> GunicornProcess:
    account = {"TWILIO_ACCOUNT_SID": twilio.account_sid, "TWILIO_AUTH_TOKEN": twilio.auth_token}
    return GunicornProcess(APP, env={"TWILIO_API_URL": twilio.url, **account, **env})


def get(process: GunicornProcess, path: str) -> bytes:
    with urlopen(process.base_url + path, timeout=15) as response:
        body: bytes = response.read()
        return body


def update(process: GunicornProcess) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(get(process, f"/update/{CALL}"))
    return answer


def worst_ms(process: GunicornProcess) -> float:
    return float(get(process, "/worst_ms"))


def test_while_one_request_waits_for_a_slow_twilio_others_are_served():
    with RestServer(faults=["slow=1.5"]) as twilio, worker(twilio) as process, ThreadPoolExecutor(1) as pool:
        twilio.calls.declare(CALL)
        worst_ms(process)
        waiting = pool.submit(update, process)
        eventually(lambda: len(twilio.requests) == 1)
        served = 0
        while not waiting.done() and served < 20:
            get(process, "/healthz")
            served += 1
        assert served == 20, "they waited for it"
        answer = waiting.result(timeout=10)
        assert answer["outcome"] == "in-progress"
        assert 1.5 <= answer["took_s"] < 1.5 + MACHINE_S
        assert worst_ms(process) < 100


def test_many_wait_at_once_and_together():
    with RestServer(faults=["slow=0.5"]) as twilio, worker(twilio) as process, ThreadPoolExecutor(8) as pool:
        twilio.calls.declare(CALL)
        began_at = time.monotonic()
        answers = list(pool.map(lambda _: update(process), range(8)))
        assert [answer["outcome"] for answer in answers] == ["in-progress"] * 8
        assert time.monotonic() - began_at < 8 * 0.5 - MACHINE_S, "they waited for each other"


@pytest.mark.parametrize("fault", ["timeout", "drip", "drip_head", "slow=30"])
def test_no_fault_holds_a_green_thread_longer_than_the_time_out(fault: str):
    with RestServer(faults=[fault]) as twilio, worker(twilio, TIMEOUT_S="1.2") as process:
        twilio.calls.declare(CALL)
        answer = update(process)
        assert answer["outcome"] == "KAV-152"
        assert 1.0 <= answer["took_s"] <= 1.2 + MACHINE_S
        twilio.faults.set()
        assert update(process)["outcome"] == "in-progress", "the client is as good as before"


def test_after_each_kind_of_end_the_next_request_goes_well():
    with RestServer() as twilio, worker(twilio, TIMEOUT_S="1.2") as process:
        twilio.calls.declare(CALL)
        for fault, outcome in (("reset", "KAV-151"), ("500", "KAV-155"), ("html", "KAV-159")):
            twilio.faults.set(fault)
            assert update(process)["outcome"] == outcome
            twilio.faults.set()
            assert update(process)["outcome"] == "in-progress"


def test_over_tls_it_works_in_a_worker_as_well(tmp_path: Path):
    made = make_papers(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with RestServer(tls=context) as twilio, worker(twilio, SSL_CERT_FILE=os.fspath(made.ca)) as process:
        twilio.calls.declare(CALL)
        worst_ms(process)
        assert [update(process)["outcome"] for _ in range(3)] == ["in-progress"] * 3
        assert twilio.connections_total == 1
