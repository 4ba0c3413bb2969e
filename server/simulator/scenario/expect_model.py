"""What the gateway must have said to the model, and how it must have kept its sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from server.simulator.realtime.event_log import SeenEvent
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.evidence import Evidence
from server.simulator.scenario.expectations import (
    Check,
    Kind,
    Need,
    counted,
    difference,
    how_often,
    s,
    shown,
    times,
)
from server.simulator.scenario.yaml_text import Block

MAX_SHOWN = 3
AUDIO_FIELDS = ("audio", "event_id")


def _received(block: Block, _shelf: ClipShelf) -> Check:
    kind = block.need("model_received").text()
    wanted = times(block)
    fields = _fields(block)

    def check(evidence: Evidence) -> str:
        came = evidence.events("in", kind)
        fits = [seen for seen in came if not difference(fields, seen.event)]
        if counted(len(fits), wanted):
            return ""
        expected = f"the model was to receive {kind}{how_often(wanted)}"
        if fields:
            expected += f" with {shown(fields)}"
        return f"{expected}; it received {_told(evidence, came, fits, fields)}"

    return check


def _told(evidence: Evidence, came: list[SeenEvent], fits: list[SeenEvent], fields: dict[str, Any]) -> str:
    """What came instead: the events, or why they do not fit."""
    if not came:
        kinds = sorted(
            {str(seen.event.get("type")) for seen in evidence.model.events if seen.direction == "in"}
            if evidence.model
            else ()
        )
        return f"none; there were {', '.join(kinds) or 'no events at all'}"
    if fits or not fields:
        shown_events = fits or came
        told = [f"at {s(evidence.call_ms(e))} {shown(_bare(e.event))}" for e in shown_events[:MAX_SHOWN]]
        return f"{len(shown_events)}: " + "; ".join(told)
    why = [
        f"at {s(evidence.call_ms(seen))} one where {difference(fields, seen.event)}"
        for seen in came[:MAX_SHOWN]
    ]
    return f"{len(came)}, but " + "; ".join(why)


def _bare(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in AUDIO_FIELDS}


def _fields(block: Block) -> dict[str, Any]:
    value = block.get("with")
    if value is None:
        return {}
    value.block()
    fields: dict[str, Any] = value.plain()
    return fields


@dataclass(frozen=True, slots=True)
class _Call:
    """A function call of the model's."""

    call_id: str
    name: str
    arguments: Any
    at_ms: float


def _calls(evidence: Evidence) -> list[_Call]:
    found = []
    for seen in evidence.events("out", "response.output_item.done"):
        item = seen.event.get("item", {})
        if item.get("type") == "function_call":
            try:
                arguments = json.loads(item.get("arguments", ""))
            except ValueError:
                arguments = item.get("arguments")
            found.append(_Call(item["call_id"], item["name"], arguments, evidence.call_ms(seen)))
    return found


def _outputs(evidence: Evidence) -> list[dict[str, Any]]:
    items = (seen.event.get("item", {}) for seen in evidence.events("in", "conversation.item.create"))
    return [item for item in items if item.get("type") == "function_call_output"]


def _tool_called(block: Block, _shelf: ClipShelf) -> Check:
    name = block.need("tool_called").text()
    wanted = times(block)
    fields = _fields(block)
    output = block.get("output")
    wanted_output = output.plain() if output else None

    def check(evidence: Evidence) -> str:
        calls = [call for call in _calls(evidence) if call.name == name]
        fits = [call for call in calls if not fields or not difference(fields, call.arguments)]
        if not counted(len(fits), wanted):
            told = ", ".join(f"{c.name} {shown(c.arguments)} at {s(c.at_ms)}" for c in _calls(evidence))
            expected = f"a call of {name}{how_often(wanted)}" + (f" with {shown(fields)}" if fields else "")
            return f"{expected} was expected; the model called {told or 'nothing'}"
        if output is None:
            return ""
        answers = [_parsed(o.get("output")) for o in _outputs(evidence) if o.get("call_id") in _ids(fits)]
        if any(not difference(wanted_output, answer) for answer in answers):
            return ""
        told = ", ".join(map(shown, answers)) or "nothing"
        return f"{name} was to give back {shown(wanted_output)}; it gave {told}"

    return check


def _ids(calls: list[_Call]) -> set[str]:
    return {call.call_id for call in calls}


def _parsed(output: Any) -> Any:
    try:
        return json.loads(output)
    except (TypeError, ValueError):
        return output


def _tools_answered(block: Block, _shelf: ClipShelf) -> Check:
    block.need("tool_calls_answered").choice("once")

    def check(evidence: Evidence) -> str:
        answered = [output.get("call_id") for output in _outputs(evidence)]
        for call in _calls(evidence):
            if (count := answered.count(call.call_id)) != 1:
                return (
                    f"{call.name}, called at {s(call.at_ms)}, was to be answered once; it was {count} times"
                )
        unknown = set(answered) - _ids(_calls(evidence))
        return f"{len(unknown)} output(s) belong to no call of the model's" if unknown else ""

    return check


def _sessions(block: Block, _shelf: ClipShelf) -> Check:
    wanted = block.need("model_sessions").integer()

    def check(evidence: Evidence) -> str:
        opened = evidence.model.sessions if evidence.model else 0
        return "" if opened == wanted else f"{wanted} model session(s) were expected, {opened} were opened"

    return check


def _sessions_closed(block: Block, _shelf: ClipShelf) -> Check:
    if not (value := block.need("model_sessions_closed")).flag():
        raise value.error("leave it out instead")

    def check(evidence: Evidence) -> str:
        left = evidence.model.left_open if evidence.model else 0
        return f"every model session was to be closed; {left} stood open after the call" if left else ""

    return check


KINDS = (
    Kind("model_received", _received, ("with", "times"), Need.MODEL),
    Kind("tool_called", _tool_called, ("with", "times", "output"), Need.MODEL),
    Kind("tool_calls_answered", _tools_answered, need=Need.MODEL),
    Kind("model_sessions", _sessions, need=Need.MODEL),
    Kind("model_sessions_closed", _sessions_closed, need=Need.MODEL),
)
