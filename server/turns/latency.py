"""How long did the caller wait for each answer?

    caller's last voice     asked     first audio     handed     heard
             ├──────────────── gap_ms ──────────────────┤
             ├──────────────── heard_ms ────────────────────────────┤
                               ├─ model_ms ─┤

A turn begins with the caller's last voice before an answer was asked for and ends when the first sound of
that answer was heard. `gap_ms` reaches to its first frame handed to Twilio, `heard_ms` to the caller's ear,
and `model_ms` from the last request to the model's first audio: what the model took of the gap. Turn 0 is
the greeting, and begins when the stream's `start` was received.

What does not begin a turn: a request without a voice since the last turn, such as a tool's result or a
question whether anybody is there; whoever wants a key to count tells it as a voice. A filler or prompt of
ours is handed and heard too; it is noted and answers nothing. A greeting played from a file is an answer.

A barge-in before the answer was heard ends the turn as cut. What of it is known is kept: a slow answer is
talked over most, and leaving it out would flatter the percentiles.

Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

KEPT_ITEMS = 64


@dataclass(frozen=True, slots=True)
class TurnLatency:
    """One turn. A figure that was never known is None."""

    turn: int
    """0 is the greeting."""
    gap_ms: int | None
    heard_ms: int | None
    model_ms: int | None
    has_filler: bool
    is_cut: bool = False

    def text(self) -> str:
        """For a log line; without the name of the call."""
        figures = (("gap_ms", self.gap_ms), ("heard_ms", self.heard_ms), ("model_ms", self.model_ms))
        told = " ".join(f"{name}={'-' if ms is None else ms}" for name, ms in figures)
        cut = " cut=yes" if self.is_cut else ""
        return f"[LATENCY] turn={self.turn} {told} filler={'yes' if self.has_filler else 'no'}{cut}"


@dataclass(slots=True)
class _Turn:
    number: int
    began_s: float
    asked_s: float | None = None
    model_ms: int | None = None
    item_id: str = ""
    gap_ms: int | None = None
    has_filler: bool = False


class TurnClock:
    """The turns of one call, one open at a time."""

    def __init__(self, started_s: float) -> None:
        """`started_s`: when the stream's `start` was received."""
        self.greeting: TurnLatency | None = None
        self._open: _Turn | None = _Turn(0, started_s)
        self._turns = 0
        self._voice_ended_s: float | None = None
        self._asked_early_s: float | None = None
        self._handed: deque[str] = deque(maxlen=KEPT_ITEMS)
        self._finished: list[TurnLatency] = []

    def caller_voice_ended(self, now_s: float) -> None:
        """`now_s`: of the last voiced frame, not of the moment at which the detector was sure of it.

        The model may be sure sooner and be asked before this is told; the turn begins all the same.
        """
        turn = self._open
        if turn is not None and turn.gap_ms is None:
            if turn.number:
                turn.began_s = max(turn.began_s, now_s)  # there was more to say: the wait begins now
        elif self._asked_early_s is not None and now_s <= self._asked_early_s:
            self._begin(now_s, self._asked_early_s)
        else:
            self._voice_ended_s = now_s

    def asked(self, now_s: float) -> None:
        """A response was asked for, or the model began one by itself.

        In a turn that has no answer yet, such as one with a tool in it, the turn goes on.
        """
        turn = self._open
        if turn is not None and turn.gap_ms is None:
            turn.asked_s, turn.model_ms = now_s, None
        elif self._voice_ended_s is not None:
            self._begin(self._voice_ended_s, now_s)
        else:
            self._asked_early_s = now_s

    def first_audio(self, now_s: float) -> None:
        """The model's audio came; only the first since the last request counts."""
        turn = self._open
        if turn is not None and turn.asked_s is not None and turn.model_ms is None:
            turn.model_ms = _ms(now_s - turn.asked_s)

    def handed(self, now_s: float, item_id: str, *, filler: bool = False) -> None:
        """A frame of this item was handed to Twilio; only its first counts. `filler`: it is no answer."""
        if item_id in self._handed:
            return
        self._handed.append(item_id)
        turn = self._open
        if turn is None or turn.gap_ms is not None:
            return
        if filler:
            turn.has_filler = True
        else:
            turn.item_id, turn.gap_ms = item_id, _ms(now_s - turn.began_s)

    def heard(self, now_s: float, item_id: str) -> None:
        """Something of this item was heard; only its first sound counts."""
        turn = self._open
        if turn is not None and turn.gap_ms is not None and item_id == turn.item_id:
            self._close(_ms(now_s - turn.began_s), is_cut=False)

    def cut(self) -> None:
        """A barge-in: whatever was asked for and not yet heard will not be."""
        turn = self._open
        if turn is not None and (turn.asked_s is not None or turn.gap_ms is not None):
            self._close(None, is_cut=True)

    def finished(self) -> list[TurnLatency]:
        """The turns that ended since this was last asked for."""
        turns, self._finished = self._finished, []
        return turns

    def _begin(self, began_s: float, asked_s: float) -> None:
        self._close(None, is_cut=False)  # if one is open, nobody told that its answer was heard
        self._turns += 1
        self._open = _Turn(self._turns, began_s, asked_s)
        self._voice_ended_s = self._asked_early_s = None

    def _close(self, heard_ms: int | None, *, is_cut: bool) -> None:
        turn, self._open = self._open, None
        if turn is None:
            return
        latency = TurnLatency(turn.number, turn.gap_ms, heard_ms, turn.model_ms, turn.has_filler, is_cut)
        self._finished.append(latency)
        if not turn.number:
            self.greeting = latency


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
