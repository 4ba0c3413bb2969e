"""How is this session set up right now?

The configuration is kept in the GA shape whatever the dialect, complete with every default, since
`session.created` and `session.updated` show the whole of it. An update is checked by its dialect
first and merged here: it takes effect as a whole or not at all.
"""

from __future__ import annotations

import copy
from typing import Any

from server.simulator.realtime.checks import Rejected, invalid_value, unknown_parameter

DEFAULT_INSTRUCTIONS = (
    "You are a helpful voice assistant on the telephone. Be brief and friendly, and answer in the "
    "language in which you are spoken to."
)
_SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_EAGERNESS_SILENCE_MS = {"low": 1200, "medium": 700, "auto": 700, "high": 400}
"""What the simulator waits, having no model that judges whether a sentence is finished."""


class SessionConfig:
    """The effective configuration of one session."""

    def __init__(self, session_id: str, model: str, expires_at_s: int) -> None:
        self.temperature = 0.8
        """Beta only; GA has none."""
        self.ga: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "expires_at": expires_at_s,
            "output_modalities": ["audio"],
            "instructions": DEFAULT_INSTRUCTIONS,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "noise_reduction": None,
                    "transcription": None,
                    "turn_detection": dict(_SERVER_VAD),
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "voice": "marin",
                    "speed": 1.0,
                },
            },
        }

    def snapshot(self) -> dict[str, Any]:
        """A copy to show, which later updates leave alone."""
        return copy.deepcopy(self.ga)

    @property
    def input(self) -> dict[str, Any]:
        section: dict[str, Any] = self.ga["audio"]["input"]
        return section

    @property
    def output(self) -> dict[str, Any]:
        section: dict[str, Any] = self.ga["audio"]["output"]
        return section

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.input["turn_detection"]
        return found

    @property
    def silence_ms(self) -> int:
        """How much silence ends a turn."""
        found = self.turn_detection or _SERVER_VAD
        if found["type"] == "semantic_vad":
            return _EAGERNESS_SILENCE_MS[found["eagerness"]]
        return int(found["silence_duration_ms"])

    @property
    def language(self) -> str | None:
        """The first language that input transcription names."""
        wanted = self.input["transcription"] or {}
        languages = wanted.get("languages") or [wanted.get("language")]
        return languages[0] or None

    def update(self, patch: dict[str, Any], *, has_spoken: bool, is_speaking: bool) -> None:
        """Merge a checked update in GA shape. Raises Rejected with nothing applied."""
        if patch.get("model", self.ga["model"]) != self.ga["model"]:
            raise invalid_value("session.model", "the model of a session cannot be changed.")
        for name in ("reasoning", "parallel_tool_calls"):
            if name in patch and not reasons(self.ga["model"]):
                raise unknown_parameter(f"session.{name}")
        audio = patch.get("audio", {})
        output = audio.get("output", {})
        if has_spoken:
            check_same_voice(self.output["voice"], output)
        if is_speaking and output.get("speed", self.output["speed"]) != self.output["speed"]:
            raise invalid_value("session.audio.output.speed", "it changes only between responses.")
        self.input.update(self._input(audio.get("input", {})))
        self.output.update(output)
        self.temperature = patch.get("temperature", self.temperature)
        self.ga.update({k: v for k, v in patch.items() if k not in ("audio", "temperature")})

    def _input(self, update: dict[str, Any]) -> dict[str, Any]:
        """Turn detection and noise reduction keep the fields that an update of the same type omits."""
        merged = dict(update)
        if wanted := update.get("turn_detection"):
            current = self.turn_detection
            defaults = _SERVER_VAD if wanted["type"] == "server_vad" else _SEMANTIC_VAD
            base = current if current and current["type"] == wanted["type"] else defaults
            merged["turn_detection"] = base | wanted
        if (reduction := update.get("noise_reduction")) is not None:
            base = self.input["noise_reduction"] or {"strength": 1}
            merged["noise_reduction"] = base | reduction
        return merged


def check_same_voice(current: Any, output: dict[str, Any]) -> None:
    """Raises Rejected when `output` names another voice: the caller has heard the current one."""
    if output.get("voice", current) != current:
        raise Rejected(
            "cannot_update_voice", "Cannot update a conversation's voice if assistant audio is present."
        )


def reasons(model: str) -> bool:
    """Whether the model takes `reasoning` and `parallel_tool_calls`: gpt-realtime-2 and later do."""
    return model.startswith("gpt-realtime-2") and not model.startswith("gpt-realtime-20")
