"""Does the caller wait for an answer that does not come?

A model may go silent in ways that are no error: a response that never begins, or begins and says
nothing. Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from enum import Enum, auto

ANSWER_WITHIN_S = 6.0


class Due(Enum):
    NOTHING = auto()
    ASK_AGAIN = auto()
    GIVE_UP = auto()


class AnswerWatch:
    """From the moment an answer is owed until its first sound."""

    def __init__(self) -> None:
        self._owed_at: float | None = None
        self._has_asked_again = False

    def owed(self, now_s: float) -> None:
        """The caller stopped speaking, pressed keys, or the like."""
        if self._owed_at is None:
            self._owed_at = now_s

    def settled(self) -> None:
        """The answer is heard, complete without sound, or the caller speaks on."""
        self._owed_at = None
        self._has_asked_again = False

    def due(self, now_s: float) -> Due:
        """What is to be done now: ask once more after 6 s, give up after 6 s more."""
        if self._owed_at is None or now_s - self._owed_at < ANSWER_WITHIN_S:
            return Due.NOTHING
        if self._has_asked_again:
            return Due.GIVE_UP
        self._has_asked_again = True
        self._owed_at = now_s
        return Due.ASK_AGAIN
