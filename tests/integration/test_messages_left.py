"""A message whose webhook reaches a process that knows nothing of its call, or that is about to end."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from server.simulator.twilio.rest_server import RestServer
from server.store.open_store import open_store
from server.telephony.twiml import MESSAGE_LEFT_PATH, SPEECH
from tests.integration.calls import KEY, eventually, speech
from tests.integration.gunicorn_process import GunicornProcess, http_status
from tests.integration.hand_over import TOKEN, WELCOME_MS, one_gateway, redis_url, until_heard
from tests.integration.raw_websocket import Signer

BASE_URL = "https://kav.example"
CALLED, CALLER, BUSINESS = "+97231234567", "+972501112223", "+972541234567"
FORM = {
    "CallSid": "CA" + uuid.uuid4().hex,
    "From": CALLER,
    "To": CALLED,
    "CallStatus": "in-progress",
    "RecordingUrl": "https://api.twilio.com/recordings/RE1",
    "RecordingDuration": "4",
}


def process(tmp_path: Path, token: str, **env: str) -> GunicornProcess:
    model = {"OPENAI_REALTIME_URL": "ws://127.0.0.1:9/v1/realtime", "OPENAI_API_KEY": KEY}
    own = {
        "TWILIO_AUTH_TOKEN": token,
        "PUBLIC_BASE_URL": BASE_URL,
        "DATABASE_URL": f"sqlite:///{tmp_path}/kav.sqlite3",
    }
    return GunicornProcess(env=model | own | env)


def leave_message(connection: HTTPConnection, token: str) -> str:
    headers = Signer(BASE_URL, token).webhook(MESSAGE_LEFT_PATH, FORM)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", MESSAGE_LEFT_PATH, urlencode(FORM), {**headers, **kind})
    response = connection.getresponse()
    assert response.status == 200
    return response.read().decode()


@pytest.mark.parametrize("has_redis", [False, True], ids=["sqlite", "redis"])
def test_a_message_that_comes_after_the_last_call_is_kept(tmp_path: Path, has_redis: bool) -> None:
    url = redis_url() if has_redis else ""
    with process(tmp_path, TOKEN, REDIS_URL=url) as ending:
        with closing(HTTPConnection("127.0.0.1", ending.port, timeout=5)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            ending.terminate()
            eventually(lambda: http_status(ending.port, "/readyz") is None)  # `on_drain` has returned
            assert SPEECH["he"].thanks in leave_message(connection, TOKEN)
        assert ending.wait() == 0
        assert "KAV-189" not in ending.output()
    assert not (tmp_path / "kav.sqlite3-wal").exists(), "the store was closed in order"
    with closing(open_store(f"sqlite:///{tmp_path}/kav.sqlite3", url)) as store:
        kept = [found for found in store.messages() if found.call_sid == FORM["CallSid"]]
        assert (CALLER, FORM["RecordingUrl"]) in [(found.number, found.recording_url) for found in kept]


def test_a_business_is_told_of_a_message_whose_call_was_another_processs(tmp_path: Path) -> None:
    with RestServer() as rest:
        env = {
            "TWILIO_API_URL": rest.url,
            "TWILIO_ACCOUNT_SID": rest.account_sid,
            "NOTIFY_NUMBER": BUSINESS,
        }
        with process(tmp_path, rest.auth_token, **env) as other:
            with closing(HTTPConnection("127.0.0.1", other.port, timeout=5)) as connection:
                leave_message(connection, rest.auth_token)
            eventually(lambda: bool(rest.messages))
            (sms,) = rest.messages
            assert (sms.to, sms.from_) == (BUSINESS, CALLED)


def test_a_process_whose_calls_all_wait_for_their_callers_ends_after_twilio_asked(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, ending, switch):
        call = office.call(speech("hebrew_question"))
        until_heard(call, WELCOME_MS / 2)
        switch.hold()
        switch.reset()
        ending.wait_for_line(r"\[PARKED\]")
        ending.terminate()
        told_at_s = time.monotonic()
        eventually(lambda: time.monotonic() > told_at_s + 1.25)
        switch.release()
        eventually(lambda: "Redirect" in call.call.call.tally.verbs, 8)
        ending.wait_for_line("follow_up=ask again")
        assert call.end().said
