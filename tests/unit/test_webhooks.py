"""What Twilio is answered: by a process that is about to end, is full, or knows little of the call; and what
nobody may post."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
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
from server.store import live_calls
from server.telephony.call_token import CallTokens
from server.telephony.signature import SignatureCheck
from server.telephony.twiml import DIAL_ENDED_PATH, INCOMING_CALL_PATH, STREAM_ENDED_PATH

AUTH_TOKEN = "a" * 32
BASE_URL = "https://kav.example"
CALLER, CALLED = "+972501111111", "+97239999999"


class Process:
    """One gateway behind its webhooks, and Twilio, which signs."""

    def __init__(self, **variables: str) -> None:
        settings = Settings.from_env(
            {
                "OPENAI_API_KEY": "sk-abcdefgh12345678",
                "PUBLIC_BASE_URL": BASE_URL,
                "PERSON_NUMBER": "+97231234567",
                "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            }
            | variables
        )
        self.forgotten: list[str] = []
        self.gateway = Gateway(
            settings=settings,
            make_mode=lambda caller, start: pytest.fail("no stream comes here"),
            businesses=read_businesses(settings),
            signature=SignatureCheck(settings.twilio_auth_tokens),
            tokens=CallTokens.for_deployment(settings.twilio_auth_tokens),
            forget_call=self.forgotten.append,
        )
        app = Flask(__name__)
        app.before_request(routes_twilio.take_body)
        app.register_blueprint(routes_twilio.create_blueprint(self.gateway, None))
        self.client = app.test_client()

    def post(self, path: str, **fields: str) -> str:
        form = {"CallSid": "CA1", "From": CALLER, "To": CALLED, "CallStatus": "in-progress", **fields}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(BASE_URL + path, form)
        answer = self.client.post(path, data=form, headers={"X-Twilio-Signature": signature})
        assert answer.status_code == (200 if answer.text else 204)
        return answer.text

    def rings(self, call_sid: str = "CA1") -> str:
        """Twilio tells of a new call."""
        return self.post(INCOMING_CALL_PATH, CallSid=call_sid, CallStatus="ringing")

    def transferred(self) -> None:
        """The call was with us, and went to a person by Twilio's REST."""
        self.gateway.calls.began("CA1", "MZ1")
        self.gateway.calls.transferring("CA1", "<Response><Dial/></Response>")
        self.gateway.calls.ended("CA1", "MZ1", EndReason.STOP)


def parameters(document: str) -> dict[str, str]:
    """Of the one stream that is ordered."""
    (stream,) = ET.fromstring(document).iter("Stream")
    return {item.attrib["name"]: item.attrib["value"] for item in stream}


def asked_again_at(document: str) -> str:
    """The path with its query; the caller is kept a moment."""
    assert "<Say" in document
    (again,) = ET.fromstring(document).iter("Redirect")
    assert again.text is not None and again.text.startswith(BASE_URL)
    return again.text.removeprefix(BASE_URL)


# A call of which this process knows the webhook alone


def test_a_call_whose_stream_was_in_another_process_is_not_greeted_as_new() -> None:
    process = Process()
    assert "resume" not in parameters(process.rings())
    again = parameters(process.post(STREAM_ENDED_PATH))
    assert (again["resume"], again["may_be_new"]) == ("continue", "1")


def test_a_call_whose_stream_was_here_is_not_taken_for_a_new_one() -> None:
    process = Process()
    process.rings()
    process.gateway.calls.began("CA1", "MZ1")
    process.gateway.calls.ended("CA1", "MZ1", EndReason.RESET)
    again = parameters(process.post(STREAM_ENDED_PATH))
    assert again["resume"] == "continue" and "may_be_new" not in again


def test_what_is_not_known_is_not_known_to_the_next_process_either() -> None:
    old, new = Process(), Process()
    old.rings()
    old.gateway.is_draining = True
    path = asked_again_at(old.post(f"{STREAM_ENDED_PATH}?resumes=2"))
    again = new.post(path)
    assert parameters(again)["may_be_new"] == "1"
    assert "/webhook/stream_ended?resumes=3" in again


def test_breaks_in_other_processes_count_here() -> None:
    process = Process()
    process.rings()
    assert "<Record" in process.post(f"{STREAM_ENDED_PATH}?resumes=3")


def test_who_reached_nobody_comes_back_to_a_process_that_never_had_the_call() -> None:
    process = Process()
    assert parameters(process.post(DIAL_ENDED_PATH, DialCallStatus="busy"))["resume"] == "transfer:busy"
    assert "<Record" in process.post(STREAM_ENDED_PATH), "and no person is rung again"


def test_the_numbers_go_with_the_stream_for_it_may_be_another_processs() -> None:
    process = Process()
    told = parameters(process.rings())
    assert (told["caller"], told["called"]) == (CALLER, CALLED)
    told = parameters(process.post(INCOMING_CALL_PATH, From="x\n\u202e<" + "9" * 300, CallStatus="ringing"))
    assert told["caller"] == "x \ufffd<" + "9" * 60


def test_a_call_that_nobody_can_know_gets_words_and_not_silence() -> None:
    process = Process(TWILIO_AUTH_TOKEN="", CALL_LANGUAGE="en")
    assert "Sorry" in process.post(STREAM_ENDED_PATH)
    assert process.post(STREAM_ENDED_PATH, CallStatus="") == ""


@pytest.mark.parametrize(
    ("status", "forgotten"), [("completed", ["CA1"]), ("canceled", ["CA1"]), ("queued", [])]
)
def test_of_a_caller_who_hung_up_while_a_person_was_rung_nothing_is_kept(
    status: str, forgotten: list[str]
) -> None:
    process = Process()
    process.transferred()
    assert process.post(DIAL_ENDED_PATH, CallStatus=status, DialCallStatus="canceled") == ""
    assert process.forgotten == forgotten


# A process that is full


def test_a_burst_of_calls_is_admitted_up_to_the_limit() -> None:
    process = Process(MAX_CALLS="3")
    answers = [process.rings(f"CA{number}") for number in range(10)]
    assert ["<Connect" in answer for answer in answers] == [True] * 3 + [False] * 7
    assert all("<Reject" in answer for answer in answers[3:])
    assert "<Connect" in process.rings("CA0"), "who has a place may be asked for again"
    process.gateway.calls.began("CA0", "MZ0")
    assert process.gateway.places_taken == 3
    process.post(STREAM_ENDED_PATH, CallSid="CA1", CallStatus="completed")
    assert "<Connect" in process.rings("CA9"), "one hung up before the stream came"


def test_a_call_whose_stream_does_not_come_holds_no_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(MAX_CALLS="1")
    process.rings("CA1")
    monkeypatch.setattr(live_calls, "STREAM_WITHIN_S", 0.0)
    assert "<Connect" in process.rings("CA2")


def test_whoever_signs_nothing_takes_no_place() -> None:
    process = Process(TWILIO_AUTH_TOKEN="", MAX_CALLS="1")
    for number in range(10):
        assert "<Connect" in process.rings(f"CA{number}")


def test_a_caller_who_was_answered_is_not_rejected() -> None:
    """A process that ends has said "one moment" and sent them here."""
    process = Process(MAX_CALLS="1")
    process.rings("CA1")
    verbs = [verb.tag for verb in ET.fromstring(process.post(INCOMING_CALL_PATH, CallSid="CA2"))]
    assert verbs == ["Say", "Record", "Say", "Hangup"]


# A process that ends


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
