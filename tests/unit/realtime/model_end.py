"""A model's end of a session on a bench: as strict as the real one, and as full of races.

Commands reach it, and its events reach us, a little later (`way_s`). It makes one response at a time, faster
than it is spoken, to a plan that the test draws. Whatever a client must not do is an AssertionError here;
what the real one answers with an error is answered with that error.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from server.realtime import events
from tests.unit.telephony.line import audio

BYTES_PER_MS = 8
WORD_MS = 200
"""Of an answer's audio, for each word of its transcript."""
SPEED = 8.0
"""How much faster than it is spoken audio is made."""
EVENTS_AT_ONCE = 4
"""Written in one go: they may arrive in one read."""


@dataclass(frozen=True, slots=True)
class Say:
    """One item of audio."""

    n_bytes: int


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One response."""

    parts: tuple[Say | Call, ...] = (Say(1500 * BYTES_PER_MS),)
    status: str = "completed"
    """Or failed, incomplete, cancelled by the server; `mute`: it never says or ends anything; `none`: it
    does not even begin."""
    first_s: float = 0.3
    delta_bytes: int = 1600
    late_deltas: int = 0
    """Sent after it was cancelled."""


@dataclass(slots=True)
class Item:
    number: int
    id: str
    response: Response
    wants_bytes: int
    given_bytes: int = 0
    """Of audio, as sent to us so far."""
    is_cut: bool = False

    @property
    def given_ms(self) -> float:
        return self.given_bytes / BYTES_PER_MS

    @property
    def words(self) -> str:
        """Of what was given."""
        n_words = -(-self.given_bytes // (WORD_MS * BYTES_PER_MS))
        return " ".join(f"a{self.number}.{n:04}" for n in range(n_words))


@dataclass(slots=True)
class Response:
    id: str
    plan: Plan
    next_at: float
    steps: Iterator[float]
    items: list[Item] = field(default_factory=list)
    calls: list[events.FunctionCall] = field(default_factory=list)


class ModelEnd:
    """One session. `next_plan` is asked for each response, `numbers` for each item of audio."""

    def __init__(
        self,
        name: str,
        way_s: float,
        next_plan: Callable[[], Plan],
        numbers: Iterator[int],
        answers_itself: bool,
    ) -> None:
        self.items: dict[str, Item] = {}
        self.caller_items: dict[str, bool] = {}
        """Whether each is still there."""
        self.responses: dict[str, Response] = {}
        self.outputs: dict[str, int] = {}
        """Of each function call, how many answers came."""
        self.active: Response | None = None
        self._name = name
        self._way_s = way_s
        self._next_plan = next_plan
        self._numbers = numbers
        self._answers_itself = answers_itself
        self._inbox: deque[tuple[float, dict[str, Any]]] = deque()
        self._outbox: deque[tuple[float, events.Event]] = deque()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._ids = itertools.count(1)
        self._now_s = 0.0

    def send(self, command: dict[str, Any], now_s: float) -> None:
        self._inbox.append((now_s + self._way_s, command))

    def step(self, now_s: float) -> None:
        """Do all that is due by now."""
        self._now_s = now_s
        while self._inbox and self._inbox[0][0] <= now_s:
            self._obey(self._inbox.popleft()[1])
        for due_at, act in [entry for entry in self._later if entry[0] <= now_s]:
            self._later.remove((due_at, act))
            act()
        while (response := self.active) is not None and response.next_at <= now_s:
            try:
                response.next_at += next(response.steps)
            except StopIteration:
                self._end(response, response.plan.status)

    def come(self, now_s: float) -> list[events.Event]:
        """The events that have reached us by now."""
        arrived = []
        while self._outbox and self._outbox[0][0] <= now_s:
            arrived.append(self._outbox.popleft()[1])
        return arrived

    @property
    def is_idle(self) -> bool:
        """Nothing more comes by itself."""
        is_mute = self.active is None or self.active.next_at == float("inf")
        return is_mute and not (self._inbox or self._outbox or self._later)

    # The caller, as the model hears them

    def hears_start(self) -> str:
        item_id = f"{self._name}_caller_{next(self._ids)}"
        self.caller_items[item_id] = True
        self._say(events.SpeechStarted(item_id, 0))
        return item_id

    def hears_end(self, item_id: str, text: str | None, after_s: float | None) -> None:
        """`text` None: it cannot be written down. `after_s` None: nothing ever comes of it."""
        self._say(events.SpeechStopped(item_id, 0))
        if after_s is not None:
            tell = lambda: self._say(events.CallerTranscript(item_id, text))  # noqa: E731
            self._later.append((self._now_s + after_s, tell))
        if self._answers_itself and self.active is None:
            self._begin(Plan())

    def cancels_itself(self) -> None:
        """As one does that was told not to interrupt its answers."""
        if self.active is not None:
            self.active.plan = replace(self.active.plan, late_deltas=0)  # it stops where it said so
            self._end(self.active, "cancelled")

    def fails(self, error: events.ServerError) -> None:
        """An error out of the blue."""
        self._say(error)

    # Commands

    def _obey(self, command: dict[str, Any]) -> None:
        match command["type"]:
            case "response.create":
                self._create(command)
            case "response.cancel":
                if self.active is None or self.active.id != command["response_id"]:
                    self._error("response_cancel_not_active", "no active response found", command)
                else:
                    self._end(self.active, "cancelled")
            case "conversation.item.truncate":
                self._truncate(command)
            case "conversation.item.delete":
                self._delete(command)
            case "conversation.item.create":
                if (item := command["item"])["type"] == "function_call_output":
                    assert item["call_id"] in self.outputs, f"no call {item['call_id']} in this session"
                    self.outputs[item["call_id"]] += 1
                    assert self.outputs[item["call_id"]] == 1, f"{item['call_id']} was answered twice"
            case other:
                raise AssertionError(f"a conversation does not send {other}")

    def _create(self, command: dict[str, Any]) -> None:
        if self.active is not None:
            self._error("conversation_already_has_active_response", f"in progress: {self.active.id}", command)
            return
        plan = self._next_plan()
        if plan.status != "none":
            self._begin(plan)

    def _truncate(self, command: dict[str, Any]) -> None:
        item = self.items.get(command["item_id"])
        if item is None:
            self._no_item("item_truncate_invalid_item_id", command)
            return
        assert not item.is_cut, f"{item.id} was cut before"
        item.is_cut = True
        if command["audio_end_ms"] > item.given_ms:
            self._error("invalid_value", "audio is already shorter than that", command)

    def _delete(self, command: dict[str, Any]) -> None:
        item_id = command["item_id"]
        if item_id in self.items:
            assert not self.items[item_id].is_cut, f"{item_id} was cut before"
            self.items[item_id].is_cut = True
        elif self.caller_items.get(item_id):
            self.caller_items[item_id] = False
        else:
            self._no_item("item_delete_invalid_item_id", command)

    def _no_item(self, code: str, command: dict[str, Any]) -> None:
        item_id = command["item_id"]
        assert not item_id.startswith(f"{self._name}_"), f"{item_id} is not there, or was deleted before"
        self._error(code, f"Item with item_id '{item_id}' does not exist", command)  # another session's

    # Responses

    def _begin(self, plan: Plan) -> None:
        response = Response(
            f"{self._name}_resp_{next(self._ids)}", plan, self._now_s + plan.first_s, iter(())
        )
        response.steps = self._make(response)
        self.active = self.responses[response.id] = response
        self._say(events.ResponseCreated(response.id))

    def _make(self, response: Response) -> Iterator[float]:
        """Yields the seconds until the next step."""
        plan = response.plan
        if plan.status == "mute":
            yield float("inf")
        for part in plan.parts:
            if isinstance(part, Call):
                call = events.FunctionCall(part.name, f"{self._name}_call_{next(self._ids)}", part.arguments)
                response.calls.append(call)
                continue
            number = next(self._numbers)
            item = Item(number, f"{self._name}_item_{number}", response, part.n_bytes)
            self.items[item.id] = item
            response.items.append(item)
            while item.given_bytes < item.wants_bytes:
                made_bytes = 0
                for _ in range(EVENTS_AT_ONCE):
                    made_bytes += self._delta(item)
                yield made_bytes / BYTES_PER_MS / 1000 / SPEED
            self._item_done(item)

    def _delta(self, item: Item) -> int:
        start = item.given_bytes
        item.given_bytes = min(item.wants_bytes, start + item.response.plan.delta_bytes)
        if item.given_bytes > start:
            payload = audio(item.number, start, item.given_bytes)
            self._say(events.AudioDelta(item.response.id, item.id, payload))
        return item.given_bytes - start

    def _item_done(self, item: Item) -> None:
        self._say(events.AudioDone(item.response.id, item.id))
        self._say(events.AgentTranscript(item.id, item.words))

    def _end(self, response: Response, status: str) -> None:
        self.active = None
        open_item = response.items[-1] if response.items else None
        if open_item is not None and open_item.given_bytes < open_item.wants_bytes:
            self._item_done(open_item)
        error = None
        if status == "failed":
            error = events.ServerError("server_error", "rate_limit_exceeded", "slow down", "", "")
        for call in response.calls:
            self.outputs[call.call_id] = 0
        self._say(events.ResponseDone(response.id, status, "", tuple(response.calls), error, 0))
        if status == "cancelled" and open_item is not None:
            for _ in range(response.plan.late_deltas):
                self._delta(open_item)

    def _error(self, code: str, message: str, command: dict[str, Any]) -> None:
        kind = "invalid_request_error"
        self._say(events.ServerError(kind, code, message, "", command["event_id"]))

    def _say(self, event: events.Event) -> None:
        self._outbox.append((self._now_s + self._way_s, event))
