"""The model is gone in the middle of a call: acts out what the ladder says.

A session that broke is opened anew with the conversation as text; one that cannot be had is followed by
the pipelined mode, by a person, by a message, by an apology. Whatever comes, the caller hears a voice:
what is missing meanwhile is spoken by recorded prompts, which need no network.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from server.call_stage import CallStage
from server.endings import EndReason
from server.faults import FAULTS
from server.gateway import CallerLeg
from server.logs import clean
from server.metrics import Counters
from server.turns.ladder import FIRST_VOICE_S, LASTS_S, Attempt, Breaker, Cause, Ladder, Rung
from server.turns.leaving import HangUp, Leaving, Plan, Transfer

log = logging.getLogger("server.media_ws_ai")

ACCOUNT_FAULTS = ("KAV-132", "KAV-133", "KAV-172", "KAV-173")
MODEL_FAULTS = ("KAV-134", "KAV-139", "KAV-174")
BRIDGE_AFTER_S = 1.5
"""Of silence while a session is opened anew: then the caller is asked for a moment."""
BRIDGE_OWED_AFTER_S = 0.5
"""Whoever waits for words is asked sooner; but a session that is back at once needs no excuse."""
BRIDGE_AGAIN_S = 5.0
SESSION_WITHIN_S = 3.0
"""From the dial to a configured session; a healthy one takes a tenth of it."""


class Fallback:
    """One call's. `open_session` begins a session of that rung, in place of the present one."""

    def __init__(
        self,
        ladder: Ladder,
        breaker: Breaker,
        stage: CallStage,
        caller: CallerLeg,
        counters: Counters,
        destination: str,
        open_session: Callable[[Rung], None],
        end_session: Callable[[], None],
    ) -> None:
        """`destination`: of the business's, who is rung when nothing else helps; may be empty.
        `end_session`: the present one is not listened to any more."""
        self._ladder = ladder
        self._breaker = breaker
        self._stage = stage
        self._caller = caller
        self._counters = counters
        self._destination = destination
        self._open_session = open_session
        self._end_session = end_session
        self._leaving = Leaving()
        self._due_at: float | None = None
        self._rung = ladder.rung
        self._rung_began_at = time.monotonic()
        """All tries of the present rung are made in one time."""
        self._bridge_at: float | None = None
        self._ready_at: float | None = None
        """The present session, since when; None while there is none."""
        self._has_spoken = False
        """The present session."""

    @property
    def is_over(self) -> bool:
        """No model serves this call any more."""
        return self._rung not in (Rung.REALTIME, Rung.PIPELINE)

    @property
    def is_opening(self) -> bool:
        """A session of the present rung is being opened, none is waited to be tried."""
        return not self.is_over and self._due_at is None

    def may_begin(self) -> bool:
        """Ask the model at all? False: it fails every call these days, and what follows it has begun."""
        now_s = time.monotonic()
        if self._rung is not Rung.REALTIME or self._breaker.allows(now_s):
            return True
        self._bridge_at = now_s
        attempt = self._ladder.failed(Cause.TRANSIENT, now_s, may_ask=False, has_voice=False)
        self._go(attempt, now_s)
        return False

    def works(self, now_s: float) -> None:
        """The session of the present rung is ready."""
        self._ladder.works(now_s)
        self._ready_at, self._has_spoken = now_s, False
        self._due_at = self._bridge_at = None

    def spoke(self) -> None:
        """The present session said something: only that shows that the model works."""
        if not self._has_spoken:
            self._has_spoken = True
            if self._rung is Rung.REALTIME:
                self._breaker.worked()

    def lost(
        self,
        reason: EndReason,
        fault_id: str,
        seen: str,
        *,
        has_voice: bool,
        is_owed: bool,
        is_leaving: bool = False,
    ) -> None:
        """The present session is gone. `is_owed`: the caller waits for words, or the agent was speaking;
        `is_leaving`: the call is about to end or to be transferred, and needs no other session."""
        if self.is_over or self._due_at is not None:
            return
        now_s = time.monotonic()
        log.error("%s call=%s reason=%s", FAULTS[fault_id].line(clean(seen)), self._caller.call_tag, reason)
        self._counters.refused[fault_id] += 1
        cause = Cause.ACCOUNT if fault_id in ACCOUNT_FAULTS else Cause.TRANSIENT
        if fault_id in MODEL_FAULTS:
            cause = Cause.MODEL
        has_lasted = self._ready_at is not None and now_s - self._ready_at >= LASTS_S
        if cause is not Cause.TRANSIENT or not (self._has_spoken or has_lasted):
            self._count_failure(now_s)  # else the model works: sockets that broke together are no outage
        self._ready_at, self._has_spoken = None, False
        if is_leaving:
            self._end_session()
            return
        may_retry = self._rung is Rung.REALTIME and cause is Cause.TRANSIENT
        may_ask = not may_retry or self._breaker.allows(now_s)  # asked only where the model is: it counts
        self._bridge_at = now_s + (BRIDGE_OWED_AFTER_S if is_owed else BRIDGE_AFTER_S)
        self._go(self._ladder.failed(cause, now_s, may_ask=may_ask, has_voice=has_voice), now_s)

    def tick(self, now_s: float, *, has_voice: bool, is_caller_speaking: bool = False) -> None:
        """About ten times a second."""
        if self._leaving.plan is not None:
            self._leave_if_due(now_s)
        if self.is_over:
            return
        if self._due_at is not None and now_s >= self._due_at:
            self._due_at = None
            self._open_session(self._rung)
        if not has_voice and now_s - self._rung_began_at > FIRST_VOICE_S:
            log.error(
                "%s call=%s",
                FAULTS["KAV-137"].line(f"no voice in {FIRST_VOICE_S:.0f} s"),
                self._caller.call_tag,
            )
            self._count_failure(now_s)
            self._bridge_at = now_s
            self._go(self._ladder.too_late(), now_s)
        elif self._bridge_at is not None and now_s >= self._bridge_at and self._caller.tx_q.is_quiet(now_s):
            if is_caller_speaking and now_s < self._bridge_at + BRIDGE_AFTER_S:
                return
            self._bridge_at = now_s + BRIDGE_AGAIN_S
            self._stage.play_prompt("one_moment")

    def _leave_if_due(self, now_s: float) -> None:
        tx_q = self._caller.tx_q
        is_heard, remaining_ms = tx_q.is_quiet(now_s), tx_q.remaining_ms(now_s)
        if (plan := self._leaving.due(now_s, is_heard=is_heard, remaining_ms=remaining_ms)) is not None:
            self._stage.leave(plan)

    def line_is_back(self, now_s: float) -> None:
        """The caller was away, and is to be greeted: the time to the first voice begins anew."""
        self._rung_began_at = now_s

    def _count_failure(self, now_s: float) -> None:
        if self._rung is Rung.REALTIME and self._breaker.failed(now_s):
            log.error("%s", FAULTS["KAV-142"].line())

    def _go(self, attempt: Attempt, now_s: float) -> None:
        log.warning(
            "[FALLBACK] next=%s in_s=%.1f call_sid=%s", attempt.rung, attempt.after_s, self._caller.call_tag
        )
        self._counters.fallbacks[attempt.rung] += 1
        if attempt.rung is not self._rung:
            self._rung, self._rung_began_at = attempt.rung, now_s
        self._end_session()
        match attempt.rung:
            case Rung.REALTIME | Rung.PIPELINE:
                self._due_at = now_s + attempt.after_s
            case Rung.PERSON if self._destination:
                self._say("one_moment", Transfer(self._destination), now_s)
            case Rung.PERSON:
                self._go(self._ladder.too_late(), now_s)
            case Rung.MESSAGE:
                self._say("leave_message", HangUp(EndReason.TAKE_MESSAGE), now_s)
            case Rung.APOLOGY:
                self._say("apology", HangUp(EndReason.APOLOGISED), now_s)

    def _say(self, prompt: str, plan: Plan, now_s: float) -> None:
        """What no model says any more; then the plan, when it was heard."""
        if self._caller.tx_q.is_held:  # nobody decides any more whether it goes on
            self._caller.tx_q.interrupt(now_s)
        self._stage.play_prompt(prompt)
        self._leaving.ask(plan, now_s)
