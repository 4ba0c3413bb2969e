"""Would Twilio accept this message of ours?

A second opinion, on purpose without the gateway's own codec: what one hand wrote wrongly the same
hand would also read wrongly. Twilio takes three events as text frames, each with exactly its
fields; for an unknown event, a missing or an additional field or another stream's `streamSid` it
warns 31951 and ignores the message, for a binary frame 31950 [1]. Two faults Twilio cannot see
are found as well, because the caller hears them as noise: audio encoded twice, and a WAV header.

[1] twilio.com/docs/voice/media-streams/websocket-messages and /docs/api/errors/31951
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from server.simulator.twilio.findings import Finding

INVALID, UNDECODABLE = 31951, 31950

_ALLOWED: dict[str, dict[str, frozenset[str]]] = {
    "media": {"": frozenset({"event", "streamSid", "media"}), "media": frozenset({"payload"})},
    "mark": {"": frozenset({"event", "streamSid", "mark"}), "mark": frozenset({"name"})},
    "clear": {"": frozenset({"event", "streamSid"})},
}
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_ENCODED_TWICE = re.compile(rb"[A-Za-z0-9+/]{98,}={0,2}")


@dataclass(frozen=True, slots=True)
class Media:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


Command = Media | Mark | Clear


@dataclass(frozen=True, slots=True)
class Checked:
    """What Twilio does with a message, None for nothing, and what is wrong with it."""

    command: Command | None
    findings: tuple[Finding, ...] = ()


class _Invalid(Exception):
    """Twilio ignores the message for this reason."""


def check(data: bytes, stream_sid: str) -> Checked:
    """Judge the UTF-8 text of one text frame."""
    try:
        message = _parse(data)
        event = _check_fields(message, stream_sid)
        if event == "clear":
            return Checked(Clear())
        if event == "mark":
            return Checked(Mark(_mark_name(message["mark"]["name"])))
        payload = _payload(message["media"]["payload"])
    except _Invalid as error:
        return Checked(None, (Finding(INVALID, str(error)),))
    return Checked(Media(payload), _noise(payload))


def binary_frame() -> Finding:
    return Finding(UNDECODABLE, "a binary frame; Twilio reads text frames only")


def _parse(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _Invalid("a message that is not JSON") from None
    if not isinstance(message, dict):
        raise _Invalid("a message that is not a JSON object")
    return message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    message = dict(pairs)
    if len(message) != len(pairs):
        raise _Invalid("a message that names a field twice")
    return message


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's


def _check_fields(message: dict[str, Any], stream_sid: str) -> str:
    event = message.get("event")
    if not isinstance(event, str) or event not in _ALLOWED:
        raise _Invalid(f"unknown event {_shown(event)}; media, mark and clear exist")
    for inner, allowed in _ALLOWED[event].items():
        fields = message[inner] if inner else message
        if not isinstance(fields, dict):
            raise _Invalid(f"{event}: {inner} is not an object")
        for extra in sorted(fields.keys() - allowed):
            raise _Invalid(f"{event}: additional field {_path(inner, extra)}")
        for missing in sorted(allowed - fields.keys()):
            raise _Invalid(f"{event}: missing field {_path(inner, missing)}")
    if message["streamSid"] != stream_sid:
        raise _Invalid(f"{event}: streamSid is not this stream's")
    return event


def _mark_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise _Invalid("mark: name is not text of at least one character")
    return name


def _payload(text: object) -> bytes:
    if not isinstance(text, str):
        raise _Invalid(f"media: payload is {_shown(text)}, not base64 text")
    if not text:
        raise _Invalid("media: payload is empty")
    if not _BASE64.fullmatch(text):
        raise _Invalid("media: payload is not base64 in the standard alphabet with its padding")
    return base64.b64decode(text)


def _noise(payload: bytes) -> tuple[Finding, ...]:
    """Faults of the audio itself, which Twilio plays as it came."""
    if len(payload) >= 100 and _ENCODED_TWICE.fullmatch(payload):
        return (Finding(None, "media: payload is base64 of base64; the caller hears noise"),)
    if payload.startswith((b"b'", b'b"')):
        return (Finding(None, "media: payload is the text of Python bytes; the caller hears noise"),)
    if payload.startswith(b"RIFF"):
        return (Finding(None, "media: payload begins with a WAV header; the caller hears a crack"),)
    return ()


def _path(inner: str, name: str) -> str:
    return f"{inner}.{name[:40]}" if inner else name[:40]


def _shown(value: object) -> str:
    """A value for a message: short texts as they are, everything else by its type."""
    if isinstance(value, str):
        return repr(value[:40])
    return "none" if value is None else f"of type {type(value).__name__}"
