"""What an answer other than 200 means, and whether the same request may be made once more."""

from __future__ import annotations

import json

import pytest

from server.errors import SpeechRefused, SpeechUnreachable
from server.faults import FAULTS
from server.services.http_refusals import USUAL_PAUSE_S, refusal_of


def body(code: str | None = None, message: str = "no", **more: str | None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "some_error", "code": code, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "code", "fault_id", "kind", "may_be_tried_again"),
    [
        (400, "invalid_value", "KAV-176", SpeechRefused, False),
        (401, "invalid_api_key", "KAV-172", SpeechRefused, False),
        (403, "unsupported_country_region_territory", "KAV-172", SpeechRefused, False),
        (404, "model_not_found", "KAV-174", SpeechRefused, False),
        (408, None, "KAV-171", SpeechUnreachable, True),
        (409, None, "KAV-171", SpeechUnreachable, True),
        (413, None, "KAV-176", SpeechRefused, False),
        (422, None, "KAV-176", SpeechRefused, False),
        (429, "rate_limit_exceeded", "KAV-175", SpeechRefused, True),
        (429, "insufficient_quota", "KAV-173", SpeechRefused, False),
        (403, "account_deactivated", "KAV-173", SpeechRefused, False),
        (400, "billing_hard_limit_reached", "KAV-173", SpeechRefused, False),
        (302, None, "KAV-176", SpeechRefused, False),
        (500, "server_error", "KAV-171", SpeechUnreachable, True),
        (503, None, "KAV-171", SpeechUnreachable, True),
        (599, None, "KAV-171", SpeechUnreachable, True),
    ],
)
def test_a_status_and_a_code_have_a_meaning(status, code, fault_id, kind, may_be_tried_again):
    refusal = refusal_of(status, {}, body(code))
    assert type(refusal.error) is kind
    assert refusal.error.fault_id == fault_id in FAULTS
    assert refusal.error.code
    assert refusal.retry_after_s == (USUAL_PAUSE_S if may_be_tried_again else None)


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({}, USUAL_PAUSE_S),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2.1"}, None),
        ({"retry-after": "60"}, None),
        ({"retry-after-ms": "750", "retry-after": "1"}, 0.75),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_the_service_says_how_long_to_wait(headers, retry_after_s):
    assert refusal_of(429, headers, body()).retry_after_s == retry_after_s
    assert refusal_of(503, headers, body()).retry_after_s == retry_after_s


def test_the_message_names_the_field_and_keeps_the_service_s_words():
    refusal = refusal_of(400, {}, body("invalid_value", "Invalid value: 'bob'.", param="voice"))
    assert str(refusal.error) == "HTTP 400 invalid_value voice: Invalid value: 'bob'."


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"<html>\n<h1>Bad gateway</h1></html>", "HTTP 502 <html> <h1>Bad gateway</h1></html>"),
        ("תקלה".encode(), "HTTP 502 תקלה"),
        (b"", "HTTP 502"),
        (b'{"error": "plain words"}', "HTTP 502 plain words"),
        (b'{"message": "without error"}', "HTTP 502 without error"),
        (b'["a list"]', "HTTP 502 ['a list']"),
        (b'{"error": {"code": 17, "message": null}}', "HTTP 502"),
        (b"[" * 100_000, "HTTP 502 " + "[" * 191),
        (b"\xff\xfe\x00", "HTTP 502 \ufffd\ufffd\ufffd"),
    ],
    ids=["page", "hebrew", "empty", "text", "message", "list", "numbers", "deep", "bytes"],
)
def test_whatever_a_proxy_answers_fits_one_line(raw, words):
    assert str(refusal_of(502, {}, raw).error) == words


def test_no_secret_comes_along():
    said = body("invalid_api_key", "Incorrect API key provided: sk-abcdefgh12345678, caller +972501234567")
    seen = str(refusal_of(401, {}, said).error)
    assert "abcdefgh" not in seen
    assert "0123456" not in seen
