import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.simulator.twilio.schema import Clear, Mark, Media, binary_frame, check

SID = "MZ" + "0" * 32
AUDIO = bytes(range(160))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def media(**changes: Any) -> dict[str, Any]:
    return {"event": "media", "streamSid": SID, "media": {"payload": b64(AUDIO)}} | changes


def judged(message: object) -> tuple[object, list[tuple[int | None, str]]]:
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    checked = check(text, SID)
    return checked.command, [(finding.code, finding.text) for finding in checked.findings]


@pytest.mark.parametrize(
    ("message", "command"),
    [
        (media(), Media(AUDIO)),
        ({"event": "mark", "streamSid": SID, "mark": {"name": "תשובה 1"}}, Mark("תשובה 1")),
        ({"event": "clear", "streamSid": SID}, Clear()),
    ],
)
def test_the_three_events_are_taken_as_they_are(message: object, command: object):
    assert judged(message) == (command, [])


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"", "not JSON"),
        (b"\xff\xff", "not JSON"),
        (b"{'event':'clear'}", "not JSON"),
        (b'{"event":NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([media()], "not a JSON object"),
        ("media", "not a JSON object"),
        (b'{"event":"clear","event":"clear","streamSid":"%s"}' % SID.encode(), "names a field twice"),
        ({}, "unknown event none"),
        (media(event=None), "unknown event none"),
        (media(event=["media"]), "unknown event of type list"),
        (media(event="Media"), "unknown event 'Media'"),
        (media(event="stop"), "unknown event 'stop'"),
        (media(type="media"), "additional field type"),
        (media(sequenceNumber="1"), "additional field sequenceNumber"),
        (media(payload=b64(AUDIO)), "additional field payload"),
        (media(media={"payload": b64(AUDIO), "track": "outbound"}), "additional field media.track"),
        (media(media={}), "missing field media.payload"),
        (media(media=b64(AUDIO)), "media is not an object"),
        ({"event": "media", "media": {"payload": b64(AUDIO)}}, "missing field streamSid"),
        ({"event": "media", "streamSid": SID, "payload": b64(AUDIO)}, "additional field payload"),
        (media(streamSid="MZ" + "1" * 32), "streamSid is not this stream's"),
        (media(streamSid=None), "streamSid is not this stream's"),
        ({"event": "clear", "streamSid": SID, "clear": {}}, "additional field clear"),
        ({"event": "mark", "streamSid": SID}, "missing field mark"),
        ({"event": "mark", "streamSid": SID, "mark": {}}, "missing field mark.name"),
        ({"event": "mark", "streamSid": SID, "mark": {"name": ""}}, "name is not text"),
        ({"event": "mark", "streamSid": SID, "mark": {"name": 7}}, "name is not text"),
        (media(media={"payload": None}), "payload is none, not base64 text"),
        (media(media={"payload": [255] * 160}), "payload is of type list"),
        (media(media={"payload": ""}), "payload is empty"),
        (media(media={"payload": b64(AUDIO).rstrip("=")}), "not base64 in the standard alphabet"),
        (media(media={"payload": base64.urlsafe_b64encode(b"\xfb\xff\xfe").decode()}), "standard alphabet"),
        (media(media={"payload": b64(AUDIO) + "\n"}), "standard alphabet"),
        (media(media={"payload": "data:audio/x-mulaw;base64," + b64(AUDIO)}), "standard alphabet"),
        (media(media={"payload": str(AUDIO)}), "standard alphabet"),
        (media(media={"payload": "=" * 8}), "standard alphabet"),
    ],
)
def test_what_twilio_ignores_is_31951(message: object, complaint: str):
    command, findings = judged(message)
    assert command is None
    assert [code for code, _ in findings] == [31951]
    assert complaint in findings[0][1]


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (base64.b64encode(AUDIO), "base64 of base64"),
        (base64.b64encode(b"\xff" * 160), "base64 of base64"),
        (str(AUDIO).encode(), "text of Python bytes"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + AUDIO, "WAV header"),
    ],
)
def test_noise_that_twilio_would_play_is_found_and_played(payload: bytes, complaint: str):
    command, findings = judged(media(media={"payload": b64(payload)}))
    assert command == Media(payload)
    assert [code for code, _ in findings] == [None]
    assert complaint in findings[0][1]


@pytest.mark.parametrize("payload", [b"\xff" * 160, b"\x7f" * 160, b"\x7e" * 160, b"\x00" * 160, b"A" * 40])
def test_silence_and_short_messages_are_not_taken_for_text(payload: bytes):
    assert judged(media(media={"payload": b64(payload)})) == (Media(payload), [])


def test_a_complaint_never_repeats_a_payload():
    _, findings = judged(media(media={"payload": "!" + "SECRET" * 50}))
    assert "SECRET" not in findings[0][1]
    _, findings = judged(media(event="x" * 5000))
    assert len(findings[0][1]) < 120


def test_a_binary_frame_is_31950():
    assert binary_frame().code == 31950


@given(st.binary(min_size=1, max_size=2000))
def test_any_audio_comes_through_unchanged(payload: bytes):
    assert check(json.dumps(media(media={"payload": b64(payload)})).encode(), SID).command == Media(payload)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_raise(data: bytes):
    assert check(data, SID).command is None or check(data, SID).findings == ()
