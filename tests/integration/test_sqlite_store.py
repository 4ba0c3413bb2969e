"""The default store in a real worker: other processes' locks, kills, races and full disks, and the hub."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from server import green
from server.store.caller_messages import CallerMessage
from server.store.open_store import open_store
from server.store.sqlite_store import SqliteStore
from tests.integration.store_app import parked
from tests.integration.store_process import HUB_MS, StoreProcess, lateness_ms, race, until

LOCK_S = 2.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kav.sqlite3"


@pytest.fixture
def process(path: Path) -> Iterator[StoreProcess]:
    with StoreProcess(f"sqlite:///{path}") as made:
        yield made


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process, this one, writes for as long as it likes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("ROLLBACK")


def parked_sids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {row[0] for row in db.execute("SELECT call_sid FROM kav_parked_calls")}


def has_call(path: Path, call_sid: str) -> bool:
    """Also of a file that is only being made."""
    try:
        return path.exists() and call_sid in parked_sids(path)
    except sqlite3.OperationalError:
        return False


def test_a_call_is_parked_and_taken_once(process: StoreProcess) -> None:
    assert process.ask("is_patched")
    process.ask("put", sid="CA1")
    assert process.ask("take", sid="CA1")[0]
    assert not process.ask("take", sid="CA1")[0]
    assert not process.ask("take", sid="CA2")[0]


def test_a_thousand_puts_leave_the_hub_free(process: StoreProcess, path: Path) -> None:
    seen_ms = lateness_ms(process, lambda number: process.ask("put", sid=f"CA{number}", n=1000))
    assert process.ask("flush")
    assert min(seen_ms) < HUB_MS, seen_ms
    assert len(parked_sids(path)) == 1000 * len(seen_ms)


def test_behind_another_processs_lock_the_hub_is_free_and_nothing_is_lost(
    process: StoreProcess, path: Path
) -> None:
    process.ask("put", sid="CAbefore")
    assert process.ask("flush")
    took_ms: list[float] = []

    def under_lock(number: int) -> None:
        with locked(path):
            ends_at = time.monotonic() + LOCK_S
            process.ask("put", sid=f"CA{number}", n=1000)
            process.ask("note", text=f"message {number}")
            assert process.ask("take", sid=f"CA{number}-7")[0], "what waits here is ours"
            is_there, ms = process.ask("take", sid="CAbefore")
            took_ms.append(ms)
            assert not is_there, "what is behind the lock cannot be had"
            assert not process.ask("take", sid="CAunknown")[0]
            assert not process.ask("flush", timeout_s=0.2)
            assert process.ask("messages")[0] == f"message {number}"
            time.sleep(max(0.0, ends_at - time.monotonic()))

    seen_ms = lateness_ms(process, under_lock)
    assert min(seen_ms) < HUB_MS, seen_ms
    assert max(took_ms) < 1500, "the lock lasts two seconds"
    assert process.ask("flush")
    assert len(parked_sids(path)) == 999 * len(seen_ms) + 1
    assert len(process.ask("messages")) == len(seen_ms)
    assert process.ask("take", sid="CAbefore")[0], "it was not lost by being asked for in vain"
    assert "KAV" not in process.output(), "a short lock is nobody's business"


def test_what_waits_behind_a_lock_is_written_without_being_asked_for(
    process: StoreProcess, path: Path
) -> None:
    process.ask("flush")
    with locked(path):
        process.ask("put", sid="CA1")
    until(lambda: parked_sids(path) == {"CA1"})


def test_a_killed_worker_leaves_what_was_flushed_to_the_next(process: StoreProcess) -> None:
    process.ask("put", sid="CA1")
    process.ask("note", text="תתקשרו אליי")
    assert process.ask("flush")
    killed = process.ask("pid")
    os.kill(killed, signal.SIGKILL)

    def next_pid() -> int:
        try:
            return process.ask("pid")
        except OSError:  # between two workers
            return killed

    until(lambda: next_pid() != killed, 20.0)
    assert process.ask("messages") == ["תתקשרו אליי"]
    assert process.ask("take", sid="CA1")[0]
    assert not process.ask("take", sid="CA1")[0]


def test_of_two_processes_exactly_one_gets_each_call(path: Path) -> None:
    call_sids = [f"CA{number:032x}" for number in range(200)]
    url = f"sqlite:///{path}"
    store = open_store(url, "")
    for call_sid in call_sids:
        store.put(parked(call_sid))
    assert store.flush()
    first, second = race(call_sids, url, "", "")
    assert sorted(first + second) == call_sids
    assert store.take(call_sids[0]) is None
    store.close()


def test_a_start_sweeps_what_is_past_its_time(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", "", ttl_s=0.01)
    store.put(parked("CA1"))
    assert store.flush()
    store.close()
    assert parked_sids(path) == {"CA1"}
    with StoreProcess(f"sqlite:///{path}"):
        until(lambda: parked_sids(path) == set())


def test_a_full_disk_is_told_once_and_costs_no_call(path: Path) -> None:
    with StoreProcess(f"sqlite:///{path}", STORE_MAX_FILE_BYTES="100000") as process:
        process.ask("put", sid="CA", n=100)
        process.wait_for_line("KAV-184 The database file cannot be used: .*kav.sqlite3")
        assert not process.ask("flush", timeout_s=0.5)
        for number in range(100):
            assert process.ask("take", sid=f"CA-{number}")[0]
            assert not process.ask("take", sid=f"CA-{number}")[0]
        assert process.output().count("KAV-184") == 1
        assert "Traceback" not in process.output()


@pytest.mark.parametrize("there", ["missing/kav.sqlite3", "."])
def test_a_file_that_cannot_be_opened_is_told_once_and_costs_no_call(tmp_path: Path, there: str) -> None:
    with StoreProcess(f"sqlite:///{tmp_path / there}") as process:
        process.wait_for_line("KAV-184 The database file cannot be used")
        process.ask("put", sid="CA1")
        process.ask("note", text="message")
        assert process.ask("messages") == ["message"]
        assert process.ask("take", sid="CA1")[0]
        assert process.output().count("KAV-184") == 1


def test_a_file_that_works_again_takes_what_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.sqlite_file.BROKEN_RETRY_S", 0.1)
    path = tmp_path / "later" / "kav.sqlite3"
    store = open_store(f"sqlite:///{path}", "")
    store.put(parked("CA1"))
    assert not store.flush(0.3)
    path.parent.mkdir()
    give_up_at = time.monotonic() + 5
    while not has_call(path, "CA1"):
        assert time.monotonic() < give_up_at
        green.sleep(0.01)
    assert store.flush()
    store.close()


def test_a_store_that_is_closed_does_nothing_any_more(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    threads = threading.active_count()
    store = open_store(f"sqlite:///{path}", "")
    store.put(parked("CA1"))
    store.close()
    store.close()
    assert "KAV-189" not in caplog.text
    store.put(parked("CA2"))
    store.note_message(message := CallerMessage("מחר", "CA1", "flowers", 1.0))
    assert caplog.text.count("KAV-189") == 2, "nothing is lost in silence"
    assert "2 so far, the store is closed" in caplog.text and message.text not in caplog.text
    assert store.take("CA1") is None
    assert not store.flush(0.05)
    assert parked_sids(path) == {"CA1"}
    assert list(path.parent.iterdir()) == [path], "no journal is left behind"
    until(lambda: green.sleep(0.001) or threading.active_count() <= threads)


def emptied(path: Path) -> None:
    """Wait for it, while the hub of this process runs."""
    give_up_at = time.monotonic() + 5.0
    while parked_sids(path):
        assert time.monotonic() < give_up_at, "it was kept"
        green.sleep(0.02)


def test_what_was_said_is_gone_from_the_file_though_nobody_calls_any_more(path: Path) -> None:
    first = SqliteStore(str(path), ttl_s=0.2)
    first.put(parked("CA1"))
    assert first.flush()
    first.close()
    assert parked_sids(path) == {"CA1"}
    store = SqliteStore(str(path), ttl_s=0.2)  # another process, to which nobody says a word
    emptied(path)
    store.put(parked("CA2"))
    assert store.flush()
    assert "CA2" in parked_sids(path)
    green.sleep(0.8)
    store.put(parked("CA3"))  # while the clock of the one before runs
    emptied(path)
    store.close()
