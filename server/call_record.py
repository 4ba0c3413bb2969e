"""What another process needs to go on with this call, kept in the store while the call lives.

A process may be killed at any moment, so the record is written as the conversation grows: a second later
at most, and at once when the caller's words are known. It says of the agent's words those that were
heard by then. Whoever takes the record puts it back, for the next process may be killed as well.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from server import green
from server.business import Business
from server.endings import GOES_ON, EndReason
from server.faults import FAULTS
from server.realtime.conversation import Conversation
from server.store.call_store import PARKED_TTL_S, CallStore
from server.store.parked_calls import SPENT_S, ParkedCall

log = logging.getLogger("server.media_ws_ai")

SAVE_EVERY_S = 1.0
SAVE_OPENING_EVERY_S = 0.25
"""Until the caller has heard the agent: a greeting that was heard must not be said again."""
REFRESH_EVERY_S = PARKED_TTL_S / 3
"""A call may be silent for long, on hold, and its record shall not be forgotten."""
SETTLE_S = 0.5
"""The longest that a caller waits for a store."""


class CallRecord:
    """One call's. Nothing but `take` and `settle` blocks."""

    def __init__(
        self, store: CallStore, business: Business, call_sid: str, *, may_be_new: bool = False
    ) -> None:
        """`may_be_new`: nobody knows of an earlier stream; where no record says so there was none."""
        self.voice = business.voice
        self._may_be_new = may_be_new
        self._spent_s = 0.0
        self._store = store
        self._business = business
        self._call_sid = call_sid
        self._conversation: Conversation | None = None
        self._began_at = time.monotonic()
        self._extra: dict[str, Any] = {}
        self._is_closed = False
        self._saved_changes = -1
        self._is_all_heard = False
        self._due_at = 0.0
        self._refresh_at = 0.0

    def take(self) -> ParkedCall | None:
        """What an earlier stream left, which may be nothing at all. Blocks this green thread for half a
        second at most."""
        parked = self._store.take(self._call_sid)
        if parked is None and self._may_be_new:
            parked = ParkedCall(self._call_sid, self._business.id, self._business.language)
        if parked is not None:
            self.voice = parked.voice or self.voice
            self._spent_s = parked.spent_s
        return parked

    def put_back(self, parked: ParkedCall, reason: EndReason) -> None:
        """For the next stream, which will read it for this reason."""
        self._store.put(replace(parked, reason=str(reason)))

    def attach(self, conversation: Conversation) -> None:
        """The conversation goes on from here: from now on this is what is saved."""
        self._conversation = conversation
        self.save()

    def save(self, reason: str = "crash", **extra: str) -> None:
        """Write it now, off the hub. The reason is that for which it will be read, as far as is known;
        `extra` stays in it from now on."""
        if self._is_closed or (conversation := self._conversation) is None:
            return
        now_s = time.monotonic()
        is_greeted = conversation.is_greeted(now_s)
        self._extra |= extra
        self._store.put(
            ParkedCall(
                call_sid=self._call_sid,
                business_id=self._business.id,
                language=self._business.language,
                voice=self.voice,
                history=conversation.told(now_s),
                greeting_done=is_greeted,
                parked_at=time.time(),
                reason=reason,
                extra=self._extra | {SPENT_S: round(self._spent_s + now_s - self._began_at, 1)},
            )
        )
        self._saved_changes = conversation.history.changes
        self._is_all_heard = conversation.is_all_heard(now_s)
        self._due_at = now_s + (SAVE_EVERY_S if is_greeted else SAVE_OPENING_EVERY_S)
        self._refresh_at = now_s + REFRESH_EVERY_S

    def tick(self, now_s: float) -> None:
        """About ten times a second: write it when something was said or heard since."""
        if self._conversation is None or now_s < self._due_at:
            return
        has_changed = self._conversation.history.changes != self._saved_changes or not self._is_all_heard
        if has_changed or now_s >= self._refresh_at:
            self.save()

    def close(self) -> None:
        """This stream writes no more."""
        self._is_closed = True

    def conclude(self, reason: EndReason) -> None:
        """The stream ended on purpose. Whoever is asked what follows finds how, and no word of the call."""
        self.close()
        self._store.put(
            ParkedCall(
                call_sid=self._call_sid,
                business_id=self._business.id,
                language=self._business.language,
                parked_at=time.time(),
                reason=str(reason),
            )
        )

    def erase(self) -> None:
        """The caller is gone: nothing is left behind."""
        self.close()
        green.spawn(self._erase)

    def _erase(self) -> None:
        try:
            self._store.take(self._call_sid)
        except Exception:  # a store raises nothing by its own promise
            log.exception("%s", FAULTS["KAV-199"].line("erasing a call's record"))

    def settle(self) -> None:
        """What was saved would survive this process. Blocks half a second at most."""
        self._store.flush(SETTLE_S)


def ended_as(parked: ParkedCall) -> EndReason | None:
    """How the call's last stream ended, if it did so on purpose; None when the conversation goes on."""
    ended = next((reason for reason in EndReason if reason == parked.reason), None)
    return None if ended in GOES_ON else ended
