"""Twilio Media Streams messages: typed when they come in, exact when they go out.

Twilio sends `connected`, `start`, `media`, `dtmf`, `mark` and `stop` as JSON text; we send
`media`, `mark` and `clear`, with no field more than Twilio lists: an extra one is a cause of its
warning 31951. Sequence numbers, chunks and timestamps are decimal strings on the wire [1].

Whatever is unknown becomes `Unknown` and ends nothing; a known event that lacks its fields
raises `TwilioProtocolError`, whose text says what was seen and never repeats a payload.

[1] twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from server.errors import TwilioProtocolError
from server.wire import base64text

SUBPROTOCOL = "audio.twilio.com"


@dataclass(frozen=True, slots=True)
class Connected:
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    stream_sid: str
    call_sid: str
    account_sid: str
    encoding: str
    sample_rate_hz: int
    channels: int
    parameters: dict[str, str] = field(default_factory=dict, repr=False)
    """The `<Parameter>`s of the TwiML, as text."""


@dataclass(frozen=True, slots=True)
class Media:
    stream_sid: str
    track: str
    timestamp_ms: int | None
    """Since the stream's start; None when the text was no number."""
    chunk: int | None
    """Counts media messages from 1, so a gap is a loss."""
    payload: bytes
    """G.711 μ-law, usually 160 bytes."""


@dataclass(frozen=True, slots=True)
class Dtmf:
    digit: str


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    call_sid: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    event: str


Message = Connected | Start | Media | Dtmf | Mark | Stop | Unknown

DIGITS = frozenset("0123456789*#ABCD")


def decode(text: str | bytes) -> Message:
    """The message in one text frame. Raises TwilioProtocolError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TwilioProtocolError(f"message of {len(text)} characters is not JSON") from error
    if not isinstance(message, dict):
        raise TwilioProtocolError(f"message is a JSON {type(message).__name__}, not an object")
    event = message.get("event")
    match event:
        case "media":
            return _media(message)
        case "connected":
            return Connected(str(message.get("protocol", "")))
        case "start":
            return _start(message)
        case "dtmf":
            digit = _object(message, "dtmf").get("digit")
            if not isinstance(digit, str) or digit not in DIGITS or len(digit) != 1:
                raise TwilioProtocolError("dtmf.digit is not one key of a telephone")
            return Dtmf(digit)
        case "mark":
            name = _object(message, "mark").get("name")
            if not isinstance(name, str):
                raise TwilioProtocolError("mark.name is not text")
            return Mark(name)
        case "stop":
            stop = message.get("stop")
            call_sid = stop.get("callSid", "") if isinstance(stop, dict) else ""
            return Stop(call_sid if isinstance(call_sid, str) else "")
        case str():
            return Unknown(event[:64])
        case _:
            raise TwilioProtocolError(f"event is {type(event).__name__}, not text")


def _object(message: dict[str, Any], key: str) -> dict[str, Any]:
    value = message.get(key)
    if not isinstance(value, dict):
        raise TwilioProtocolError(f"{message['event']} lacks its object {key!r}")
    return value


def _media(message: dict[str, Any]) -> Media:
    media = _object(message, "media")
    payload_b64 = media.get("payload")
    if not isinstance(payload_b64, str):
        raise TwilioProtocolError("media.payload is not text")
    track = media.get("track")
    return Media(
        stream_sid=_text(message.get("streamSid")),
        track=track if isinstance(track, str) else "inbound",
        timestamp_ms=_decimal(media.get("timestamp")),
        chunk=_decimal(media.get("chunk")),
        payload=decode_payload(payload_b64),
    )


def _decimal(value: object) -> int | None:
    """Twilio writes numbers as text. Longer than 15 digits is no count of anything here."""
    is_decimal = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16
    return int(value) if is_decimal and isinstance(value, str) else None


def decode_payload(payload_b64: str) -> bytes:
    """Bytes of a base64 payload, padded and in the standard alphabet. Raises TwilioProtocolError."""
    try:
        return base64text.decode(payload_b64)
    except ValueError as error:
        raise TwilioProtocolError(f"media.payload is not base64 ({len(payload_b64)} characters)") from error


def _start(message: dict[str, Any]) -> Start:
    start = _object(message, "start")
    stream_sid = start.get("streamSid") or message.get("streamSid")
    call_sid = start.get("callSid")
    for name, value, prefix in (("streamSid", stream_sid, "MZ"), ("callSid", call_sid, "CA")):
        if not isinstance(value, str) or not value or len(value) > 64 or not _is_sid(value):
            raise TwilioProtocolError(f"start.{name} is not a SID such as {prefix} and 32 hex digits")
    media_format = start.get("mediaFormat")
    if not isinstance(media_format, dict):
        media_format = {}
    parameters = start.get("customParameters")
    if not isinstance(parameters, dict):
        parameters = {}
    rate_hz, channels = media_format.get("sampleRate", 8000), media_format.get("channels", 1)
    return Start(
        stream_sid=_text(stream_sid),
        call_sid=_text(call_sid),
        account_sid=_text(start.get("accountSid")),
        encoding=_text(media_format.get("encoding", "audio/x-mulaw")),
        sample_rate_hz=rate_hz if isinstance(rate_hz, int) else 0,
        channels=channels if isinstance(channels, int) else 0,
        parameters={k: v for k, v in parameters.items() if isinstance(v, str)},
    )


def _is_sid(value: str) -> bool:
    """Letters, digits, `_` and `-`: tests use short ones; quotes, line ends and bidi controls never pass."""
    return value.isascii() and value.replace("_", "").replace("-", "").isalnum()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def encode_media(stream_sid: str, payload: bytes) -> str:
    """One `media` message. `payload` is raw μ-law: base64 is applied here, once."""
    payload_b64 = base64.b64encode(payload).decode("ascii")
    return f'{{"event":"media","streamSid":"{stream_sid}","media":{{"payload":"{payload_b64}"}}}}'


def encode_mark(stream_sid: str, name: str) -> str:
    """A `mark`: Twilio echoes it once everything sent before it was played, or cleared."""
    return f'{{"event":"mark","streamSid":"{stream_sid}","mark":{{"name":"{name}"}}}}'


def encode_clear(stream_sid: str) -> str:
    """A `clear`: Twilio drops what it holds and echoes every outstanding mark at once."""
    return f'{{"event":"clear","streamSid":"{stream_sid}"}}'
