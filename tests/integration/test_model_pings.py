"""Is the model still there? Asked on a connection that a call uses, through a proxy that can swallow all."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from server import green
from server.config import Dialect
from server.services import model_dial
from server.services.model_dial import Endpoint, ModelChannel, dial
from server.simulator.faults_tcp.proxy import FaultProxy
from server.simulator.realtime.server import RealtimeServer

PING_EVERY_S = 0.2
"""Here; in life 2.75."""


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setattr(model_dial, "PING_EVERY_S", PING_EVERY_S)
    with RealtimeServer() as model, FaultProxy("127.0.0.1", model.port) as proxy:
        yield proxy


@pytest.fixture
def channel(proxy: FaultProxy) -> Iterator[ModelChannel]:
    url = f"ws://127.0.0.1:{proxy.port}/v1/realtime"
    channel = dial(Endpoint(url, "gpt-realtime", "sk-test", Dialect.GA))
    channel.receive(1.0)  # session.created
    yield channel
    channel.close()


def run_for(seconds: float, until: Callable[[], object] = lambda: False) -> float:
    """Let the hub run for so long, or until something is so; how long it took."""
    began_at = time.monotonic()
    while not until() and time.monotonic() - began_at < seconds:
        green.sleep(0.005)
    return time.monotonic() - began_at


def test_a_model_that_vanished_is_noticed_in_less_than_two_pings(
    proxy: FaultProxy, channel: ModelChannel
) -> None:
    channel.watch_peer()
    run_for(1.5 * PING_EVERY_S)
    proxy.black_hole()
    took_s = run_for(5.0, lambda: channel.closed)
    assert channel.closed is not None and "ping" in channel.closed.reason
    assert took_s < 2 * PING_EVERY_S + 0.3
    assert 2 * 2.75 <= 6.0


def test_one_that_answers_is_left_alone(proxy: FaultProxy, channel: ModelChannel) -> None:
    channel.watch_peer()
    run_for(0.5 * PING_EVERY_S)
    before = proxy.counts
    run_for(6 * PING_EVERY_S)
    after = proxy.counts
    assert channel.closed is None
    pings, rest = divmod(after.bytes_up - before.bytes_up, len(b"\x89\x80mask"))
    pongs = (after.bytes_down - before.bytes_down) / len(b"\x8a\x00")
    assert 4 <= pings <= 6 and not rest, "one in each interval"
    assert pongs == pings


def test_a_short_stall_of_the_network_is_none_of_our_business(
    proxy: FaultProxy, channel: ModelChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_dial, "PING_EVERY_S", 0.6)
    channel.watch_peer()
    for _ in range(3):
        proxy.stall()
        run_for(0.3)
        proxy.resume()
        run_for(0.3)
    assert channel.closed is None


def test_nor_is_a_stall_of_our_own(channel: ModelChannel) -> None:
    """While a callback holds the hub the answer comes; the timer is due before any socket is looked at."""
    near, far = socket.socketpair()

    def hold_the_hub(_: int) -> None:
        near.recv(1)
        channel.watch_peer()
        time.sleep(2 * PING_EVERY_S)

    with near, far:
        watch = green.watch_readable(near.fileno(), hold_the_hub, lambda: None)
        far.send(b"x")
        run_for(2 * PING_EVERY_S + 0.1)
        watch.stop()
    assert channel._ping_timer is not None and channel.closed is None


def test_a_connection_that_waits_for_a_call_is_not_kept_open_by_pings(
    proxy: FaultProxy, channel: ModelChannel
) -> None:
    before = proxy.counts.bytes_up
    run_for(3 * PING_EVERY_S)
    assert proxy.counts.bytes_up == before


def test_nothing_is_asked_of_a_closed_one(proxy: FaultProxy, channel: ModelChannel) -> None:
    channel.watch_peer()
    channel.close()
    before = proxy.counts.bytes_up
    run_for(3 * PING_EVERY_S)
    assert proxy.counts.bytes_up == before
    assert channel.closed is not None and "ping" not in channel.closed.reason
