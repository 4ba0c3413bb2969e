"""Which fields may each part of the protocol have?

The GA shapes follow the field tables of OpenAI's Realtime reference; the beta ones are the flat
shapes that Azure's preview endpoint still speaks and GA refuses. MCP tools and transcription
sessions are not simulated and count as invalid values here.
"""

from __future__ import annotations

from typing import Any

from server.simulator.realtime.checks import (
    Check,
    Rejected,
    any_object,
    boolean,
    choice,
    integer,
    invalid_type,
    invalid_value,
    list_of,
    metadata,
    nullable,
    number,
    record,
    string_or,
    tagged,
    text,
)

VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
MODELS_WITH_LISTS = ("gpt-transcribe", "gpt-live-transcribe")
"""Transcription models that take `languages` and `keywords`."""

_TRANSCRIPTION_MODELS = (
    *MODELS_WITH_LISTS,
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
)
_ID = text(512)
_ITEM_ID = text(64)


def modalities(*allowed: frozenset[str]) -> Check:
    def check(value: Any, path: str) -> None:
        list_of(choice("audio", "text"))(value, path)
        if frozenset(value) not in allowed or len(set(value)) != len(value):
            listed = " and ".join(str(sorted(a)) for a in allowed)
            message = f"Invalid modalities: {value}. Supported combinations are: {listed}."
            raise Rejected("invalid_value", message, path)

    return check


def voice(value: Any, path: str) -> None:
    if isinstance(value, dict):
        record({"id": text(128)}, required=("id",))(value, path)
        if not value["id"].startswith("voice_"):
            raise invalid_value(f"{path}.id", "a custom voice's id starts with 'voice_'.")
    else:
        choice(*VOICES)(value, path)


def max_tokens(value: Any, path: str) -> None:
    if isinstance(value, str):
        choice("inf")(value, path)
    else:
        integer(1, 4096)(value, path)


def _rate(value: Any, path: str) -> None:
    integer(0)(value, path)
    if value != 24000:
        raise invalid_value(path, "only 24000 is supported.")


def _audio_format(*, rate_required: bool) -> Check:
    plain = record({"type": text()})
    pcm = record({"type": text(), "rate": _rate}, required=("rate",) if rate_required else ())
    return tagged("type", {"audio/pcm": pcm, "audio/pcmu": plain, "audio/pcma": plain})


def _transcription(value: Any, path: str) -> None:
    _TRANSCRIPTION(value, path)
    for name in ("languages", "keywords"):
        if name in value and value["model"] not in MODELS_WITH_LISTS:
            raise invalid_value(f"{path}.{name}", f"not supported by {value['model']}.")


_TRANSCRIPTION = record(
    {
        "model": choice(*_TRANSCRIPTION_MODELS),
        "language": text(16),
        "languages": list_of(text(16)),
        "keywords": list_of(text(200)),
        "prompt": text(),
    },
    required=("model",),
)
_VAD_ACTIONS: dict[str, Check] = {"type": text(), "create_response": boolean, "interrupt_response": boolean}
TURN_DETECTION = tagged(
    "type",
    {
        "server_vad": record(
            _VAD_ACTIONS
            | {
                "threshold": number(0.0, 1.0),
                "prefix_padding_ms": integer(0, 60_000),
                "silence_duration_ms": integer(0, 60_000),
                "idle_timeout_ms": nullable(integer(1, 600_000)),
            }
        ),
        "semantic_vad": record(_VAD_ACTIONS | {"eagerness": choice("low", "medium", "high", "auto")}),
    },
)
_NOISE_REDUCTION = record({"type": choice("near_field", "far_field"), "strength": number(0.0, 10.0)})
_FUNCTION = record(
    {"type": text(), "name": text(64), "description": text(), "parameters": any_object}, required=("name",)
)
_TOOLS = list_of(tagged("type", {"function": _FUNCTION}))
_TOOL_CHOICE = string_or(
    tagged("type", {"function": record({"type": text(), "name": text(64)}, required=("name",))}),
    "auto",
    "none",
    "required",
)
_TRUNCATION = string_or(
    tagged(
        "type",
        {
            "retention_ratio": record(
                {
                    "type": text(),
                    "retention_ratio": number(0.0, 1.0),
                    "token_limits": record({"post_instructions": integer(0)}),
                },
                required=("retention_ratio",),
            )
        },
    ),
    "auto",
    "disabled",
)
_TRACING = nullable(
    string_or(record({"workflow_name": text(), "group_id": text(), "metadata": any_object}), "auto")
)
_PROMPT = nullable(record({"id": _ID, "version": text(), "variables": any_object}, required=("id",)))
_REASONING = record({"effort": choice("minimal", "low", "medium", "high", "xhigh")})
_GA_MODALITIES = modalities(frozenset({"audio"}), frozenset({"text"}))
_COMMON: dict[str, Check] = {"instructions": text(), "tools": _TOOLS, "tool_choice": _TOOL_CHOICE}

GA_SESSION = record(
    _COMMON
    | {
        "type": choice("realtime"),
        "model": text(128),
        "output_modalities": _GA_MODALITIES,
        "audio": record(
            {
                "input": record(
                    {
                        "format": _audio_format(rate_required=False),
                        "noise_reduction": nullable(_NOISE_REDUCTION),
                        "transcription": nullable(_transcription),
                        "turn_detection": nullable(TURN_DETECTION),
                    }
                ),
                "output": record(
                    {
                        "format": _audio_format(rate_required=True),
                        "voice": voice,
                        "speed": number(0.25, 1.5),
                    }
                ),
            }
        ),
        "max_output_tokens": max_tokens,
        "truncation": _TRUNCATION,
        "tracing": _TRACING,
        "prompt": _PROMPT,
        "reasoning": _REASONING,
        "parallel_tool_calls": boolean,
        "include": nullable(list_of(choice("item.input_audio_transcription.logprobs"))),
    },
    required=("type",),
)

_BETA_FORMAT = choice("pcm16", "g711_ulaw", "g711_alaw")
_BETA_MODALITIES = modalities(frozenset({"audio", "text"}), frozenset({"text"}))
_BETA_COMMON = _COMMON | {
    "modalities": _BETA_MODALITIES,
    "voice": voice,
    "output_audio_format": _BETA_FORMAT,
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": max_tokens,
}
BETA_SESSION = record(
    _BETA_COMMON
    | {
        "model": text(128),
        "input_audio_format": _BETA_FORMAT,
        "input_audio_transcription": nullable(_transcription),
        "input_audio_noise_reduction": nullable(_NOISE_REDUCTION),
        "turn_detection": nullable(TURN_DETECTION),
        "speed": number(0.25, 1.5),
        "tracing": _TRACING,
    }
)


def _part(required: str, *optional: str) -> Check:
    fields = {"type": text(), required: text(30_000_000)} | dict.fromkeys(optional, text())
    return record(fields, required=(required,))


def _message(parts: dict[str, Check]) -> Check:
    return record(
        _ITEM | {"role": text(), "content": list_of(tagged("type", parts))}, required=("role", "content")
    )


_ITEM: dict[str, Check] = {
    "id": _ITEM_ID,
    "type": text(),
    "object": choice("realtime.item"),
    "status": choice("completed", "incomplete", "in_progress"),
}
_USER_PARTS = {
    "input_text": _part("text"),
    "input_audio": _part("audio", "transcript"),
    "input_image": _part("image_url", "detail"),
}


def _items(assistant_text: str) -> dict[str, Check]:
    message = tagged(
        "role",
        {
            "user": _message(_USER_PARTS),
            "assistant": _message({assistant_text: _part("text")}),
            "system": _message({"input_text": _part("text")}),
        },
    )
    call: dict[str, Check] = {"name": text(64), "call_id": text(32), "arguments": text()}
    return {
        "message": message,
        "function_call": record(_ITEM | call, required=("name", "arguments")),
        "function_call_output": record(
            _ITEM | {"call_id": text(32), "output": text()}, required=("call_id", "output")
        ),
    }


def _input_items(items: dict[str, Check]) -> Check:
    reference = record({"type": text(), "id": _ITEM_ID}, required=("id",))
    return list_of(tagged("type", items | {"item_reference": reference}), max_items=1000)


GA_ITEM = tagged("type", _items("output_text"))
BETA_ITEM = tagged("type", _items("text"))

_RESPONSE_COMMON: dict[str, Check] = {"conversation": choice("auto", "none"), "metadata": nullable(metadata)}
GA_RESPONSE = record(
    _COMMON
    | _RESPONSE_COMMON
    | {
        "output_modalities": _GA_MODALITIES,
        "audio": record({"output": record({"format": _audio_format(rate_required=True), "voice": voice})}),
        "max_output_tokens": max_tokens,
        "input": _input_items(_items("output_text")),
        "reasoning": _REASONING,
        "parallel_tool_calls": boolean,
        "prompt": _PROMPT,
    }
)
BETA_RESPONSE = record(
    _BETA_COMMON | _RESPONSE_COMMON | {"max_output_tokens": max_tokens, "input": _input_items(_items("text"))}
)


def _audio_end_ms(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_type(path, "an integer", value)
    if value < 0:
        message = f"Invalid '{path}': integer below minimum value. Expected a value >= 0, but got {value}."
        raise Rejected("integer_below_min_value", message, path)


def client_events(session: Check, item: Check, response: Check) -> dict[str, Check]:
    """Every event a client may send, by its type."""
    event: dict[str, Check] = {"type": text(), "event_id": nullable(_ID)}
    by_id = record(event | {"item_id": _ITEM_ID}, required=("item_id",))
    return {
        "session.update": record(event | {"session": session}, required=("session",)),
        "input_audio_buffer.append": record(event | {"audio": text(30_000_000)}, required=("audio",)),
        "input_audio_buffer.commit": record(event),
        "input_audio_buffer.clear": record(event),
        "conversation.item.create": record(
            event | {"item": item, "previous_item_id": nullable(_ITEM_ID)}, required=("item",)
        ),
        "conversation.item.retrieve": by_id,
        "conversation.item.delete": by_id,
        "conversation.item.truncate": record(
            event | {"item_id": _ITEM_ID, "content_index": integer(0), "audio_end_ms": _audio_end_ms},
            required=("item_id", "content_index", "audio_end_ms"),
        ),
        "response.create": record(event | {"response": nullable(response)}),
        "response.cancel": record(event | {"response_id": nullable(_ID)}),
    }
