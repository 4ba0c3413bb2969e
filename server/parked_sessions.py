"""The caller's line broke: who keeps the session with the model until the caller is back?

Twilio asks what follows within a moment, and the call goes on in another stream of this process: with the
same session, which has heard everything, instead of a new one that is told of it in text. The call, with
all it knows, waits here by its CallSid, for 20 s at most. Whoever is not back by then has hung up, or
comes back as from another process: the record in the store outlives this.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial
from typing import Generic, Protocol, TypeVar

from server import green
from server.faults import FAULTS
from server.logs import call_tag

log = logging.getLogger(__name__)

PARKED_S = 20.0


class Closable(Protocol):
    def close(self) -> None:
        """End its session. Blocks half a second at most."""


T = TypeVar("T", bound=Closable)


class ParkedSessions(Generic[T]):
    """One process's. Nothing here blocks but `close`."""

    def __init__(self, max_parked: int, parked_s: float = PARKED_S) -> None:
        self._max_parked = max_parked
        self._parked_s = parked_s
        self._calls: OrderedDict[str, tuple[T, green.Timer]] = OrderedDict()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call_sid: object) -> bool:
        return call_sid in self._calls

    def park(self, call_sid: str, call: T) -> bool:
        """Keep a call whose line broke. False when this process ends: the call is not kept."""
        if self._is_closed or self._max_parked < 1:
            return False
        self.end(call_sid)
        if len(self._calls) >= self._max_parked:
            oldest = next(iter(self._calls))
            log.warning("%s call=%s", FAULTS["KAV-146"].line(f"{len(self._calls)} calls"), call_tag(oldest))
            self.end(oldest)
        timer = green.call_later(self._parked_s, partial(self._expired, call_sid))
        self._calls[call_sid] = (call, timer)
        log.info("[PARKED] call=%s for %.0f s", call_tag(call_sid), self._parked_s)
        return True

    def take(self, call_sid: str) -> T | None:
        """The caller is back: the call is the taker's from now on."""
        found = self._calls.pop(call_sid, None)
        if found is None:
            return None
        call, timer = found
        timer.cancel()
        return call

    def end(self, call_sid: str) -> None:
        """The caller is not coming back. Harmless for a call that is not here; returns at once."""
        if (call := self.take(call_sid)) is not None:
            green.spawn(call.close)

    def close(self) -> None:
        """End all of them, and keep no more. Blocks half a second at most."""
        self._is_closed = True
        taken = [self.take(call_sid) for call_sid in list(self._calls)]
        for thread in [green.spawn(call.close) for call in taken if call is not None]:
            thread.wait()

    def _expired(self, call_sid: str) -> None:
        """In the hub."""
        green.spawn(self._give_up, call_sid)

    def _give_up(self, call_sid: str) -> None:
        log.info("[PARKED] call=%s did not come back", call_tag(call_sid))
        self.end(call_sid)
