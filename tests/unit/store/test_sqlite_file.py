"""The database file by itself, without the thread around it: real files, real locks."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from server.store import sqlite_file as sqlite_file_module
from server.store.caller_messages import CallerMessage
from server.store.sqlite_file import MAX_WAITING_MESSAGES, SqliteFile

TTL_S = 600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kav.sqlite3"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    with closing(SqliteFile(str(path), TTL_S)) as made:
        yield made


def other(path: Path) -> SqliteFile:
    """The same file as another process sees it."""
    return SqliteFile(str(path), TTL_S)


def take(file: SqliteFile, call_sid: str = "CA1", patience_s: float = 0.3) -> str | None:
    return file.take(call_sid, time.monotonic() + patience_s)


@contextmanager
def locked(path: Path, how: str = "IMMEDIATE") -> Iterator[None]:
    """Nobody else can write; with EXCLUSIVE, and no journal yet, nobody can read either."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"BEGIN {how}")
        yield
        db.execute("ROLLBACK")


def rows(path: Path, table: str = "kav_parked_calls") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT * FROM {table}").fetchall()


def message(number: int) -> CallerMessage:
    return CallerMessage(
        f"הודעה {number}", "CA1", "flowers", 1_700_000_000.0 + number, "דנה", "+972501234567"
    )


def test_what_one_process_puts_another_takes_once(file: SqliteFile, path: Path) -> None:
    assert file.put("CA1", "שלום").waiting == 0
    with closing(other(path)) as second:
        assert take(second, "CA2") is None
        assert take(second) == "שלום"
        assert take(second) is None
    assert take(file) is None


def test_who_sees_a_record_but_locks_second_gets_nothing(file: SqliteFile, path: Path) -> None:
    file.put("CA1", "one")
    with closing(other(path)) as second:
        got: list[str | None] = []

        def at(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE" and not got:
                got.append(take(second))

        file._db.set_trace_callback(at)
        assert take(file) is None
        assert got == ["one"]


def test_a_later_record_replaces_an_earlier_one(file: SqliteFile) -> None:
    file.put("CA1", "one")
    file.put("CA1", "two")
    assert take(file) == "two"
    assert take(file) is None


def test_nothing_is_taken_after_its_time_and_the_sweep_removes_it(path: Path) -> None:
    with closing(SqliteFile(str(path), 0.01)) as file:
        file.put("CA1", "one")
        give_up_at = time.monotonic() + 5
        while rows(path)[0][1] > time.time():
            assert time.monotonic() < give_up_at
        assert take(file) is None
        assert len(rows(path)) == 1
    with closing(other(path)) as second:
        assert second.purge().waiting == 0
        assert rows(path) == []


def test_the_sweep_leaves_what_is_worth_something(file: SqliteFile, path: Path) -> None:
    file.put("CA1", "one")
    file.purge()
    assert len(rows(path)) == 1


def test_nobody_else_may_read_the_file(file: SqliteFile, path: Path) -> None:
    old_mask = os.umask(0)
    try:
        file.put("CA1", "one")
        for made in path.parent.iterdir():
            assert stat.S_IMODE(made.stat().st_mode) == 0o600, made
        assert len(list(path.parent.iterdir())) == 3  # the journal and its index too
    finally:
        os.umask(old_mask)


def test_a_file_that_others_could_read_is_closed_to_them(file: SqliteFile, path: Path) -> None:
    path.touch(0o644)
    file.put("CA1", "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_taken_leaves_no_trace(file: SqliteFile, path: Path) -> None:
    file.put("CA1", "a secret " * 500)
    take(file)
    file.close()
    assert b"a secret" not in b"".join(made.read_bytes() for made in path.parent.iterdir())


# Locks


def test_behind_a_lock_records_wait_and_follow(file: SqliteFile, path: Path) -> None:
    file.put("CA0", "zero")
    with locked(path):
        started_at = time.monotonic()
        reports = [file.put(f"CA{number}", "x") for number in range(1, 1001)]
        assert time.monotonic() - started_at < 1.5, "only now and then one waits for the lock"
        assert reports[-1].waiting == 1000
        assert reports[-1].problem == ""
        assert 0 < reports[-1].retry_s < 1
    assert file.write().waiting == 0
    assert len(rows(path)) == 1001


def test_behind_a_lock_our_own_records_can_be_taken(file: SqliteFile, path: Path) -> None:
    file.put("CA1", "earlier")
    with locked(path):
        file.put("CA1", "later")
        assert take(file) == "later"
        assert take(file) is None
    file.write()
    assert rows(path) == [], "the earlier record is no other process's to take"


def test_behind_a_lock_a_record_of_the_file_is_waited_for(file: SqliteFile, path: Path) -> None:
    file.put("CA1", "one")
    with locked(path):
        started_at = time.monotonic()
        assert take(file, patience_s=0.25) is None
        assert 0.2 < time.monotonic() - started_at < 1.0
        started_at = time.monotonic()
        assert take(file, "CA2") is None
        assert time.monotonic() - started_at < 0.1, "an unknown call is not waited for"
    assert take(file) == "one"


def test_a_file_locked_from_the_start(file: SqliteFile, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE others (x)")
    with locked(path, "EXCLUSIVE"):
        assert file.put("CA1", "one").waiting == 1
        assert take(file, "CA2") is None
        assert file.messages(5) == []
    assert file.write().waiting == 0
    assert len(rows(path)) == 1


def test_a_lock_that_lasts_is_a_problem(
    file: SqliteFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file_module, "LOCKED_TOO_LONG_S", 0.05)
    file.put("CA0", "zero")
    with locked(path):
        assert file.put("CA1", "one").problem == ""
        assert "locked" in file.write().problem
    assert file.write().problem == ""


# Disks


@pytest.mark.parametrize("kind", ["no directory", "a directory", "no database"])
def test_what_cannot_be_opened_is_a_problem_and_no_loss(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there" / "kav.sqlite3" if kind == "no directory" else tmp_path / "kav.sqlite3"
    if kind == "a directory":
        path.mkdir()
    elif kind == "no database":
        path.write_bytes(b"something else entirely " * 100)
    with closing(SqliteFile(str(path), TTL_S)) as file:
        report = file.put("CA1", "one")
        assert report.waiting == 1
        assert report.problem
        assert report.retry_s >= 1
        file.note(message(1))
        assert file.messages(5) == [message(1)]
        assert take(file) == "one"
        assert take(file) is None
        if kind == "no database":
            assert path.read_bytes().startswith(b"something else"), "another's file is left as it is"
        if kind == "no directory":
            path.parent.mkdir()
            file.put("CA2", "two")
            assert file.write().waiting == 0
            assert [row[0] for row in rows(path)] == ["CA2"]
            assert len(rows(path, "kav_messages")) == 1


def test_a_full_disk_is_a_problem_and_no_loss(file: SqliteFile, path: Path) -> None:
    file.put("CA1", "in the file")
    file._db.execute("PRAGMA max_page_count = 1")
    report = file.put("CA2", "x" * 60_000)
    assert report.waiting == 1
    assert "full" in report.problem
    assert take(file, "CA2") == "x" * 60_000
    assert file.put("CA3", "three").waiting == 1, "it is not tried again at once"
    assert file.write().waiting == 0, "and then in a new connection"
    assert {row[0] for row in rows(path)} == {"CA1", "CA3"}
    assert take(file, "CA1") == "in the file"


def test_a_disk_that_takes_no_writes_gives_each_record_once(file: SqliteFile) -> None:
    file.put("CA1", "one")
    file.put("CA2", "two")
    file._db.execute("PRAGMA query_only = ON")
    assert take(file) == "one"
    file._connected().execute("PRAGMA query_only = ON")
    assert take(file) is None
    assert take(file, "CA2") == "two"
    assert file.write().problem == ""
    assert take(file) is None


def test_what_was_taken_is_not_remembered_for_ever_while_nothing_can_be_written(tmp_path: Path) -> None:
    with closing(SqliteFile(str(tmp_path / "there" / "kav.sqlite3"), 0.05)) as file:
        for number in range(10):
            file.put(f"CA{number}", "one")
            assert take(file, f"CA{number}") == "one"
        file.purge()
        assert len(file._stale) == 10, "the file may come back, with what has not expired in it"
        time.sleep(0.06)
        file.purge()
        assert file._stale == {}


# Messages


def test_messages_are_kept_and_listed_the_latest_first(file: SqliteFile, path: Path) -> None:
    for number in (1, 3, 2):
        assert file.note(message(number)).waiting == 0
    assert file.messages(2) == [message(3), message(2)]
    with closing(other(path)) as second:
        assert second.messages(9) == [message(3), message(2), message(1)]


def test_a_message_is_synced_to_the_disk(file: SqliteFile) -> None:
    """2 is FULL: a power cut loses nothing. Parked calls are worth less than the disk's time."""
    file.note(message(1))
    assert file._db.execute("PRAGMA synchronous").fetchone() == (2,)
    file.put("CA1", "one")
    assert file._db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_behind_a_lock_messages_wait_are_listed_and_bounded(file: SqliteFile, path: Path) -> None:
    file.note(message(0))
    with locked(path):
        for number in range(1, MAX_WAITING_MESSAGES + 11):
            report = file.note(message(number))
        assert (report.waiting, report.dropped) == (MAX_WAITING_MESSAGES, 10)
        assert file.messages(2) == [message(MAX_WAITING_MESSAGES + 10), message(MAX_WAITING_MESSAGES + 9)]
    assert file.write().waiting == 0
    assert len(rows(path, "kav_messages")) == MAX_WAITING_MESSAGES + 1


def test_the_database_may_be_somebody_elses_too(file: SqliteFile, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE messages (something_else)")
    file.note(message(1))
    assert file.messages(5) == [message(1)]
