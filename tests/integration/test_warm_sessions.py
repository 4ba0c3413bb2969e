"""A pool of model connections in a real worker, against a real Realtime server in this process."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median

import pytest

from server.services.warm_sessions import APART_S
from server.simulator.load.certificates import Certificates
from server.simulator.load.legs import Loop
from server.simulator.load.model_side import ModelServer, Session
from server.simulator.load.tally import Tally
from tests.integration.calls import eventually
from tests.integration.papers import make_papers
from tests.integration.slow_model import SlowModel
from tests.integration.warm_pool import QUICK, Pool, model, pool


class Nobody:
    """A stage for sessions that never speak."""

    def speaks(self, session: Session) -> None: ...

    def gone(self, session: Session) -> None: ...


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_papers(tmp_path_factory.mktemp("authority"))


@contextmanager
def tls_model(certificates: Certificates) -> Iterator[str]:
    """The address of a Realtime server that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    loop, is_over = Loop(), threading.Event()
    server = ModelServer(loop, Tally(), Tally(), Nobody(), context)

    def turn() -> None:
        while not is_over.is_set():
            loop.turn(0.001)
        loop.close()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield server.url
    finally:
        is_over.set()
        thread.join()


def figures(pool: Pool, how: str, count: int = 30) -> tuple[float, float]:
    """Medians of what a call waits for its connection, and for its session to be ready (ms)."""
    connect_ms, ready_ms = [], []
    for _ in range(count):
        if how == "warm":
            pool.wait_for(spares=1)
        report = pool.post(f"call?how={how}")
        assert report["is_ready"] and report["is_warm"] is (how == "warm")
        assert report["kinds"][:2] == ["session.created", "session.updated"]
        connect_ms.append(report["connect_ms"])
        ready_ms.append(report["ready_ms"])
    print(f"{how}: connected after {median(connect_ms):.2f} ms, ready after {median(ready_ms):.2f} ms")
    return median(connect_ms), median(ready_ms)


def test_a_warm_connection_saves_the_handshake():
    with model() as server, pool(server.url, target=1) as warm:
        cold, warm_take = figures(warm, "cold"), figures(warm, "warm")
        assert warm_take[0] < cold[0] / 3
        assert warm_take[1] < cold[1]


def test_over_tls_it_saves_more(certificates: Certificates):
    with tls_model(certificates) as url, pool(url, target=1, MODEL_CA=str(certificates.ca)) as warm:
        cold, warm_take = figures(warm, "cold"), figures(warm, "warm")
        assert warm_take[0] < cold[0] / 3
        assert warm_take[1] < cold[1]


def test_a_call_that_is_expected_finds_its_connection_open():
    with model() as server, pool(server.url) as warm:
        assert server.sessions_total == 0, "nothing is dialled without a reason"
        warm.post("expect")
        warm.wait_for(spares=1)
        report = warm.post("call?how=warm")
        assert report["is_warm"] and report["kinds"][:2] == ["session.created", "session.updated"]
        eventually(lambda: server.sessions_open == 0)
        assert server.sessions_total == 1
        assert warm.state()["connections"] == {"warm": 1}


def test_a_call_without_a_connection_dials_for_itself():
    with model() as server, pool(server.url) as warm:
        assert warm.post("call?how=wait")["is_ready"]
        assert warm.post("call?how=warm")["is_ready"]
        assert warm.state()["connections"] == {"cold": 2}
        assert server.sessions_total == 2


def test_what_is_expected_and_does_not_come_is_closed():
    with model() as server, pool(server.url, times=QUICK) as warm:
        warm.post("expect?count=3")
        eventually(lambda: server.sessions_total == 3)
        eventually(lambda: server.sessions_open == 0)
        warm.wait_for(spares=0)
        assert server.sessions_total == 3


def test_spares_are_kept_and_refilled():
    with model() as server, pool(server.url, target=3) as warm:
        warm.wait_for(spares=3)
        warm.post("expect?count=2")
        assert warm.post("take")["is_warm"] and warm.post("take")["is_warm"]
        warm.wait_for(spares=3)
        assert server.sessions_total == server.sessions_open == 5


def test_a_spare_is_replaced_before_it_is_closed():
    times = QUICK | {"refresh_s": [0.2, 0.3], "longest_s": 2.0}
    with model() as server, pool(server.url, target=2, times=times) as warm:
        warm.wait_for(spares=2)
        eventually(lambda: server.sessions_total >= 12, 10)  # each was replaced five times
        state = warm.state()
        counts = state["spare_counts"]
        assert set(counts[counts.index(2) :]) == {2, 3}
        assert state["failures"] == {}


def test_a_call_waits_for_the_dial_that_was_made_for_it():
    with SlowModel() as server, pool(server.url) as warm, ThreadPoolExecutor() as threads:
        warm.post("expect")
        eventually(lambda: len(server.accepted) == 1)
        call = threads.submit(warm.post, "take?timeout_s=5")
        warm.wait_for(waiting=1)
        assert not warm.post("take?timeout_s=5")["is_warm"], "a second one has nothing to wait for"
        assert not call.done()
        server.answer(0)
        assert call.result()["is_warm"]
        assert warm.state()["connections"] == {"cold": 1, "waited": 1}
        assert len(server.accepted) == 1


def test_calls_that_wait_are_served_in_order_and_a_failure_frees_the_last():
    with SlowModel() as server, pool(server.url) as warm, ThreadPoolExecutor() as threads:
        warm.post("expect?count=2")
        eventually(lambda: len(server.accepted) == 2)
        first = threads.submit(warm.post, "take?timeout_s=5")
        warm.wait_for(waiting=1)
        second = threads.submit(warm.post, "take?timeout_s=5")
        warm.wait_for(waiting=2)
        server.refuse(1, b"503 Service Unavailable")
        assert not second.result()["is_warm"]
        assert not first.done()
        server.answer(0)
        assert first.result()["is_warm"]


def test_a_wait_ends_in_time_and_the_late_connection_is_closed():
    with SlowModel() as server, pool(server.url) as warm:
        warm.post("expect")
        eventually(lambda: len(server.accepted) == 1)
        report = warm.post("take?timeout_s=0.2")
        assert not report["is_warm"] and 190 < report["took_ms"] < 1000
        server.answer(0)
        server.accepted[0].settimeout(5)
        assert server.accepted[0].recv(100)[:1] == b"\x88", "a close frame"
        warm.wait_for(spares=0)


def test_a_spare_answers_pings_and_its_end_is_seen_without_a_reader():
    with SlowModel() as server, pool(server.url) as warm:
        warm.post("expect")
        eventually(lambda: len(server.accepted) == 1)
        server.answer(0)
        warm.wait_for(spares=1)
        peer = server.accepted[0]
        peer.settimeout(5)
        peer.sendall(b"\x89\x02hi")
        pong = peer.recv(100)
        assert pong[:2] == b"\x8a\x82", "masked"
        assert bytes(a ^ b for a, b in zip(pong[6:], pong[2:], strict=False)) == b"hi"
        peer.close()
        warm.wait_for(spares=0)
        assert warm.state()["failures"] == {"ended": 1}


def test_dials_of_one_moment_do_not_begin_in_one_moment():
    """They would hold the hub, and with it all calls, when their handshakes are answered."""
    with SlowModel() as server, pool(server.url) as warm:
        began_at = time.monotonic()
        warm.post("expect?count=21")
        eventually(lambda: len(server.accepted) == 21)
        assert time.monotonic() - began_at > 20 * APART_S


def test_closing_ends_spares_and_dials_at_once_and_leaves_calls_alone():
    with SlowModel() as server, pool(server.url, target=2) as warm, ThreadPoolExecutor() as threads:
        eventually(lambda: len(server.accepted) == 2)
        server.answer(0)
        warm.wait_for(spares=1)
        assert warm.post("take")["is_warm"]
        eventually(lambda: len(server.accepted) == 3)
        server.answer(1)
        warm.wait_for(spares=1)
        warm.post("take")
        eventually(lambda: len(server.accepted) == 4)
        waits = threads.submit(warm.post, "take?timeout_s=5")
        eventually(lambda: len(server.accepted) == 5)  # the fourth is promised
        assert warm.post("close")["took_ms"] < 800
        assert not waits.result(2)["is_warm"]
        for peer in server.accepted[2:]:
            peer.settimeout(2)  # a dial would end by itself after 5 s
            while peer.recv(4096):  # what is left of the request, then its end
                pass
        warm.post("expect")
        assert not warm.post("take")["is_warm"]
        assert warm.state()["held_open"] == 2
        assert len(server.accepted) == 5


def test_a_worker_told_to_end_closes_its_spares():
    with model() as server, pool(server.url, target=3) as warm:
        warm.wait_for(spares=3)
        os.kill(warm.process.pid, signal.SIGTERM)
        eventually(lambda: server.sessions_open == 0)
        assert warm.process.wait(10) == 0
