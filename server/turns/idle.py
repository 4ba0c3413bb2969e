"""Is anybody still there?

A line falls silent in two ways, so there are two clocks. A caller who left the phone on the table is silent
to the ear: the sound clock. A television, a street or comfort noise sounds like a voice and says nothing:
the words clock. Without the second, such a call is paid for until it reaches its limit.

A clock that has run for its period asks ("are you still there?") or, after two asks, says goodbye.

| | sound clock | words clock | asks so far |
|---|---|---|---|
| period | `still_there_s` | `idle_s` / 3 | |
| begins | first `update` that finds silence | likewise | none |
| agent audible, or busy | at zero; runs once that is over | stands still, keeps its count | kept |
| `voice` | to zero | runs on | kept |
| `words` | to zero | to zero | none |
| either is due | ASK, both to zero | ASK, both to zero | one more |
| either is due after two asks | GOODBYE | GOODBYE | |
| after GOODBYE | NOTHING, until `words` begins anew | likewise | none |

Audible means in the caller's ear: until the agent was heard to the end, not until its audio was sent. Busy is
whatever keeps the caller waiting with good cause: an answer owed, a tool at work, a hold, a greeting to come.

The words clock only stands still while the agent speaks, or a model that answers noise would keep the call
alive for ever. A goodbye that somebody talks over was heard by somebody: a word begins the count anew.

Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from enum import Enum, auto

ASKS = 2
"""Before the goodbye."""


class Due(Enum):
    NOTHING = auto()
    ASK = auto()
    GOODBYE = auto()


class IdleClocks:
    """The two clocks of one call. A clock whose length is 0 never falls due."""

    def __init__(self, still_there_s: float, idle_s: float) -> None:
        self._sound_period_s = still_there_s if still_there_s > 0 else float("inf")
        self._words_period_s = idle_s / (ASKS + 1) if idle_s > 0 else float("inf")
        self._silent_at: float | None = None
        """Of the last update, if it found silence: time counts only between two that did."""
        self._sound_s = 0.0
        self._words_s = 0.0
        self._asks = 0
        self._said_goodbye = False

    @property
    def asks(self) -> int:
        """Since the last word."""
        return self._asks

    def voice(self, now_s: float) -> None:
        """The detector hears a voice: a caller's, or what sounds like one."""
        self._count(now_s)
        self._sound_s = 0.0

    def words(self, now_s: float) -> None:
        """Somebody is there: a transcript with words in it, or a key.

        Where nothing is transcribed, each turn the model takes for the caller's counts as words.
        """
        self._count(now_s)
        self._restart()
        self._asks = 0
        self._said_goodbye = False

    def update(self, now_s: float, *, is_agent_audible: bool, is_busy: bool) -> Due:
        """What is to be said now. Called ten times a second; what it returns is returned once."""
        if is_agent_audible or is_busy:
            self._silent_at = None
            self._sound_s = 0.0
            return Due.NOTHING
        if self._silent_at is None:
            self._silent_at = now_s
        self._count(now_s)
        is_due = self._sound_s >= self._sound_period_s or self._words_s >= self._words_period_s
        if not is_due or self._said_goodbye:
            return Due.NOTHING
        self._restart()
        if self._asks == ASKS:
            self._said_goodbye = True
            return Due.GOODBYE
        self._asks += 1
        return Due.ASK

    def _count(self, now_s: float) -> None:
        if self._silent_at is None:
            return
        passed_s = max(0.0, now_s - self._silent_at)
        self._silent_at = max(self._silent_at, now_s)
        self._sound_s += passed_s
        self._words_s += passed_s

    def _restart(self) -> None:
        self._sound_s = self._words_s = 0.0
