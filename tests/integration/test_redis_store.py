"""The store in a real Redis, and what is left of it when Redis is slow, silent or gone.

Needs a Redis on 127.0.0.1:6379; every test has a key prefix of its own there. Between it and the store
stands a `FaultProxy`. What depends on other green threads having their turn runs in a real worker: in
this process, which is not patched, redis-py blocks.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from server import green
from server.store import redis_store as redis_store_module
from server.store.call_store import TAKE_S, CallStore
from server.store.caller_messages import CallerMessage
from server.store.memory_store import MemoryStore
from server.store.open_store import open_store
from server.store.redis_store import RedisStore
from tests.integration.fault_proxy import FaultProxy
from tests.integration.store_app import parked
from tests.integration.store_process import HUB_MS, StoreProcess, lateness_ms, race, until

HOST, PORT = "127.0.0.1", 6379
URL = f"redis://{HOST}:{PORT}/0"


@pytest.fixture(scope="session")
def server() -> Iterator[redis.Redis]:
    """Redis itself. Without one these tests are skipped; where CI is set, that would go unnoticed."""
    client = redis.Redis(HOST, PORT, socket_timeout=5, decode_responses=True)
    try:
        client.ping()
    except redis.RedisError as error:
        reason = f"no Redis on {HOST}:{PORT}: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield client
    client.close()


@pytest.fixture
def prefix(server: redis.Redis) -> Iterator[str]:
    name = f"kav-test-{uuid.uuid4().hex}:"
    yield name
    for key in server.scan_iter(f"{name}*"):
        server.delete(key)


@pytest.fixture
def proxy(server: redis.Redis) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, PORT) as made:
        yield made


@pytest.fixture
def open_redis(prefix: str, proxy: FaultProxy) -> Iterator[Callable[..., CallStore]]:
    """Makes stores of this process, through the proxy."""
    made: list[CallStore] = []

    def open_one(spare: CallStore | None = None, **how: Any) -> CallStore:
        url = f"redis://{HOST}:{proxy.port}/0"
        made.append(RedisStore(url, spare or MemoryStore(), key_prefix=prefix, **how))
        return made[-1]

    yield open_one
    for store in made:
        store.close()


@pytest.fixture
def store(open_redis: Callable[..., CallStore]) -> CallStore:
    return open_redis()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is tried again soon after a failure."""
    monkeypatch.setattr(redis_store_module, "RETRY_S", 0.1)


def hub_until(is_so: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Let the hub of this process run until something is so."""
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not happen"
        green.sleep(0.005)


def message(text: str, noted_at: float = 1_700_000_000.0) -> CallerMessage:
    return CallerMessage(text, "CA1", "flowers", noted_at, "דנה", "+972501234567")


# Well


def test_a_call_is_parked_for_its_time_and_taken_once(
    store: CallStore, server: redis.Redis, prefix: str
) -> None:
    store.put(parked("CA1"))
    assert store.flush()
    assert 590 < server.ttl(f"{prefix}call:CA1") <= 600
    assert store.take("CA1") == parked("CA1")
    assert store.take("CA1") is None
    assert server.exists(f"{prefix}call:CA1") == 0


def test_another_process_takes_what_was_parked(open_redis: Callable[..., CallStore]) -> None:
    first, second = open_redis(), open_redis()
    first.put(parked("CA1"))
    assert first.flush()
    assert second.take("CA1") == parked("CA1")
    assert first.take("CA1") is None


def test_of_two_processes_exactly_one_gets_each_call(server: redis.Redis, prefix: str) -> None:
    call_sids = [f"CA{number:032x}" for number in range(200)]
    store = open_store("sqlite://", URL, key_prefix=prefix)
    for call_sid in call_sids:
        store.put(parked(call_sid))
    assert store.flush()
    first, second = race(call_sids, "sqlite://", URL, prefix)
    assert sorted(first + second) == call_sids
    store.close()


def test_a_record_is_gone_after_its_time(open_redis: Callable[..., CallStore], server: redis.Redis) -> None:
    store = open_redis(ttl_s=0.05)
    store.put(parked("CA1"))
    assert store.flush()
    hub_until(lambda: store.take("CA1") is None)


@pytest.mark.parametrize("latency_ms", [0, 1, 60])
def test_a_record_on_its_way_is_taken_once_and_leaves_no_copy(
    proxy: FaultProxy, server: redis.Redis, prefix: str, latency_ms: int
) -> None:
    with StoreProcess("sqlite://", f"redis://{HOST}:{proxy.port}/0", STORE_PREFIX=prefix) as process:
        process.ask("take", sid="CAunknown")  # connected
        proxy.weather("up", latency_ms=latency_ms)
        for number in range(5 if latency_ms else 200):
            process.ask("put", sid=f"CA{number}")
            assert process.ask("take", sid=f"CA{number}")[0]
            assert not process.ask("take", sid=f"CA{number}")[0]
        assert process.ask("flush")
        assert not list(server.scan_iter(f"{prefix}*"))
        assert "KAV" not in process.output()


def test_messages_are_shared_and_listed_the_latest_first(
    open_redis: Callable[..., CallStore], server: redis.Redis, prefix: str
) -> None:
    first, second = open_redis(), open_redis()
    for number in range(3):
        first.note_message(message(f"הודעה {number}", 1_700_000_000.0 + number))
    assert first.flush()
    assert [found.text for found in second.messages(2)] == ["הודעה 2", "הודעה 1"]
    assert second.messages()[2] == message("הודעה 0")
    server.lpush(f"{prefix}messages", "not one of ours")
    assert len(second.messages()) == 3


@pytest.mark.parametrize("rubbish", ["", "null", "\x00\xff", '{"call_sid": "CA1"}'])
def test_what_others_have_written_there_is_not_believed(
    store: CallStore, server: redis.Redis, prefix: str, rubbish: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.set(f"{prefix}call:CA1", rubbish)
    assert store.take("CA1") is None
    assert "KAV-188" in caplog.text
    server.lpush(f"{prefix}call:CA2", "a list")
    assert store.take("CA2") is None


def test_a_thousand_puts_leave_the_hub_free(prefix: str) -> None:
    with StoreProcess("sqlite://", URL, STORE_PREFIX=prefix) as process:
        seen_ms = lateness_ms(process, lambda number: process.ask("put", sid=f"CA{number}", n=1000))
        assert process.ask("flush")
        assert min(seen_ms) < HUB_MS, seen_ms
        assert process.ask("take", sid="CA0-999")[0]


# Ill


ILLS: dict[str, Callable[[FaultProxy], None]] = {
    "refused": lambda proxy: (proxy.refuse(), proxy.reset()),
    "reset": lambda proxy: (proxy.accept_but_silent(), proxy.reset()),
    "black hole": lambda proxy: proxy.black_hole(),
    "stalled": lambda proxy: proxy.stall(),
    "silent": lambda proxy: (proxy.accept_but_silent(), proxy.black_hole()),
    "half closed": lambda proxy: (proxy.refuse(), proxy.half_close("down")),
    "garbage": lambda proxy: proxy.cut("black_hole", "down", after_bytes=3),
}


def recover(proxy: FaultProxy) -> None:
    proxy.reset()
    proxy.calm()


@pytest.mark.parametrize("ill", ILLS)
def test_an_ill_redis_is_told_once_and_costs_no_call(proxy: FaultProxy, prefix: str, ill: str) -> None:
    url = f"redis://{HOST}:{proxy.port}/0"
    with StoreProcess("sqlite://", url, STORE_PREFIX=prefix) as process:
        process.ask("put", sid="CAbefore")
        assert process.ask("flush")
        longest_ms: list[float] = []

        def while_ill(number: int) -> None:
            ILLS[ill](proxy)
            assert process.ask("put", sid=f"CA{number}", n=100)[0] < 200
            for wanted in (f"CA{number}-50", f"CA{number}-51", "CAunknown", "CAbefore"):
                is_there, ms = process.ask("take", sid=wanted)
                longest_ms.append(ms)
                assert is_there == wanted.startswith(f"CA{number}-")
            recover(proxy)
            until(lambda: process.output().count("Redis works again") == number + 1, 10.0)

        seen_ms = lateness_ms(process, while_ill)
        assert min(seen_ms) < HUB_MS, seen_ms
        assert max(longest_ms) < TAKE_S * 1000 + 1000
        assert process.output().count("KAV-186") == 1
        assert "Traceback" not in process.output()
        assert process.ask("flush")


def test_what_waited_follows_when_redis_is_back(
    soon: None, store: CallStore, proxy: FaultProxy, server: redis.Redis, prefix: str
) -> None:
    proxy.refuse()
    proxy.reset()
    for number in range(50):
        store.put(parked(f"CA{number}"))
    hub_until(store._is_down)
    proxy.serve()
    hub_until(lambda: len(list(server.scan_iter(f"{prefix}call:*"))) == 50)
    assert 590 < server.ttl(f"{prefix}call:CA0") <= 600
    assert store.take("CA7") == parked("CA7")


def test_while_redis_is_down_messages_are_in_the_database_file(
    open_redis: Callable[..., CallStore], proxy: FaultProxy, tmp_path: Path
) -> None:
    store = open_redis(open_store(f"sqlite:///{tmp_path / 'kav.sqlite3'}", ""))
    store.note_message(message("before", 1.0))
    assert store.flush()
    proxy.refuse()
    proxy.reset()
    store.note_message(message("while it is found out", 2.0))
    hub_until(store._is_down)
    store.note_message(message("down", 3.0))
    assert store.flush()
    with closing(open_store(f"sqlite:///{tmp_path / 'kav.sqlite3'}", "")) as after_a_kill:
        assert [found.text for found in after_a_kill.messages()] == ["down", "while it is found out"]
    proxy.serve()
    hub_until(lambda: not store._is_down())
    assert [found.text for found in store.messages()] == ["down", "while it is found out", "before"]


def test_a_process_that_ends_while_redis_is_down_leaves_its_calls_in_the_database_file(
    open_redis: Callable[..., CallStore], proxy: FaultProxy, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'kav.sqlite3'}"
    ending = open_redis(open_store(url, ""))
    proxy.refuse()
    proxy.reset()
    ending.put(parked("CA1"))
    assert ending.flush()
    ending.close()
    following = open_redis(open_store(url, ""))
    assert following.take("CA1") == parked("CA1")
    assert following.take("CA1") is None


def test_what_comes_after_its_end_is_not_lost_in_silence(store: CallStore, caplog: Any) -> None:
    hub_until(lambda: not store._is_writing)
    store.close()
    store.put(parked("CA1"))
    store.note_message(message("late"))
    assert caplog.text.count("KAV-189") == 2
    assert "2 so far, the store is closed" in caplog.text and "late" not in caplog.text


def test_a_redis_that_is_not_there_at_the_start_is_told_at_once(prefix: str, server: redis.Redis) -> None:
    with FaultProxy(HOST, PORT) as proxy:
        proxy.refuse()
        with StoreProcess("sqlite://", f"redis://{HOST}:{proxy.port}/0", STORE_PREFIX=prefix) as process:
            process.wait_for_line("KAV-186 Redis cannot be reached")
            process.ask("put", sid="CA1")
            proxy.serve()
            until(lambda: server.exists(f"{prefix}call:CA1"))


def test_a_line_a_minute_is_enough(
    soon: None, store: CallStore, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    hub_until(lambda: not store._is_writing)
    proxy.refuse()
    proxy.reset()
    store.put(parked("CA1"))
    refused = proxy.counts.connections
    give_up_at = time.monotonic() + 0.6
    while time.monotonic() < give_up_at:
        store.take("CAunknown")
        green.sleep(0.02)
    assert caplog.text.count("KAV-186") == 1
    assert proxy.counts.connections == refused
    monkeypatch.setattr(redis_store_module, "LINE_EVERY_S", 0.1)
    hub_until(lambda: caplog.text.count("KAV-186") == 2)


def test_a_wrong_password_is_a_redis_that_cannot_be_reached(
    prefix: str, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://somebody:secret-password@{HOST}:{PORT}/0"
    with closing(RedisStore(url, MemoryStore(), key_prefix=prefix)) as store:
        store.put(parked("CA1"))
        hub_until(lambda: "KAV-186" in caplog.text)
        assert store.take("CA1") == parked("CA1")
    assert "secret-password" not in caplog.text
