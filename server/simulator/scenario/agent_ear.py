"""What has the caller heard of the agent so far?

Reads the virtual line as it plays, in frames of 20 ms, and tells the agent's utterances apart: sound
after 600 ms of silence is a new one. Every time is on the call's clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.audio.g711 import FRAME_MS, rms
from server.simulator.twilio.virtual_line import AUDIBLE_RMS, VirtualLine

UTTERANCE_GAP_MS = 600
STILL_SPEAKING_MS = 200
"""A pause so short is one inside a sentence."""


@dataclass(slots=True)
class Utterance:
    start_ms: float
    end_ms: float

    @property
    def duration_ms(self) -> float:
        return self.end_ms - self.start_ms


class AgentEar:
    """Follows one line."""

    def __init__(self) -> None:
        self.utterances: list[Utterance] = []
        self._heard_ms = 0.0

    def listen(self, line: VirtualLine, now_ms: float) -> None:
        """Take in all that has been played by now: whole frames of it."""
        while self._heard_ms + FRAME_MS <= now_ms:
            start_ms, self._heard_ms = self._heard_ms, self._heard_ms + FRAME_MS
            if rms(line.between(start_ms, self._heard_ms)) > AUDIBLE_RMS:
                self._sound(start_ms, self._heard_ms)

    def _sound(self, start_ms: float, end_ms: float) -> None:
        last = self.utterances[-1] if self.utterances else None
        if last is not None and start_ms - last.end_ms < UTTERANCE_GAP_MS:
            last.end_ms = end_ms
        else:
            self.utterances.append(Utterance(start_ms, end_ms))

    def has_spoken_for(self, seconds: float, now_ms: float, number: int = 0) -> bool:
        """Utterance `number` has lasted so long; without a number: the one that is being heard."""
        if number:
            return len(self.utterances) >= number and self._lasts(self.utterances[number - 1], seconds)
        last = self.utterances[-1] if self.utterances else None
        return last is not None and now_ms - last.end_ms <= STILL_SPEAKING_MS and self._lasts(last, seconds)

    def has_finished(self, seconds: float, now_ms: float, since_ms: float, number: int = 0) -> bool:
        """The agent has been quiet for `seconds`, after utterance `number`, or after some speech since
        `since_ms`: an utterance begun later, or 300 ms more of one that went on then."""
        if not self.utterances or now_ms - self.utterances[-1].end_ms < seconds * 1000:
            return False
        if number:
            return len(self.utterances) >= number
        last = self.utterances[-1]
        return last.start_ms >= since_ms or last.end_ms - since_ms >= MORE_OF_IT_MS

    @staticmethod
    def _lasts(utterance: Utterance, seconds: float) -> bool:
        return utterance.duration_ms >= seconds * 1000


MORE_OF_IT_MS = 300
"""Less is the rest of what was being interrupted."""
