"""How long may a call last?

A call that reaches its limit is not cut in the middle of a word: the caller is warned, then told goodbye, and
only a goodbye that does not end is cut.

| due | from this age of the call on | given |
|---|---|---|
| NOTHING | 0 | |
| WARN | 30 s before the limit; 5/6 of it in calls limited to less than 3 min | once |
| END | the limit: say goodbye, then hang up | once |
| OVER | 15 s after it: hang up at once | from then on |

Pure; the age is an argument (seconds since the call was answered, by a monotonic clock).
"""

from __future__ import annotations

from enum import Enum, auto

WARN_BEFORE_S = 30.0
WARN_AT_SHARE = 5 / 6
"""Of a short call's limit; 30 s before the end of a call of 3 min is the same moment."""
GOODBYE_WITHIN_S = 15.0


class Limit(Enum):
    NOTHING = auto()
    WARN = auto()
    END = auto()
    OVER = auto()


class CallLimit:
    """The limit of one call; 0 is none."""

    def __init__(self, max_s: float) -> None:
        self.end_s = max_s if max_s > 0 else float("inf")
        """Age at which the goodbye begins."""
        self.warn_s = max(self.end_s - WARN_BEFORE_S, self.end_s * WARN_AT_SHARE)
        self._said = Limit.NOTHING

    def due(self, age_s: float) -> Limit:
        """What is to be done now. A warning that nobody asked for in time is left out."""
        if age_s >= self.end_s + GOODBYE_WITHIN_S:
            return Limit.OVER
        if age_s >= self.end_s:
            return self._once(Limit.END)
        if age_s >= self.warn_s:
            return self._once(Limit.WARN)
        return Limit.NOTHING

    def _once(self, limit: Limit) -> Limit:
        is_new = limit is not self._said
        self._said = limit
        return limit if is_new else Limit.NOTHING
