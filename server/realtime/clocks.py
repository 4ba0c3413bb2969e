"""What is the time for? The clocks of a call that run while nobody does anything.

`IdleClocks` asks whether somebody is there, `CallLimit` whether the time is up; here they are fed with what a
conversation knows, and say what is to be said.

Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from enum import Enum, auto

from server.turns import idle
from server.turns.call_limit import CallLimit, Limit
from server.turns.idle import IdleClocks

MAX_WAITED_S = 1.0
"""Until the model notices the end of a turn; longer ago is a voice that our own detector did not hear."""
LONG_SPEECH_S = 10.0
"""Nobody speaks so long without taking breath for half a second; a television does."""


class Due(Enum):
    WARNING = auto()
    TIME_IS_UP = auto()
    CUT = auto()
    """The time is over, goodbye or not."""
    STILL_THERE = auto()
    IDLE_GOODBYE = auto()


class Clocks:
    """Of one call."""

    def __init__(self, *, still_there_s: float, idle_s: float, max_call_s: float, now_s: float) -> None:
        self._idle = IdleClocks(still_there_s, idle_s)
        self._limit = CallLimit(max_call_s)
        self._is_warning_due = False
        self._began_at = now_s
        self.last_voice_s = now_s
        """When our own detector last heard the caller."""
        self._told_voice_s = now_s
        self._speech_began_s = now_s

    def voice(self, ended_s: float) -> None:
        self.last_voice_s = ended_s

    def speech_started(self, now_s: float) -> None:
        self._speech_began_s = now_s

    def words(self, now_s: float) -> None:
        """Somebody is there."""
        self._idle.words(now_s)

    def is_endless(self, now_s: float) -> bool:
        """What the model calls speech goes on for longer than anybody speaks."""
        return now_s - self._speech_began_s >= LONG_SPEECH_S

    def waited_s(self, now_s: float) -> float:
        """How long a caller who has just stopped speaking waits already."""
        return min(now_s - self.last_voice_s, MAX_WAITED_S)

    def line_is_back(self, now_s: float) -> None:
        """What was heard before counts for nothing."""
        self._idle.words(now_s)
        self.last_voice_s = self._told_voice_s = now_s

    def limit_due(self, now_s: float, *, is_pause: bool) -> Due | None:
        """`is_pause`: a warning would interrupt nobody."""
        match self._limit.due(now_s - self._began_at):
            case Limit.WARN:
                self._is_warning_due = True
            case Limit.END:
                self._is_warning_due = False
                return Due.TIME_IS_UP
            case Limit.OVER:
                return Due.CUT
        if not (self._is_warning_due and is_pause):
            return None
        self._is_warning_due = False
        return Due.WARNING

    def idle_due(
        self, now_s: float, *, is_speaking: bool, is_agent_audible: bool, is_busy: bool
    ) -> Due | None:
        if self.last_voice_s != self._told_voice_s or is_speaking:
            self._told_voice_s = self.last_voice_s
            self._idle.voice(now_s)
        if is_speaking and not self.is_endless(now_s):
            return None
        match self._idle.update(now_s, is_agent_audible=is_agent_audible, is_busy=is_busy):
            case idle.Due.ASK:
                return Due.STILL_THERE
            case idle.Due.GOODBYE:
                return Due.IDLE_GOODBYE
        return None
