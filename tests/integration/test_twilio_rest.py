"""Our client of Twilio's REST API against a REST API on a real port: every answer, every fault."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from server.config import Settings
from server.errors import CallIsGone, TwilioRestError
from server.services import twilio_rest
from server.services.twilio_rest import TwilioRest, Update
from server.simulator.load.certificates import Certificates
from server.simulator.twilio.live_call import EndCall, NewTwiml
from server.simulator.twilio.rest_server import RestServer
from tests.integration.papers import make_papers
from tests.integration.tiny_gateway import closed_port

CALL = "CA" + "1" * 32
TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response><Say language="he-IL">רגע, בבקשה</Say></Response>'
TIMEOUT_S = 1.5
MACHINE_S = 1.0
"""What a busy machine may add."""


@pytest.fixture
def twilio() -> Iterator[RestServer]:
    with RestServer() as server:
        server.calls.declare(CALL, "+972501234567", "+97231234567")
        yield server


def client(server: RestServer, **options: Any) -> TwilioRest:
    made = {"timeout_s": TIMEOUT_S, "account_sid": server.account_sid, "auth_token": server.auth_token}
    return TwilioRest(api_url=server.url, **(made | options))


@pytest.fixture
def rest(twilio: RestServer) -> Iterator[TwilioRest]:
    made = client(twilio)
    yield made
    made.close()


def told(server: RestServer) -> list[Any]:
    known = server.calls.get(CALL)
    assert known is not None
    return known.call.tally.updates


def failure(ask: Any, *args: Any) -> tuple[TwilioRestError, float]:
    """What it raised, and after how many seconds."""
    began_at = time.monotonic()
    with pytest.raises(TwilioRestError) as caught:
        ask(*args)
    return caught.value, time.monotonic() - began_at


# What goes well


def test_a_live_call_gets_new_twiml_byte_for_byte(twilio: RestServer, rest: TwilioRest):
    assert rest.update_call(CALL, TWIML) == Update(CALL, "in-progress")
    assert told(twilio) == [NewTwiml(TWIML.encode())]


def test_a_call_is_hung_up_once_and_the_second_time_is_as_good(twilio: RestServer, rest: TwilioRest):
    assert rest.hang_up(CALL) == Update(CALL, "completed")
    assert rest.hang_up(CALL) == Update(CALL, "completed", is_already_gone=True)
    assert rest.hang_up("CA" + "9" * 32).is_already_gone
    assert told(twilio) == [EndCall()]


def test_a_text_message_arrives_in_hebrew(twilio: RestServer, rest: TwilioRest):
    sid = rest.send_sms("+972501234567", "+97231234567", "הודעה חדשה: נא לחזור לרותי 🙂")
    [message] = twilio.messages
    assert (message.sid, message.to, message.from_) == (sid, "+972501234567", "+97231234567")
    assert message.body == "הודעה חדשה: נא לחזור לרותי 🙂"


def test_requests_one_after_another_share_a_connection(twilio: RestServer, rest: TwilioRest):
    for _ in range(5):
        rest.update_call(CALL, TWIML)
    assert (len(twilio.requests), twilio.connections_total) == (5, 1)


def test_another_base_replaces_scheme_host_and_prefix(twilio: RestServer):
    error, _ = failure(TwilioRest(twilio.account_sid, "t", f"{twilio.url}/behind/a/proxy").hang_up, CALL)
    assert error.status == 401
    [request] = twilio.requests
    assert request.path == f"/behind/a/proxy/2010-04-01/Accounts/{twilio.account_sid}/Calls/{CALL}.json"


def test_twilios_regions_do_not_change_an_address_that_was_asked_for(
    twilio: RestServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    assert client(twilio).update_call(CALL, TWIML).status == "in-progress"


def test_many_threads_may_ask_at_once(twilio: RestServer, rest: TwilioRest):
    twilio.faults.set("slow=0.3")
    began_at = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: rest.update_call(CALL, TWIML), range(10)))
    assert time.monotonic() - began_at < 10 * 0.3 - MACHINE_S, "they waited for each other"
    assert len(told(twilio)) == 10


# Credentials


def test_a_wrong_token_is_told_apart_and_not_tried_again(twilio: RestServer):
    error, took_s = failure(client(twilio, auth_token="wrong").update_call, CALL, TWIML)
    assert (error.fault_id, error.code, error.status) == ("KAV-153", 20003, 401)
    assert not error.is_retryable
    assert len(twilio.requests) == 1
    assert took_s < MACHINE_S
    assert told(twilio) == []


def test_while_tokens_rotate_the_next_one_is_tried_once_and_then_kept(twilio: RestServer):
    settings = Settings.from_env(
        {
            "TWILIO_ACCOUNT_SID": twilio.account_sid,
            "TWILIO_AUTH_TOKEN": f"not-yet-valid,{twilio.auth_token},never-valid",
            "TWILIO_API_URL": twilio.url,
        }
    )
    rest = TwilioRest.from_settings(settings)
    assert rest is not None
    assert rest.update_call(CALL, TWIML).status == "in-progress"
    assert len(twilio.requests) == 2
    assert rest.update_call(CALL, TWIML).status == "in-progress"
    assert len(twilio.requests) == 3, "the token that was taken last comes first"
    twilio.faults.set("401")
    error, _ = failure(rest.update_call, CALL, TWIML)
    assert (error.fault_id, len(twilio.requests)) == ("KAV-153", 5)


# Refusals


def test_a_call_that_has_ended_cannot_be_transferred(twilio: RestServer, rest: TwilioRest):
    rest.hang_up(CALL)
    error, _ = failure(rest.update_call, CALL, TWIML)
    assert isinstance(error, CallIsGone)
    assert (error.fault_id, error.code, error.status) == ("KAV-156", 21220, 400)
    error, _ = failure(rest.update_call, "CA" + "9" * 32, TWIML)
    assert isinstance(error, CallIsGone)
    assert (error.fault_id, error.code, error.status) == ("KAV-156", 20404, 404)


def test_a_document_that_cannot_be_read_is_refused_once(twilio: RestServer, rest: TwilioRest):
    error, _ = failure(rest.update_call, CALL, "<Response><Say>a & b</Say></Response>")
    assert (error.fault_id, error.code, error.status, error.is_retryable) == ("KAV-158", 12100, 400, False)
    assert len(twilio.requests) == 1


@pytest.mark.parametrize(
    ("to", "from_", "body", "code"),
    [
        ("0501234567", "+97231234567", "x", 21211),
        ("", "+97231234567", "x", 21604),
        ("+972501234567", "", "x", 21603),
        ("+972501234567", "05", "x", 21212),
        ("+972501234567", "+97231234567", "", 21602),
        ("+972501234567", "+97231234567", "א" * 1601, 21617),
    ],
)
def test_a_text_message_that_twilio_refuses(
    twilio: RestServer, rest: TwilioRest, to: str, from_: str, body: str, code: int
):
    error, _ = failure(rest.send_sms, to, from_, body)
    assert (error.fault_id, error.code, error.status) == ("KAV-158", code, 400)
    assert twilio.messages == []


# Faults


@pytest.mark.parametrize("fault", ["500", "429", "reset", "timeout", "lost"])
def test_one_fault_is_overcome_by_a_second_try(twilio: RestServer, rest: TwilioRest, fault: str):
    twilio.faults.set(f"once:{fault}")
    assert rest.update_call(CALL, TWIML).status == "in-progress"
    assert len(twilio.requests) == 2
    assert len(told(twilio)) == (2 if fault == "lost" else 1)


def test_a_hang_up_whose_answer_is_lost_has_happened(twilio: RestServer, rest: TwilioRest):
    twilio.faults.set("once:lost")
    assert rest.hang_up(CALL).status == "completed"
    assert told(twilio) == [EndCall()]


@pytest.mark.parametrize(
    ("fault", "fault_id", "code", "status", "tries", "seconds"),
    [
        ("500", "KAV-155", 20500, 500, 2, 0.2),
        ("429", "KAV-154", 20429, 429, 2, 0.2),
        ("reset", "KAV-151", 0, 0, 2, 0.2),
        ("timeout", "KAV-152", 0, 0, 2, TIMEOUT_S),
        ("slow=30", "KAV-152", 0, 0, 2, TIMEOUT_S),
        ("drip", "KAV-152", 0, 0, 2, TIMEOUT_S),
        ("html", "KAV-159", 0, 200, 1, 0.0),
        ("401", "KAV-153", 20003, 401, 1, 0.0),
    ],
)
def test_a_fault_that_stays_is_named_within_the_time_out(
    twilio: RestServer,
    rest: TwilioRest,
    fault: str,
    fault_id: str,
    code: int,
    status: int,
    tries: int,
    seconds: float,
):
    twilio.faults.set(fault)
    error, took_s = failure(rest.update_call, CALL, TWIML)
    assert (error.fault_id, error.code, error.status) == (fault_id, code, status)
    assert error.is_retryable is (tries > 1)
    assert len(twilio.requests) == tries
    assert seconds * 0.9 <= took_s <= seconds + MACHINE_S
    assert told(twilio) == []


def test_where_nobody_listens_is_unreachable():
    rest = TwilioRest("AC1", "token", f"http://127.0.0.1:{closed_port()}", TIMEOUT_S)
    error, took_s = failure(rest.update_call, CALL, TWIML)
    assert (error.fault_id, error.is_retryable) == ("KAV-151", True)
    assert "refused" in str(error)
    assert took_s < twilio_rest.RETRY_PAUSE_S + MACHINE_S


def test_a_host_that_does_not_exist_is_unreachable():
    error, _ = failure(TwilioRest("AC1", "token", "http://twilio.invalid", TIMEOUT_S).hang_up, CALL)
    assert error.fault_id == "KAV-151"


# TLS


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return make_papers(tmp_path)


@pytest.fixture
def secure_twilio(made: Certificates) -> Iterator[RestServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with RestServer(tls=context) as server:
        server.calls.declare(CALL)
        yield server


def test_over_tls_nothing_is_read_from_disk_once_the_client_is_made(
    secure_twilio: RestServer, made: Certificates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(made.ca))
    rest = client(secure_twilio)
    contexts = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **_: contexts.append(args))
    monkeypatch.setattr(urllib3.util.ssl_, "create_urllib3_context", lambda *args, **_: contexts.append(args))
    for _ in range(3):
        assert rest.update_call(CALL, TWIML).status == "in-progress"
        rest.close()  # so that each shakes hands anew
    assert secure_twilio.connections_total == 3
    assert contexts == []


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(secure_twilio: RestServer):
    error, _ = failure(client(secure_twilio).update_call, CALL, TWIML)
    assert error.fault_id == "KAV-151"
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert told(secure_twilio) == []


# The simulator as the library sees it, without our client


def test_the_library_itself_reads_calls_and_errors(twilio: RestServer, monkeypatch: pytest.MonkeyPatch):
    rest = client(twilio)
    library: Client = rest._clients[0]
    call = library.calls(CALL).fetch()
    assert (call.sid, call.status, call.direction) == (CALL, "in-progress", "inbound")
    assert call.date_created is not None
    assert call.date_created.tzinfo is not None
    moved = library.calls(CALL).update(url="https://app.example/next", method="GET")
    assert moved.status == "in-progress"
    with pytest.raises(TwilioRestException) as refused:
        library.calls(CALL).update(url="https://app.example/next", twiml=TWIML)
    assert (refused.value.status, refused.value.code) == (400, 21200)
    with pytest.raises(TwilioRestException) as refused:
        library.calls(CALL).delete()
    assert (refused.value.status, refused.value.code) == (405, 20004)
    with pytest.raises(TwilioRestException) as refused:
        library.api.accounts("AC" + "9" * 32).calls(CALL).fetch()
    assert (refused.value.status, refused.value.code) == (404, 20404)
    message = library.messages.create(to="+972501234567", from_="Bakery", body="שלום")
    assert (message.status, message.num_segments) == ("queued", "1")
