"""A conversation on a bench: a stage that writes down what it is asked, a line that plays in real time,
and a clock that the test turns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.business import Business, Businesses
from server.config import Dialect, Settings
from server.realtime import events
from server.realtime.call_plan import CallPlan
from server.realtime.commands import Command, Commands
from server.realtime.conversation import Conversation
from server.telephony.outbox import Outbox
from server.turns.barge_in import BargeInLimits
from server.turns.latency import TurnLatency
from server.turns.leaving import Plan

FRAME = b"\x55" * 160


def business(**variables: str) -> Business:
    return Businesses.from_settings(Settings.from_env({"CALL_LANGUAGE": "en", **variables}), None).default


@dataclass
class Recorder:
    """A `Stage` that only remembers."""

    tx_q: Outbox
    sent: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    tools: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    left: list[Plan] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    turns: list[TurnLatency] = field(default_factory=list)
    cuts: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def send(self, command: Command) -> None:
        self.sent.append(json.loads(command))

    def flush(self) -> None:
        pass

    def play_prompt(self, name: str) -> None:
        self.prompts.append(name)

    def play(self, name: str, payload: bytes) -> None:
        for at in range(0, len(payload), 160):
            self.tx_q.put_frame(f"kav_{name}", payload[at : at + 160])
        self.tx_q.end_item(f"kav_{name}")

    def run_tool(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        self.tools.append((call_id, name, arguments))

    def leave(self, plan: Plan) -> None:
        self.left.append(plan)

    def fail(self, reason: str, fault_id: str, seen: str) -> None:
        self.failed.append((reason, fault_id))

    def was_cut(self, cut: Any) -> None:
        self.cuts.append(cut)

    def turn_done(self, latency: TurnLatency) -> None:
        self.turns.append(latency)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, fault_id: str, seen: str) -> None:
        self.notes.append(f"{fault_id} {seen}")


class Talk:
    """One conversation, its stage and its clock."""

    def __init__(self, *, is_transcribed: bool = True, **plan: Any) -> None:
        self.now_s = 100.0
        self.tx_q = Outbox("MZ1")
        self.stage = Recorder(self.tx_q)
        plan.setdefault("business", business())
        plan.setdefault("barge_in", BargeInLimits())
        plan.setdefault("tool_names", frozenset({"take_message", "lookup"}))
        plan.setdefault("max_call_s", 1800)
        self.commands = Commands(Dialect.GA)
        self.conversation = Conversation(
            self.stage,
            self.tx_q,
            self.commands,
            CallPlan(is_transcribed=is_transcribed, **plan),
            self.now_s,
        )
        self.echoes_marks = False
        """Twilio tells what has played, as it does on a telephone."""
        self._marks: list[tuple[float, str]] = []
        self._responses = 0

    # The clock

    def wait(self, seconds: float) -> None:
        """Let time pass in steps of 20 ms, with the tx loop and the ticks of the stream."""
        until_s = self.now_s + seconds
        while self.now_s < until_s - 1e-9:
            self.pump()
            self.now_s = min(until_s, self.now_s + 0.02)
            while self._marks and self._marks[0][0] <= self.now_s:
                self.tx_q.ledger.echoed(self._marks.pop(0)[1], self.now_s)
            self.conversation.tick(self.now_s)

    def pump(self) -> None:
        batch = self.tx_q.take(self.now_s)
        for frame in batch.frames:
            self.conversation.handed(frame.item_id, self.now_s)
        if self.echoes_marks:
            plays_until_s = self.now_s + self.tx_q.ledger.lead_ms(self.now_s) / 1000
            told = [json.loads(message) for message in batch.messages]
            self._marks += [(plays_until_s, one["mark"]["name"]) for one in told if one["event"] == "mark"]

    # The model

    def event(self, event: events.Event) -> None:
        self.conversation.on_event(event, self.now_s)

    def ready(self) -> None:
        self.conversation.session_ready(self.now_s)

    def responds(self, *, ms: int = 0, item: str = "", response: str = "", done: bool = True) -> str:
        """The model makes the response that was asked for; returns its id."""
        self._responses += 1
        response = response or f"resp_{self._responses}"
        item = item or f"item_{response}"
        self.event(events.ResponseCreated(response))
        if ms:
            self.speaks(response, item, ms)
        if done:
            self.done(response)
        return response

    def speaks(self, response: str, item: str, ms: int, *, is_whole: bool = True) -> None:
        payload = FRAME * (ms // 20)
        self.event(events.AudioDelta(response, item, payload))
        if not self.conversation.is_abandoned(response):
            for _ in range(ms // 20):
                self.tx_q.put_frame(item, FRAME)
            if is_whole:
                self.tx_q.end_item(item)

    def done(self, response: str, *calls: events.FunctionCall, status: str = "completed") -> None:
        self.event(events.ResponseDone(response, status, "", calls, None, 0))

    def opened(self) -> Talk:
        """The greeting was asked for, given and heard."""
        self.ready()
        self.responds(ms=1000)
        self.wait(1.2)
        self.stage.sent.clear()
        return self

    # The caller

    def caller_starts(self, item: str = "item_caller") -> None:
        self.event(events.SpeechStarted(item, 0))

    def caller_stops(self, item: str = "item_caller") -> None:
        self.event(events.SpeechStopped(item, 0))

    def caller_words(self, text: str | None, item: str = "item_caller") -> None:
        self.event(events.CallerTranscript(item, text))

    def caller_says(self, seconds: float, text: str | None = None, item: str = "item_caller") -> None:
        """A whole utterance of so much voice; the model notices its end half a second later."""
        self.caller_starts(item)
        voiced_s = 0.0
        while voiced_s < seconds - 1e-9:
            self.wait(0.02)
            voiced_s += 0.02
            self.conversation.voice(round(voiced_s * 1000), 0, self.now_s)
        self.wait(0.5)
        self.caller_stops(item)
        if text is not None:
            self.wait(0.1)
            self.caller_words(text, item)

    # What was sent

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.stage.sent if event["type"] == kind]

    def asked(self) -> list[str]:
        """The instructions of every response asked for; "" for a plain answer."""
        return [event.get("response", {}).get("instructions", "") for event in self.sent("response.create")]

    def is_silent(self) -> bool:
        return self.tx_q.is_held or self.tx_q.is_quiet(self.now_s)
