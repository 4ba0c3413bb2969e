"""What is known of a call that was played, for the expectations to judge.

Times are milliseconds on the call's clock, which starts when the webhook's answer is there; the
recordings that are kept begin there too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from server.audio.g711 import BYTES_PER_MS, SILENCE
from server.simulator.realtime.event_log import SeenEvent
from server.simulator.scenario.acting import ActingCaller, Done
from server.simulator.scenario.agent_ear import AgentEar, Utterance
from server.simulator.scenario.clips import Clip, ClipShelf
from server.simulator.scenario.hearing import Hearing, Played, told_apart
from server.simulator.scenario.receivers import Request
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.live_call import LiveCall
from server.simulator.twilio.rest_answers import Message
from server.simulator.twilio.speech_spans import Span, spans
from server.simulator.twilio.virtual_line import AUDIBLE_RMS

DELTAS = ("response.output_audio.delta", "response.audio.delta")
MAX_TOLD = 12


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What went over the model's sockets."""

    events: tuple[SeenEvent, ...]
    sessions: int
    left_open: int
    """Two seconds after the call had ended."""


@dataclass(slots=True)
class SentFrom:
    """What a model said as one item."""

    at_ms: float
    payload: bytearray = field(default_factory=bytearray)


@dataclass
class Evidence:
    """One call that has ended."""

    call: LiveCall
    report: CallReport
    caller: ActingCaller
    shelf: ClipShelf
    model: ModelRecord | None = None
    """None: no model of ours took part."""
    log: tuple[str, ...] | None = None
    """The gateway's lines; None when it was not started here."""
    messages: Sequence[Message] | None = None
    """Text messages; None when there was no REST side of ours."""
    requests: Sequence[Request] = ()
    """What the scenario's receivers were asked, in order."""

    @property
    def end_ms(self) -> float:
        return self.report.duration_ms

    @property
    def said(self) -> list[Done]:
        """The caller's words, as far as they were begun."""
        return self.caller.said()

    @cached_property
    def played(self) -> Played:
        return Played(self.call.line, self.end_ms)

    @cached_property
    def agent(self) -> list[Utterance]:
        """Everything that was heard on the line, by utterances."""
        ear = AgentEar()
        ear.listen(self.call.line, self.end_ms)
        return ear.utterances

    @cached_property
    def line(self) -> list[Hearing]:
        """The clips that were heard, known ones only, in order."""
        known: dict[str, Clip] = {clip.name: clip for clip in self.shelf.all_prompts()}
        known |= {clip.name: clip for clip in self.shelf.used}
        return told_apart(self.played, list(known.values()))

    @property
    def verbs(self) -> list[tuple[float, str]]:
        """Of all TwiML that was acted out: when, and which."""
        tally = self.call.tally
        return list(zip(tally.verbs_ms, tally.verbs, strict=True))

    def told_line(self) -> str:
        """`heard: 0.31–5.21 s he/greeting, 6.10–7.00 s a sound not known here`."""
        parts = [(hearing.start_ms, str(hearing)) for hearing in self.line]
        for span in self._unknown():
            words = f"{span.start_ms / 1000:.2f}–{span.end_ms / 1000:.2f} s a sound not known here"
            parts.append((span.start_ms, words))
        parts.sort()
        told = [words for _, words in parts[:MAX_TOLD]]
        more = [f"and {len(parts) - MAX_TOLD} more"] if len(parts) > MAX_TOLD else []
        return "heard: " + (", ".join(told + more) or "nothing")

    def _unknown(self) -> list[Span]:
        """Sound that belongs to no clip."""
        audio = bytearray(self.call.line.heard(self.end_ms))
        for hearing in self.line:
            for piece in hearing.pieces:
                start, end = round(piece.start_ms * BYTES_PER_MS), round(piece.end_ms * BYTES_PER_MS)
                audio[start:end] = SILENCE * (end - start)
        return spans(bytes(audio), threshold_rms=AUDIBLE_RMS, hangover_ms=200, min_loud_ms=60)

    def events(self, direction: str, *kinds: str) -> list[SeenEvent]:
        """The model's, of these types."""
        if self.model is None:
            return []
        return [
            seen
            for seen in self.model.events
            if seen.direction == direction and seen.event.get("type") in kinds
        ]

    def call_ms(self, seen: SeenEvent) -> float:
        """On the call's clock."""
        return (seen.at_s - self.call.answered_at) * 1000

    @cached_property
    def spoken_items(self) -> dict[str, SentFrom]:
        """What the model said, by item, as μ-law; of sessions that speak μ-law."""
        items: dict[str, SentFrom] = {}
        for seen in self.events("out", *DELTAS):
            item_id = str(seen.event.get("item_id"))
            item = items.setdefault(item_id, SentFrom(self.call_ms(seen)))
            item.payload += _audio(seen.event)
        return items


def _audio(event: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(event.get("delta", "")), validate=True)
    except (binascii.Error, ValueError):
        return b""
