"""Which shape of the protocol is spoken, and how is one told in the other's words?

GA is what OpenAI serves. Beta is the preview shape that Azure still serves: a flat session, other
event names, no `session.type`. The session works in GA only; a dialect checks what comes in by
its own shapes, turns it into GA and turns what goes out back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.simulator.realtime import shapes
from server.simulator.realtime.checks import Check
from server.simulator.realtime.config import SessionConfig

Event = dict[str, Any]

_FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES = {found["type"]: name for name, found in _FORMATS.items()}
_EVENT_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_PART_NAMES = {"output_audio": "audio", "output_text": "text"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """GA itself: nothing has to be translated."""

    name: str
    client_events: Mapping[str, Check]
    transcription_param: str = "session.audio.input.transcription"
    """As an error names it."""

    def session_in(self, session: dict[str, Any]) -> dict[str, Any]:
        return session

    def response_in(self, response: dict[str, Any]) -> dict[str, Any]:
        return response

    def item_in(self, item: dict[str, Any]) -> dict[str, Any]:
        return item

    def session_out(self, config: SessionConfig) -> dict[str, Any]:
        return config.snapshot()

    def event_out(self, event: Event) -> Event | None:
        """The event as this dialect says it; None when it has no such event."""
        return event


class BetaDialect(Dialect):
    """The flat shape."""

    __slots__ = ()

    def session_in(self, session: dict[str, Any]) -> dict[str, Any]:
        flat = dict(session)
        heard = _moved(
            flat,
            {
                "input_audio_format": "format",
                "input_audio_transcription": "transcription",
                "input_audio_noise_reduction": "noise_reduction",
                "turn_detection": "turn_detection",
            },
        )
        return self.response_in(flat, speed=True) | {
            "audio": self._audio(flat, speed=True) | {"input": heard}
        }

    def response_in(self, response: dict[str, Any], *, speed: bool = False) -> dict[str, Any]:
        flat = dict(response)
        moved = {"output_audio_format", "voice", "modalities", "max_response_output_tokens"}
        moved |= {"input_audio_format", "input_audio_transcription", "input_audio_noise_reduction"}
        ga = {k: v for k, v in flat.items() if k not in moved | {"turn_detection", "speed"}}
        if "modalities" in flat:
            ga["output_modalities"] = ["audio"] if "audio" in flat["modalities"] else ["text"]
        if "max_response_output_tokens" in flat:
            ga["max_output_tokens"] = flat["max_response_output_tokens"]
        if "input" in flat:
            ga["input"] = [self.item_in(item) for item in flat["input"]]
        return ga | {"audio": self._audio(flat, speed=speed)}

    def _audio(self, flat: dict[str, Any], *, speed: bool) -> dict[str, Any]:
        names = {"output_audio_format": "format", "voice": "voice"} | ({"speed": "speed"} if speed else {})
        return {"output": _moved(dict(flat), names)}

    def item_in(self, item: dict[str, Any]) -> dict[str, Any]:
        if item.get("role") != "assistant":
            return item
        return item | {"content": [part | {"type": "output_text"} for part in item["content"]]}

    def session_out(self, config: SessionConfig) -> dict[str, Any]:
        ga = config.snapshot()
        heard, said = ga["audio"]["input"], ga["audio"]["output"]
        same = ("id", "object", "model", "expires_at", "instructions", "tools", "tool_choice", "tracing")
        return {name: ga[name] for name in same} | {
            "modalities": _modalities(ga["output_modalities"]),
            "voice": said["voice"],
            "speed": said["speed"],
            "output_audio_format": _FORMAT_NAMES[said["format"]["type"]],
            "input_audio_format": _FORMAT_NAMES[heard["format"]["type"]],
            "input_audio_transcription": heard["transcription"],
            "input_audio_noise_reduction": heard["noise_reduction"],
            "turn_detection": heard["turn_detection"],
            "temperature": config.temperature,
            "max_response_output_tokens": ga["max_output_tokens"],
        }

    def event_out(self, event: Event) -> Event | None:
        if event["type"] == "conversation.item.done":
            return None
        told = event | {"type": _EVENT_NAMES.get(event["type"], event["type"])}
        if "item" in told:
            told["item"] = _item_out(told["item"])
        if "response" in told:
            told["response"] = _response_out(told["response"])
        return told


def _moved(flat: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The fields of `flat` under their GA names, formats spelled out."""
    return {
        ga: dict(_FORMATS[flat[beta]]) if ga == "format" else flat[beta]
        for beta, ga in names.items()
        if beta in flat
    }


def _modalities(ga: list[str]) -> list[str]:
    return ["text"] if ga == ["text"] else ["audio", "text"]


def _item_out(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    parts = [part | {"type": _PART_NAMES.get(part["type"], part["type"])} for part in item["content"]]
    return item | {"content": parts}


def _response_out(response: dict[str, Any]) -> dict[str, Any]:
    flat = {k: v for k, v in response.items() if k not in ("audio", "output_modalities", "max_output_tokens")}
    said = response["audio"]["output"]
    return flat | {
        "output": [_item_out(item) for item in response["output"]],
        "modalities": _modalities(response["output_modalities"]),
        "voice": said["voice"],
        "output_audio_format": _FORMAT_NAMES[said["format"]["type"]],
        "max_output_tokens": response["max_output_tokens"],
    }


GA = Dialect("ga", shapes.client_events(shapes.GA_SESSION, shapes.GA_ITEM, shapes.GA_RESPONSE))
BETA = BetaDialect(
    "beta",
    shapes.client_events(shapes.BETA_SESSION, shapes.BETA_ITEM, shapes.BETA_RESPONSE),
    "session.input_audio_transcription",
)
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (GA, BETA)}
