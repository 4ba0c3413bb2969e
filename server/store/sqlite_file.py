"""The database file, as the one native thread that may wait for it sees it.

What comes is kept in memory until it is in the file, so a lock, a full disk or a missing directory is a
delay and no loss, as long as the process lives. A record in memory is one no other process has seen: taking
it needs no lock. Nothing here raises because of the file; `Report` says how it stands.

A killed process loses nothing that was committed. A power cut may lose the last parked calls (their
commits are not synced, 0.02 ms instead of 0.3), but no message.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields

from server.store.caller_messages import CallerMessage
from server.store.spool import Spool

BUSY_S = 0.1
"""How long SQLite waits for another process's lock before what else there is to do has its turn."""
LOCKED_RETRY_S = 0.1
BROKEN_RETRY_S = 5.0
LOCKED_TOO_LONG_S = 10.0
"""A lock of that long is a fault; shorter ones are usual."""
PURGE_EVERY_S = 60.0
BATCH = 500
MAX_WAITING_MESSAGES = 1_000

_COLUMNS = ", ".join(spec.name for spec in fields(CallerMessage))
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS kav_parked_calls (
    call_sid TEXT PRIMARY KEY, expires_at REAL NOT NULL, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS kav_messages (id INTEGER PRIMARY KEY, {_COLUMNS});
"""


@dataclass(frozen=True, slots=True)
class Report:
    waiting: int
    """Records and messages that are not in the file yet."""
    problem: str
    """Why, when it is more than a short lock."""
    dropped: int
    """Since the file was opened, because too much waited."""
    retry_s: float
    """When to try again."""


class SqliteFile:
    """Used by one thread, which may be blocked for BUSY_S or by a slow disk."""

    def __init__(self, path: str, ttl_s: float) -> None:
        self._path = path
        self._ttl_s = ttl_s
        self._db: sqlite3.Connection | None = None
        self._calls = Spool()
        self._messages: deque[CallerMessage] = deque(maxlen=MAX_WAITING_MESSAGES)
        self._stale: dict[str, float] = {}
        """Taken, but perhaps still in the file: by CallSid, up to which `expires_at`."""
        self._dropped_messages = 0
        self._problem = ""
        self._retry_at = 0.0
        self._locked_since: float | None = None
        self._purge_at = 0.0

    def put(self, call_sid: str, text: str) -> Report:
        self._calls.put(call_sid, text, time.time() + self._ttl_s)
        return self.write(only_when_due=True)

    def note(self, message: CallerMessage) -> Report:
        self._dropped_messages += len(self._messages) == MAX_WAITING_MESSAGES
        self._messages.append(message)
        return self.write(only_when_due=True)

    def purge(self) -> Report:
        now = time.time()
        self._calls.purge(now)
        self._stale = {call_sid: until for call_sid, until in self._stale.items() if until > now}
        self._purge_at = 0.0
        return self.write(only_when_due=True)

    def write(self, *, only_when_due: bool = False) -> Report:
        """Bring what waits into the file, if the last failure was not a moment ago."""
        if not (only_when_due and time.monotonic() < self._retry_at):
            try:
                while self._has_work():
                    self._write_batch()
                self._worked()
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
        return Report(
            len(self._calls) + len(self._messages),
            self._problem,
            self._calls.dropped + self._dropped_messages,
            BROKEN_RETRY_S if self._problem else LOCKED_RETRY_S,
        )

    def take(self, call_sid: str, give_up_at: float) -> str | None:
        """The record's text, removed; None when there is none, or when a lock outlasts `give_up_at`
        (monotonic)."""
        now = time.time()
        if call_sid in self._calls:
            self._stale[call_sid] = now + self._ttl_s  # an earlier record may be in the file
            return self._calls.take(call_sid, now)
        text = None
        while True:
            try:
                db = self._connected()
                text = self._look(db, call_sid, now)  # most are unknown, and reading needs no lock
                if text is not None:
                    with _transaction(db):
                        text = self._look(db, call_sid, now)
                        db.execute("DELETE FROM kav_parked_calls WHERE call_sid = ?", (call_sid,))
                return text
            except (sqlite3.Error, OSError) as error:
                if _is_locked(error):
                    if time.monotonic() < give_up_at:
                        continue
                    text = None
                elif text is not None:  # a disk that takes no writes: nobody else can take it either
                    self._stale[call_sid] = now + self._ttl_s
                self._failed(error)
                return text

    def messages(self, limit: int) -> list[CallerMessage]:
        """The latest first."""
        found = list(self._messages)
        try:
            rows = self._connected().execute(
                f"SELECT {_COLUMNS} FROM kav_messages ORDER BY noted_at DESC, id DESC LIMIT ?", (limit,)
            )
            found += [CallerMessage(*row) for row in rows]
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        return sorted(found, key=lambda message: -message.noted_at)[:limit]

    def close(self) -> None:
        self.write()
        self._disconnect()

    # The file

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            with open(self._path, "ab"):  # sqlite3 would give it the mode of the umask
                pass
            if os.stat(self._path).st_mode & 0o077:
                os.chmod(self._path, 0o600)  # its journal and its index get the same
            db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA secure_delete = ON")  # what callers said shall not stay in free pages
                db.executescript(_SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _disconnect(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            try:
                db.close()
            except sqlite3.Error:  # it could not be tidied up; the next one to open it will
                pass

    def _has_work(self) -> bool:
        return bool(self._calls or self._messages or self._stale or time.monotonic() >= self._purge_at)

    def _write_batch(self) -> None:
        """One transaction. Raises sqlite3.Error or OSError, and then everything is as it was."""
        db = self._connected()
        calls = self._calls.oldest(BATCH)
        messages = list(self._messages)[:BATCH]
        stale = list(self._stale.items())
        is_purge_due = time.monotonic() >= self._purge_at
        db.execute(f"PRAGMA synchronous = {'FULL' if messages else 'NORMAL'}")
        with _transaction(db):
            db.executemany("DELETE FROM kav_parked_calls WHERE call_sid = ? AND expires_at <= ?", stale)
            if is_purge_due:
                db.execute("DELETE FROM kav_parked_calls WHERE expires_at <= ?", (time.time(),))
            db.executemany(
                "INSERT OR REPLACE INTO kav_parked_calls VALUES (?, ?, ?)",
                [(call_sid, record.expires_at, record.text) for call_sid, record in calls],
            )
            db.executemany(
                f"INSERT INTO kav_messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [astuple(message) for message in messages],
            )
        for call_sid, record in calls:
            self._calls.discard(call_sid, record)
        for _ in messages:
            self._messages.popleft()
        self._stale.clear()
        if is_purge_due:
            self._purge_at = time.monotonic() + PURGE_EVERY_S

    def _look(self, db: sqlite3.Connection, call_sid: str, now: float) -> str | None:
        row = db.execute(
            "SELECT record, expires_at FROM kav_parked_calls WHERE call_sid = ?", (call_sid,)
        ).fetchone()
        if row is None or row[1] <= max(now, self._stale.get(call_sid, 0.0)):
            return None
        return str(row[0])

    def _worked(self) -> None:
        self._problem, self._locked_since, self._retry_at = "", None, 0.0

    def _failed(self, error: Exception) -> None:
        now_s = time.monotonic()
        if _is_locked(error):
            self._locked_since = self._locked_since or now_s
            if now_s - self._locked_since > LOCKED_TOO_LONG_S:
                self._problem = str(error)
            self._retry_at = now_s + LOCKED_RETRY_S
        else:
            self._problem = (isinstance(error, OSError) and error.strerror) or str(error)
            self._retry_at = now_s + BROKEN_RETRY_S
            self._disconnect()  # the file may be another one by then


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """With the write lock from the start: one that had to be upgraded could fail in the middle."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _is_locked(error: Exception) -> bool:
    """Another process has the lock; extended codes keep the basic one in their lower byte."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
