"""What does the model say? Server events of the Realtime protocol, typed.

Both spellings of an event are always understood, whatever dialect was asked for: the general
one (`response.output_audio.delta`) and the older (`response.audio.delta`), because listening for
the wrong one is silence without an error. Audio is decoded to bytes here.

An event that no call needs becomes `Other`, one never heard of `Unknown`: both are counted by
their reader, neither ends anything. A known event that lacks what its meaning rests on raises
RealtimeProtocolError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from server.errors import RealtimeProtocolError
from server.wire import base64text


@dataclass(frozen=True, slots=True)
class SessionCreated:
    session_id: str
    expires_at: int | None
    """Unix seconds; a session lives 60 minutes."""


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    """Our settings are in force. Audio appended before this would be read in another format."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The server's voice detection heard the caller."""

    item_id: str
    audio_start_ms: int
    """On the clock of the audio appended to this session."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    response_id: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    response_id: str
    item_id: str
    payload: bytes
    """G.711 μ-law of any length, as the session was configured."""


@dataclass(frozen=True, slots=True)
class AudioDone:
    """The item's audio is complete."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class AgentTranscript:
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentWords:
    """The next few words of what an item says."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CallerTranscript:
    """Comes at any time after the turn: belongs to its item, not to the moment."""

    item_id: str
    text: str | None
    """None: it could not be made."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    name: str
    call_id: str
    arguments: str
    """JSON as the model wrote it, which may be broken."""


@dataclass(frozen=True, slots=True)
class ResponseDone:
    response_id: str
    status: str
    """completed, cancelled, incomplete or failed."""
    reason: str
    function_calls: tuple[FunctionCall, ...]
    error: ServerError | None
    """What failed, when `status` is failed: quota and rate limits may arrive here only."""
    total_tokens: int


@dataclass(frozen=True, slots=True)
class ServerError:
    type: str
    code: str
    message: str
    param: str
    event_id: str
    """Of our event that it answers: the only correlation there is."""
    fault_id: str = ""
    """What it is to the operator, where the code alone does not tell."""


@dataclass(frozen=True, slots=True)
class Other:
    """A documented event that needs no action here."""

    type: str


@dataclass(frozen=True, slots=True)
class Unknown:
    type: str


Event = (
    SessionCreated
    | SessionUpdated
    | SpeechStarted
    | SpeechStopped
    | ResponseCreated
    | AudioDelta
    | AudioDone
    | AgentTranscript
    | AgentWords
    | CallerTranscript
    | ResponseDone
    | ServerError
    | Other
    | Unknown
)

OTHER_TYPES = frozenset(
    """
    conversation.created conversation.item.created conversation.item.added conversation.item.done
    conversation.item.retrieved conversation.item.deleted conversation.item.truncated
    conversation.item.input_audio_transcription.delta conversation.item.input_audio_transcription.segment
    conversation.item.input_audio_transcription.updated
    input_audio_buffer.committed input_audio_buffer.cleared input_audio_buffer.timeout_triggered
    input_audio_buffer.dtmf_event_received output_audio_buffer.started output_audio_buffer.stopped
    output_audio_buffer.cleared response.output_item.added response.output_item.done
    response.content_part.added response.content_part.done response.output_text.delta
    response.output_text.done response.text.delta response.text.done
    response.function_call_arguments.delta response.function_call_arguments.done
    response.mcp_call_arguments.delta response.mcp_call_arguments.done response.mcp_call.in_progress
    response.mcp_call.completed response.mcp_call.failed mcp_list_tools.in_progress
    mcp_list_tools.completed mcp_list_tools.failed rate_limits.updated
    """.split()
)


def decode(text: str | bytes) -> tuple[str, Event]:
    """The type as it stood on the wire, and the event. Raises RealtimeProtocolError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RealtimeProtocolError(f"message of {len(text)} characters is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise RealtimeProtocolError("message is not an object with a type")
    kind: str = message["type"]
    return kind, _event(kind, message)


def _event(kind: str, message: dict[str, Any]) -> Event:
    match kind:
        case "response.output_audio.delta" | "response.audio.delta":
            return AudioDelta(
                _text(message, "response_id"), _text(message, "item_id"), _audio(message.get("delta"))
            )
        case "response.output_audio.done" | "response.audio.done":
            return AudioDone(_text(message, "response_id"), _text(message, "item_id"))
        case "response.output_audio_transcript.done" | "response.audio_transcript.done":
            return AgentTranscript(_text(message, "item_id"), _text(message, "transcript"))
        case "response.output_audio_transcript.delta" | "response.audio_transcript.delta":
            return AgentWords(_text(message, "item_id"), _text(message, "delta"))
        case "conversation.item.input_audio_transcription.completed":
            return CallerTranscript(_text(message, "item_id"), _text(message, "transcript"))
        case "conversation.item.input_audio_transcription.failed":
            return CallerTranscript(_text(message, "item_id"), None)
        case "input_audio_buffer.speech_started":
            return SpeechStarted(_text(message, "item_id"), _count(message, "audio_start_ms"))
        case "input_audio_buffer.speech_stopped":
            return SpeechStopped(_text(message, "item_id"), _count(message, "audio_end_ms"))
        case "session.created":
            session = _object(message, "session")
            expires_at = session.get("expires_at")
            return SessionCreated(_text(session, "id"), expires_at if isinstance(expires_at, int) else None)
        case "session.updated":
            return SessionUpdated()
        case "response.created":
            return ResponseCreated(_required(_object(message, "response"), "id"))
        case "response.done":
            return _response_done(_object(message, "response"))
        case "error":
            return _error(_object(message, "error"))
        case _:
            return Other(kind) if kind in OTHER_TYPES else Unknown(kind[:100])


def _response_done(response: dict[str, Any]) -> ResponseDone:
    details = response.get("status_details")
    details = details if isinstance(details, dict) else {}
    error = details.get("error")
    usage = response.get("usage")
    output = response.get("output")
    calls = tuple(
        FunctionCall(_text(item, "name"), _text(item, "call_id"), _text(item, "arguments"))
        for item in (output if isinstance(output, list) else [])
        if isinstance(item, dict) and item.get("type") == "function_call"
    )
    return ResponseDone(
        response_id=_text(response, "id"),
        status=_text(response, "status"),
        reason=_text(details, "reason"),
        function_calls=calls,
        error=_error(error) if isinstance(error, dict) else None,
        total_tokens=_count(usage, "total_tokens") if isinstance(usage, dict) else 0,
    )


def _error(error: dict[str, Any]) -> ServerError:
    return ServerError(*(_text(error, key) for key in ("type", "code", "message", "param", "event_id")))


def _object(message: dict[str, Any], key: str) -> dict[str, Any]:
    value = message.get(key)
    if not isinstance(value, dict):
        raise RealtimeProtocolError(f"{message.get('type')} lacks its object {key!r}")
    return value


def _required(message: dict[str, Any], key: str) -> str:
    value = _text(message, key)
    if not value:
        raise RealtimeProtocolError(f"an object lacks its {key!r}")
    return value


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    return value if isinstance(value, str) else ""


def _count(message: dict[str, Any], key: str) -> int:
    value = message.get(key)
    return value if isinstance(value, int) else 0


def _audio(delta: object) -> bytes:
    if not isinstance(delta, str):
        raise RealtimeProtocolError("an audio delta is not text")
    try:
        return base64text.decode(delta)
    except ValueError as error:
        raise RealtimeProtocolError(f"an audio delta is not base64 ({len(delta)} characters)") from error


class ErrorKind(Enum):
    """What an error of the model asks of us."""

    BENIGN = auto()
    """A race that both sides may lose: the event had no effect, and none is missed."""
    ACTIVE_RESPONSE = auto()
    """Our `response.create` came while another response ran: ask again when that one is done."""
    REFUSED = auto()
    """Our event was wrong and had no effect. Fatal when it held the session's settings."""
    SESSION_OVER = auto()
    """The session's time is up: a new one is needed."""
    FATAL = auto()
    """Key, quota or protocol: trying again gives the same answer."""
    TRANSIENT = auto()
    """A rate limit or a fault of the server: later it may work."""


_BENIGN_CODES = frozenset(
    (
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "item_retrieve_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_truncate_invalid_item_id",
    )
)
_FATAL_CODES = frozenset(
    (
        "insufficient_quota",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
        "beta_api_shape_disabled",
        "model_not_found",
    )
)
_REFUSED_CODES = frozenset(
    (
        "unknown_parameter",
        "missing_required_parameter",
        "invalid_value",
        "invalid_type",
        "cannot_update_voice",
        "integer_below_min_value",
    )
)


def classify(error: ServerError) -> ErrorKind:
    """The class of an error, by its code; by its words where the server gives no code."""
    code, words = error.code, error.message.lower()
    if code == "conversation_already_has_active_response":
        return ErrorKind.ACTIVE_RESPONSE
    if code in _BENIGN_CODES or "already shorter than" in words or "item not found" in words:
        return ErrorKind.BENIGN
    if "item" in words and "does not exist" in words:
        return ErrorKind.BENIGN
    if code == "session_expired":
        return ErrorKind.SESSION_OVER
    if code in _FATAL_CODES:
        return ErrorKind.FATAL
    if code in _REFUSED_CODES:
        return ErrorKind.REFUSED
    if error.type == "server_error" or "rate_limit" in code or error.type == "rate_limit_error":
        return ErrorKind.TRANSIENT
    return ErrorKind.REFUSED if error.type == "invalid_request_error" else ErrorKind.TRANSIENT


def fault_of(code: str) -> str:
    """The id of the fault that a model's refusal is to the operator."""
    return _FAULTS.get(code, "KAV-131")


_FAULTS = {
    "invalid_api_key": "KAV-132",
    "insufficient_quota": "KAV-133",
    "account_deactivated": "KAV-133",
    "billing_hard_limit_reached": "KAV-133",
    "beta_api_shape_disabled": "KAV-134",
    "model_not_found": "KAV-139",
    "handshake_refused": "KAV-139",
    "rate_limited": "KAV-140",
}
