"""What did the client send: an event, and audio in it?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from server.simulator.realtime.checks import Rejected, invalid_type, invalid_value, too_deep
from server.wire import base64text

Event = dict[str, Any]

MAX_APPEND_BYTES = 15 * 1024 * 1024


def parse_event(message: str | bytes) -> Event:
    """Raises Rejected for what is no JSON object, or one that could not be sent back."""
    try:
        event = json.loads(message, parse_constant=_refuse_constant)
        if too_deep(event):
            raise ValueError("nested too deeply")
        if (b"\\u" if isinstance(message, bytes) else "\\u") in message:  # type: ignore[operator]
            json.dumps(event, ensure_ascii=False).encode("utf-8")  # lone surrogates are no text
    except (ValueError, RecursionError) as error:
        raise Rejected(
            "invalid_json", f"The event could not be parsed as JSON: {str(error)[:100]}"
        ) from error
    if not isinstance(event, dict):
        raise invalid_type("event", "an object", event)
    return event


def event_id_of(event: Event) -> str | None:
    """The client's own id, to be repeated in an error about the event."""
    found = event.get("event_id")
    return found if isinstance(found, str) and len(found) <= 512 else None


def audio_of(text: str, path: str) -> bytes:
    """The bytes of a base64 field. Raises Rejected."""
    try:
        payload = base64text.decode(text)
    except ValueError as error:
        raise invalid_value(path, "expected base64-encoded audio bytes.") from error
    if len(payload) > MAX_APPEND_BYTES:
        raise invalid_value(path, f"{len(payload)} bytes of audio, at most {MAX_APPEND_BYTES} allowed.")
    return payload


def sound_of(item: Mapping[str, Any], path: str) -> bytes | None:
    """All audio of a message, in the session's input format; None without any. Raises Rejected."""
    sounds = [
        audio_of(part["audio"], f"{path}.content[{index}].audio")
        for index, part in enumerate(item.get("content", ()))
        if part["type"] == "input_audio"
    ]
    return b"".join(sounds) if sounds else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
