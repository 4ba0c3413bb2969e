import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import TwilioProtocolError
from server.telephony.messages import (
    Connected,
    Dtmf,
    Mark,
    Media,
    Message,
    Start,
    Stop,
    Unknown,
    decode,
    encode_clear,
    encode_mark,
    encode_media,
)

STREAM, CALL, ACCOUNT = "MZ" + "1" * 32, "CA" + "2" * 32, "AC" + "3" * 32
FRAME = bytes(range(160))


def start(**changes) -> dict:
    """A `start` as Twilio sends it; a change of None leaves the field out."""
    body = {
        "accountSid": ACCOUNT,
        "streamSid": STREAM,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "abc"},
    } | changes
    body = {name: value for name, value in body.items() if value is not None}
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": body}


def media(**changes) -> dict:
    body = {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": base64.b64encode(FRAME).decode()}
    body = {name: value for name, value in (body | changes).items() if value is not None}
    return {"event": "media", "sequenceNumber": "3", "streamSid": STREAM, "media": body}


def read(message) -> Message:
    return decode(json.dumps(message))


# -- what Twilio documents


def test_connected():
    assert read({"event": "connected", "protocol": "Call", "version": "1.0.0"}) == Connected("Call")


def test_start():
    assert read(start()) == Start(STREAM, CALL, ACCOUNT, "audio/x-mulaw", 8000, 1, {"token": "abc"})


def test_media():
    assert read(media()) == Media(STREAM, "inbound", timestamp_ms=5, chunk=2, payload=FRAME)


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_every_key_of_a_telephone(digit):
    message = {"event": "dtmf", "streamSid": STREAM, "sequenceNumber": "5"}
    assert read(message | {"dtmf": {"track": "inbound_track", "digit": digit}}) == Dtmf(digit)


def test_mark():
    message = {"event": "mark", "sequenceNumber": "4", "streamSid": STREAM, "mark": {"name": "my label"}}
    assert read(message) == Mark("my label")


def test_stop():
    body = {"accountSid": ACCOUNT, "callSid": CALL}
    assert read({"event": "stop", "streamSid": STREAM, "stop": body}) == Stop(CALL)


@pytest.mark.parametrize("body", [None, {}, [], "x", {"callSid": 7}, {"callSid": None}])
def test_a_stop_stops_whatever_else_it_says(body):
    assert read({"event": "stop", "stop": body}) == Stop("")
    assert read({"event": "stop"}) == Stop("")


def test_a_message_reads_the_same_as_bytes_and_as_text():
    text = json.dumps(start(customParameters={"business": "מאפייה"}), ensure_ascii=False)
    assert decode(text) == decode(text.encode())


# -- what is no message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "{",
        '{"event":"media"',
        "{'event':'media'}",
        '{"event":"media"}{"event":"media"}',
        "\x00",
        "[" * 10_000 + "]" * 10_000,
        '{"event":' * 10_000,
        '{"event":"media","media":' + "[" * 100_000,
        '{"sequenceNumber":' + "9" * 5000 + "}",
        b"\xff\xfe\xfd",
        b"\xd7",
    ],
)
def test_what_is_not_json_breaks_the_protocol(text):
    with pytest.raises(TwilioProtocolError, match="not JSON"):
        decode(text)


@pytest.mark.parametrize("text", ["[]", "[1,2]", "7", "-1.5", "null", "true", '"start"', "NaN", "1e999"])
def test_json_that_is_no_object_breaks_the_protocol(text):
    with pytest.raises(TwilioProtocolError, match="not an object"):
        decode(text)


@pytest.mark.parametrize("event", [None, 7, 1.5, True, [], {}, ["media"], float("nan")])
def test_an_event_that_is_no_text_breaks_the_protocol(event):
    with pytest.raises(TwilioProtocolError, match="event is"):
        read({"event": event})


def test_a_message_without_an_event_breaks_the_protocol():
    with pytest.raises(TwilioProtocolError):
        decode("{}")


@pytest.mark.parametrize("event", ["", "transcription", "MEDIA", "media ", "הודעה", "\ud800"])
def test_an_unknown_event_ends_nothing(event):
    assert read({"event": event, "anything": [1]}) == Unknown(event)


def test_the_name_of_an_unknown_event_is_bounded():
    assert len(read({"event": "x" * 100_000}).event) <= 64


def test_of_a_key_given_twice_one_counts():
    assert decode('{"event":"media","event":"connected"}') == Connected("")


def test_a_number_of_two_thousand_digits_is_ignored():
    assert decode('{"event":"connected","sequenceNumber":' + "9" * 2000 + "}") == Connected("")


def test_order_is_not_the_decoders_business():
    """Media before start or connected, a second start: each message stands for itself."""
    for message in (media(), {"event": "stop"}, start(), start(), {"event": "connected"}, media()):
        read(message)


# -- start


@pytest.mark.parametrize("name", ["streamSid", "callSid"])
@pytest.mark.parametrize(
    "sid",
    [
        "",
        7,
        [],
        {},
        "CA" + "1" * 10_000,
        'CA"1',
        "CA'1",
        "CA\n1",
        "CA\r\n1",
        "CA\x001",
        "CA 1",
        "../../etc/passwd",
        "CA/1",
        "CA<1>",
        "CA\u202e1",
        "CA\u200f1",
        "CAשלום",
        "CA１",
        "CA%0a",
        "CA\\1",
        "CA{1}",
        "--__--",
        "\ud800",
    ],
)
def test_a_sid_of_anything_but_letters_and_digits_is_refused(name, sid):
    message = start(**{name: sid})
    message.pop("streamSid")
    with pytest.raises(TwilioProtocolError, match=rf"start\.{name}") as caught:
        read(message)
    assert len(str(caught.value)) < 200


def test_a_start_without_call_is_refused():
    with pytest.raises(TwilioProtocolError, match="callSid"):
        read(start(callSid=None))


def test_the_stream_may_be_named_outside_of_start_only():
    assert read(start(streamSid=None)).stream_sid == STREAM


def test_a_start_without_any_stream_is_refused():
    message = start(streamSid=None)
    del message["streamSid"]
    with pytest.raises(TwilioProtocolError, match="streamSid"):
        read(message)


@pytest.mark.parametrize("body", [None, [], "start", 7])
def test_a_start_without_its_object_is_refused(body):
    with pytest.raises(TwilioProtocolError, match="'start'"):
        read({"event": "start", "streamSid": STREAM, "start": body})


@pytest.mark.parametrize("media_format", [None, {}, [], "audio/x-mulaw"])
def test_a_start_without_media_format_is_taken_as_telephone_audio(media_format):
    message = read(start(mediaFormat=media_format))
    assert (message.encoding, message.sample_rate_hz, message.channels) == ("audio/x-mulaw", 8000, 1)


@pytest.mark.parametrize(
    "media_format",
    [
        {"encoding": "audio/L16"},
        {"sampleRate": 16000},
        {"channels": 2},
        {"encoding": None},
        {"encoding": ["audio/x-mulaw"]},
        {"sampleRate": "8000"},
        {"sampleRate": 8000.5},
        {"sampleRate": None},
        {"channels": "1"},
        {"channels": [1]},
    ],
)
def test_another_media_format_never_reads_as_telephone_audio(media_format):
    given_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1} | media_format
    message = read(start(mediaFormat=given_format))
    assert (message.encoding, message.sample_rate_hz, message.channels) != ("audio/x-mulaw", 8000, 1)


@pytest.mark.parametrize("parameters", [None, [], "token", 7])
def test_a_start_without_parameters_has_none(parameters):
    assert read(start(customParameters=parameters)).parameters == {}


def test_parameters_are_text_whatever_the_text_says():
    hostile = {
        "html": "<script>alert(1)</script>",
        "sql": "'; DROP TABLE calls; --",
        "lines": "a\r\nSet-Cookie: b",
        "bidi": "\u202eabc",
        "עסק": "מאפייה & קפה",
    }
    assert read(start(customParameters=hostile)).parameters == hostile


def test_parameters_that_are_no_text_are_left_out():
    mixed = {"a": "1", "b": 2, "c": None, "d": ["x"], "e": {"f": "g"}}
    assert read(start(customParameters=mixed)).parameters == {"a": "1"}


def test_ten_thousand_parameters_are_just_read():
    many = {f"p{n}": "v" for n in range(10_000)}
    assert read(start(customParameters=many)).parameters == many


# -- media


@pytest.mark.parametrize("n", [0, 1, 159, 160, 161, 320, 1600, 30_000])
def test_a_payload_of_any_length_is_bytes(n):
    payload = (bytes(range(256)) * (n // 256 + 1))[:n]
    assert read(media(payload=base64.b64encode(payload).decode())).payload == payload


GOOD_B64 = base64.b64encode(FRAME).decode()


@pytest.mark.parametrize(
    "payload",
    [
        "!" + GOOD_B64,
        GOOD_B64 + "\n",
        GOOD_B64[:50] + " " + GOOD_B64[50:],
        GOOD_B64[:50] + "\r\n" + GOOD_B64[50:],
        GOOD_B64.rstrip("="),
        GOOD_B64 + "=",
        GOOD_B64 + GOOD_B64,
        GOOD_B64[:-3],
        "=",
        "====",
        "A",
        "A===",
        "=AAA",
        base64.urlsafe_b64encode(b"\xfb\xff\xbf").decode(),
        "b'" + GOOD_B64 + "'",
        "שלום",
        "\ud800\ud800",
        "\x00\x00\x00\x00",
    ],
)
def test_a_payload_that_is_not_base64_is_refused_and_not_repeated(payload):
    with pytest.raises(TwilioProtocolError, match="not base64") as caught:
        read(media(payload=payload))
    assert f"({len(payload)} characters)" in str(caught.value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("payload", [None, 7, [], {}, [1, 2], True])
def test_a_payload_that_is_no_text_is_refused(payload):
    with pytest.raises(TwilioProtocolError, match="payload"):
        read(media(payload=payload))


@pytest.mark.parametrize("event", ["media", "dtmf", "mark"])
@pytest.mark.parametrize("body", [None, [], "x", 7, True])
def test_a_known_event_without_its_object_is_refused(event, body):
    with pytest.raises(TwilioProtocolError, match=f"'{event}'"):
        read({"event": event, "streamSid": STREAM, event: body})


@pytest.mark.parametrize(
    "number",
    ["", "-1", "+1", "1.5", "1e3", " 5", "٣", "３", "²", "abc", "9" * 16, "9" * 2000, 5, 1.5, None, [], "\0"],
)
def test_a_count_that_is_no_decimal_text_is_unknown_and_the_audio_still_counts(number):
    message = read(media(chunk=number, timestamp=number))
    assert (message.chunk, message.timestamp_ms, message.payload) == (None, None, FRAME)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("3600000", 3_600_000), ("9" * 15, 10**15 - 1)]
)
def test_counts_are_decimal_text(text, number):
    message = read(media(chunk=text, timestamp=text))
    assert (message.chunk, message.timestamp_ms) == (number, number)


@pytest.mark.parametrize("sequence", ["1", "1", "0", "-7", "1.5", "x", str(2**63), 3, None, []])
def test_the_sequence_number_is_nobodys_business_here(sequence):
    assert read(media() | {"sequenceNumber": sequence}).payload == FRAME


def test_the_track_and_the_stream_of_media_are_told():
    assert read(media(track="outbound")).track == "outbound"
    assert read(media(track=None)).track == "inbound"
    assert read(media() | {"streamSid": "MZother"}).stream_sid == "MZother"
    assert read(media() | {"streamSid": 7}).stream_sid == ""


# -- keys and marks


@pytest.mark.parametrize(
    "digit", ["", "12", "a", "E", "٣", "３", "\u0000", " 1", "1\n", None, 1, [], {}, ["1"]]
)
def test_what_is_no_key_is_refused(digit):
    with pytest.raises(TwilioProtocolError, match="digit"):
        read({"event": "dtmf", "dtmf": {"digit": digit}})


@pytest.mark.parametrize("name", [None, 1, [], {}, True])
def test_a_mark_without_a_name_is_refused(name):
    with pytest.raises(TwilioProtocolError, match="name"):
        read({"event": "mark", "mark": {"name": name}})


@pytest.mark.parametrize("name", ["", "never ours", "g1:1", "x" * 1_000_000, "סימן", "\ud800"])
def test_a_mark_of_any_name_is_a_mark(name):
    assert read({"event": "mark", "mark": {"name": name}}) == Mark(name)


# -- nothing else ever comes out

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
names = st.sampled_from(
    (
        "event media start stop dtmf mark connected payload streamSid callSid digit mediaFormat "
        "customParameters name track chunk timestamp sampleRate channels protocol"
    ).split()
)
values = st.recursive(
    scalars | names,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=12,
)
events = st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop"])


@given(st.dictionaries(names, values, max_size=8), events | values)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_a_message_or_breaks_the_protocol(message, event):
    try:
        decoded = decode(json.dumps(message | {"event": event}))
    except TwilioProtocolError as error:
        assert len(str(error)) < 200
    else:
        assert isinstance(decoded, Message)


@given(events, values)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_body_of_a_known_event_is_a_message_or_breaks_the_protocol(event, body):
    try:
        read({"event": event, "streamSid": STREAM, event: body})
    except TwilioProtocolError as error:
        assert len(str(error)) < 200


@given(st.text(max_size=200) | st.binary(max_size=200))
@settings(deadline=None)
def test_any_text_is_a_message_or_breaks_the_protocol(text):
    try:
        decode(text)
    except TwilioProtocolError:
        pass


# -- what we send


def test_media_out_has_the_three_fields_twilio_knows_and_no_other():
    text = encode_media(STREAM, b"\xff" * 160)
    assert json.loads(text) == {
        "event": "media",
        "streamSid": STREAM,
        "media": {"payload": base64.b64encode(b"\xff" * 160).decode()},
    }
    payload = "/" * 213 + "w=="
    assert text == f'{{"event":"media","streamSid":"{STREAM}","media":{{"payload":"{payload}"}}}}'


def test_mark_and_clear_out_to_the_letter():
    assert encode_mark("MZ1", "g1:17") == '{"event":"mark","streamSid":"MZ1","mark":{"name":"g1:17"}}'
    assert encode_clear("MZ1") == '{"event":"clear","streamSid":"MZ1"}'


@given(st.binary(max_size=2000))
@settings(deadline=None)
def test_base64_is_applied_once(payload):
    message = json.loads(encode_media(STREAM, payload))
    assert list(message) == ["event", "streamSid", "media"]
    assert list(message["media"]) == ["payload"]
    assert base64.b64decode(message["media"]["payload"], validate=True) == payload
    assert read(message).payload == payload
