"""Who calls a gateway that is being broken: asks, waits as people wait, asks again, and hangs up at last.

"One moment" is no answer, so the caller goes on waiting after it; whoever hears nothing new for six seconds
asks again, and hangs up after twenty. All times are milliseconds on the call's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from server.audio.g711 import FRAME_BYTES, FRAME_MS, SILENCE, ms
from server.simulator.scenario.agent_ear import AgentEar
from server.simulator.scenario.clips import Clip
from server.simulator.scenario.sounds import sounding
from server.simulator.twilio.caller import Key
from server.simulator.twilio.speech_spans import Span
from server.simulator.twilio.virtual_line import VirtualLine

SENTENCE_MS = 1000
"""Of sound; less is "one moment"."""
BREATH_MS = 700
PATIENCE_MS, LAST_PATIENCE_MS = 6000, 20_000


class PatientCaller:
    """For `CallOptions.caller`; `meet` comes before the call."""

    audio = b""

    def __init__(self, question: Clip, rounds: int) -> None:
        """`rounds`: so many times the question is asked; with 0 the caller stays silent, and stays."""
        self.speech: list[Span] = []
        self._is_silent = not rounds
        self._question = question
        self._rounds_left = rounds
        self._ear = AgentEar()
        self._line = VirtualLine()
        self._hang_up: Callable[[], None] = lambda: None
        self._began_ms: float | None = None
        self._sent = bytearray()
        self._saying = b""
        self._said_until_ms = 0.0
        self._spoken: list[Span] = []

    def meet(self, line: VirtualLine, hang_up: Callable[[], None]) -> None:
        self._line, self._hang_up = line, hang_up

    def begin(self, now_ms: float) -> int:
        if self._began_ms is None:
            self._began_ms = now_ms
        return round((now_ms - self._began_ms) / FRAME_MS)

    def listen(self, index: int, now_ms: float, _audible_until_ms: float) -> None:
        self._ear.listen(self._line, now_ms)
        if not self._saying and self._is_my_turn(now_ms):
            self._act((self._began_ms or 0.0) + index * FRAME_MS)

    def frame(self, index: int) -> bytes:
        at = index * FRAME_BYTES
        if at >= len(self._sent):
            said, self._saying = self._saying[:FRAME_BYTES], self._saying[FRAME_BYTES:]
            self._sent += SILENCE * (at - len(self._sent)) + said.ljust(FRAME_BYTES, SILENCE)
        return bytes(self._sent[at : at + FRAME_BYTES])

    def elsewhere(self, now_ms: float) -> None:
        self._ear.listen(self._line, now_ms)

    def due_keys(self, now_ms: float) -> list[Key]:
        return []

    def takes_drop(self) -> bool:
        return False

    @property
    def end_ms(self) -> float:
        return inf

    @property
    def last_word_ms(self) -> float:
        return inf

    def spoken(self) -> list[Span]:
        return list(self._spoken)

    def track(self) -> bytes:
        return bytes(self._sent)

    def _is_my_turn(self, now_ms: float) -> bool:
        heard = [u for u in self._ear.utterances if u.end_ms > self._said_until_ms]
        last_ms = max([self._said_until_ms, self._began_ms or 0.0, *(u.end_ms for u in heard)])
        told_ms = max((u.end_ms - max(u.start_ms, self._said_until_ms) for u in heard), default=0.0)
        patience_ms = PATIENCE_MS if self._rounds_left else LAST_PATIENCE_MS
        return now_ms - last_ms >= (BREATH_MS if told_ms >= SENTENCE_MS else patience_ms)

    def _act(self, frame_ms: float) -> None:
        if not self._rounds_left:
            if not self._is_silent:
                self._hang_up()
            return
        self._rounds_left -= 1
        self._saying = self._question.payload
        start, end = sounding(self._saying)
        self._spoken.append(Span(round(frame_ms + ms(start)), round(frame_ms + ms(end))))
        self._said_until_ms = frame_ms + ms(end)
