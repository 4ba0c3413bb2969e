"""A `NativeWorker` and the hub beside it. The hub runs in the test's own thread, whenever the test waits."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from server import green
from server.native_worker import NativeWorker

WAIT_S = 5.0


@pytest.fixture
def worker() -> Iterator[NativeWorker]:
    made = NativeWorker("under test")
    yield made
    made.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds the native thread up: `worker.post(gate.wait)`."""
    event = threading.Event()
    yield event
    event.set()


def until(is_so: Callable[[], object]) -> None:
    """Let the hub run until something is so."""
    give_up_at = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not happen"
        green.sleep(0.001)


def raise_it() -> None:
    raise LookupError("not here")


def test_a_call_returns_what_was_returned(worker: NativeWorker) -> None:
    here = threading.get_ident()
    assert worker.call(lambda: 42, WAIT_S) == 42
    assert worker.call(threading.get_ident, WAIT_S) != here


def test_a_call_raises_what_was_raised(worker: NativeWorker) -> None:
    with pytest.raises(LookupError, match="not here"):
        worker.call(raise_it, WAIT_S)
    assert worker.call(lambda: 1, WAIT_S) == 1


def test_all_is_run_in_order(worker: NativeWorker) -> None:
    done: list[int] = []
    for number in range(100):
        worker.post(lambda number=number: done.append(number))
    worker.call(lambda: done.append(100), WAIT_S)
    assert done == list(range(101))


def test_what_follows_a_post_runs_in_the_hubs_thread(worker: NativeWorker) -> None:
    followed: list[tuple[int, int]] = []
    assert worker.post(lambda: 7, lambda result: followed.append((result, threading.get_ident())))
    until(lambda: followed)
    assert followed == [(7, threading.get_ident())]


def test_the_hub_goes_on_while_the_thread_blocks(worker: NativeWorker, gate: threading.Event) -> None:
    ticks: list[float] = []

    def tick() -> None:
        while len(ticks) < 50:
            green.sleep(0.001)
            ticks.append(time.monotonic())
        gate.set()

    green.spawn(tick)
    assert worker.call(lambda: gate.wait(WAIT_S), WAIT_S)
    assert len(ticks) == 50


def test_many_wait_at_once_and_each_gets_its_own_answer(worker: NativeWorker) -> None:
    got: dict[int, int] = {}

    def ask(number: int) -> None:
        got[number] = worker.call(lambda: number * number, WAIT_S)

    for number in range(500):
        green.spawn(ask, number)
    until(lambda: len(got) == 500)
    assert got == {number: number * number for number in range(500)}


def test_a_call_is_not_waited_for_longer_than_asked(worker: NativeWorker, gate: threading.Event) -> None:
    worker.post(gate.wait)
    run: list[str] = []
    started_at = time.monotonic()
    with pytest.raises(TimeoutError):
        worker.call(lambda: run.append("too late"), 0.1)
    assert 0.09 < time.monotonic() - started_at < 1.0
    gate.set()
    worker.call(lambda: None, WAIT_S)
    assert run == [], "what nobody waits for any more is not run"


def test_what_was_under_way_is_handed_back(worker: NativeWorker, gate: threading.Event) -> None:
    has_begun = threading.Event()
    unclaimed: list[str] = []

    def slowly() -> str:
        has_begun.set()
        gate.wait(WAIT_S)
        return "the only one"

    with pytest.raises(TimeoutError):
        worker.call(slowly, 0.1, unclaimed.append)
    assert has_begun.is_set()
    gate.set()
    worker.call(lambda: None, WAIT_S)
    assert unclaimed == ["the only one"]
    assert worker.call(lambda: "claimed", WAIT_S, unclaimed.append) == "claimed"
    assert unclaimed == ["the only one"]


def test_a_killed_green_thread_hands_back_as_well(worker: NativeWorker, gate: threading.Event) -> None:
    has_begun = threading.Event()
    unclaimed: list[str] = []

    def slowly() -> str:
        has_begun.set()
        gate.wait(WAIT_S)
        return "the only one"

    thread = green.spawn(worker.call, slowly, WAIT_S, unclaimed.append)
    until(has_begun.is_set)
    thread.kill()
    gate.set()
    worker.call(lambda: None, WAIT_S)
    assert unclaimed == ["the only one"]


def test_each_result_is_had_once_whoever_is_first(worker: NativeWorker) -> None:
    """The deadline passes just when the result is there, many times over."""
    claimed, unclaimed, begun = [], [], []

    def slowly(number: int) -> int:
        begun.append(number)
        time.sleep(0.001)
        return number

    for number in range(400):
        try:
            claimed.append(worker.call(lambda n=number: slowly(n), 0.0001 * (number % 25), unclaimed.append))
        except TimeoutError:
            pass
    worker.call(lambda: None, WAIT_S)
    assert sorted(claimed + unclaimed) == begun
    assert claimed
    assert unclaimed


def test_a_fault_in_what_is_posted_is_logged_and_harms_no_other(
    worker: NativeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    followed: list[int] = []
    with caplog.at_level(logging.ERROR):
        worker.post(raise_it, followed.append)
        worker.post(lambda: 1, lambda _: raise_it())
        worker.post(lambda: 2, followed.append)
        until(lambda: followed)
    assert followed == [2]
    assert caplog.text.count("KAV-199") == 2
    assert caplog.text.count("LookupError: not here") == 2


def test_too_much_is_not_taken(
    worker: NativeWorker, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeWorker, "MAX_WAITING", 10)
    has_begun = threading.Event()
    worker.post(lambda: has_begun.set() or gate.wait(WAIT_S))
    assert has_begun.wait(WAIT_S)
    assert [worker.post(lambda: None) for _ in range(20)] == [True] * 10 + [False] * 10


def test_more_answers_than_the_pipe_holds(worker: NativeWorker) -> None:
    """And the hub has not looked in between."""
    fcntl.fcntl(worker._waker, fcntl.F_SETPIPE_SZ, 4096)
    followed: list[int] = []
    for number in range(9_000):
        assert worker.post(lambda: None, lambda _, number=number: followed.append(number))
    is_done = threading.Event()
    worker.post(is_done.set)
    assert is_done.wait(WAIT_S)
    until(lambda: len(followed) == 9_000)
    assert followed == list(range(9_000))


def test_closing_runs_what_was_given_and_frees_all(worker: NativeWorker) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(20):
        other = NativeWorker("short")
        done: list[int] = []
        other.post(lambda done=done: done.append(1))
        other.close()
        other.close()
        until(lambda done=done: done)
        assert not other.post(lambda: None)
        with pytest.raises(TimeoutError):
            other.call(lambda: None, WAIT_S)
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    until(lambda: threading.active_count() <= threads)
