"""`simulate twilio-rest` as another program would use it: started, exported from, asked, ended."""

from __future__ import annotations

import re
import sys

import pytest
from click.testing import CliRunner

from server.cli.simulate import simulate
from server.config import Settings
from server.services.twilio_rest import TwilioRest
from tests.integration.gunicorn_process import GunicornProcess

CALL = "CA" + "1" * 32


def test_what_it_exports_is_what_a_gateway_needs():
    command = [sys.executable, "-u", "-m", "server", "simulate", "twilio-rest"]
    process = GunicornProcess(command=[*command, "--call", CALL, "--fault", "once:500"])
    process.start()
    try:
        exported = process.wait_for_line(r"^export (.*)$", 15)[1]
        rest = TwilioRest.from_settings(Settings.from_env(dict(re.findall(r"(\w+)=(\S+)", exported))))
        assert rest is not None
        assert rest.update_call(CALL, "<Response><Say>שלום</Say></Response>").status == "in-progress"
        rest.send_sms("+972501234567", "+97231234567", "הודעה סודית")
        assert rest.hang_up(CALL).status == "completed"
        assert rest.hang_up("CA2").is_already_gone
        rest.close()
        process.wait_for_line(f"^{CALL} was told Twiml$")
        process.wait_for_line("^a text message of 11 characters was taken$")
        process.terminate()
        assert process.wait() == 0
    finally:
        process.close()
    process.wait_for_line(r"stopped after 5 request\(s\), 1 message\(s\)")
    assert "972501234567" not in process.output()
    assert "סודית" not in process.output()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fault", "oops"), "no fault 'oops'; there are slow, timeout"),
        (("--fault", "slow"), "seconds from 0 on"),
        (("--call", "CA1/x"), "is no call's SID"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1:0"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_says_what_would(arguments: tuple[str, ...], words: str):
    result = CliRunner().invoke(simulate, ["twilio-rest", *arguments])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
