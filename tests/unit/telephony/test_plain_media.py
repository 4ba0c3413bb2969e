"""The short way for plain media gives what the parser gives, or gives way to it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import TwilioProtocolError
from server.telephony.messages import Media, decode
from server.telephony.plain_media import Plain, scan

SID = "MZ298998405c2b6daca091d5fd030d96b6"
FRAME = bytes(range(160))
SHAPES = {
    "as Twilio sends it": ("event", "sequenceNumber", "media", "streamSid"),
    "as Twilio documents it": ("event", "sequenceNumber", "streamSid", "media"),
}


def message(order: tuple[str, ...], payload: bytes = FRAME, sid: str = SID, **media: str) -> dict[str, Any]:
    parts = {
        "event": "media",
        "sequenceNumber": "4",
        "streamSid": sid,
        "media": {"track": "inbound", "chunk": "3", "timestamp": "40"}
        | media
        | {"payload": base64.b64encode(payload).decode("ascii")},
    }
    return {key: parts[key] for key in order}


def plain(text: bytes) -> Plain | None:
    return scan(text, SID.encode())


def wire(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize("order", SHAPES.values(), ids=SHAPES)
def test_both_shapes_are_recognised(order: tuple[str, ...]) -> None:
    assert plain(wire(message(order))) == (FRAME, base64.b64encode(FRAME), 3)


@pytest.mark.parametrize("order", SHAPES.values(), ids=SHAPES)
@given(payload=st.binary(min_size=160, max_size=160), chunk=st.integers(1, 10**14))
def test_what_is_recognised_is_what_the_parser_reads(
    order: tuple[str, ...], payload: bytes, chunk: int
) -> None:
    text = wire(message(order, payload, chunk=str(chunk)))
    found, parsed = plain(text), decode(text)
    assert found is not None and isinstance(parsed, Media)
    assert (found[0], found[2]) == (parsed.payload, parsed.chunk)
    assert base64.b64decode(found[1]) == parsed.payload


@given(data=st.data())
def test_a_changed_byte_gives_the_parsers_result_or_is_left_to_it(data: st.DataObject) -> None:
    text = bytearray(wire(message(data.draw(st.sampled_from(list(SHAPES.values()))))))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255))
    found = plain(bytes(text))
    if found is None:
        return
    parsed = decode(bytes(text))
    assert isinstance(parsed, Media) and parsed.stream_sid == SID and parsed.track == "inbound"
    assert (found[0], found[2]) == (parsed.payload, parsed.chunk)


@pytest.mark.parametrize(
    "text",
    [
        wire(message(("event", "streamSid", "sequenceNumber", "media"))),
        wire(message(("event", "sequenceNumber", "media"))),
        json.dumps(message(SHAPES["as Twilio sends it"])).encode(),
        wire(message(SHAPES["as Twilio sends it"], sid="MZ" + "0" * 32)),
        wire(message(SHAPES["as Twilio sends it"], payload=FRAME[:-1])),
        wire(message(SHAPES["as Twilio sends it"], payload=FRAME * 2)),
        wire(message(SHAPES["as Twilio sends it"], track="outbound")),
        wire(message(SHAPES["as Twilio sends it"], extra="x")),
        wire(message(SHAPES["as Twilio sends it"])) + b"\n",
        wire(message(SHAPES["as Twilio sends it"])).replace(
            b'"media":{', b'"streamSid":"' + SID.encode() + b'","media":{'
        ),
        wire(message(SHAPES["as Twilio sends it"])).replace(b"AAEC", b"AA\\u0045C"),
        b"",
        b"{}",
    ],
)
def test_everything_else_is_left_to_the_parser(text: bytes) -> None:
    assert plain(text) is None


def test_a_stream_sid_is_text_and_no_pattern() -> None:
    text = wire(message(SHAPES["as Twilio sends it"], sid="MZaXb"))
    assert scan(text, b"MZa.b") is None
    with pytest.raises(TwilioProtocolError):
        decode(b'{"event":"start","start":{"streamSid":"MZ[","callSid":"CA1"}}')
