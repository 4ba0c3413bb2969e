"""Requests Twilio never makes, and words that callers never say: refused, or plain data."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlencode

import pytest

from tests.hostile.conftest import AUTH_TOKEN, CALLER, MAX_WAIT_MS, PUBLIC_BASE_URL, SIGNER, Watched
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.raw_websocket import (
    Answer,
    Ended,
    RawWebSocket,
    connected,
    get,
    http,
    incoming_call,
    metric,
    post,
    sid,
    signature,
    start,
    start_call,
    tcp,
)

INCOMING = "/webhook/incoming_call"
ENDED = "/webhook/stream_ended"
STATUS = "/webhook/stream_status"


def ask(gateway: GunicornProcess, path: str, form: Mapping[str, str]) -> Answer:
    return post(gateway.port, path, form, SIGNER.webhook(path, form))


def call_form(**more: str) -> dict[str, str]:
    return {
        "CallSid": sid("CA"),
        "AccountSid": "AC" + "1" * 32,
        "From": CALLER,
        "To": "+97231234567",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "ApiVersion": "2010-04-01",
        **more,
    }


# Who asks


UNSIGNED: dict[str, Mapping[str, str | None]] = {
    "no signature": {},
    "empty": {"X-Twilio-Signature": ""},
    "forged": {"X-Twilio-Signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    "for another host": signature("https://evil.example" + INCOMING, {}, AUTH_TOKEN),
    "over http": signature("http://kav.example" + INCOMING, {}, AUTH_TOKEN),
    "with another token": signature(PUBLIC_BASE_URL + INCOMING, {}, "0" * 32),
    "an address behind it": {"X-Twilio-Signature": "x", "X-Forwarded-For": "54.172.60.1"},
    "another hash": {"X-Twilio-Signature": "sha256=0123"},
}


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_stranger_gets_403_and_no_word_more(production: GunicornProcess, name: str) -> None:
    before = metric(production.port, "gateway_refused_total", why="KAV-111")
    answer = post(production.port, INCOMING, {}, UNSIGNED[name])
    assert answer.status == 403
    assert b"<Response>" not in answer.body
    assert metric(production.port, "gateway_refused_total", why="KAV-111") == before + 1


@pytest.mark.parametrize("change", ["value", "more", "less", "renamed", "order of a name and value"])
def test_a_changed_body_is_a_strangers(production: GunicornProcess, change: str) -> None:
    form = call_form()
    signed = SIGNER.webhook(INCOMING, form)
    if change == "value":
        form["From"] = "+972500000000"
    elif change == "more":
        form["Digits"] = "1"
    elif change == "less":
        del form["To"]
    elif change == "renamed":
        form["from"] = form.pop("From")
    else:
        form["Fro"] = "m" + form.pop("From")
    assert post(production.port, INCOMING, form, signed).status in (
        (200,) if change == "order of a name and value" else (403,)
    ), "joined names and values sign alike: that is Twilio's own scheme"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "BREW", "CONNECT"])
@pytest.mark.parametrize("path", [INCOMING, STATUS, ENDED])
def test_only_post_reaches_a_webhook(production: GunicornProcess, method: str, path: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    assert http(production.port, request.encode()).status == 405


@pytest.mark.parametrize("query", ["?a=1", "?bodySHA256=x", "?", "?%00=%ff", "?" + "q" * 3000])
def test_a_query_belongs_to_the_signed_url(production: GunicornProcess, query: str) -> None:
    form = call_form()
    assert post(production.port, INCOMING + query, form, SIGNER.webhook(INCOMING, form)).status == (
        200 if query == "?" else 403
    )


# What is asked


@pytest.mark.parametrize(
    "pairs",
    [
        [("Extra", "x"), ("ExtraEmpty", "")],
        [("שם", "ערך")],
        [("a" * 3000, "b" * 3000)],
        [(f"k{number}", "v") for number in range(250)],
        [("", "")],
        [("__proto__", "x"), ("CallSid[]", "y")],
    ],
    ids=["extra", "Hebrew", "long", "250", "empty name", "odd names"],
)
def test_fields_that_twilio_may_add_are_signed_and_ignored(
    production: GunicornProcess, pairs: list[tuple[str, str]]
) -> None:
    assert ask(production, INCOMING, call_form(**dict(pairs))).status == 200


def test_a_field_given_twice_breaks_nothing(gateway: GunicornProcess) -> None:
    body = urlencode([("CallSid", sid("CA")), ("CallSid", sid("CA")), ("From", CALLER), ("From", "")])
    assert post(gateway.port, INCOMING, body.encode()).status == 200


FORM = "application/x-www-form-urlencoded"
PART = b'--b\r\nContent-Disposition: form-data; name="CallSid"\r\n\r\nCA1\r\n--b--\r\n'
BODIES: dict[str, tuple[str, bytes]] = {
    "JSON": ("application/json", b'{"CallSid":"CA1"}'),
    "multipart": ("multipart/form-data; boundary=b", PART),
    "multipart cut short": ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-da"),
    "multipart without boundary": ("multipart/form-data", b"--b\r\n"),
    "unknown charset": ("application/x-www-form-urlencoded; charset=klingon", b"CallSid=CA1"),
    "another charset": ("application/x-www-form-urlencoded; charset=utf-16", b"CallSid=CA1"),
    "no type": ("", b"CallSid=CA1"),
    "binary": (FORM, bytes(range(256))),
    "percent nonsense": (FORM, b"CallSid=%zz%ff%00&%=%&&&;=;"),
    "2 500 fields": (FORM, b"&".join(b"%d" % number for number in range(2_500))),
    "few fields": (FORM, b"k=" + b"%d7%" * 3_000),
    "180 parts": ("multipart/form-data; boundary=b", PART[:-7] * 180 + PART),
    "XML": ("text/xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
    "empty": (FORM, b""),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", [INCOMING, STATUS, ENDED])
def test_a_body_of_another_kind_breaks_nothing(gateway: GunicornProcess, name: str, path: str) -> None:
    kind, body = BODIES[name]
    answer = post(gateway.port, path, body, {"Content-Type": kind})
    assert answer.status in (200, 204, 400, 413, 415)
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize("path", [INCOMING, STATUS, ENDED])
@pytest.mark.parametrize("kilobytes", [13, 2048])
@pytest.mark.parametrize("kind", [FORM, "multipart/form-data; boundary=b"])
def test_a_body_too_large_is_refused(gateway: GunicornProcess, path: str, kilobytes: int, kind: str) -> None:
    body = b"CallSid=" + b"A" * (kilobytes << 10)
    try:
        assert post(gateway.port, path, body, {"Content-Type": kind}).status == 413
    except Ended:
        assert kilobytes > 1024, "hung up instead of answering"


def test_a_body_too_large_in_chunks_is_refused(gateway: GunicornProcess) -> None:
    """Cut to what fits it would be another form than the one that was sent."""
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    head = f"POST {INCOMING} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    answer = http(gateway.port, head.encode() + chunk * 128 + b"0\r\n\r\n")
    assert answer.status in (400, 411, 413)


@pytest.mark.parametrize("path", [INCOMING, STATUS, "/healthz", "/nowhere"])
@pytest.mark.parametrize("kind", ["announced", "in chunks"])
def test_a_hundred_megabytes_of_body_hold_up_nobody(gateway: GunicornProcess, path: str, kind: str) -> None:
    """Whoever reads it must let others run meanwhile, or better not read it at all."""
    megabyte = b"a" * (1 << 20)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\n"
    if kind == "announced":
        head, piece = f"{head}Content-Length: {100 << 20}\r\n\r\n", megabyte
    else:
        head, piece = f"{head}Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + megabyte + b"\r\n"
    with tcp(gateway.port) as sock:
        sock.sendall(head.encode())
        try:
            for _ in range(100):
                sock.sendall(piece)
        except OSError:
            pass  # refused before its end, as it should be


# Words are data


WORDS = {
    "anonymous": "anonymous",
    "restricted": "+266696687",
    "SIP": "sip:דנה@evil.example;user=phone",
    "Hebrew": "דנה כהן־לוי",
    "5 KB": "9" * 5_000,
    "markup": "</Parameter></Stream><Say>hacked</Say>",
    "CDATA": "]]><Say>hacked</Say><![CDATA[",
    "quotes": "\"'><Redirect>https://evil.example</Redirect>",
    "entity": "&lt;Say&gt;&#60;Say&#62;&evil;",
    "line ends": "a\r\n21:00:00.000 INFO FORGED line",
    "early line end": "\nFORGED",
    "bidi controls": "\u202e\u2066\u200f+972541234567",
    "escape codes": "\x1b[2J\x07\x08",
    "NUL": "a\x00b",
    "noncharacters": "\ufffe\uffff",
    "format": "%s %(x)s {0} $HOME",
}


@pytest.mark.parametrize("field", ["CallSid", "From", "CallerName", "SpeechResult", "AccountSid"])
@pytest.mark.parametrize("name", WORDS)
def test_no_word_of_a_caller_becomes_twiml(gateway: GunicornProcess, name: str, field: str) -> None:
    answer = post(gateway.port, INCOMING, call_form() | {field: WORDS[name]})
    assert answer.status == 200
    response = ET.fromstring(answer.body)
    assert [verb.tag for verb in response] == ["Connect", "Say", "Hangup"]
    assert [noun.tag for noun in response[0]] == ["Stream"]
    assert {noun.tag for noun in response[0][0]} == {"Parameter"}


@pytest.mark.parametrize(
    "field", ["CallSid", "StreamSid", "StreamEvent", "Status", "StreamError", "CallStatus"]
)
@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("path", [STATUS, ENDED])
def test_no_word_of_a_callback_becomes_a_log_line(
    gateway: GunicornProcess, name: str, field: str, path: str
) -> None:
    form = {"CallSid": sid("CA"), "StreamSid": sid("MZ"), "StreamEvent": "stream-error"}
    assert post(gateway.port, path, form | {field: WORDS[name]}).status == 204


@pytest.mark.parametrize("name", WORDS)
def test_no_word_in_a_path_becomes_a_log_line(gateway: GunicornProcess, name: str) -> None:
    assert get(gateway.port, "/webhook/" + quote(WORDS[name][:1000])).status == 404


def test_a_call_sid_that_is_none_is_still_one_calls_own(gateway: GunicornProcess) -> None:
    """The stream's own `callSid` must be the one that the token was made for."""
    with RawWebSocket.open(gateway.port) as ws:
        token = incoming_call(gateway.port, "CA_one\nCA_two")["token"]
        ws.send(connected(), start(sid("MZ"), "CA_one", token))
        assert ws.closed_with() == 1008


@pytest.fixture
def unhurried(_open_gateway: Watched) -> Iterator[None]:
    """What is played once only is not judged by the clock."""
    _open_gateway.allowed_wait_ms = math.inf
    yield
    _open_gateway.allowed_wait_ms = MAX_WAIT_MS


@pytest.mark.flaky(reruns=0)
def test_long_call_sids_fill_no_memory(unhurried: None, gateway: GunicornProcess) -> None:
    """Kept whole they would be 17 MB, and the watch over every test here allows 10."""
    for number in range(1_600):
        form = {"CallSid": f"CA{number}" + "x" * 11_000}
        assert post(gateway.port, INCOMING, form).status == 200


# In what order


def test_callbacks_of_unknown_calls_and_in_any_order_change_nothing(production: GunicornProcess) -> None:
    with start_call(production.port, signer=SIGNER) as call:
        call.echoes()
        known = {"CallSid": call.call_sid, "StreamSid": call.stream_sid}
        for form in (known, {"CallSid": sid("CA"), "StreamSid": sid("MZ")}):
            for happened in ("stream-stopped", "stream-started", "stream-error", "stream-started", "?"):
                answer = ask(production, STATUS, form | {"StreamEvent": happened})
                assert (answer.status, answer.body) == (204, b"")
            for status in ("completed", "busy", "", "in-progress", "in-progress"):
                answer = ask(production, ENDED, form | {"CallStatus": status})
                assert answer.status in (200, 204)
        call.echoes()
        assert call.hang_up() == 1000


def test_the_same_signed_webhook_again_breaks_nothing(production: GunicornProcess) -> None:
    """Twilio repeats a request it had no answer to; the second token is as good as the first."""
    form = call_form()
    tokens = set()
    for _ in range(5):
        answer = ask(production, INCOMING, form)
        assert answer.status == 200
        tokens.add(answer.body)
    assert len(tokens) == 5


@pytest.mark.parametrize(
    "name", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Original-URL", "Forwarded"]
)
@pytest.mark.parametrize("value", ["evil.example", 'evil.example"/><Say>', "[", "", "a, b"])
def test_no_header_moves_the_stream(production: GunicornProcess, name: str, value: str) -> None:
    form = call_form()
    headers = SIGNER.webhook(INCOMING, form) | {name: value}
    answer = post(production.port, INCOMING, form, headers)
    assert answer.status in (200, 400)
    if answer.status == 200:
        stream = ET.fromstring(answer.body).find("Connect/Stream")
        assert stream is not None
        assert stream.get("url") == "wss://kav.example/ws/twilio-media"
        assert b"evil" not in answer.body


@pytest.mark.parametrize("proto", ["https", "http", "https, http", "wss", "javascript", 'https"/><Say>'])
def test_the_scheme_of_a_proxy_is_http_or_https(gateway: GunicornProcess, proto: str) -> None:
    answer = post(gateway.port, INCOMING, call_form(), {"X-Forwarded-Proto": proto})
    action = ET.fromstring(answer.body)[0].get("action", "")
    assert action.partition("://")[0] in ("http", "https")
