"""A gateway with all its places taken, and a call whose line broke: who has one, keeps it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from server.simulator.twilio.addresses import Addresses
from server.simulator.twilio.webhooks import WebhookClient
from tests.integration.calls import eventually
from tests.integration.gunicorn_process import GunicornProcess, descendants_of
from tests.integration.hand_over import (
    TOKEN,
    WELCOME_MS,
    Rig,
    one_gateway,
    rig,
    until_heard,
)
from tests.integration.switch import Switch


def is_busy(office: Rig, process: GunicornProcess) -> bool:
    """Whether another caller would be refused."""
    url = f"{office.base_url}/webhook/incoming_call"
    http = WebhookClient(Addresses(f"{process.base_url}/", office.base_url), TOKEN, 5)
    form = {
        "CallSid": "CA" + "9" * 32,
        "From": "+972501112223",
        "To": "+97231234567",
        "CallStatus": "ringing",
    }
    answer = http.send(url, form)
    http.close()
    return b"<Reject" in answer.body


def test_the_place_of_a_caller_whose_line_broke_is_given_to_nobody(tmp_path: Path) -> None:
    with one_gateway(tmp_path, MAX_CALLS="1") as (office, process, switch):
        call = office.call()
        until_heard(call, WELCOME_MS / 2)
        switch.hold()
        switch.reset()
        process.wait_for_line(r"\[PARKED\]")
        assert is_busy(office, process)
        switch.release()
        eventually(call.is_back, 8)
        assert "Record" not in call.end().verbs
        eventually(lambda: not is_busy(office, process))


def test_a_call_of_a_process_that_is_gone_is_taken_where_no_other_would_be(tmp_path: Path) -> None:
    switch = Switch()
    with rig(tmp_path, switch, MAX_CALLS="1") as office:
        old, new = office.gateway(), office.gateway()
        switch.lead_to(old.port)
        call = office.call()
        until_heard(call, WELCOME_MS / 2)
        switch.lead_to(new.port)
        other = office.call()
        until_heard(other, WELCOME_MS / 2)
        for pid in (old.pid, *descendants_of(old.pid)):
            os.kill(pid, signal.SIGKILL)
        eventually(call.is_back, 8)
        assert "KAV-141" not in new.output()
        assert is_busy(office, new)
