"""The store that forgets: for one process, and for as long as it lives."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from server.faults import FAULTS
from server.store.call_store import PARKED_TTL_S
from server.store.caller_messages import CallerMessage
from server.store.parked_calls import ParkedCall
from server.store.spool import Spool

log = logging.getLogger(__name__)

MAX_MESSAGES = 1_000


def packed(record: ParkedCall) -> str | None:
    """The record's JSON. One that cannot be packed is logged: its call will begin anew."""
    try:
        return record.to_json()
    except ValueError as error:
        log.warning("%s", FAULTS["KAV-188"].line(str(error)))
        return None


def unpacked(text: str | None) -> ParkedCall | None:
    """The record of a JSON. One that cannot be read is logged and none."""
    if text is None:
        return None
    try:
        return ParkedCall.from_json(text)
    except ValueError as error:
        log.warning("%s", FAULTS["KAV-188"].line(str(error)))
        return None


class MemoryStore:
    """See `CallStore`."""

    def __init__(self, *, ttl_s: float = PARKED_TTL_S, clock: Callable[[], float] = time.time) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._calls = Spool()
        self._messages: deque[CallerMessage] = deque(maxlen=MAX_MESSAGES)

    def put(self, record: ParkedCall) -> None:
        self.purge()
        if (text := packed(record)) is not None:
            self._calls.put(record.call_sid, text, self._clock() + self._ttl_s)

    def take(self, call_sid: str) -> ParkedCall | None:
        return unpacked(self._calls.take(call_sid, self._clock()))

    def purge(self) -> None:
        self._calls.purge(self._clock())

    def note_message(self, message: CallerMessage) -> None:
        self._messages.appendleft(message.bounded())

    def messages(self, limit: int = 100) -> list[CallerMessage]:
        return list(self._messages)[:limit]

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Nothing here survives."""
        return not self._calls and not self._messages

    def close(self) -> None:
        pass
