from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.simulator.twilio.twiml import parse
from server.simulator.twilio.verbs import (
    Connect,
    Dial,
    Hangup,
    Pause,
    Play,
    Record,
    Redirect,
    Reject,
    Say,
    Stream,
    Unsupported,
)

URL = "https://app.example/webhook/incoming_call"


def read(verbs: str, *, is_loopback: bool = False):
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{verbs}</Response>'
    return parse(body.encode(), "text/xml", URL, is_loopback=is_loopback)


def codes(document) -> list[int | None]:
    return [finding.code for finding in document.findings]


def test_a_connect_with_all_it_may_carry():
    document = read(
        '<Connect action="/webhook/stream_ended">'
        '<Stream url="wss://app.example/ws/twilio-media" name="s1" track="inbound_track"'
        ' statusCallback="https://app.example/webhook/stream_status" statusCallbackMethod="GET">'
        '<Parameter name="call_sid" value="CA1"/><Parameter name="business" value="מאפייה &amp; קפה"/>'
        "</Stream></Connect><Hangup/>"
    )
    stream = Stream(
        url="wss://app.example/ws/twilio-media",
        name="s1",
        track="inbound_track",
        status_callback="https://app.example/webhook/stream_status",
        status_callback_method="GET",
        parameters=(("call_sid", "CA1"), ("business", "מאפייה & קפה")),
    )
    action = "https://app.example/webhook/stream_ended"
    assert document.verbs == (Connect(stream, action, "POST"), Hangup())
    assert document.findings == ()
    assert document.is_valid


@pytest.mark.parametrize(
    ("xml", "verb"),
    [
        ('<Say language="he-IL" voice="alice">שלום לכם</Say>', Say("שלום לכם", "he-IL", "alice")),
        ("<Play>/static/hello.wav</Play>", Play("https://app.example/static/hello.wav")),
        ("<Pause/>", Pause(1)),
        ('<Pause length="3"/>', Pause(3)),
        ("<Hangup/>", Hangup()),
        ("<Reject/>", Reject("rejected")),
        ('<Reject reason="busy"/>', Reject("busy")),
        ('<Redirect method="GET">next</Redirect>', Redirect("https://app.example/webhook/next", "GET")),
        ('<Record action="/r" timeout="3" maxLength="60"/>', Record("https://app.example/r", "POST", 3, 60)),
        ("<Record/>", Record(URL)),
        (
            '<Record recordingStatusCallback="/f" recordingStatusCallbackEvent="completed absent"'
            ' finishOnKey="#"/>',
            Record(
                URL,
                finish_on_key="#",
                status_callback="https://app.example/f",
                status_callback_events=("completed", "absent"),
            ),
        ),
        ("<Dial>+972501234567</Dial>", Dial(("+972501234567",))),
        (
            '<Dial action="/a" timeout="20" timeLimit="600" callerId="+97231234567" answerOnBridge="true">'
            '<Number statusCallback="/s"> +972501234567 </Number><Number>+97231234568</Number></Dial>',
            Dial(
                ("+972501234567", "+97231234568"),
                "https://app.example/a",
                "POST",
                timeout_s=20,
                time_limit_s=600,
                caller_id="+97231234567",
                answer_on_bridge=True,
            ),
        ),
        ("<Dial><Client>jenny</Client></Dial>", Dial(())),
        ("<Gather/>", Unsupported("Gather")),
        ("<Connect><Room>r</Room></Connect>", Unsupported("Connect Room")),
    ],
)
def test_each_verb(xml: str, verb: object):
    document = read(xml)
    assert document.verbs == (verb,)
    assert document.findings == ()


def test_no_verbs_mean_the_end_of_the_call():
    assert read("").verbs == ()
    assert parse(b"<Response/>", "text/xml", URL).is_valid


@pytest.mark.parametrize(
    "content_type", ["text/xml", "application/xml", "text/html", "TEXT/XML; charset=utf-8"]
)
def test_content_types_that_are_read_as_twiml(content_type: str):
    assert parse(b"<Response><Hangup/></Response>", content_type, URL).verbs == (Hangup(),)


@pytest.mark.parametrize("content_type", [None, "", "application/json", "image/png"])
def test_any_other_content_type_is_12300(content_type: str | None):
    document = parse(b"<Response/>", content_type, URL)
    assert (codes(document), document.is_valid) == ([12300], False)


def test_plain_text_is_read_aloud():
    assert parse("שלום".encode(), "text/plain", URL).verbs == (Say("שלום"),)
    assert parse(b"<Response><Hangup/></Response>", "text/plain", URL).verbs == (Hangup(),)


def test_audio_is_played():
    assert parse(b"RIFF", "audio/x-wav", URL).verbs == (Play(URL), Hangup())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"\xef\xbb\xbf<Response/>",
        b' <?xml version="1.0"?><Response/>',
        b"<Response><Say>a & b</Say></Response>",
        b"<Response>",
        b"<html><body>Internal Server Error</body></html>",
        b'{"error": "no"}',
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="no-such"?><Response/>',
    ],
)
def test_what_is_no_twiml_is_12100(body: bytes):
    document = parse(body, "text/xml", URL)
    assert (codes(document), document.verbs, document.is_valid) == ([12100], (), False)


def test_more_than_64_kb_is_11750():
    body = b"<Response>" + b" " * 65536 + b"</Response>"
    assert codes(parse(body, "text/xml", URL)) == [11750]
    assert parse(b"<Response>" + b" " * 65500 + b"</Response>", "text/xml", URL).is_valid


@pytest.mark.parametrize(
    "xml",
    [
        "<say>x</say>",
        "<Speak>x</Speak>",
        "<Hangup now='1'/>",
        "<Connect Action='/x'><Stream url='wss://h/'/></Connect>",
        "<Connect><Stream url='wss://h/' URL='wss://h/'/></Connect>",
        "<Connect><Stream url='wss://h/'><Param name='a' value='b'/></Stream></Connect>",
        "<Connect><Stream url='wss://h/'><Parameter value='b'/></Stream></Connect>",
        "<Connect/>",
        "<Connect method='PUT'><Stream url='wss://h/'/></Connect>",
        "<Pause length='1.5'/>",
    ],
)
def test_what_the_schema_does_not_know_is_12200(xml: str):
    assert codes(read(xml)) == [12200]


@pytest.mark.parametrize(
    ("xml", "code"),
    [
        ("<Dial>0501234567</Dial>", 13224),
        ("<Dial><Number>97250-1234567</Number></Dial>", 13224),
        ("<Dial timeout='0'>+972501234567</Dial>", 13212),
        ("<Dial timeout='20s'>+972501234567</Dial>", 13212),
        ("<Dial timeLimit='-1'>+972501234567</Dial>", 13216),
        ("<Dial callerId='Bakery'>+972501234567</Dial>", 13214),
        ("<Dial><Phone>+972501234567</Phone></Dial>", 13215),
        ("<Dial answerOnBridge='yes'>+972501234567</Dial>", 12200),
        ("<Dial callerID='+97231234567'>+972501234567</Dial>", 12200),
        ("<Dial><Number callerId='+97231234567'>+972501234567</Number></Dial>", 12200),
        ("<Dial/>", 12200),
        ("<Dial>+972501234567<Number>+972501234568</Number></Dial>", 12200),
        ("<Record finishOnKey='x'/>", 12200),
        ("<Record recordingStatusCallbackEvent='completed failed'/>", 12200),
        ("<Pause length='99999999999'/>", 12200),
    ],
)
def test_a_dial_or_recording_that_twilio_complains_of(xml: str, code: int):
    assert codes(read(xml)) == [code]


def test_an_unknown_verb_is_skipped_and_the_next_one_done():
    assert read("<Speak>x</Speak><Hangup/>").verbs == (Hangup(),)


def stream_of(url: str, attributes: str = "", *, is_loopback: bool = False):
    document = read(f"<Connect><Stream url='{url}' {attributes}/></Connect>", is_loopback=is_loopback)
    [verb] = document.verbs
    assert isinstance(verb, Connect)
    return verb.stream, codes(document)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://app.example/ws", [31922]),
        ("https://app.example/ws", [31922]),
        ("app.example/ws", [31923]),
        ("", [31923]),
        ("wss:///ws", [31923]),
        ("wss://[::1/ws", [31923]),
        ("wss://app.example:99999/ws", [31923]),
        ("wss://app.example:x/ws", [31923]),
    ],
)
def test_addresses_that_twilio_refuses(url: str, expected: list[int]):
    stream, found = stream_of(url)
    assert found == expected
    assert stream.is_refused


def test_a_gateway_on_this_machine_may_use_plain_ws():
    stream, found = stream_of("ws://127.0.0.1:5000/ws", is_loopback=True)
    assert (stream.url, found, stream.is_refused) == ("ws://127.0.0.1:5000/ws", [], False)


def test_a_query_is_stripped_and_complained_of():
    stream, found = stream_of("wss://app.example/ws?token=1")
    assert (stream.url, found, stream.is_refused) == ("wss://app.example/ws", [31920], False)


def test_a_relative_stream_address_is_on_the_same_host():
    assert stream_of("/ws/twilio-media")[0].url == "wss://app.example/ws/twilio-media"


@pytest.mark.parametrize("track", ["both_tracks", "outbound_track", "inbound"])
def test_connect_streams_inbound_only(track: str):
    stream, found = stream_of("wss://app.example/ws", f"track='{track}'")
    assert found == [31941]
    assert stream.is_refused


def test_name_and_value_of_a_parameter_share_499_characters():
    def found(length: int) -> list[int | None]:
        parameter = f"<Parameter name='abcd' value='{'v' * (length - 4)}'/>"
        return codes(read(f"<Connect><Stream url='wss://h/x'>{parameter}</Stream></Connect>"))

    assert found(499) == []
    assert found(500) == [None]


def test_a_status_callback_must_be_absolute():
    assert stream_of("wss://h/x", "statusCallback='/status'")[1] == [None]


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")))
def test_no_value_of_an_attribute_raises(value: str):
    quoted = quoteattr(value)
    stream = f"<Connect action={quoted}><Stream url={quoted} statusCallback={quoted}/></Connect>"
    document = read(f"{stream}<Redirect method={quoted}>{quoted}</Redirect><Pause length={quoted}/>")
    assert document.is_valid
