"""What a conversation asks of the world: the port between its decisions and the sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from server.endings import EndReason
from server.realtime.commands import Command
from server.telephony.playout import Cut
from server.turns.latency import TurnLatency
from server.turns.leaving import Plan

OWN_ITEM = "kav_"
"""How the names of items begin that are ours, not the model's: prompts, tones."""


class Stage(Protocol):
    """Nothing here blocks, and nothing raises for what a far end does."""

    def send(self, command: Command) -> None:
        """One event for the model."""

    def flush(self) -> None:
        """`tx_q` has changed: write to the caller what is due."""

    def play_prompt(self, name: str) -> None:
        """Queue a recorded prompt for the caller, as an item of ours."""

    def play(self, name: str, payload: bytes) -> None:
        """Queue whole frames of μ-law for the caller, as an item of ours."""

    def run_tool(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """Start a tool of the business's. `Conversation.tool_done` is told of its answer."""

    def leave(self, plan: Plan) -> None:
        """The agent's last words were heard: hang up, or connect the caller to a person."""

    def fail(self, reason: EndReason, fault_id: str, seen: str) -> None:
        """The model cannot go on with this call."""

    def was_cut(self, cut: Cut) -> None:
        """An item was interrupted for good."""

    def turn_done(self, latency: TurnLatency) -> None:
        """How long the caller waited."""

    def note(self, text: str) -> None:
        """For the log."""

    def warn(self, fault_id: str, seen: str) -> None:
        """For the log: a fault that the call survives."""
