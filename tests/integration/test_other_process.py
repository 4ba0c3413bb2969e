"""Twilio's webhooks come to one process, and the call's streams to another one of the same gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from server.simulator.realtime.persona import ToolCall
from tests.integration.calls import gateway, model_server, say
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.hand_over import TOKEN
from tests.integration.raw_websocket import RawWebSocket, Signer, connected, post, sid, start

BASE_URL = "https://kav.example"
SIGNER = Signer(BASE_URL, TOKEN)
CALLER = "+972501234567"


class Office:
    """One call between two processes with one store: `asked` gets Twilio's webhooks, `served` its streams."""

    def __init__(self, asked: GunicornProcess, served: GunicornProcess) -> None:
        self.asked, self.served = asked, served
        self.call_sid = sid("CA")

    def post(self, name: str, **fields: str) -> dict[str, str]:
        """The stream's parameters, as the webhook's answer has them."""
        path = f"/webhook/{name}"
        form = {"CallSid": self.call_sid, "From": CALLER, "To": "+97239999999", **fields}
        answer = post(self.asked.port, path, form, SIGNER.webhook(path, form))
        return dict(re.findall(r'<Parameter name="(\w+)" value="([^"]*)"', answer.body.decode()))

    def stream(self, parameters: dict[str, str]) -> RawWebSocket:
        ws = RawWebSocket.open(self.served.port, headers=SIGNER.upgrade())
        ws.send(connected(), start(sid("MZ"), self.call_sid, customParameters=parameters))
        return ws


@contextmanager
def office(tmp_path: Path, answers: Sequence[Sequence[Any]]) -> Iterator[Office]:
    with ExitStack() as stack:
        model = stack.enter_context(model_server(tmp_path, answers))
        env = {
            "TWILIO_AUTH_TOKEN": TOKEN,
            "PUBLIC_BASE_URL": BASE_URL,
            "DATABASE_URL": f"sqlite:///{tmp_path}/kav.sqlite3",
        }
        asked, served = (stack.enter_context(gateway(model, **env)) for _ in range(2))
        yield Office(asked, served)


def test_a_line_that_breaks_in_the_other_process_is_no_new_call(tmp_path: Path) -> None:
    with office(tmp_path, [[say("human_command")]]) as made:
        with made.stream(made.post("incoming_call", CallStatus="ringing")):
            made.served.wait_for_line("AI said: human_command")
        made.served.wait_for_line(r"\[PARKED\]")
        with made.stream(made.post("stream_ended", CallStatus="in-progress")):
            made.served.wait_for_line(r"\[RESUME\] with the same session")
        assert len(re.findall(r"\[VOICE\]", made.served.output())) == 1


def test_a_call_that_its_agent_ended_in_the_other_process_is_over(tmp_path: Path) -> None:
    goodbye = [[say("human_command"), ToolCall("end_call", "{}")]]
    with office(tmp_path, goodbye) as made:
        with made.stream(made.post("incoming_call", CallStatus="ringing")):
            made.served.wait_for_line("WS_END .* reason=agent_hangup", 15)
        with made.stream(made.post("stream_ended", CallStatus="in-progress")):
            made.served.wait_for_line(r"\[RESUME\] it had ended: reason=agent_hangup")
        assert len(re.findall(r"\[VOICE\]", made.served.output())) == 1


def test_a_message_in_the_other_process_has_the_callers_number(tmp_path: Path) -> None:
    message = [[ToolCall("take_message", '{"message": "שיחזרו אליי"}')], [say("human_command")]]
    with office(tmp_path, message) as made:
        with made.stream(made.post("incoming_call", CallStatus="ringing")):
            made.served.wait_for_line(r"\[MESSAGE\] noted")
            made.served.wait_for_line("AI said: human_command")
        assert CALLER not in made.served.output() + made.asked.output()
    assert CALLER.encode() in b"".join(path.read_bytes() for path in tmp_path.glob("kav.sqlite3*"))


def test_a_call_whose_stream_never_came_is_greeted_as_new(tmp_path: Path) -> None:
    with office(tmp_path, [[say("human_command")]]) as made:
        made.post("incoming_call", CallStatus="ringing")
        with made.stream(made.post("stream_ended", CallStatus="in-progress")):
            made.served.wait_for_line("AI said: human_command")
        assert "KAV-145" not in made.served.output()
