"""A call ends on purpose in a process that is leaving, and another one is asked what follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.simulator.realtime.persona import ToolCall
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.dialling import DialOutcome
from tests.integration.calls import calling, eventually, gateway, model_server, say, speech
from tests.integration.gunicorn_process import GunicornProcess, http_status
from tests.integration.hand_over import TOKEN
from tests.integration.switch import Switch

PERSON = "+97239876543"
GOODBYE = [[say("human_command")], [say("human_sentence"), ToolCall("end_call", "{}")]]
TRANSFER = [
    [say("human_command")],
    [say("human_sentence"), ToolCall("transfer_call", '{"destination": "person"}')],
]


@contextmanager
def two_processes(
    tmp_path: Path, answers: list[Any]
) -> Iterator[tuple[Switch, GunicornProcess, GunicornProcess]]:
    with Switch() as switch, model_server(tmp_path, answers, hears=["אפשר לדבר עם נציג?"]) as model:
        env = {
            "TWILIO_AUTH_TOKEN": TOKEN,
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{switch.port}",
            "DATABASE_URL": f"sqlite:///{tmp_path}/kav.sqlite3",
            "PERSON_NUMBER": PERSON,
        }
        with gateway(model, **env) as old, gateway(model, **env) as new:
            switch.lead_to(old.port)
            yield switch, old, new


def call_through_a_deployment(switch: Switch, old: GunicornProcess, new: GunicornProcess) -> CallReport:
    """The old process is told to end while its agent says the last words, and is asked nothing more."""
    url = f"http://127.0.0.1:{switch.port}/webhook/incoming_call"
    options = CallOptions(
        url,
        audio=speech("hebrew_question"),
        speak_at_s=None,
        quiet_after_s=6.0,
        auth_token=TOKEN,
        dial_outcomes=(DialOutcome("answered"),),
    )
    with calling(TwilioCall(options)) as reports:
        old.wait_for_line(r"AI said: human_sentence", 15)
        switch.lead_to(new.port)
        old.terminate()
        eventually(lambda: http_status(old.port, "/readyz") == 503, 3.0)
        eventually(lambda: bool(reports), 25)
    assert old.wait(12) == 0
    return reports[0]


@pytest.mark.parametrize(
    ("answers", "reason", "verb"), [(GOODBYE, "agent_hangup", "Hangup"), (TRANSFER, "transfer", "Dial")]
)
def test_what_follows_is_known_to_the_next_process(
    tmp_path: Path, answers: list[Any], reason: str, verb: str
) -> None:
    with two_processes(tmp_path, answers) as (switch, old, new):
        report = call_through_a_deployment(switch, old, new)
        old.wait_for_line(f"WS_END .* reason={reason}")
        assert report.verbs[:3] == ("Connect", "Connect", verb)
        assert report.said == (), "and nobody is told that the call broke off"
        assert report.unplayed_ms == 0
        assert "[VOICE]" not in new.output(), "no second conversation"
        assert "Traceback" not in old.output() + new.output()
