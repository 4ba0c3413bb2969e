"""A pool of model connections while the model fails, and what is left behind when all is over."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from server import green
from server.config import Dialect
from server.metrics import Counters
from server.services.model_dial import Endpoint
from server.services.warm_sessions import WarmSessions
from tests.integration.calls import eventually
from tests.integration.slow_model import SlowModel
from tests.integration.warm_pool import QUICK, free_port, model, pool


def test_while_the_model_is_down_it_is_tried_ever_more_seldom_and_then_all_is_well():
    port = free_port()
    with pool(f"ws://127.0.0.1:{port}/v1/realtime", target=3, times=QUICK) as warm:
        warm.process.wait_for_line(r"WARNING KAV-181 .*127\.0\.0\.1.* Fix: ")
        eventually(lambda: warm.state()["failures"]["unreachable"] >= 6)
        began_at, before = time.monotonic(), warm.state()["failures"]["unreachable"]
        assert "ModelUnreachable" in warm.post("call?how=wait")["error"]
        warm.post("expect?count=20")
        eventually(lambda: warm.state()["failures"]["unreachable"] >= before + 3)
        tries = warm.state()["failures"]["unreachable"] - before
        assert tries <= 1 + (time.monotonic() - began_at) / 0.4
        assert warm.process.output().count("KAV-181") == 1
        with model(port=port) as server:
            warm.wait_for(spares=3)
            warm.process.wait_for_line(r"INFO \[WARM\] the model takes connections again")
            assert server.sessions_open == 3


def test_a_model_that_restarts_is_connected_to_again():
    port = free_port()
    with pool(f"ws://127.0.0.1:{port}/v1/realtime", target=5, times=QUICK) as warm:
        for _ in range(3):
            with model(port=port) as server:
                warm.wait_for(spares=5)
                assert server.sessions_open == 5
            warm.wait_for(spares=0)


def test_a_refused_key_is_told_once_and_then_left_alone():
    port = free_port()
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    times = QUICK | {"refused_pause_s": 1.5}
    with model(port=port, faults=["refuse401"]), pool(url, target=3, times=times) as warm:
        warm.process.wait_for_line(r"ERROR KAV-182 .*: KAV-132 HTTP 401 .* Fix: ")
        warm.wait_for(failures={"refused": 3})  # all three were under way
        warm.post("expect")
        assert "ModelRefused" in warm.post("call?how=wait")["error"]
        assert warm.state()["failures"] == {"refused": 3}
        warm.wait_for(failures={"refused": 4})
        assert warm.process.output().count("KAV-182") == 1
        assert "sk-test" not in warm.process.output()


def test_a_refusal_in_a_session_that_opened_counts_as_one():
    with model(faults=["quota"]) as server, pool(server.url, target=2, times=QUICK) as warm:
        warm.process.wait_for_line(r"ERROR KAV-182 .*: KAV-133 ")
        warm.wait_for(spares=0)
        assert set(warm.state()["failures"]) == {"refused"}
        assert server.sessions_total <= 3


def test_a_model_that_ends_idle_sessions_is_not_stormed():
    with model(faults=["session_expired=0.05"]) as server:
        with pool(server.url, target=2, times=QUICK) as warm:
            warm.process.wait_for_line(r"WARNING KAV-183 .*1001.* Fix: ")
            eventually(lambda: warm.state()["failures"]["ended"] >= 5)
            began_at, before = time.monotonic(), server.sessions_total
            eventually(lambda: server.sessions_total >= before + 3)
            assert server.sessions_total - before <= 2 + 2 * (time.monotonic() - began_at) / 0.4
            assert warm.process.output().count("KAV-183") == 1


def test_a_dead_spare_is_not_given_to_a_call():
    with SlowModel() as server, pool(server.url) as warm:
        warm.post("expect?count=2")
        eventually(lambda: len(server.accepted) == 2)
        server.answer(0)
        warm.wait_for(spares=1)
        server.answer(1)
        warm.wait_for(spares=2)
        server.accepted[1].close()
        warm.wait_for(spares=1)
        assert warm.post("take")["is_warm"]
        assert warm.state()["held_open"] == 1


def test_a_spare_that_ended_this_moment_is_passed_over():
    """Its end is noted in the hub, and acted on a turn later: in between comes a call."""
    with model() as server:
        counters = Counters()
        endpoint = Endpoint(server.url, "gpt-realtime", "sk-test", Dialect.GA)
        warm = WarmSessions(endpoint, 2, counters)
        warm.start()
        while counters.model_spares < 2:
            green.sleep(0.001)
        newest = warm._spares[max(warm._spares)]
        newest._lost("reset by peer")
        channel = warm.take()
        assert channel is not None and channel is not newest
        channel.close()
        warm.close()


def test_a_killed_call_leaves_no_connection_behind():
    with model() as server, pool(server.url) as warm:
        assert "1000" in warm.post("killed_call")["why"]
        eventually(lambda: server.sessions_open == 0)
        assert warm.post("call?how=cold")["is_ready"]


def is_no_more(now: dict[str, int], before: dict[str, int]) -> bool:
    """A connection may have been on its way out when `before` was counted."""
    return all(now[what] <= before[what] for what in before)


def test_a_thousand_calls_leave_nothing_behind():
    with model() as server, pool(server.url, target=2) as warm:
        warm.post("cycles?count=50")
        before = warm.resources(spares=2)
        assert warm.post("cycles?count=1000") == {"got": 1000}
        eventually(lambda: is_no_more(warm.resources(spares=2), before))
        eventually(lambda: server.sessions_open == 2)


@pytest.mark.parametrize("fault", ["down", "refuse401", "quota", "session_expired=0"])
def test_hundreds_of_failures_leave_nothing_behind(fault: str):
    hasty = {"expected_s": 0.5, "first_pause_s": 0.001, "longest_pause_s": 0.001, "refused_pause_s": 0.001}
    port = free_port()
    with ExitStack() as stack:
        if fault != "down":
            stack.enter_context(model(port=port, faults=[fault]))
        warm = stack.enter_context(pool(f"ws://127.0.0.1:{port}/v1/realtime", times=hasty))
        warm.post("expect")
        eventually(lambda: sum(warm.state()["failures"].values()) > 0)
        before = warm.resources()
        while sum(warm.state()["failures"].values()) < 200:
            warm.post("expect?count=4")
        eventually(lambda: is_no_more(warm.resources(), before))


def test_dials_that_time_out_leave_nothing_behind():
    with SlowModel() as server, pool(server.url, DIAL_S="0.05") as warm:
        warm.post("call?how=cold")
        before = warm.resources()
        for _ in range(20):
            assert "not done after 0.05 s" in warm.post("call?how=cold")["error"]
        eventually(lambda: is_no_more(warm.resources(), before))
