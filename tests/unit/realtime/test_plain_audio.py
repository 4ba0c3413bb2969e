"""The short way for audio deltas gives what the decoder gives, or gives way to it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.events import AudioDelta, decode
from server.realtime.plain_audio import scan

KINDS = ("response.output_audio.delta", "response.audio.delta")


def delta(payload: bytes, kind: str = KINDS[0], **more: object) -> dict[str, object]:
    return {
        "type": kind,
        "event_id": "event_1",
        "response_id": "resp_1",
        "item_id": "item_1",
        "output_index": 0,
        "content_index": 0,
        "delta": base64.b64encode(payload).decode("ascii"),
    } | more


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("kind", KINDS)
@given(payload=st.binary(min_size=1, max_size=5000))
def test_a_delta_of_any_length_reads_as_the_decoder_reads_it(
    kind: str, separators: tuple[str, str], payload: bytes
) -> None:
    text = json.dumps(delta(payload, kind), separators=separators).encode()
    assert scan(text) == ("resp_1", "item_1", payload)
    assert decode(text) == (kind, AudioDelta("resp_1", "item_1", payload))


@given(data=st.data())
def test_a_changed_byte_gives_the_decoders_result_or_is_left_to_it(data: st.DataObject) -> None:
    text = bytearray(json.dumps(delta(b"some audio of some length"), separators=(",", ":")).encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    plain = scan(bytes(text))
    if plain is not None:
        assert decode(bytes(text))[1] == AudioDelta(*plain)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(delta(b"abc", delta="")),
        json.dumps(delta(b"abc", delta="YWJ")),
        json.dumps(delta(b"abc", delta="YW=J")),
        json.dumps(delta(b"abc", item_id='it"em')),
        json.dumps(delta(b"abc", extra=1)),
        json.dumps(delta(b"abc", "response.output_audio_transcript.delta")),
        json.dumps({"type": KINDS[0], "delta": "YWJj"}),
    ],
)
def test_everything_else_is_left_to_the_decoder(text: str) -> None:
    assert scan(text.encode()) is None
