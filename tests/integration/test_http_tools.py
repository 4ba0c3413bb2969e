"""HTTP tools against real servers on this machine, in this process and its plain threads.

Where requests may go is in test_http_tools_reach.py; what needs the worker (deadlines, the hub, connections
that are kept) in test_http_tools_in_worker.py.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import socket
import ssl
import struct
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from server.business import Business, Businesses
from server.business_tools import HttpTool
from server.config import Settings
from server.services.http_tools import MAX_ANSWER_BYTES, HttpToolClient, ToolContext
from server.services.signed_request import verify
from server.services.tool_answer import Outcome
from server.tool_schema import ArgumentsSchema
from tests.integration.receivers import Got, http, receiver

KEY = "0123456789abcdef0123456789abcdef"
ANYTHING = ArgumentsSchema({"type": "object"})
TLS = ssl.create_default_context()


@pytest.fixture
def client():
    made = HttpToolClient(TLS)
    yield made
    made.close()


def tool(url: str, **more) -> HttpTool:
    return HttpTool("stock", "d", url, **{"schema": ANYTHING, "signing_key": KEY, "timeout_s": 3.0} | more)


def business(text: str = "[[business]]\nid = 'bakery'") -> Business:
    return Businesses.from_settings(Settings.from_env({"TWILIO_AUTH_TOKEN": KEY}), text).default


def context(caller: str = "+972501234567", of: Business | None = None) -> ToolContext:
    return ToolContext("call_8s7dj3", "CA0123", of or business(), caller)


def test_a_tool_gets_hebrew_and_answers_hebrew(client):
    with receiver(http('{"מלאי": 3, "מחיר": 28.5}')) as there:
        answer = client.run(tool(there.url), {"מוצר": "חלה מתוקה 🍞"}, context())
    assert answer.for_model() == {"ok": True, "answer": {"מלאי": 3, "מחיר": 28.5}}
    assert (answer.status, answer.detail) == (200, "HTTP 200")
    (got,) = there.requests
    assert (got.method, got.target) == ("POST", "/kav/tool")
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    assert got.headers["Host"] == f"127.0.0.1:{there.port}"
    assert re.fullmatch(r"call_8s7dj3-[0-9a-f]{16}", got.headers["Idempotency-Key"])
    assert "חלה מתוקה 🍞".encode() in got.body
    assert json.loads(got.body) == {
        "tool": "stock",
        "arguments": {"מוצר": "חלה מתוקה 🍞"},
        "call_id": "call_8s7dj3",
        "call_sid": "CA0123",
        "business": "bakery",
        "caller": "…4567",
    }


def signed_ok(got: Got, signed: bytes, key: str = KEY) -> bool:
    headers = got.headers
    return verify(key, headers["X-Kav-Timestamp"], signed, headers["X-Kav-Signature"], time.time())


def test_the_receiver_can_tell_that_it_is_us(client):
    with receiver(http("{}")) as there:
        client.run(tool(there.url), {"a": "ב"}, context())
        client.run(tool(there.url + "?x=1", method="GET"), {"מוצר": "חלה & עוד", "n": 2}, context())
    post, get = there.requests
    assert signed_ok(post, post.body)
    assert not signed_ok(post, post.body + b" ")
    assert not signed_ok(post, post.body, "x" * 32)
    assert signed_ok(get, get.target.encode())


def test_without_a_key_nothing_is_signed(client):
    with receiver(http("{}")) as there:
        assert client.run(tool(there.url, signing_key=""), {}, context()).is_ok
    assert not [name for name in there.requests[0].headers if name.lower().startswith("x-kav")]


def test_a_get_has_its_arguments_in_the_query_and_says_no_more_of_the_call(client):
    with receiver(http('"ok"')) as there:
        arguments = {"מוצר": "חלה & עוד=?", "n": 2, "list": ["א"], "flag": True, "nothing": None}
        assert client.run(tool(there.url + "?x=1", method="GET"), arguments, context()).answer == "ok"
    (got,) = there.requests
    assert (got.method, got.body) == ("GET", b"")
    assert parse_qs(urlsplit(got.target).query) == {
        "x": ["1"],
        "מוצר": ["חלה & עוד=?"],
        "n": ["2"],
        "list": ['["א"]'],
        "flag": ["true"],
        "nothing": ["null"],
    }
    assert "CA0123" not in str(got.headers) + got.target


@pytest.mark.parametrize(
    ("caller", "masked", "shared"),
    [
        ("+972501234567", "…4567", "+972501234567"),
        ("anonymous", "", ""),
        ("", "", ""),
        ("sip:0501234567@evil.example", "", ""),
        ('+972501234567"}', "", ""),
    ],
)
def test_the_callers_number_is_masked_unless_the_business_says_otherwise(client, caller, masked, shared):
    sharing = business("[[business]]\nshare_caller = true")
    with receiver(http("{}")) as there:
        client.run(tool(there.url), {}, context(caller))
        client.run(tool(there.url), {}, context(caller, sharing))
    assert [json.loads(got.body)["caller"] for got in there.requests] == [masked, shared]


def test_arguments_that_do_not_fit_make_no_request(client):
    schema = ArgumentsSchema(
        {"type": "object", "required": ["יום"], "properties": {"יום": {"format": "date"}}}
    )
    with receiver(http("{}")) as there:
        for arguments in ({}, {"יום": "מחר"}, [], "x", {"יום": "2026-11-20", "x": "א" * 5000}):
            answer = client.run(tool(there.url, schema=schema), arguments, context())
            assert answer.outcome is Outcome.BAD_ARGUMENTS
            assert answer.for_model()["problem"]
        assert there.connections == 0


def test_half_characters_of_a_model_do_not_stop_a_request(client):
    with receiver(http("{}")) as there:
        assert client.run(tool(there.url), {"a": "\ud800x"}, context()).is_ok
        assert client.run(tool(there.url, method="GET"), {"a": "\ud800x", "\udfff": 1}, context()).is_ok
    assert json.loads(there.requests[0].body)["arguments"] == {"a": "?x"}


def test_a_query_that_no_server_would_take_is_not_sent(client):
    with receiver(http("{}")) as there:
        answer = client.run(tool(there.url, method="GET"), {"a": "א" * 1500}, context())
        assert (answer.outcome, there.connections) == (Outcome.BAD_ARGUMENTS, 0)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (http('{"a": [1, null]}'), {"a": [1, None]}),
        (http('{"a": 1}', kind="application/problem+json; charset=UTF-8"), {"a": 1}),
        (http("שלום", kind="text/plain; charset=utf-8"), "שלום"),
        (http("\ufeff[1]", kind="application/json"), [1]),
        (http("שלום".encode("cp1255"), kind="text/plain; charset=windows-1255"), "שלום"),
        (http("", kind="text/plain"), None),
        (http("", kind="image/png", status="204 No Content"), None),
        (http('{"a": NaN}'), {"a": "NaN"}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue", True),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n",
            [1, 2],
        ),
    ],
)
def test_what_can_be_read(client, sent, answer):
    with receiver(sent) as there:
        got = client.run(tool(there.url), {}, context())
    assert (got.outcome, got.answer) == (Outcome.OK, answer)


@pytest.mark.parametrize(
    "sent",
    [
        http("{"),
        http("שלום".encode("cp1255")),
        http("not json"),
        http("[" * 60_000),
        http('{"a": ' + "9" * 5000 + "}"),
        http("\0\1", kind="image/png"),
        http("x", kind="text/plain; charset=punycode"),
        http("x", kind="text/plain; charset=utf-7"),
        http("[1]", more="Content-Encoding: br\r\n"),
        http(gzip.compress(b"{}"), more="Content-Encoding: gzip\r\n"),
        http(gzip.compress(b"0" * 50_000_000), more="Content-Encoding: gzip\r\n"),
    ],
    ids=range(11),
)
def test_what_cannot_be_read(client, sent):
    with receiver(sent) as there:
        began_at = time.monotonic()
        got = client.run(tool(there.url), {}, context())
        assert time.monotonic() - began_at < 1.0
    assert (got.outcome, got.answer) == (Outcome.UNREADABLE, None)


def test_the_model_gets_what_the_other_side_says_of_an_error(client):
    with receiver(http('{"error": "תפוס", "next": "19:30"}', status="409 Conflict")) as there:
        got = client.run(tool(there.url), {}, context())
    assert (got.outcome, got.status, got.fault_id) == (Outcome.HTTP_ERROR, 409, "KAV-163")
    assert got.for_model()["answer"] == {"error": "תפוס", "next": "19:30"}


@pytest.mark.parametrize(
    "page",
    [http("<html>Traceback", kind="text/html", status="500 Oh"), http("x" * 3000, "text/plain", "500 Oh")],
)
def test_the_model_does_not_get_a_page_for_people(client, page):
    with receiver(page) as there:
        got = client.run(tool(there.url), {}, context())
    assert (got.outcome, got.answer) == (Outcome.HTTP_ERROR, None)


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_a_redirect_is_not_followed(client, status):
    with receiver(http("{}")) as elsewhere:
        with receiver(http("{}", status=status, more=f"Location: {elsewhere.url}\r\n")) as there:
            got = client.run(tool(there.url), {}, context())
        assert (got.outcome, got.fault_id, elsewhere.connections) == (Outcome.REFUSED, "KAV-164", 0)


@pytest.mark.parametrize("size", [MAX_ANSWER_BYTES, MAX_ANSWER_BYTES + 1, 3_000_000])
def test_an_answer_that_is_too_long_is_dropped(client, size):
    with receiver(http("x" * size, kind="text/plain")) as there:
        got = client.run(tool(there.url), {}, context())
    assert got.outcome is (Outcome.OK if size <= MAX_ANSWER_BYTES else Outcome.TOO_LARGE)
    assert len(got.answer or "") == (size if size <= MAX_ANSWER_BYTES else 0)


def test_an_answer_without_end_is_dropped(client):
    def flood(got: Got, sock: socket.socket) -> None:
        try:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            while not there.closing.is_set():
                sock.sendall(b"x" * 10_000)
        except OSError:
            pass

    with receiver(flood) as there:
        assert client.run(tool(there.url), {}, context()).outcome is Outcome.TOO_LARGE


def reset(got: Got, sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def cut_short(got: Got, sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")
    sock.shutdown(socket.SHUT_RDWR)


def hang_up(got: Got, sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "fault",
    [
        reset,
        cut_short,
        hang_up,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x1b[31m+972501234567 \xd7\xa9\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=range(8),
)
def test_a_receiver_that_breaks_off_or_talks_nonsense(client, fault):
    with receiver(fault) as there:
        got = client.run(tool(there.url), {}, context())
        assert (got.outcome, got.fault_id) == (Outcome.UNREACHABLE, "KAV-162"), got
        assert len(there.requests) == 1, "nothing is sent twice"
    assert "\x1b" not in got.log_line() and "0123456" not in got.log_line()


def test_a_taken_message_is_posted_and_signed(client):
    with receiver(http("", status="204 No Content")) as there:
        one = business(f'[[business]]\nid = "bakery"\nnotify_url = "{there.url}"')
        answer = client.notify(one, {"name": "דנה", "message": "שיחזרו אליי"}, "CA0123-1")
    assert answer.is_ok
    (got,) = there.requests
    assert signed_ok(got, got.body, one.signing_key)
    assert got.headers["Idempotency-Key"] == "CA0123-1"
    assert json.loads(got.body) == {
        "event": "message",
        "id": "CA0123-1",
        "business": "bakery",
        "message": {"name": "דנה", "message": "שיחזרו אליי"},
    }


def test_a_message_that_is_too_long_is_not_sent(client):
    with receiver(http("{}")) as there:
        one = business(f'[[business]]\nnotify_url = "{there.url}"')
        answer = client.notify(one, {"message": "א" * 40_000}, "CA0123-1")
        assert (answer.outcome, there.connections) == (Outcome.BAD_ARGUMENTS, 0)


def test_addresses_and_words_are_not_logged(client, caplog):
    caplog.set_level(logging.DEBUG)
    with receiver(http("{}", status="500 Oh")) as there:
        url = there.url.replace("/kav/tool", "/SECRETHOOK?token=SECRETTOKEN")
        answer = client.run(tool(url, method="GET"), {"a": "WORDS"}, context())
    logged = caplog.text + answer.log_line()
    assert not [word for word in ("SECRETHOOK", "SECRETTOKEN", "WORDS", KEY) if word in logged]
    assert "KAV-163" in answer.log_line()
