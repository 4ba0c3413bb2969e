"""The store in a SQLite file: the default, shared by all processes of one machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from server import green
from server.faults import FAULTS
from server.logs import call_tag
from server.native_worker import NativeWorker
from server.store.call_store import PARKED_TTL_S, TAKE_S, storable
from server.store.caller_messages import CallerMessage
from server.store.memory_store import packed, unpacked
from server.store.parked_calls import ParkedCall
from server.store.sqlite_file import Report, SqliteFile

log = logging.getLogger(__name__)

T = TypeVar("T")

GIVE_UP_TAKING_S = TAKE_S - 0.15
"""A last attempt may take another BUSY_S."""
LIST_S = 1.0
DROPPED_LINE_EVERY_S = 60.0
PURGED_AFTER_S = 1.0
"""Of their time being over."""


class SqliteStore:
    """See `CallStore`. The file is opened in the background: nothing waits for it, not even the start."""

    def __init__(self, path: str, *, ttl_s: float = PARKED_TTL_S) -> None:
        self._path = path
        self._file = SqliteFile(path, ttl_s)
        self._worker = NativeWorker("call store")
        self._ttl_s = ttl_s
        self._retry: green.Timer | None = None
        self._purge: green.Timer | None = None
        self._last_put_at = 0.0
        self._problem = ""
        self._dropped = 0
        self._dropped_told = 0
        self._dropped_line_at = -DROPPED_LINE_EVERY_S
        self._refused = 0
        self._is_closed = False
        self.purge()
        self._purge_later()  # what a process that is gone has left

    def put(self, record: ParkedCall) -> None:
        if (text := packed(record)) is not None:
            self._last_put_at = time.monotonic()
            self._purge_later()
            self._post(partial(self._file.put, storable(record.call_sid), text))

    def take(self, call_sid: str) -> ParkedCall | None:
        call_sid = storable(call_sid)
        run = partial(self._file.take, call_sid, time.monotonic() + GIVE_UP_TAKING_S)

        def put_back(text: str | None) -> None:
            if text is not None:
                self._file.put(call_sid, text)

        text = self._call(run, TAKE_S, None, f"call={call_tag(call_sid)} its parked record", put_back)
        return unpacked(text)

    def purge(self) -> None:
        self._post(self._file.purge)

    def note_message(self, message: CallerMessage) -> None:
        self._post(partial(self._file.note, message.bounded()))

    def messages(self, limit: int = 100) -> list[CallerMessage]:
        return self._call(partial(self._file.messages, limit), LIST_S, [], "the callers' messages")

    def flush(self, timeout_s: float = 2.0) -> bool:
        give_up_at = time.monotonic() + timeout_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            report = self._call(self._file.write, left_s, None, "what waits to be written")
            if report is not None:
                self._reported(report)
                if not report.waiting:
                    return True
            green.sleep(min(report.retry_s if report else 0.0, 0.1, left_s))
        return False

    def close(self) -> None:
        if not self._is_closed:
            self._call(self._file.close, 1.0, None, "the end of the file")
            self._is_closed = True
            self._worker.close()
            for timer in (self._retry, self._purge):
                if timer is not None:
                    timer.cancel()

    def _post(self, run: Callable[[], Report]) -> None:
        if not self._worker.post(run, self._reported):
            self._refused += 1
            self._tell_dropped()

    def _call(
        self,
        run: Callable[[], T],
        timeout_s: float,
        otherwise: T,
        what: str,
        unclaimed: Callable[[T], None] | None = None,
    ) -> T:
        try:
            return self._worker.call(run, timeout_s, unclaimed)
        except TimeoutError as error:
            log.warning("%s could not be had: %s", what, error)
        except Exception:  # a call is worth more than its record
            log.exception("%s", FAULTS["KAV-199"].line(what))
        return otherwise

    # In the hub

    def _reported(self, report: Report) -> None:
        if report.problem and not self._problem:
            log.warning("%s", FAULTS["KAV-184"].line(f"{self._path}: {report.problem}"))
        elif self._problem and not report.problem:
            log.info("the database file %s works again; %d wait to be written", self._path, report.waiting)
        self._problem = report.problem
        self._dropped = report.dropped
        self._tell_dropped()
        if report.waiting and self._retry is None and not self._is_closed:
            self._retry = green.call_later(report.retry_s, self._try_again)

    def _purge_later(self) -> None:
        """What callers said is gone soon after its time, also when nobody calls any more."""
        if self._purge is None and not self._is_closed:
            self._purge = green.call_later(self._ttl_s + PURGED_AFTER_S, self._purge_due)

    def _purge_due(self) -> None:
        self._purge = None
        self.purge()
        if time.monotonic() - self._last_put_at <= self._ttl_s + PURGED_AFTER_S:
            self._purge_later()

    def _try_again(self) -> None:
        self._retry = None
        self._post(self._file.write)

    def _tell_dropped(self) -> None:
        """A line when there are more, once a minute at most while the store is open."""
        now_s = time.monotonic()
        dropped = self._dropped + self._refused
        is_due = self._is_closed or now_s - self._dropped_line_at > DROPPED_LINE_EVERY_S
        if dropped > self._dropped_told and is_due:
            self._dropped_line_at, self._dropped_told = now_s, dropped
            why = ", the store is closed" if self._is_closed else ""
            log.warning("%s", FAULTS["KAV-189"].line(f"{dropped} so far{why}"))
