"""The model is gone. What does the caller get instead?

    realtime ── 3 tries ──▶ pipeline ──▶ a person is rung ──▶ a message is taken ──▶ an apology

A business has some of these rungs and always the last. One that fails leads to the next; a realtime
session that merely broke is tried again first, with the conversation as text. What a second try would
not change skips the tries: a refused key or an empty account is the same for every service of that
account, a model that does not exist only for its own rung. And a provider that fails every call is not
asked for a while (`Breaker`): each try costs a caller seconds.

Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

TRY_AGAIN_AFTER_S = (0.2, 1.0, 3.0)
LASTS_S = 10.0
"""A session that lived so long was a success: the next failure is a new one."""
FIRST_VOICE_S = 4.0
"""Before the caller has heard anything there is no time for tries: 6 s are the most in silence, and the
next rung needs two of them."""
FAILURES, WITHIN_S, OPEN_S = 5, 30.0, 60.0


class Rung(StrEnum):
    REALTIME = "realtime"
    PIPELINE = "pipeline"
    PERSON = "person"
    MESSAGE = "message"
    APOLOGY = "apology"


class Cause(Enum):
    TRANSIENT = auto()
    """It may work the next time."""
    MODEL = auto()
    """This model will not: it does not exist, or refuses our settings."""
    ACCOUNT = auto()
    """Key or quota: nothing that this account pays for will."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is tried next, and when."""

    rung: Rung
    after_s: float = 0.0


class Breaker:
    """Shared by all calls: whether a provider is worth asking. Five failures in 30 s close it for 60 s;
    then one call may try, and its success opens it for all."""

    def __init__(self) -> None:
        self._failed_at: deque[float] = deque(maxlen=FAILURES)
        self._closed_until_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Ask the provider now? One of those who ask after a pause is let through, alone for a while."""
        if not self._closed_until_s:
            return True
        if now_s < self._closed_until_s:
            return False
        self._closed_until_s = now_s + WITHIN_S
        return True

    def failed(self, now_s: float) -> bool:
        """Count a failure; true when it was the one too many."""
        self._failed_at.append(now_s)
        is_storm = len(self._failed_at) == FAILURES and now_s - self._failed_at[0] <= WITHIN_S
        if is_storm or self._closed_until_s:
            self._closed_until_s = now_s + OPEN_S
        return is_storm

    def worked(self) -> None:
        self._failed_at.clear()
        self._closed_until_s = 0.0


class Ladder:
    """One call's way down. `rungs`: those the business has, from the top."""

    def __init__(self, rungs: tuple[Rung, ...]) -> None:
        self._rungs = rungs if rungs and rungs[-1] is Rung.APOLOGY else (*rungs, Rung.APOLOGY)
        self.rung = self._rungs[0]
        self._tries = 0
        self._worked_at: float | None = None

    def works(self, now_s: float) -> None:
        """The present rung serves the caller."""
        if self._worked_at is None:
            self._worked_at = now_s

    def failed(self, cause: Cause, now_s: float, *, may_ask: bool, has_voice: bool) -> Attempt:
        """The present rung broke or never came up. `may_ask`: the provider's breaker allows it;
        `has_voice`: the caller has heard something, so that there is time for tries."""
        if self._worked_at is not None and now_s - self._worked_at >= LASTS_S:
            self._tries = 0
        self._worked_at = None
        is_worth_a_try = self.rung is Rung.REALTIME and cause is Cause.TRANSIENT and may_ask
        tries = TRY_AGAIN_AFTER_S if has_voice else TRY_AGAIN_AFTER_S[:2]
        if is_worth_a_try and self._tries < len(tries):
            self._tries += 1
            return Attempt(self.rung, tries[self._tries - 1])
        return self._down(cause)

    def too_late(self) -> Attempt:
        """The caller has waited long enough for the present rung's first voice."""
        return self._down(Cause.TRANSIENT)

    def _down(self, cause: Cause) -> Attempt:
        at = self._rungs.index(self.rung)
        below = self._rungs[at + 1 :] or (Rung.APOLOGY,)
        if cause is Cause.ACCOUNT:
            below = tuple(rung for rung in below if rung is not Rung.PIPELINE)
        self.rung = below[0]
        self._tries = 0
        return Attempt(self.rung)
