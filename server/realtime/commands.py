"""What do we say to the model? Client events of the Realtime protocol, in either dialect.

The Python names of the settings are the ones the user knows (`input_audio_format="g711_ulaw"`);
on the wire they take the shape of the dialect. The general shape rejects a whole update for one
field of the older, and a session without our settings speaks 24 kHz PCM: hiss on a telephone.

Every event but the audio carries an `event_id` of ours: an error names it, and nothing else would.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.config import Dialect

AUDIO_FORMATS: dict[str, dict[str, Any]] = {
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
    "pcm16": {"type": "audio/pcm", "rate": 24000},
}
"""The older names of the formats, and their general shape."""

END_CALL_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "end_call",
    "description": "Hang up the telephone. Only after the conversation is over and you have said goodbye.",
    "parameters": {"type": "object", "properties": {}, "required": []},
}


class Command(str):
    """The text of one client event, and the id by which an error would name it."""

    __slots__ = ("event_id",)
    event_id: str

    def __new__(cls, text: str, event_id: str) -> Command:
        command = super().__new__(cls, text)
        command.event_id = event_id
        return command


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """One session, in the user's words."""

    voice: str
    instructions: str
    input_audio_format: str = "g711_ulaw"
    output_audio_format: str = "g711_ulaw"
    max_response_output_tokens: int = 4096
    vad_threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    transcription_model: str | None = None
    language: str | None = None
    tools: tuple[dict[str, Any], ...] = ()


def greeting_tokens(text: str) -> int:
    """A token budget that a spoken text of this length cannot exceed.

    Speech takes about 20 audio tokens a second and 12 characters a second, Hebrew up to one more
    text token a character: under 3 a character. Twice that, so that no greeting is cut short.
    """
    return min(4096, max(256, 6 * len(text)))


def greeting_instructions(text: str, language: str) -> str:
    """Have the model say exactly this text."""
    if language == "he":
        return f"אמרי ללקוח בעברית בדיוק את המשפט הבא, בלי להוסיף דבר: «{text}»"
    return f"Say exactly this to the caller, and nothing else: «{text}»"


class Commands:
    """Builds client events for one session, each as the text to send."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._ids: Iterator[int] = itertools.count(1)

    def configure(self, settings: SessionSettings) -> Command:
        """`session.update`."""
        general = self._dialect is Dialect.GA
        session = _general_session(settings) if general else _flat_session(settings)
        return self._event("session.update", session=session)

    def create_response(self, instructions: str | None = None, max_tokens: int | None = None) -> Command:
        """`response.create`; without arguments, in its shortest form.

        The session's modality is audio, so nothing asks for it again; the older dialect does by name.
        """
        response: dict[str, Any] = {}
        if instructions is not None:
            response["instructions"] = instructions
        is_general = self._dialect is Dialect.GA
        if max_tokens is not None:
            response["max_output_tokens" if is_general else "max_response_output_tokens"] = max_tokens
        if not is_general:
            response["modalities"] = ["audio", "text"]
        return self._event("response.create", **({"response": response} if response else {}))

    def cancel_response(self, response_id: str) -> Command:
        return self._event("response.cancel", response_id=response_id)

    def truncate(self, item_id: str, audio_end_ms: int) -> Command:
        """Forget what follows `audio_end_ms` of this item. At 0 ms delete the item instead."""
        return self._event(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=max(0, audio_end_ms)
        )

    def delete_item(self, item_id: str) -> Command:
        return self._event("conversation.item.delete", item_id=item_id)

    def say_as_caller(self, text: str) -> Command:
        """A user item of text: keys pressed, for one."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        return self._event("conversation.item.create", item=item)

    def function_output(self, call_id: str, output: dict[str, Any]) -> Command:
        """The answer to a function call; a response must be asked for separately."""
        item = {
            "type": "function_call_output",
            "call_id": call_id,
            "output": json.dumps(output, ensure_ascii=False),
        }
        return self._event("conversation.item.create", item=item)

    def _event(self, kind: str, **fields: Any) -> Command:
        event_id = f"kav_{next(self._ids)}"
        return Command(
            json.dumps({"type": kind, "event_id": event_id, **fields}, ensure_ascii=False), event_id
        )


def append_audio(payload_b64: bytes) -> bytes:
    """`input_audio_buffer.append`. Sent 50 times a second, so it is not built from objects."""
    return b'{"type":"input_audio_buffer.append","audio":"%b"}' % payload_b64


def _turn_detection(settings: SessionSettings) -> dict[str, Any]:
    """Always sent in full: the documented defaults and the ones in force have differed."""
    return {
        "type": "server_vad",
        "threshold": settings.vad_threshold,
        "prefix_padding_ms": settings.prefix_padding_ms,
        "silence_duration_ms": settings.silence_duration_ms,
        "create_response": True,
        "interrupt_response": True,
    }


def _transcription(settings: SessionSettings) -> dict[str, Any] | None:
    if settings.transcription_model is None:
        return None
    transcription: dict[str, Any] = {"model": settings.transcription_model}
    if settings.language:
        transcription["language"] = settings.language
    return transcription


def _general_session(settings: SessionSettings) -> dict[str, Any]:
    audio_input: dict[str, Any] = {
        "format": AUDIO_FORMATS[settings.input_audio_format],
        "turn_detection": _turn_detection(settings),
    }
    if (transcription := _transcription(settings)) is not None:
        audio_input["transcription"] = transcription
    voice: str | dict[str, str] = settings.voice
    if settings.voice.startswith("voice_"):
        voice = {"id": settings.voice}
    session: dict[str, Any] = {
        "type": "realtime",
        "instructions": settings.instructions,
        "output_modalities": ["audio"],
        "audio": {
            "input": audio_input,
            "output": {"format": AUDIO_FORMATS[settings.output_audio_format], "voice": voice},
        },
        "max_output_tokens": settings.max_response_output_tokens,
    }
    if settings.tools:
        session |= {"tools": list(settings.tools), "tool_choice": "auto"}
    return session


def _flat_session(settings: SessionSettings) -> dict[str, Any]:
    session: dict[str, Any] = {
        "modalities": ["audio", "text"],
        "instructions": settings.instructions,
        "voice": settings.voice,
        "input_audio_format": settings.input_audio_format,
        "output_audio_format": settings.output_audio_format,
        "turn_detection": _turn_detection(settings),
        "max_response_output_tokens": settings.max_response_output_tokens,
    }
    if (transcription := _transcription(settings)) is not None:
        session["input_audio_transcription"] = transcription
    if settings.tools:
        session |= {"tools": list(settings.tools), "tool_choice": "auto"}
    return session
