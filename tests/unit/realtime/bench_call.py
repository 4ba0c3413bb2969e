"""A whole call on a bench: the pure modules between a model, Twilio's line and a caller, and one clock.

`BenchCall` does around them what `media_ws_ai`, `media_ws` and `call_stage` do with sockets and green
threads: it passes the model's events on, drops audio that is abandoned, writes what is due. To the
conversation it is its `Stage`, to the agent's voice its `CallerLeg`. All that goes out passes the `Checks`.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from server.agent_voice import AgentVoice
from server.audio_trail import AudioTrail
from server.business import KeyAction
from server.config import Dialect
from server.endings import EndReason
from server.realtime import events
from server.realtime.call_plan import CallPlan
from server.realtime.commands import Command, Commands
from server.realtime.conversation import Conversation
from server.realtime.stage import OWN_ITEM
from server.services.openai_realtime_client import AudioChunk
from server.telephony.outbox import Frame, Outbox
from server.telephony.playout import Cut
from server.turns.barge_in import BargeInLimits
from server.turns.latency import TurnLatency
from server.turns.leaving import HangUp
from server.turns.leaving import Plan as LeavePlan
from server.turns.tools import ANSWERED_WITHIN_S
from tests.unit.realtime.call_checks import Checks
from tests.unit.realtime.caller_end import CallerEnd
from tests.unit.realtime.model_end import ModelEnd, Plan
from tests.unit.realtime.talk import business
from tests.unit.telephony.line import Line, frame

STEP_S = 0.02
TICK_S = 0.1
PROMPT_FRAMES = 40
OWN_FROM = 1_000_000
"""Numbers of our own items; the model's are lower."""
KEYS = {"0": "transfer:office", "1": "say:we open at seven", "2": "message", "9": "hangup", "*": "model"}
TOOLS = frozenset({"take_message", "lookup"})


@dataclass(frozen=True, slots=True)
class Traits:
    """What one call is like."""

    way_s: float = 0.0
    """To Twilio."""
    echoes_s: tuple[float, ...] = (0.0,)
    """Back from Twilio, mark by mark, round and round."""
    model_way_s: float = 0.0
    is_transcribed: bool = True
    answers_itself: bool = False
    rule: BargeInLimits = field(default_factory=BargeInLimits)
    still_there_s: int = 3
    max_call_s: float = 1800
    is_traced: bool = False
    """No audio takes the short way."""
    tool_s: float | None = None
    """How long a tool takes; None: until the test says so."""
    plans: tuple[Plan, ...] = ()
    """Of its responses, round and round, unless the model has something else to say."""


class WatchedOutbox(Outbox):
    """Tells the checks of what only a method call shows."""

    checks: Checks

    def interrupt(self, now_s: float) -> list[Cut]:
        self.checks.interrupted()
        return super().interrupt(now_s)

    def hold(self, now_s: float) -> None:
        if not self.is_held:
            self.checks.held()
        super().hold(now_s)


class BenchCall:
    """One call, and the `Stage` of its conversation."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.now_s = 1000.0
        self.is_transcribed = traits.is_transcribed
        self.plans: deque[Plan] = deque()
        """Of the responses that come next."""
        self._usual_plans = itertools.cycle(traits.plans or (Plan(),))
        self.tools: deque[str] = deque()
        """Calls of tools that were run and have not been answered by them."""
        self._ran_at: dict[str, float] = {}
        self.is_over = False
        self.has_left = False
        echoes_s = itertools.cycle(traits.echoes_s)
        self.line = Line(traits.way_s, lambda: next(echoes_s))
        self.tx_q = WatchedOutbox("MZ1")
        self._numbers = itertools.count()
        self._own_numbers = itertools.count(OWN_FROM)
        self.model = self._new_model(1)
        self.sessions = 1
        self.has_session, self._has_client = False, True
        commands = Commands(Dialect.GA)
        self.checks = self.tx_q.checks = Checks(self)
        self.business = replace(
            business(PERSON_NUMBER="+972501234567"),
            transfers={"office": "+972501234567"},
            keys={key: KeyAction.parse(action) for key, action in KEYS.items()},
            still_there_s=traits.still_there_s,
            idle_s=60,
        )
        plan = CallPlan(self.business, traits.rule, TOOLS, traits.max_call_s, traits.is_transcribed)
        self.conversation = Conversation(self, self.tx_q, commands, plan, self.now_s)
        self._watch_plans()
        self.caller = CallerEnd(self)
        self._ticks_in_s = TICK_S
        self._chunks: deque[AudioChunk] = deque()
        self._trail = AudioTrail("bench", traces_all=False)
        self._voice = AgentVoice(self, self._trail)  # type: ignore[arg-type]
        self._handed_item = ""

    @property
    def pending_tools(self) -> bool:
        """A tool works, and is given time to."""
        return any(self.now_s - self._ran_at[call_id] <= ANSWERED_WITHIN_S for call_id in self.tools)

    @property
    def is_at_rest(self) -> bool:
        """Nothing is said, owed, or under way."""
        return (
            self.model.is_idle
            and self.conversation.is_restful
            and self.caller.is_silent
            and self.tx_q.is_quiet(self.now_s)
            and not self.line.left_ms(self.now_s)
        )

    def _watch_plans(self) -> None:
        leaving = self.conversation._leaving
        ask = leaving.ask

        def asked(plan: LeavePlan, now_s: float) -> None:
            self.checks.plans(plan, now_s)
            ask(plan, now_s)

        leaving.ask = asked  # type: ignore[method-assign]

    # The clock

    def wait(self, seconds: float, *, is_stalled: bool = False) -> None:
        """`is_stalled`: our process stands still meanwhile, the far ends do not."""
        until_s = self.now_s + seconds
        while self.now_s < until_s - 1e-9 and not self.is_over:
            step_s = min(STEP_S, until_s - self.now_s)
            self.now_s += step_s
            self.caller.step(step_s)
            if self._has_client:
                self.model.step(self.now_s)
            self.checks.look(self.now_s)
            if is_stalled:
                continue
            self._ticks_in_s -= step_s
            for name in self.line.echoes(self.now_s):
                self.tx_q.ledger.echoed(name, self.now_s)
            if self.has_session:
                self.read()
            self._tools_answer()
            self.flush()
            if self._ticks_in_s <= 1e-9 and not self.is_over:
                self._ticks_in_s = TICK_S
                self.conversation.tick(self.now_s)

    def read(self) -> None:
        """What has come from the model: plain audio at once, the rest in order, then the out loop."""
        unread: list[events.Event] = []
        for event in self.model.come(self.now_s):
            if unread or not self._on_plain_audio(event):
                unread.append(event)
        for event in unread:
            self.checks.came(event)
            self._on_event(event)
        while (chunk := self._next_chunk()) is not None:
            self._voice.take(chunk)

    def _next_chunk(self) -> AudioChunk | None:
        while self._chunks:
            chunk = self._chunks.popleft()
            if not self.conversation.is_abandoned(chunk.response_id):
                return chunk
        return None

    def _tools_answer(self) -> None:
        takes_s = self.traits.tool_s
        while takes_s is not None and self.tools and self._ran_at[self.tools[0]] + takes_s <= self.now_s:
            call_id = self.tools.popleft()
            for _ in range(2):  # the second time is once too often, and dropped
                self.conversation.tool_done(call_id, {"ok": True}, self.now_s)

    # The sessions, as RealtimeMode and SessionKeeper change them

    def renew_session(self, *, is_transcribed: bool) -> None:
        """The next one takes over at a moment when nobody would notice."""
        self._open(is_transcribed=is_transcribed)
        self._seed()
        self.conversation.session_changed(Commands(Dialect.GA), is_transcribed=is_transcribed)
        self.ready()

    def lose_session(self) -> None:
        """It is gone, at whatever moment. What it said so far is heard to its end."""
        self.has_session = self._has_client = False
        self.checks.session_changes()
        self._voice.take_rest(self._next_chunk, len(self._chunks) + 1)
        self.conversation.session_lost()

    def open_session(self, *, is_transcribed: bool, after_s: float) -> None:
        """Another in place of one that is gone; it takes a while until it is ready."""
        self._open(is_transcribed=is_transcribed)
        self.conversation.session_changed(Commands(Dialect.GA), is_transcribed=is_transcribed)
        self.wait(after_s)
        if not self.is_over:
            self._seed()
            self.ready()

    def ready(self) -> None:
        """The session's settings are in force: only now the model hears the caller."""
        self.has_session = True
        self.conversation.session_ready(self.now_s)

    def _open(self, *, is_transcribed: bool) -> None:
        self.sessions += 1
        self.checks.session_changes()
        self.model = self._new_model(self.sessions)
        self.model.step(self.now_s)
        self.is_transcribed, self._has_client = is_transcribed, True
        self.caller.meets_another_session()

    def _seed(self) -> None:
        commands = Commands(Dialect.GA)
        for role, text in self.conversation.history.entries():
            self.send(commands.say_as_caller(text) if role == "user" else commands.say_as_agent(text))

    def _new_model(self, number: int) -> ModelEnd:
        traits = self.traits
        return ModelEnd(
            f"s{number}", traits.model_way_s, self._next_plan, self._numbers, traits.answers_itself
        )

    def answers_plainly(self) -> None:
        """From now on the model only speaks."""
        self.plans.clear()
        self._usual_plans = itertools.cycle((Plan(),))

    def _next_plan(self) -> Plan:
        return self.plans.popleft() if self.plans else next(self._usual_plans)

    # The model's events, as OpenAIRealtimeClient and RealtimeMode pass them on

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, events.AudioDone):
            self._chunks.append(AudioChunk(event.response_id, event.item_id, b""))
            return
        if isinstance(event, events.AudioDelta) and not self.conversation.is_abandoned(event.response_id):
            self._trail.came(event.item_id, len(event.payload))
        self.conversation.on_event(event, self.now_s)
        if isinstance(event, events.AudioDelta):
            self._chunks.append(AudioChunk(event.response_id, event.item_id, event.payload))
        elif isinstance(event, events.ResponseDone):
            self._chunks.append(AudioChunk(event.response_id, "", b""))

    def _on_plain_audio(self, event: events.Event) -> bool:
        if self.traits.is_traced or self._chunks or not isinstance(event, events.AudioDelta):
            return False
        if self.conversation.is_abandoned(event.response_id):
            return False
        return self._voice.take_plain(event.item_id, event.payload)

    # CallerLeg, as MediaStream is one

    def play(self, item_id: str, payload: bytes) -> None:
        assert self.tx_q.put_frame(item_id, payload)

    def play_now(self, item_id: str, payload: bytes) -> None:
        passed = self.tx_q.pass_frame(item_id, payload, self.now_s)
        if passed is None:
            self.play(item_id, payload)
            self.flush()
            return
        for message in filter(None, passed):
            self._write(message)
        self._trail.passed(item_id, payload)
        self._first_frames([Frame(item_id, payload)])

    def end_item(self, item_id: str) -> None:
        self.tx_q.end_item(item_id)

    def wake(self) -> None:
        pass  # the tx loop runs with the next step

    def flush(self) -> None:
        batch = self.tx_q.take(self.now_s)
        for message in batch.messages:
            self._write(message)
        self._trail.sent(batch.frames, batch.ended)
        self._first_frames(batch.frames)

    def _write(self, message: str | bytes) -> None:
        self.checks.written(message)
        self.line.take(message, self.now_s)

    def _first_frames(self, frames: list[Frame]) -> None:
        for each in frames:
            if each.item_id != self._handed_item:
                self._handed_item = each.item_id
                self.conversation.handed(each.item_id, self.now_s)

    # Stage

    def send(self, command: Command) -> None:
        if not self._has_client:
            return
        event: dict[str, Any] = json.loads(command)
        self.checks.commanded(event)
        self.model.send(event, self.now_s)

    def play_prompt(self, name: str) -> None:
        number = next(self._own_numbers)
        item_id = f"{OWN_ITEM}{name}_{number}"
        for n in range(PROMPT_FRAMES):
            self.play(item_id, frame(number, n))
        self.end_item(item_id)
        self.flush()

    def run_tool(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        self.tools.append(call_id)
        self._ran_at[call_id] = self.now_s

    def leave(self, plan: LeavePlan) -> None:
        self.checks.leaves(plan)
        self.has_left = True
        self.is_over = isinstance(plan, HangUp)  # a transfer takes a while

    def fail(self, reason: EndReason, fault_id: str, seen: str) -> None:
        self.is_over = True

    def was_cut(self, cut: Cut) -> None:
        self._trail.forget(cut.item_id)
        self.checks.was_cut(cut)

    def turn_done(self, latency: TurnLatency) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, fault_id: str, seen: str) -> None:
        if seen == "asking once more":
            self.checks.asks_once_more()
