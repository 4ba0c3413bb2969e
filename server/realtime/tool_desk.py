"""The model calls a tool: what is done at once, what is run, and what each call is answered.

Every call gets exactly one answer in its own words for the model, which then speaks: broken arguments,
a name nobody knows and a tool that stays silent are answers too. Hanging up and transferring are plans
that wait until the agent's words were heard (`Leaving`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.audio.tones import dtmf
from server.realtime.commands import Commands
from server.realtime.events import FunctionCall
from server.realtime.stage import Stage
from server.realtime.words import Words
from server.turns.history import History
from server.turns.leaving import HangUp, Leaving, Transfer
from server.turns.tools import (
    END_CALL,
    MAX_DTMF_DIGITS,
    SEND_DTMF,
    TRANSFER_CALL,
    ToolCalls,
    parse_arguments,
)

DTMF_KEYS = frozenset("0123456789*#ABCD")


class ToolDesk:
    """The tools of one conversation."""

    def __init__(
        self,
        stage: Stage,
        destinations: Mapping[str, str],
        names: frozenset[str],
        leaving: Leaving,
        history: History,
    ) -> None:
        self._stage = stage
        self._destinations = destinations
        self._names = names
        """Of the tools that are run for us."""
        self._leaving = leaving
        self._history = history
        self._calls = ToolCalls()
        self._asked_for: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._of_old_sessions: set[str] = set()
        """Calls that a session asked for which is gone."""
        self._has_spoken = False
        """The agent said something in the response that is being made."""

    @property
    def is_busy(self) -> bool:
        """A tool has not answered yet."""
        return self._calls.is_busy

    def response_began(self) -> None:
        """Nothing is said in it yet."""
        self._has_spoken = False

    def agent_spoke(self) -> None:
        self._has_spoken = True

    def use(self, calls: tuple[FunctionCall, ...], commands: Commands, now_s: float) -> None:
        """All calls of one response. What need not be run is answered before this returns."""
        for call in calls:
            if not self._calls.began(call.call_id, call.name, now_s):
                continue
            try:
                arguments = parse_arguments(call.arguments)
                self._asked_for[call.call_id] = (call.name, arguments)
                output = self._answer_now(call, arguments, now_s)
            except ValueError as error:
                self._stage.note(f"[TOOL] {call.name}: {error}")
                output = {"error": str(error)}
            if output is not None:
                self.done(call.call_id, output, commands)

    def refuse(self, calls: tuple[FunctionCall, ...], commands: Commands, now_s: float) -> None:
        """The calls of a response that was cut short or given up: none is run, and the model is told."""
        for call in calls:
            if self._calls.began(call.call_id, call.name, now_s):
                self.done(call.call_id, {"error": "you were cut short, so this was not done"}, commands)

    def done(
        self, call_id: str, output: Mapping[str, Any], commands: Commands, *, is_ready: bool = True
    ) -> bool:
        """Answer a call; false when it has had its answer. `is_ready`: there is a session to be told; one
        that is not yet learns it with all else that was said before.

        A session that did not ask is told as of the agent's own words, never as a system item: what callers
        and far ends say is in them, and must not weigh more there than it did when it was said.
        """
        if not self._calls.answered(call_id):
            self._stage.note("[TOOL] an answer came too late and was dropped")
            return False
        name, arguments = self._asked_for.pop(call_id, ("", {}))
        told = self._history.tool(name, arguments, dict(output)) if name else ""
        if call_id not in self._of_old_sessions:
            self._stage.send(commands.function_output(call_id, dict(output)))
        elif is_ready:
            self._stage.send(commands.say_as_agent(told))
        return True

    def answer_overdue(self, now_s: float, commands: Commands) -> bool:
        """Answer for tools that stay silent; true when there were any."""
        overdue = self._calls.overdue(now_s)
        for call_id, name in overdue:
            self._stage.warn("KAV-161", f"{name} did not answer")
            self.done(call_id, {"error": "the tool did not answer in time"}, commands)
        return bool(overdue)

    def session_lost(self) -> None:
        """The next session knows nothing of these calls, and must not ask for the same again: it is told
        of their answers in words."""
        self._of_old_sessions.update(self._asked_for)

    def line_to_say(self, words: Words) -> str:
        """What the agent must still say before it leaves, if it planned to without a word."""
        if self._has_spoken or self._calls.is_busy:
            return ""
        match self._leaving.plan:
            case HangUp():
                return words.goodbye
            case Transfer(destination):
                return words.transfer.format(destination=destination)
            case _:
                return ""

    def _answer_now(
        self, call: FunctionCall, arguments: Mapping[str, Any], now_s: float
    ) -> dict[str, Any] | None:
        """The answer of what needs no running; None: the tool runs. Raises ValueError for the model."""
        match call.name:
            case name if name == END_CALL:
                self._leaving.ask(HangUp(), now_s)
                return {"ok": True, "note": "the call ends when the caller has heard you"}
            case name if name == TRANSFER_CALL:
                destination = str(arguments.get("destination", ""))
                if destination not in self._destinations:
                    raise ValueError(f"no such destination; there are: {', '.join(self._destinations)}")
                self._leaving.ask(Transfer(destination), now_s)
                return {"ok": True, "note": "the caller is connected when they have heard you"}
            case name if name == SEND_DTMF:
                digits = str(arguments.get("digits", "")).upper()
                if not 0 < len(digits) <= MAX_DTMF_DIGITS or set(digits) - DTMF_KEYS:
                    raise ValueError(f"digits are 1 to {MAX_DTMF_DIGITS} of 0-9 * # A-D")
                self._stage.play("dtmf", dtmf(digits))
                return {"ok": True}
            case name if name in self._names:
                self._stage.run_tool(call.call_id, name, arguments)
                return None
            case _:
                raise ValueError("there is no such tool")
