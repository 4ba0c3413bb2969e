"""Which session with the model serves this call now, and which is made ready to follow it?

A session lives an hour. Before that is over the next one is connected and configured beside it, told
what was said, and takes over at a moment when nobody speaks and nothing is owed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from server import green
from server.faults import FAULTS
from server.model_session import ModelSession
from server.realtime.conversation import Conversation
from server.realtime.session_clock import Phase

log = logging.getLogger("server.media_ws_ai")

READY_WITHIN_S = 5.0
TRY_AGAIN_AFTER_S = 30.0


class SessionKeeper:
    """The sessions of one call. `make` builds one that is not started; `use` is told which one the call
    speaks with, before that one is asked for anything, and says whether it hears first what the last one did
    not take in."""

    def __init__(
        self, make: Callable[[], ModelSession], use: Callable[[ModelSession], bool], call_tag: str
    ) -> None:
        self._make = make
        self._use = use
        self._tag = call_tag
        self.current = make()
        """The one in use, or being opened to be used."""
        self._next: ModelSession | None = None
        self._not_before_s = 0.0

    def tick(self, conversation: Conversation, now_s: float) -> bool:
        """Prepare, and take over when it is time; true when another session took over now."""
        phase = self.current.clock.phase(now_s)
        if phase is Phase.FRESH:
            return False
        may_move = conversation.may_change_session(now_s) or phase in (Phase.MUST_RENEW, Phase.EXPIRED)
        if self._next is None:
            if may_move and now_s >= self._not_before_s:
                self._next = self._make()
                self._next.start()
        elif self._next.is_ready:
            if may_move:
                self._take_over(self._next, conversation, now_s)
                return True
        elif now_s - self._next.began_at > READY_WITHIN_S:
            self._give_up_next(now_s, "KAV-131", f"no session within {READY_WITHIN_S:.0f} s")
        return False

    def lost(self, session: ModelSession, fault_id: str, seen: str) -> bool:
        """A session ended, for that reason; true when it was the one in use."""
        if session is self._next:
            self._give_up_next(time.monotonic(), fault_id, seen)
        return session is self.current

    def replace(self, make: Callable[[], ModelSession] | None = None) -> ModelSession:
        """Start a new session in place of the present one; `make`: of another kind from now on."""
        self._make = make or self._make
        for session in (self.current, self._next):
            if session is not None:
                green.spawn(session.close)
        self.current, self._next = self._make(), None
        self.current.start()
        return self.current

    def close(self) -> None:
        """Blocks half a second at most."""
        for session in (self.current, self._next):
            if session is not None:
                session.close()

    def _take_over(self, session: ModelSession, conversation: Conversation, now_s: float) -> None:
        log.info("[REALTIME] session renewed, call_sid=%s", self._tag)
        green.spawn(self.current.close)
        self.current, self._next = session, None
        conversation.session_changed(session.client.commands, is_transcribed=session.is_transcribed)
        session.seed(conversation.history.entries())
        is_retold = self._use(session)
        conversation.session_ready(now_s, is_retold=is_retold, silence_ms=session.silence_ms)

    def _give_up_next(self, now_s: float, fault_id: str, seen: str) -> None:
        """Nobody hears anything of it yet, but the hour goes on."""
        told = FAULTS[fault_id].line(f"the session that is to follow: {seen}")
        log.warning("%s call=%s", told, self._tag)
        session, self._next = self._next, None
        self._not_before_s = now_s + TRY_AGAIN_AFTER_S
        if session is not None:
            green.spawn(session.close)
