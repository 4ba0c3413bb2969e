"""The caller speaks while the agent does: is it an interruption?

Three answers are cheap and one is not. A cough is too short, a long stretch of speech is surely meant,
and a rule may forbid interrupting at all. What lies between is decided by its words, which a
transcription delivers a moment after the speech has ended. Until then the agent is silent and what it
had to say is kept: a real word gives it up, an "uh-huh" or nothing lets it go on where the caller
stopped hearing it.

    speech over the agent ─▶ NOTICED ── min_speech_ms ──▶ HELD ── SURE_MS ──▶ yielded, answered at its end
                                │                           │
                              ends                        ends
                                ▼                           ▼
                    the agent spoke on: words?     JUDGED, the agent silent: words?
                    real: yield, answer            real: yield, answer
                    none: as if never said         none, or not known in 2 s: resume

Speech over nobody is simply the caller's turn: it is answered when it ends. Pure; the time is an
argument (seconds, monotonic).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

SURE_MS = 1000
"""So much voice is no listener's noise: "mm-hmm" and its like take up to 600 ms."""
JUDGED_WITHIN_S = 2.0
"""Longer than this nobody stays silent for words that may never come."""
AWAITED_S = 10.0
"""Words that have not come by then never will."""
SERVER_SILENCE_MS = 500
"""A Realtime model's, as we ask for it."""
NEAR_END_MS = 1000
"""A "yes" said so shortly before the agent ends answers it."""
MEANT_WORDS = 3
"""So many words before the greeting are a request, not a "hello?"."""


class Move(Enum):
    """What the agent does now."""

    HOLD = auto()
    """Fall silent, and keep what was not heard."""
    RESUME = auto()
    """Go on where the caller stopped hearing."""
    YIELD = auto()
    """Give up what was not heard: the caller has the floor."""
    ANSWER = auto()
    """The caller's turn is over."""
    DISMISS = auto()
    """What was said over the agent counts for nothing: `BargeIn.dismissed` names it."""


Moves = tuple[Move, ...]


class Over(Enum):
    """What the caller's speech begins over."""

    NOBODY = auto()
    AGENT = auto()
    """The agent is heard, or is about to be."""
    GREETING = auto()
    UNHEARD_GREETING = auto()
    """The caller has heard nothing yet, and shall."""


class _State(Enum):
    TURN = auto()
    """The caller's own: nobody is spoken over."""
    ASIDE = auto()
    """Speech that may not interrupt; answered after the agent."""
    EARLY = auto()
    """Speech before the greeting, which answers it."""
    NOTICED = auto()
    HELD = auto()
    JUDGED = auto()
    YIELDED = auto()


class Words(Enum):
    """What a transcript amounts to."""

    NONE = auto()
    BACKCHANNEL = auto()
    REAL = auto()


@dataclass(frozen=True, slots=True)
class BargeInLimits:
    """One business's rule."""

    is_allowed: bool = True
    is_allowed_in_greeting: bool = True
    min_speech_ms: int = 200


class BargeIn:
    """Judges what is said over one agent."""

    def __init__(self, rule: BargeInLimits, weigh: Callable[[str], Words]) -> None:
        self.can_judge = True
        """Transcripts come in this session; without them everything long enough is an interruption."""
        self.silence_ms = SERVER_SILENCE_MS
        """After which the model's voice detection tells an end: speech that is not over so long after its
        start has lasted, even where our own detector hears too little of a quiet caller."""
        self.needs_words = False
        """Nobody is thought to be there: however long it lasts, only words are an interruption."""
        self.dismissed: list[str] = []
        """Items that `DISMISS` speaks of."""
        self._rule = rule
        self._weigh = weigh
        self._state = _State.TURN
        self._is_speaking = False
        self._began_at = 0.0
        self._stopped_at = 0.0
        self._is_near_end = False
        self._awaited: list[str] = []
        """Items said over the agent whose words are not known yet."""
        self._idle_words: list[str] = []
        """Items whose words meant nothing, as long as others are awaited."""
        self._early: list[str] = []
        """Items said before the greeting was heard."""
        self._aside = ""
        """The last item that might not interrupt, as long as its words are not known."""

    @property
    def is_watching(self) -> bool:
        """`voiced` is of interest now."""
        return self._is_speaking and self._state in (_State.NOTICED, _State.HELD)

    @property
    def is_speaking(self) -> bool:
        """The caller speaks, says the model."""
        return self._is_speaking

    @property
    def is_callers_turn(self) -> bool:
        """The caller speaks, and is answered when they end."""
        return self._is_speaking and self._state in (_State.TURN, _State.YIELDED)

    def is_undecided(self, now_s: float) -> bool:
        """The caller speaks, or has just said something whose words are not known yet."""
        is_awaited = bool(self._awaited or self._aside) and self.can_judge
        return self._is_speaking or (is_awaited and now_s - self._stopped_at < JUDGED_WITHIN_S)

    def speech_started(self, item_id: str, now_s: float, over: Over, remaining_ms: float) -> Moves:
        """The model hears speech. `remaining_ms`: of the agent's that is not yet heard."""
        self._is_speaking = True
        if self._state in (_State.HELD, _State.JUDGED):  # a pause for breath
            self._state = _State.HELD
            self._awaited.append(item_id)
            return ()
        self._began_at = now_s
        self._is_near_end = remaining_ms <= NEAR_END_MS
        match over:
            case Over.NOBODY:
                self._state = _State.TURN
            case Over.UNHEARD_GREETING:
                self._state = _State.EARLY
                self._early.append(item_id)
            case Over.GREETING if not self._rule.is_allowed_in_greeting:
                self._state, self._aside = _State.ASIDE, item_id
            case _ if not self._rule.is_allowed:
                self._state, self._aside = _State.ASIDE, item_id
            case _:
                self._state = _State.NOTICED
                self._awaited.append(item_id)
                return self.voiced(0, now_s)
        return ()

    def voiced(self, voiced_ms: int, now_s: float) -> Moves:
        """So much voice has been heard of the utterance so far."""
        if not self.is_watching:
            return ()
        lasted_ms = max(voiced_ms, self._lasted_ms(now_s))
        moves: Moves = ()
        if self._state is _State.NOTICED and lasted_ms >= self._rule.min_speech_ms:
            self._state = _State.HELD
            moves = (Move.HOLD,)
        may_be_noise = self.needs_words and self.can_judge
        if self._state is _State.HELD and lasted_ms >= SURE_MS and not may_be_noise:
            moves += self._yield()
        return moves

    def speech_stopped(self, now_s: float) -> Moves:
        """The model heard the end of the utterance."""
        self._is_speaking = False
        self._stopped_at = now_s
        match self._state:
            case _State.TURN | _State.ASIDE | _State.YIELDED:
                self._state = _State.TURN
                return (Move.ANSWER,)
            case _State.NOTICED:
                self._state = _State.TURN  # the agent speaks on; only words would change that
                return () if self.can_judge else self._dismiss()
            case _State.HELD:
                if not self.can_judge:
                    return (*self._yield(), *self._end())
                self._state = _State.JUDGED
                return () if self._awaited else self._settle()
            case _State.EARLY if not self.can_judge and self._lasted_ms(now_s) >= SURE_MS:
                return self._end()
            case _:
                self._state = _State.TURN
                return ()

    def words(self, item_id: str, text: str | None, is_agent_audible: bool) -> Moves:
        """The transcript of an utterance; None: it could not be made."""
        if item_id == self._aside:
            self._aside = ""
        if item_id in self._early:
            self._early.remove(item_id)
            return (Move.ANSWER,) if text is None or len(text.split()) >= MEANT_WORDS else ()
        if item_id not in self._awaited:
            return ()
        self._awaited.remove(item_id)
        words = Words.REAL if text is None else self._weigh(text)
        is_over_nobody = self._state is _State.TURN and not is_agent_audible
        if words is Words.BACKCHANNEL and (self._is_near_end or is_over_nobody):
            words = Words.REAL  # it answers what was just said
        if words is not Words.REAL:
            self._idle_words.append(item_id)
            return self._settle()
        if is_over_nobody:
            return () if self._is_speaking else self._end()  # else answered with what is being said
        return (*self._yield(), *(() if self._is_speaking else self._end()))

    def tick(self, now_s: float) -> Moves:
        """About ten times a second."""
        if self._state is _State.JUDGED and now_s - self._stopped_at >= JUDGED_WITHIN_S:
            self._state = _State.TURN  # words that come later are still heard
            return (Move.RESUME,)
        if self._awaited and not self._is_speaking and now_s - self._stopped_at >= AWAITED_S:
            self._awaited.clear()
            return self._settle()
        return self.voiced(0, now_s)

    def reset(self) -> None:
        """Another session: what was awaited will not come."""
        self._awaited.clear()
        self._idle_words.clear()
        self._early.clear()
        self._aside = ""
        self._is_speaking = False
        self._state = _State.TURN

    def _lasted_ms(self, now_s: float) -> float:
        """At least so much of the speech that is told as going on was speech."""
        return (now_s - self._began_at) * 1000 - self.silence_ms

    def _settle(self) -> Moves:
        """All that is known so far meant nothing."""
        if self._awaited or self._is_speaking:
            return ()
        was_held = self._state is _State.JUDGED
        self._state = _State.TURN
        return (*((Move.RESUME,) if was_held else ()), *self._dismiss())

    def _dismiss(self) -> Moves:
        self.dismissed = self._idle_words + self._awaited
        self._idle_words, self._awaited = [], []
        return (Move.DISMISS,) if self.dismissed else ()

    def _yield(self) -> Moves:
        self._state = _State.YIELDED
        self._awaited.clear()
        self._idle_words.clear()
        return (Move.YIELD,)

    def _end(self) -> Moves:
        self._state = _State.TURN
        return (Move.ANSWER,)
