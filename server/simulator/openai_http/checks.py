"""Would OpenAI take this request? Strictly: what it does not know, it refuses.

Each check returns what the server needs of the request, or raises Refused with OpenAI's status, code
and parameter. Pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VOICES = tuple("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
MAX_INPUT_CHARS = 4096
LEAST_AUDIO_MS = 100
_FILE_KINDS = ("flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm")
_TRANSCRIPTION_FIELDS = frozenset(
    "model language languages[] keywords[] prompt response_format temperature stream include[] "
    "chunking_strategy timestamp_granularities[]".split()
)
_SPEECH_FIELDS = frozenset("model voice input instructions response_format speed stream_format".split())
_CHAT_FIELDS = frozenset(
    "model messages stream stream_options tools tool_choice parallel_tool_calls temperature top_p n stop "
    "seed max_tokens max_completion_tokens presence_penalty frequency_penalty response_format "
    "reasoning_effort verbosity user metadata store service_tier logprobs top_logprobs logit_bias "
    "modalities audio prediction safety_identifier prompt_cache_key".split()
)
_ROLES = ("developer", "system", "user", "assistant", "tool")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_MAX_TOKENS = re.compile(r"(?:o\d|gpt-[5-9])")
"""Models that know `max_completion_tokens` only."""


class Refused(Exception):
    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


@dataclass(frozen=True, slots=True)
class Utterance:
    pcm16_8k: bytes
    model: str
    language: str

    @property
    def ms(self) -> int:
        return len(self.pcm16_8k) // 16


def transcription(fields: Mapping[str, str], file: tuple[str, bytes] | None) -> Utterance:
    """`file`: its name and its bytes."""
    for name in fields:
        if name not in _TRANSCRIPTION_FIELDS:
            raise Refused(f"Unrecognized request argument supplied: {name}", name, "unknown_parameter")
    if file is None:
        raise Refused("you must provide a file", "file")
    if not fields.get("model"):
        raise Refused("you must provide a model parameter", "model")
    if fields.get("response_format", "json") != "json":
        raise Refused("the simulator writes down in json only", "response_format", "unsupported_value")
    language = fields.get("language", "")
    if language and not re.fullmatch(r"[a-z]{2}", language):
        raise Refused(f"Invalid language '{language}'. Language parameter must be ISO-639-1.", "language")
    name, data = file
    if name.rpartition(".")[2].lower() not in _FILE_KINDS or "." not in name:
        kinds = ", ".join(f"'{kind}'" for kind in _FILE_KINDS)
        raise Refused(f"Unrecognized file format. Supported formats: [{kinds}]", "file")
    pcm = _telephone_wav(data)
    if len(pcm) < LEAST_AUDIO_MS * 16:
        raise Refused(
            "Audio file is too short. Minimum audio length is 0.1 seconds.", "file", "audio_too_short"
        )
    return Utterance(pcm, fields["model"], language)


def _telephone_wav(data: bytes) -> bytes:
    """The samples. Sizes in the header must be true: a file cut short is a broken file."""
    broken = Refused("The audio file could not be decoded or its format is not supported.", "file")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE" or len(data) < 44:
        raise broken
    if int.from_bytes(data[4:8], "little") != len(data) - 8:
        raise broken
    kind, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", data[20:36])
    if data[12:16] != b"fmt " or data[36:40] != b"data":
        raise broken
    if int.from_bytes(data[40:44], "little") != len(data) - 44 or len(data) % 2:
        raise broken
    if (kind, channels, rate_hz, bits) != (1, 1, 8000, 16):
        raise Refused(
            f"the simulator hears PCM of 8000 Hz, mono, 16 bit; this is {rate_hz} Hz, {channels} channels, "
            f"{bits} bit",
            "file",
        )
    return data[44:]


def speech(request: Mapping[str, Any]) -> tuple[str, str]:
    """The text to be spoken, and the voice."""
    _known(request, _SPEECH_FIELDS)
    text, voice = request.get("input"), request.get("voice")
    if not _text(request.get("model")):
        raise Refused("you must provide a model parameter", "model")
    if not isinstance(text, str) or not text.strip():
        raise Refused("Invalid 'input': string too short. Expected a string with minimum length 1.", "input")
    if len(text) > MAX_INPUT_CHARS:
        raise Refused(
            f"Invalid 'input': string too long. Expected a string with maximum length {MAX_INPUT_CHARS}, "
            f"but got a string with length {len(text)} instead.",
            "input",
            "string_above_max_length",
        )
    if isinstance(voice, dict):
        voice = voice.get("id") if set(voice) == {"id"} else None
        is_known = isinstance(voice, str) and voice.startswith("voice_")
    else:
        is_known = voice in VOICES
    if not is_known:
        raise Refused(f"Invalid value: {voice!r}. Supported values are: {', '.join(VOICES)}.", "voice")
    if request.get("response_format", "mp3") != "pcm":
        raise Refused("the simulator speaks pcm only", "response_format", "unsupported_value")
    if request.get("stream_format", "audio") != "audio":
        raise Refused("the simulator streams audio only", "stream_format", "unsupported_value")
    if "instructions" in request and not isinstance(request["instructions"], str):
        raise Refused("Invalid type for 'instructions': expected a string.", "instructions")
    if "instructions" in request and str(request["model"]).startswith("tts-1"):
        raise Refused(f"'instructions' does not work with {request['model']}", "instructions")
    return text, str(voice)


def chat(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages."""
    _known(request, _CHAT_FIELDS)
    if not _text(request.get("model")):
        raise Refused("you must provide a model parameter", "model")
    if request.get("stream") is not True:
        raise Refused("the simulator answers with stream=true only", "stream", "unsupported_value")
    options = request.get("stream_options")
    if options is not None and (
        not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}
    ):
        raise Refused("Unknown parameter in 'stream_options'.", "stream_options", "unknown_parameter")
    if "max_tokens" in request and _NO_MAX_TOKENS.match(request["model"]):
        raise Refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    for number, tool in enumerate(_list(request.get("tools", []), "tools")):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise Refused(f"Missing required parameter: 'tools[{number}].function'.", f"tools[{number}]")
        if not _TOOL_NAME.fullmatch(str(function.get("name", ""))):
            raise Refused(f"Invalid 'tools[{number}].function.name'", f"tools[{number}].function.name")
    messages = _list(request.get("messages"), "messages")
    if not messages:
        raise Refused("[] is too short - 'messages'", "messages", "empty_array")
    _conversation(messages)
    return messages


def _conversation(messages: list[Any]) -> None:
    """Roles, contents, and that every function call was answered, and nothing else was."""
    owed: list[str] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Refused(
                f"Invalid value for '{where}.role'. Supported values are: {_ROLES}.", f"{where}.role"
            )
        role, content = message["role"], message.get("content")
        calls = message.get("tool_calls") or []
        if not isinstance(content, str | list) and not (role == "assistant" and calls):
            raise Refused(
                f"Invalid value for 'content': expected a string, got {content!r}.", f"{where}.content"
            )
        if role == "tool":
            if message.get("tool_call_id") not in owed:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding "
                    "message with 'tool_calls'.",
                    f"{where}.role",
                )
            owed.remove(message["tool_call_id"])
        elif owed:
            raise Refused(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. These tool_call_ids did not have response messages: {', '.join(owed)}",
                "messages",
            )
        for call in _list(calls, f"{where}.tool_calls"):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not _text(call.get("id")) or call.get("type") != "function":
                raise Refused(f"Missing required parameter in '{where}.tool_calls'.", f"{where}.tool_calls")
            if not _TOOL_NAME.fullmatch(str(function.get("name"))) or not isinstance(
                function.get("arguments"), str
            ):
                raise Refused(f"Invalid function in '{where}.tool_calls'.", f"{where}.tool_calls")
            owed.append(call["id"])
    if owed:
        raise Refused(f"tool_call_ids did not have response messages: {', '.join(owed)}", "messages")


def _known(request: Mapping[str, Any], fields: frozenset[str]) -> None:
    for name in request:
        if name not in fields:
            raise Refused(f"Unrecognized request argument supplied: {name}", name, "unknown_parameter")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"Invalid type for '{name}': expected an array.", name, "invalid_type")
    return value


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
