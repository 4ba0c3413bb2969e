"""How calls leave the agent: hang-up, transfer and the way back, against real gunicorn and Twilio's REST."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.realtime.words import WORDS
from server.simulator.realtime.persona import Speech, ToolCall
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.dialling import DialOutcome
from server.simulator.twilio.rest_server import RestServer
from tests.integration.calls import Model, gateway, make_call, model_server, say, speech
from tests.integration.gunicorn_process import GunicornProcess

PERSON = "+97239876543"
HELD = "CA" + "2" * 32
HEBREW = WORDS["he"]
TRANSFER = ToolCall("transfer_call", '{"destination": "person"}')


@contextmanager
def office(
    tmp_path: Path, answers: list[Any], *faults: str, has_rest: bool = True, **env: str
) -> Iterator[tuple[GunicornProcess, Model, RestServer]]:
    """A gateway with a scripted model, and Twilio's REST where it has an account."""
    with (
        model_server(tmp_path, answers, hears=["אפשר לדבר עם נציג?"]) as model,
        RestServer(faults=faults) as rest,
    ):
        env = {
            "TWILIO_AUTH_TOKEN": rest.auth_token,
            "TWILIO_API_URL": rest.url,
            "PERSON_NUMBER": PERSON,
        } | env
        if has_rest:
            env["TWILIO_ACCOUNT_SID"] = rest.account_sid
        with gateway(model, **env) as process:
            yield process, model, rest


def call(process: GunicornProcess, rest: RestServer, **options: Any) -> CallReport:
    """Ask for a person after the greeting."""
    options.setdefault("quiet_after_s", 4.0)
    return make_call(
        process,
        speech("hebrew_question"),
        speak_at_s=None,
        rest=rest,
        auth_token=rest.auth_token,
        **options,
    ).run()


def dialled(report: CallReport) -> list[tuple[str, str]]:
    return [(each.number, each.status) for each in report.dialled]


ASKS_FOR_A_PERSON = [[say("human_command")], [say("human_sentence"), TRANSFER]]


def test_a_caller_is_connected_when_the_agents_line_was_heard(tmp_path: Path) -> None:
    with office(tmp_path, ASKS_FOR_A_PERSON) as (process, _model, rest):
        report = call(process, rest, dial_outcomes=(DialOutcome("answered", talks_s=1.0),))
        assert report.verdict == "PASS", report.failures
        assert dialled(report) == [(PERSON, "completed")]
        assert report.verbs == ("Connect", "Dial", "Hangup")
        assert report.unplayed_ms == 0, "the agent's last words were heard to their end"
        assert report.said == ()
        process.wait_for_line(r"\[TRANSFER\] to=person")
        assert PERSON not in process.output()


@pytest.mark.parametrize(
    ("status", "why"), [("busy", "הקו תפוס"), ("no-answer", "אין מענה"), ("failed", "לא ניתן להתקשר כעת")]
)
def test_a_caller_who_reached_nobody_is_back_with_an_agent_who_remembers(
    tmp_path: Path, status: Any, why: str
) -> None:
    answers = [*ASKS_FOR_A_PERSON, [say("hebrew_barge_in")]]
    with office(tmp_path, answers) as (process, model, rest):
        report = call(process, rest, dial_outcomes=(DialOutcome(status),))
        assert report.verdict == "PASS", report.failures
        assert dialled(report) == [(PERSON, status)]
        assert report.verbs == ("Connect", "Dial", "Connect")
        back = model.of_type("in", "response.create")[-1]["response"]["instructions"]
        assert back == HEBREW.transfer_failed.format(destination="person", why=why)
        items = [event["item"] for event in model.of_type("in", "conversation.item.create")]
        told = [(i["role"], i["content"][0]["text"]) for i in items if i["type"] == "message"]
        assert ("assistant", "human_command") in told, "the new session knows what was said"
        assert ("user", "אפשר לדבר עם נציג?") in told
        assert len(model.of_type("out", "session.created")) == 2


@pytest.mark.parametrize("fault", ["500", "timeout", "401", "html"])
def test_a_caller_is_connected_though_twilios_rest_fails(tmp_path: Path, fault: str) -> None:
    """The stream is closed instead, and Twilio asks what follows."""
    with office(tmp_path, ASKS_FOR_A_PERSON, fault) as (process, _model, rest):
        report = call(process, rest, dial_outcomes=(DialOutcome("answered"),))
        assert report.verdict == "PASS", report.failures
        assert dialled(report) == [(PERSON, "completed")]
        process.wait_for_line(r"KAV-15\d")


def test_without_an_account_the_streams_end_leads_to_the_person(tmp_path: Path) -> None:
    with office(tmp_path, ASKS_FOR_A_PERSON, has_rest=False) as (process, _model, rest):
        report = call(process, rest, dial_outcomes=(DialOutcome("answered"),))
        assert report.verdict == "PASS", report.failures
        assert dialled(report) == [(PERSON, "completed")]
        assert rest.requests == []


def test_a_twilio_that_asks_what_follows_after_an_update_rings_the_person_all_the_same(
    tmp_path: Path,
) -> None:
    with office(tmp_path, ASKS_FOR_A_PERSON) as (process, _model, rest):
        report = call(process, rest, dial_outcomes=(DialOutcome("answered"),), asks_action_after_update=True)
        assert report.dialled
        assert report.dialled[-1].status == "completed"


def test_a_goodbye_is_heard_before_the_line_goes(tmp_path: Path) -> None:
    answers = [[say("human_command")], [say("human_sentence"), ToolCall("end_call", "{}")]]
    with office(tmp_path, answers) as (process, _model, rest):
        report = call(process, rest)
        assert report.verdict == "PASS", report.failures
        assert report.verbs == ("Connect", "Hangup")
        assert report.unplayed_ms == 0
        process.wait_for_line(r"WS_END .* reason=agent_hangup")


def test_a_call_of_which_twilio_never_asks_what_follows_is_ended_by_rest(tmp_path: Path) -> None:
    """One that Twilio asks of, as it should, costs no request, however long one waits."""
    answers = [[say("human_command")], [say("human_sentence"), ToolCall("end_call", "{}")]]
    with office(tmp_path, answers) as (process, _model, rest):
        assert call(process, rest).verbs == ("Connect", "Hangup")
        report = call(process, rest, asks_action=False, call_sid=HELD)
        assert report.verdict == "PASS", report.failures
        assert report.verbs == ("Connect",)
        process.wait_for_line(r"\[HANG_UP\] ended by REST.* call_sid=CA222222")
        (request,) = rest.requests
        assert (request.method, HELD in request.path) == ("POST", True)


def test_a_message_is_kept_and_told_to_the_business(tmp_path: Path) -> None:
    note = ToolCall("take_message", '{"name": "דנה", "message": "תתקשרו אליי מחר", "phone": "+972501112223"}')
    read_back = Speech(speech("human_sentence"), "רשמתי, 050-111-2223, תודה")
    answers = [[say("human_command")], [note], [read_back]]
    with office(tmp_path, answers, NOTIFY_NUMBER="+972541234567") as (process, model, rest):
        report = call(process, rest)
        assert report.verdict == "PASS", report.failures
        (output,) = [
            event["item"]["output"]
            for event in model.of_type("in", "conversation.item.create")
            if event["item"]["type"] == "function_call_output"
        ]
        assert '"ok": true' in output
        (sms,) = rest.messages
        assert sms.to == "+972541234567"
        assert "דנה" in sms.body
        assert "תתקשרו אליי מחר" in sms.body
        assert re.search(r"\[MESSAGE\] noted", process.output())
        assert "תתקשרו" not in process.output()
        assert "AI said: רשמתי, •••-•••-2223, תודה" in process.output()
