"""Whole calls in the pipelined mode: real gunicorn, and the three services over real HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from server.audio.g711 import BYTES_PER_MS, SILENCE
from server.realtime.words import WORDS
from server.services.pipeline_client import INAUDIBLE
from server.simulator.openai_http.script import Script, read_script
from server.simulator.openai_http.server import OpenAIHttpServer
from server.simulator.twilio.call_report import CallReport
from tests.integration.calls import KEY, gateway, make_call, speech
from tests.integration.gunicorn_process import GunicornProcess

GREETING = "שלום, הגעתם למאפייה."


def script(**parts: Any) -> Script:
    return read_script(parts)


@contextmanager
def pipeline(
    told: Script | None = None, *faults: str, **env: str
) -> Iterator[tuple[GunicornProcess, OpenAIHttpServer]]:
    with OpenAIHttpServer(script=told, faults=faults, use_espeak=False) as services:
        env = {
            "CALL_MODE": "pipeline",
            "OPENAI_BASE_URL": services.base_url,
            "OPENAI_API_KEY": KEY,
            "ALLOW_UNSIGNED_AI": "1",
            "GREETING": GREETING,
        } | env
        with gateway(**env) as process:
            yield process, services


QUESTION = speech("hebrew_question")


def call(process: GunicornProcess, audio: bytes = QUESTION, **options: Any) -> CallReport:
    options.setdefault("quiet_after_s", 3.0)
    return make_call(process, audio, speak_at_s=None, **options).run()


def asked(services: OpenAIHttpServer, endpoint: str) -> list[dict[str, Any]]:
    """What was asked of transcriptions, chat or speech."""
    return [served.request for served in services.served if served.endpoint == endpoint]


def test_a_caller_is_greeted_heard_and_answered() -> None:
    told = script(hears=["מה שעות הפתיחה?"], answers=[[{"text": "אנחנו פתוחים עד שבע. בשמחה!"}]])
    with pipeline(told) as (process, services):
        report = call(process)
        assert report.verdict == "PASS", report.failures
        assert report.greeting_ms > 500
        assert report.turns[-1].gap_ms is not None
        assert report.turns[-1].gap_ms < 3000
        assert report.odd_frames == 0
        spoken = [request["input"] for request in asked(services, "speech")]
        assert spoken[0] == GREETING
        assert "".join(spoken[1:]).replace(" ", "") == "אנחנופתוחיםעדשבע.בשמחה!"
        messages = asked(services, "chat")[0]["messages"]
        assert messages[-1] == {"role": "user", "content": "מה שעות הפתיחה?"}
        assert {"role": "assistant", "content": GREETING} in messages
        process.wait_for_line(r"WS_STOP .* tx=[1-9]")


def test_an_interruption_stops_all_stages_and_only_what_was_heard_is_remembered() -> None:
    sentences = [
        f"זה המשפט מספר {word} בתשובה ארוכה מאוד." for word in ("אחת", "שתיים", "שלוש", "ארבע", "חמש")
    ]
    told = script(
        hears=["ספרו לי הכול", "רגע, יש לי שאלה אחרת"],
        answers=[[{"text": " ".join(sentences)}], [{"text": "בבקשה."}]],
    )
    with pipeline(told) as (process, services):
        pause = SILENCE * (3500 * BYTES_PER_MS)
        report = call(process, QUESTION + pause + speech("hebrew_barge_in"))
        assert report.clears >= 1
        first, second = asked(services, "chat")[:2]
        assert first["messages"][-1]["content"] == "ספרו לי הכול"
        told_back = [m["content"] for m in second["messages"] if m["role"] == "assistant"]
        assert sentences[-1] not in told_back, "what was never heard was never said"
        assert second["messages"][-1]["content"] == "רגע, יש לי שאלה אחרת"


def test_the_model_may_use_tools_and_speaks_with_their_answer() -> None:
    note = {"call": "take_message", "arguments": {"message": "להתקשר לדנה"}}
    told = script(hears=["תמסרו הודעה"], answers=[[note], [{"text": "ההודעה נמסרה."}]])
    with pipeline(told) as (process, services):
        report = call(process)
        assert report.verdict == "PASS", report.failures
        names = {tool["function"]["name"] for tool in asked(services, "chat")[0]["tools"]}
        assert {"end_call", "take_message"} <= names
        output = json.loads(asked(services, "chat")[1]["messages"][-1]["content"])
        assert output["ok"] is True
        assert asked(services, "speech")[-1]["input"] == "ההודעה נמסרה."


def test_the_agent_hangs_up_when_its_goodbye_was_heard() -> None:
    told = script(
        hears=["תודה, ביי"], answers=[[{"text": "להתראות!"}, {"call": "end_call", "arguments": {}}]]
    )
    with pipeline(told) as (process, _services):
        report = call(process)
        assert report.verdict == "PASS", report.failures
        assert report.verbs == ("Connect", "Hangup")
        assert report.unplayed_ms == 0


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("speech:json", "KAV-177 .*application/json in place of"),
        ("speech:html", "KAV-177 .*text/html in place of"),
        ("speech:500", "KAV-171 .*HTTP 500 server_error"),
        ("speech:never", "KAV-137 .*no voice in 4 s"),
    ],
)
def test_a_voice_that_cannot_be_had_is_no_noise_and_no_silence(fault: str, line: str) -> None:
    """Nothing of an error is played; what follows is spoken without it."""
    with pipeline(None, fault) as (process, _services):
        report = call(process, hangup_after_s=25.0)
        assert "Record" in report.verbs
        assert report.first_heard_ms is not None
        assert report.first_heard_ms < 6000
        process.wait_for_line(line)


def test_a_refused_key_leads_to_a_message_at_once() -> None:
    with pipeline(None, "401") as (process, services):
        report = call(process, hangup_after_s=20.0)
        assert report.verbs[:2] == ("Connect", "Record")
        assert report.first_heard_ms is not None
        assert report.first_heard_ms < 2500
        assert len(services.served) <= 3, "a refused key is not asked again and again"
        process.wait_for_line(r"KAV-172 .*HTTP 401 invalid_api_key")
        assert "KAV-132" not in process.output(), "that speaks of the Realtime API"


def test_a_slow_answer_is_bridged() -> None:
    told = script(hears=["שאלה"], answers=[[{"wait": 4.0}, {"text": "תשובה."}]])
    with pipeline(told) as (process, services):
        report = call(process, quiet_after_s=6.0)
        assert report.verdict == "PASS", report.failures
        process.wait_for_line(r"\[PROMPT\] one_moment")
        assert asked(services, "speech")[-1]["input"] == "תשובה."
        assert WORDS["he"].still_there not in str(asked(services, "chat"))


SENTENCES = [f"זה המשפט מספר {word} בתשובה ארוכה מאוד." for word in ("אחת", "שתיים", "שלוש")]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("speech:500@3x2", "KAV-171 "),
        ("speech:cut@3x1", "KAV-177 "),
        ("speech:stall@3x1", "KAV-178 "),
        ("chat:cutx1", "KAV-177 "),
    ],
)
def test_an_answer_that_breaks_after_its_first_sentence_is_gone_on_with(fault: str, line: str) -> None:
    told = script(
        hears=["מה שעות הפתיחה?"],
        answers=[[{"text": " ".join(SENTENCES)}]],
        match=[{"when": re.escape(WORDS["he"].continuing), "answer": [{"text": "וזה ההמשך של התשובה."}]}],
    )
    with pipeline(told, fault) as (process, services):
        report = call(process, quiet_after_s=8.0)
        assert report.verdict == "PASS", report.failures
        process.wait_for_line(line)
        first, second = asked(services, "chat")
        assert first["messages"][-1]["role"] == "user"
        said = [m["content"] for m in second["messages"] if m["role"] == "assistant"]
        assert said[1] == SENTENCES[0]
        assert SENTENCES[-1] not in said, "what was never heard was never said"
        assert asked(services, "speech")[-1]["input"] == "וזה ההמשך של התשובה."
        assert "Record" not in report.verbs


def test_a_caller_whose_words_were_refused_is_asked_again() -> None:
    told = script(
        hears=["מה שעות הפתיחה?"],
        match=[{"when": re.escape(INAUDIBLE), "answer": [{"text": "לא שמעתי, אפשר לחזור על זה?"}]}],
    )
    with pipeline(told, "transcriptions:400x1") as (process, services):
        report = call(process)
        assert report.verdict == "PASS", report.failures
        process.wait_for_line(r"KAV-176 .*HTTP 400")
        assert asked(services, "speech")[-1]["input"] == "לא שמעתי, אפשר לחזור על זה?"
