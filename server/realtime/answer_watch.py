"""Does the caller wait for an answer that does not come?

A model may go silent in ways that are no error: a response that never begins, or begins and says
nothing. Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from enum import Enum, auto

FILL_AFTER_S = 2.5
"""Longer than this a silent line seems dead: something is said meanwhile."""
FILL_AGAIN_S = 5.0
ANSWER_WITHIN_S = 6.0


class Due(Enum):
    NOTHING = auto()
    FILL = auto()
    """Say "one moment"."""
    ASK_AGAIN = auto()
    GIVE_UP = auto()


class AnswerWatch:
    """From the moment an answer is owed until its first sound."""

    def __init__(self) -> None:
        self._owed_at: float | None = None
        self._has_asked_again = False
        self._fill_at = 0.0

    @property
    def is_owed(self) -> bool:
        return self._owed_at is not None

    def owed(self, now_s: float, waited_s: float = 0.0) -> None:
        """The caller stopped speaking, pressed keys, or the like, and has heard nothing for `waited_s`."""
        if self._owed_at is None:
            self._owed_at = now_s
            self._fill_at = now_s + max(0.0, FILL_AFTER_S - waited_s)

    def begin_anew(self, now_s: float) -> None:
        """Somebody else is asked, who has as much time; the caller has waited all the same."""
        if self._owed_at is not None:
            self._owed_at, self._has_asked_again = now_s, False

    def settled(self) -> None:
        """The answer is heard, complete without sound, or the caller speaks on."""
        self._owed_at = None
        self._has_asked_again = False

    def due(self, now_s: float, *, is_working: bool = False, may_fill: bool = True) -> Due:
        """What is to be done now: a filler after 2.5 s and every 5 s from there, ask once more after 6 s,
        give up after 6 s more.

        `is_working`: nothing can be wanting yet, for a tool runs on whose answer the model waits, which has a
        deadline of its own, or the agent is heard. `may_fill`: the line is silent, and a filler would be
        heard at once; else silence begins when it does.
        """
        if self._owed_at is None:
            return Due.NOTHING
        if not may_fill:
            self._fill_at = max(self._fill_at, now_s + FILL_AFTER_S)
        elif now_s >= self._fill_at:
            self._fill_at = now_s + FILL_AGAIN_S
            return Due.FILL
        if is_working:
            self._owed_at = max(self._owed_at, now_s - FILL_AFTER_S)
            return Due.NOTHING
        if now_s - self._owed_at < ANSWER_WITHIN_S:
            return Due.NOTHING
        if self._has_asked_again:
            return Due.GIVE_UP
        self._has_asked_again = True
        self._owed_at = now_s
        return Due.ASK_AGAIN
