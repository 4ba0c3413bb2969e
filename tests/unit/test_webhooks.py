"""What Twilio is answered by a process that is about to end, and what nobody may post."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from flask import Flask
from twilio.request_validator import RequestValidator

from server import routes_twilio
from server.businesses_file import read_businesses
from server.config import Settings
from server.endings import EndReason
from server.gateway import Gateway
from server.routes_twilio import MAX_FORM_BYTES, MAX_FORM_FIELDS
from server.telephony.call_token import CallTokens
from server.telephony.signature import SignatureCheck
from server.telephony.twiml import DIAL_ENDED_PATH, STREAM_ENDED_PATH

AUTH_TOKEN = "a" * 32
BASE_URL = "https://kav.example"


class Process:
    """One gateway behind its webhooks, and Twilio, which signs."""

    def __init__(self) -> None:
        settings = Settings.from_env(
            {
                "OPENAI_API_KEY": "sk-abcdefgh12345678",
                "PUBLIC_BASE_URL": BASE_URL,
                "PERSON_NUMBER": "+97231234567",
                "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            }
        )
        self.gateway = Gateway(
            settings=settings,
            make_mode=lambda caller, start: pytest.fail("no stream comes here"),
            businesses=read_businesses(settings),
            signature=SignatureCheck(settings.twilio_auth_tokens),
            tokens=CallTokens.for_deployment(settings.twilio_auth_tokens),
        )
        app = Flask(__name__)
        app.before_request(routes_twilio.take_body)
        app.register_blueprint(routes_twilio.create_blueprint(self.gateway, None))
        self.client = app.test_client()

    def post(self, path: str, **fields: str) -> str:
        form = {"CallSid": "CA1", "From": "+972501111111", "CallStatus": "in-progress", **fields}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(BASE_URL + path, form)
        answer = self.client.post(path, data=form, headers={"X-Twilio-Signature": signature})
        assert answer.status_code == 200
        return answer.text

    def transferred(self) -> None:
        """The call was with us, and went to a person by Twilio's REST."""
        self.gateway.calls.began("CA1", "MZ1")
        self.gateway.calls.transferring("CA1", "<Response><Dial/></Response>")
        self.gateway.calls.ended("CA1", "MZ1", EndReason.STOP)


def test_who_reached_nobody_while_the_process_ends_is_taken_back_by_the_next() -> None:
    old, new = Process(), Process()
    old.transferred()
    old.gateway.is_draining = True
    twiml = old.post(DIAL_ENDED_PATH, DialCallStatus="no-answer")
    assert "<Say" in twiml and "<Connect" not in twiml
    (again,) = re.findall(r"<Redirect[^>]*>([^<]*)", twiml)
    url = urlsplit(again)
    assert f"{url.scheme}://{url.netloc}" == BASE_URL
    twiml = new.post(f"{url.path}?{url.query}")  # Twilio tells of the call alone when it is sent on
    assert "<Connect" in twiml and 'value="transfer:no-answer"' in twiml


@pytest.mark.parametrize("outcome", ["completed", "answered"])
def test_who_reached_somebody_is_done_whatever_the_process_does(outcome: str) -> None:
    process = Process()
    process.transferred()
    process.gateway.is_draining = True
    assert "<Hangup" in process.post(DIAL_ENDED_PATH, DialCallStatus=outcome)


def test_who_reached_nobody_and_is_not_brought_back_is_asked_for_a_message() -> None:
    """The process may begin to end between the answer and the stream, which is then refused."""
    process = Process()
    process.transferred()
    assert "<Connect" in process.post(DIAL_ENDED_PATH, DialCallStatus="busy")
    assert "<Record" in process.post(STREAM_ENDED_PATH)


def test_an_outcome_of_any_text_makes_an_address() -> None:
    process = Process()
    process.transferred()
    process.gateway.is_draining = True
    twiml = process.post(DIAL_ENDED_PATH, DialCallStatus='no answer"&<אין>')
    (again,) = re.findall(r"<Redirect[^>]*>([^<]*)", twiml)
    assert re.fullmatch(r"[!-~]+", again), again


@pytest.mark.parametrize("path", ["/webhook/incoming_call", STREAM_ENDED_PATH, DIAL_ENDED_PATH])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"&".join(b"%d" % n for n in range(MAX_FORM_FIELDS + 1))),
        ("application/x-www-form-urlencoded", b"k=" + b"%d7" * (MAX_FORM_BYTES // 3)),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition:form-data;name=""\r\n\r\n\r\n' * 20 + b"--b--\r\n" + b" " * 12_000,
        ),
    ],
    ids=["fields", "bytes", "bytes in parts"],
)
def test_a_form_that_twilio_never_sends_is_refused_before_it_is_read(
    path: str, kind: str, body: bytes
) -> None:
    """Reading it and sorting its names would hold up every call."""
    answer = Process().client.post(path, data=body, headers={"Content-Type": kind, "X-Twilio-Signature": "x"})
    assert answer.status_code == 413
