"""A caller who acts: takes the steps of a scenario one after another, as the call gives cause.

Reads no clock: it is asked for each frame of 20 ms, on a stream, in a recording, or by nobody while
the call is elsewhere (then what is said is lost, as on a real line, and the steps go on all the same).
Times are on the call's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import assert_never

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, SILENCE
from server.simulator.scenario import sounds
from server.simulator.scenario.agent_ear import AgentEar
from server.simulator.scenario.steps import (
    KEY_GAP_MS,
    Background,
    Drop,
    HangUp,
    Press,
    Say,
    Stay,
    Step,
    Trigger,
    When,
    duration_ms,
)
from server.simulator.twilio.caller import Key
from server.simulator.twilio.speech_spans import Span
from server.simulator.twilio.virtual_line import VirtualLine


@dataclass(frozen=True, slots=True)
class Done:
    """One step as it was taken."""

    step: Step
    start_ms: float
    end_ms: float


class ActingCaller:
    """The caller's side of one call; for `CallOptions.caller`."""

    audio = b""  # nothing is known beforehand of what will be said

    def __init__(self, steps: Sequence[Step]) -> None:
        self.done: list[Done] = []
        """Steps that were begun, in order."""
        self.speech: list[Span] = []
        self.has_hung_up = False
        self._waiting = list(steps)
        self._ear = AgentEar()
        self._line = VirtualLine()
        self._clears_ms: Sequence[float] = ()
        self._hang_up: Callable[[], None] = lambda: None
        self._began_ms: float | None = None
        self._sent = bytearray()
        self._saying = b""
        self._said_bytes = 0
        self._background = b""
        self._pressed: list[Key] = []
        self._drops = False

    def meet(self, line: VirtualLine, clears_ms: Sequence[float], hang_up: Callable[[], None]) -> None:
        """The call whose line is listened to; before it begins."""
        self._line, self._clears_ms, self._hang_up = line, clears_ms, hang_up

    @property
    def unreached(self) -> list[Step]:
        """Steps that were not begun."""
        return list(self._waiting)

    @property
    def ear(self) -> AgentEar:
        return self._ear

    # As a stream and a recording ask

    def begin(self, now_ms: float) -> int:
        """A stream or a recording begins: the number of its first frame."""
        index = self._catch_up(now_ms)
        self._pressed.clear()  # pressed while nobody listened
        return index

    def listen(self, index: int, now_ms: float, _audible_until_ms: float) -> None:
        if index * FRAME_BYTES >= len(self._sent):
            self._act(index, now_ms)

    def frame(self, index: int) -> bytes:
        """The 160 bytes of the call at `index`."""
        at = index * FRAME_BYTES
        if at >= len(self._sent):
            self._sent += SILENCE * (at - len(self._sent)) + self._next_frame()
        return bytes(self._sent[at : at + FRAME_BYTES])

    def elsewhere(self, now_ms: float) -> None:
        """The call is where nobody asks for frames: ringing somebody, or playing something."""
        self._catch_up(now_ms)

    def due_keys(self, now_ms: float) -> list[Key]:
        """Keys whose time has come; each is given once."""
        due = [key for key in self._pressed if key.at_ms <= now_ms]
        self._pressed = self._pressed[len(due) :]
        return due

    def takes_drop(self) -> bool:
        """Whether the stream is to break off now; true once for each time."""
        drops, self._drops = self._drops, False
        return drops

    # For the rules of other callers, which do not hold for this one: it hangs up by a step

    @property
    def end_ms(self) -> float:
        return inf

    @property
    def last_word_ms(self) -> float:
        return inf

    def spoken(self) -> list[Span]:
        """When words were said; no coughs."""
        return [Span(round(did.start_ms), round(did.end_ms)) for did in self.said()]

    def said(self) -> list[Done]:
        """The steps in which words were said."""
        return [did for did in self.done if isinstance(did.step.deed, Say) and did.step.deed.is_speech]

    def track(self) -> bytes:
        """What was sent or lost, as a recording from the call's start."""
        return SILENCE * round((self._began_ms or 0.0) * BYTES_PER_MS) + bytes(self._sent)

    # How the steps are taken

    def _catch_up(self, now_ms: float) -> int:
        """Live through the frames before `now_ms`; return the number of the next."""
        if self._began_ms is None:
            self._began_ms = now_ms
        index = round((now_ms - self._began_ms) / FRAME_MS)
        for missed in range(len(self._sent) // FRAME_BYTES, index):
            self._act(missed, now_ms)
            self.frame(missed)
        return index

    def _act(self, index: int, now_ms: float) -> None:
        """Take every step whose time has come with this frame."""
        frame_ms = (self._began_ms or 0.0) + index * FRAME_MS
        self._ear.listen(self._line, now_ms)
        while self._waiting and self._is_due(self._waiting[0].trigger, frame_ms, now_ms):
            self._take(self._waiting.pop(0), frame_ms)

    def _is_due(self, trigger: Trigger, frame_ms: float, now_ms: float) -> bool:
        last = self.done[-1] if self.done else None
        start_ms, end_ms = (last.start_ms, last.end_ms) if last else (0.0, 0.0)
        if frame_ms < end_ms:
            return False
        match trigger.when:
            case When.AT:
                return frame_ms >= trigger.seconds * 1000
            case When.AFTER:
                return frame_ms >= end_ms + trigger.seconds * 1000
            case When.SPEAKS:
                return self._ear.has_spoken_for(trigger.seconds, now_ms, trigger.utterance)
            case When.QUIET:
                return self._ear.has_finished(trigger.seconds, now_ms, end_ms, trigger.utterance)
            case When.CLEARED:
                return any(at_ms >= start_ms for at_ms in self._clears_ms)

    def _take(self, step: Step, frame_ms: float) -> None:
        self.done.append(Done(step, frame_ms, frame_ms + duration_ms(step.deed)))
        match step.deed:
            case Say(payload=payload):
                self._saying, self._said_bytes = payload, 0
            case Press(keys):
                gaps = enumerate(keys)
                self._pressed += [Key(digit, frame_ms + number * KEY_GAP_MS) for number, digit in gaps]
            case Background(loop=loop):
                self._background = loop
            case HangUp():
                self.has_hung_up = True
                self._hang_up()
            case Drop():
                self._drops = True
            case Stay():
                pass
            case _:
                assert_never(step.deed)

    def _next_frame(self) -> bytes:
        said = self._saying[self._said_bytes : self._said_bytes + FRAME_BYTES].ljust(FRAME_BYTES, SILENCE)
        self._said_bytes += FRAME_BYTES
        if not self._background:
            return said
        at = len(self._sent) % len(self._background)
        under = (self._background[at : at + FRAME_BYTES] + self._background)[:FRAME_BYTES]
        return sounds.mixed(said, under)
