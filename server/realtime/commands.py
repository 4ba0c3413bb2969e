"""What do we say to the model? Client events of the Realtime protocol, in either dialect.

The Python names of the settings are the ones the user knows (`input_audio_format="g711_ulaw"`);
on the wire they take the shape of the dialect. The general shape rejects a whole update for one
field of the older, and a session without our settings speaks 24 kHz PCM: hiss on a telephone.

Every event but the audio carries an `event_id` of ours: an error names it, and nothing else would.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.config import Dialect
from server.turns.barge_in import SERVER_SILENCE_MS
from server.turns.tools import Tool

AUDIO_FORMATS: dict[str, dict[str, Any]] = {
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
    "pcm16": {"type": "audio/pcm", "rate": 24000},
}
"""The older names of the formats, and their general shape."""


class Command(str):
    """The text of one client event, the id by which an error would name it, and what it was made of."""

    __slots__ = ("event", "event_id", "verbatim")
    event: Mapping[str, Any]
    event_id: str
    verbatim: str
    """Of a request to say exactly this: the words, for who needs no model to say them."""

    def __new__(cls, text: str, event: Mapping[str, Any], verbatim: str = "") -> Command:
        command = super().__new__(cls, text)
        command.event, command.event_id, command.verbatim = event, event["event_id"], verbatim
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
    silence_duration_ms: int = SERVER_SILENCE_MS
    transcription_model: str | None = None
    language: str | None = None
    tools: tuple[Tool, ...] = ()

    def without_transcription(self) -> SessionSettings:
        return dataclasses.replace(self, transcription_model=None)


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

    def create_response(
        self,
        instructions: str | None = None,
        max_tokens: int | None = None,
        *,
        may_use_tools: bool = True,
        verbatim: str = "",
    ) -> Command:
        """`response.create`; without arguments, in its shortest form. `verbatim`: see `Command`.

        The session's modality is audio, so nothing asks for it again; the older dialect does by name.
        """
        response: dict[str, Any] = {}
        if instructions is not None:
            response["instructions"] = instructions
        is_general = self._dialect is Dialect.GA
        if max_tokens is not None:
            response["max_output_tokens" if is_general else "max_response_output_tokens"] = max_tokens
        if not may_use_tools:
            response["tool_choice"] = "none"
        if not is_general:
            response["modalities"] = ["audio", "text"]
        fields = {"response": response} if response else {}
        return self._event("response.create", verbatim=verbatim, **fields)

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

    def say_as_agent(self, text: str) -> Command:
        """An assistant item of text: what was said in an earlier session. Its audio cannot be made again."""
        kind = "output_text" if self._dialect is Dialect.GA else "text"
        item = {"type": "message", "role": "assistant", "content": [{"type": kind, "text": text}]}
        return self._event("conversation.item.create", item=item)

    def note(self, text: str) -> Command:
        """A system item: what the model could not know otherwise."""
        item = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}
        return self._event("conversation.item.create", item=item)

    def function_output(self, call_id: str, output: dict[str, Any]) -> Command:
        """The answer to a function call; a response must be asked for separately."""
        item = {
            "type": "function_call_output",
            "call_id": call_id,
            "output": json.dumps(output, ensure_ascii=False),
        }
        return self._event("conversation.item.create", item=item)

    def _event(self, kind: str, *, verbatim: str = "", **fields: Any) -> Command:
        event = {"type": kind, "event_id": f"kav_{next(self._ids)}", **fields}
        return Command(json.dumps(event, ensure_ascii=False), event, verbatim)


def append_audio(payload_b64: bytes) -> bytes:
    """`input_audio_buffer.append`. Sent 50 times a second, so it is not built from objects."""
    return b'{"type":"input_audio_buffer.append","audio":"%b"}' % payload_b64


def _turn_detection(settings: SessionSettings) -> dict[str, Any]:
    """Always sent in full: the documented defaults and the ones in force have differed. The model only
    reports speech; whether it interrupts, and when it is answered, is decided here (`server.turns`)."""
    return {
        "type": "server_vad",
        "threshold": settings.vad_threshold,
        "prefix_padding_ms": settings.prefix_padding_ms,
        "silence_duration_ms": settings.silence_duration_ms,
        "create_response": False,
        "interrupt_response": False,
    }


def _transcription(settings: SessionSettings) -> dict[str, Any] | None:
    if settings.transcription_model is None:
        return None
    transcription: dict[str, Any] = {"model": settings.transcription_model}
    if settings.language:
        transcription["language"] = settings.language
    return transcription


def voice_of(name: str) -> str | dict[str, str]:
    """As OpenAI's APIs want a voice: its own by name, one that was made for you by its id."""
    return {"id": name} if name.startswith("voice_") else name


def _general_session(settings: SessionSettings) -> dict[str, Any]:
    audio_input: dict[str, Any] = {
        "format": AUDIO_FORMATS[settings.input_audio_format],
        "turn_detection": _turn_detection(settings),
    }
    if (transcription := _transcription(settings)) is not None:
        audio_input["transcription"] = transcription
    session: dict[str, Any] = {
        "type": "realtime",
        "instructions": settings.instructions,
        "output_modalities": ["audio"],
        "audio": {
            "input": audio_input,
            "output": {
                "format": AUDIO_FORMATS[settings.output_audio_format],
                "voice": voice_of(settings.voice),
            },
        },
        "max_output_tokens": settings.max_response_output_tokens,
    }
    if settings.tools:
        session |= {"tools": [function_of(tool) for tool in settings.tools], "tool_choice": "auto"}
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
        session |= {"tools": [function_of(tool) for tool in settings.tools], "tool_choice": "auto"}
    return session


def function_of(tool: Tool) -> dict[str, Any]:
    """Flat, not nested as in the chat protocol."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
