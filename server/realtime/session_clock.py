"""When must a session of the model be renewed?

A session ends after 60 minutes and cannot be resumed: `session_expired`, close code 1001. `session.created`
tells its end as `expires_at` in unix seconds, which the wall clock of that moment turns into a length; from
there on only the monotonic clock counts, for wall clocks jump.

| phase | from this share of the lifetime on | of 60 min | what to do |
|---|---|---|---|
| FRESH | 0 | 0 | nothing |
| RENEW_WHEN_QUIET | 5/6 | 50 min | change sessions at a pause, so that nobody hears it |
| MUST_RENEW | 59/60 | 59 min | change sessions now |
| EXPIRED | 1 | 60 min | the model has gone, or is about to |

Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from enum import Enum, auto

LIFETIME_S = 3600.0
MAX_LIFETIME_S = 24 * 3600.0
"""Whoever announces more, or nothing that lies ahead, has another clock than ours: 60 min are assumed."""
QUIET_FROM = 5 / 6
MUST_FROM = 59 / 60


class Phase(Enum):
    FRESH = auto()
    RENEW_WHEN_QUIET = auto()
    MUST_RENEW = auto()
    EXPIRED = auto()


class SessionClock:
    """The age of one session against its lifetime."""

    def __init__(self, opened_s: float, lifetime_s: float = LIFETIME_S) -> None:
        self._opened_s = opened_s
        self.lifetime_s = lifetime_s if 0 < lifetime_s <= MAX_LIFETIME_S else LIFETIME_S

    @classmethod
    def announced(cls, opened_s: float, expires_at: float | None, wall_s: float) -> SessionClock:
        """From `session.created`: `expires_at` and `wall_s` in unix seconds, the latter as of `opened_s`."""
        return cls(opened_s, LIFETIME_S if expires_at is None else expires_at - wall_s)

    def phase(self, now_s: float) -> Phase:
        age_s = now_s - self._opened_s
        if age_s >= self.lifetime_s:
            return Phase.EXPIRED
        if age_s >= self.lifetime_s * MUST_FROM:
            return Phase.MUST_RENEW
        if age_s >= self.lifetime_s * QUIET_FROM:
            return Phase.RENEW_WHEN_QUIET
        return Phase.FRESH
