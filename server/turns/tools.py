"""What the agent can do beside talking: the tools it is offered, and an account of their calls.

A call of a tool is answered exactly once, whatever happens to it: its arguments are broken, nobody
knows its name, it is slow, or the caller has hung up. Running one is not this room's business. Pure;
the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

END_CALL, TRANSFER_CALL, TAKE_MESSAGE, SEND_DTMF = "end_call", "transfer_call", "take_message", "send_dtmf"

ANSWERED_WITHIN_S = 10.0
"""Above the longest deadline of any tool (8 s): a tool that keeps its own never meets this one."""
MAX_ARGUMENTS_CHARS = 16_000
MAX_DTMF_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as every model is told of it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema of an object."""


def built_in(destinations: Iterable[str]) -> tuple[Tool, ...]:
    """The tools every business has; `transfer_call` only where there is somebody to transfer to."""
    tools = [
        Tool(
            END_CALL,
            "Hang up the telephone. Only after the conversation is over and you have said goodbye.",
            _schema({}),
        ),
        Tool(
            TAKE_MESSAGE,
            "Write down a message for the business. Ask for what is missing first; read it back afterwards.",
            _schema(
                {
                    "name": {"type": "string", "description": "Who leaves the message."},
                    "phone": {
                        "type": "string",
                        "description": "The number to call back, if it is not the one they call from.",
                    },
                    "message": {"type": "string", "description": "In the caller's own words."},
                },
                required=("message",),
            ),
        ),
        Tool(
            SEND_DTMF,
            "Press keys of the telephone, for a machine at the other end of the line that asks for them.",
            _schema(
                {"digits": {"type": "string", "pattern": f"^[0-9*#A-D]{{1,{MAX_DTMF_DIGITS}}}$"}},
                required=("digits",),
            ),
        ),
    ]
    if names := list(destinations):
        tools.append(
            Tool(
                TRANSFER_CALL,
                "Connect the caller to a person. Say first that you do so; the call leaves you then.",
                _schema({"destination": {"type": "string", "enum": names}}, required=("destination",)),
            )
        )
    return tuple(tools)


def _schema(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments as the model wrote them. Raises ValueError in words for the model."""
    if len(text) > MAX_ARGUMENTS_CHARS:
        raise ValueError(f"the arguments are longer than {MAX_ARGUMENTS_CHARS} characters")
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise ValueError("the arguments are not valid JSON; call the tool again") from None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not a JSON object; call the tool again")
    return arguments


class ToolCalls:
    """The calls of one conversation that are not answered yet."""

    def __init__(self) -> None:
        self._due_at: dict[str, float] = {}
        self._names: dict[str, str] = {}

    @property
    def is_busy(self) -> bool:
        return bool(self._due_at)

    def began(self, call_id: str, name: str, now_s: float) -> bool:
        """A tool runs; False for a call that was begun already."""
        if call_id in self._names:
            return False
        self._names[call_id] = name
        self._due_at[call_id] = now_s + ANSWERED_WITHIN_S
        return True

    def answered(self, call_id: str) -> bool:
        """Take the answer of a tool; False when the call has had one, so that this one is dropped."""
        return self._due_at.pop(call_id, None) is not None

    def overdue(self, now_s: float) -> list[tuple[str, str]]:
        """(call id, name) of the calls to answer in their tools' place."""
        return [
            (call_id, self._names[call_id]) for call_id, due_at in self._due_at.items() if now_s >= due_at
        ]
