"""Twilio's socket breaks in the middle of a call, and this process lives: the same session goes on.

Real gunicorn, real sockets; a switch between Twilio and the gateway breaks the line.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from server.audio.g711 import BYTES_PER_MS
from server.simulator.twilio.addresses import Addresses
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.webhooks import WebhookClient
from tests.integration.calls import eventually, speech
from tests.integration.hand_over import (
    ANSWER,
    BACK,
    GREETS,
    HEBREW,
    TOKEN,
    WELCOME,
    WELCOME_MS,
    RunningCall,
    in_the_answer,
    live_calls,
    one_gateway,
    until_heard,
)
from tests.integration.switch import Switch

VOICE_WITHIN_MS = 3000
TRUNCATED_WITHIN_MS = {"reset": 150, "half_close": 150, "lose": 400}
"""A break is noticed a little later than it happens, and the sound of that moment is lost on the way. One
that nobody is told of is noticed when the next stream begins."""


def records(tmp_path: Path) -> int:
    with closing(sqlite3.connect(tmp_path / "kav.sqlite3")) as db:
        count: int = db.execute("SELECT count(*) FROM kav_parked_calls").fetchone()[0]
        return count


def judge(call: RunningCall) -> CallReport:
    at_ms = call.breaks_ms[0]
    voice_ms = call.voice_after_ms(at_ms)
    report = call.end()
    print(f"\nany voice after {voice_ms:.0f} ms")
    assert voice_ms <= VOICE_WITHIN_MS
    assert call.heard(WELCOME) == 1, "greeted once"
    assert "Say" not in report.verbs
    return report


@pytest.mark.parametrize("how", ["reset", "half_close", "lose"])
def test_a_broken_line_goes_on_with_the_same_session(tmp_path: Path, how: str) -> None:
    with one_gateway(tmp_path) as (office, process, switch):
        call = in_the_answer(office)
        getattr(switch, how)()
        broken_ms = call.now_ms
        eventually(call.is_back, 5)
        assert live_calls(process) == 1
        assert office.model.server.sessions_open == office.model.count == 1, "no other session was opened"
        judge(call)
        assert office.model.asked(1) == [GREETS, "", HEBREW.continuing]
        assert office.model.told(1) == [], "it has heard everything itself"
        (truncated,) = office.model.events(1, "conversation.item.truncate")
        heard_ms = call.call.line.heard_bytes(broken_ms) / BYTES_PER_MS - WELCOME_MS
        assert truncated["audio_end_ms"] == pytest.approx(heard_ms, abs=TRUNCATED_WITHIN_MS[how])
        eventually(lambda: office.model.server.sessions_open == 0, 3)
        assert live_calls(process) == 0
        eventually(lambda: records(tmp_path) == 0, 3)
        assert "ERROR" not in process.output()


def test_what_a_caller_says_when_the_line_breaks_is_heard_and_answered_once(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, _process, switch):
        call = office.call(speech("hebrew_question"))
        eventually(lambda: bool(office.model.events(1, "input_audio_buffer.speech_started", "out")), 15)
        at_ms = call.now_ms
        eventually(lambda: call.now_ms > at_ms + 700)
        switch.reset()
        eventually(call.is_back, 8)
        judge(call)
        assert office.model.heard(1), "the half sentence was taken down"
        assert office.model.asked(1)[:2] == [GREETS, HEBREW.continuing], (
            "nobody was answered who was not there"
        )


def test_a_caller_who_has_heard_nothing_yet_is_greeted(tmp_path: Path) -> None:
    with one_gateway(tmp_path, faults=["slow=1.6"]) as (office, process, switch):
        call = office.call()
        eventually(lambda: office.model.asked(1) == [GREETS], 5)
        switch.reset()
        eventually(call.is_back, 8)
        eventually(lambda: call.heard(WELCOME) == 1, 5)
        judge(call)
        assert office.model.asked(1) == [GREETS, GREETS], "the first of them was cancelled"
        assert office.model.count == 1
        assert process.output().count("[PROMPT] one_moment") == 1, "what bridges the silence"


def test_a_line_that_breaks_again_and_again_ends_in_a_message(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, process, switch):
        call = office.call()
        for streams in range(1, 5):
            eventually(lambda n=streams: call.streams == n and len(call.breaks_ms) != n, 5)
            until_heard(call, 500.0 * streams)
            switch.reset()
            eventually(lambda n=streams: len(call.breaks_ms) == n, 5)
        eventually(lambda: "Record" in call.call.call.tally.verbs, 15)
        report = call.end()
        assert report.verbs[:5] == ("Connect",) * 4 + ("Say",)
        assert report.verbs[5] == "Record"
        assert office.model.asked(1).count(GREETS) == 1
        process.wait_for_line("KAV-144")


def test_a_caller_who_hangs_up_while_the_line_is_broken_leaves_nothing_behind(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, process, switch):
        call = in_the_answer(office)
        switch.lead_to()
        switch.reset()
        process.wait_for_line(r"\[PARKED\]")
        assert (office.model.server.sessions_open, records(tmp_path)) == (1, 1)
        action = f"{office.base_url}/webhook/stream_ended"
        http = WebhookClient(Addresses(f"{process.base_url}/", office.base_url), TOKEN, 5)
        form = {"CallSid": call.call.call.call_sid, "CallStatus": "completed"}
        assert http.send(action, form).status == 204
        http.close()
        eventually(lambda: office.model.server.sessions_open == 0, 3)
        eventually(lambda: records(tmp_path) == 0, 3)


def test_a_session_that_ends_while_the_line_is_broken_is_followed_by_one_that_is_told(tmp_path: Path) -> None:
    with Switch() as way_to_model:
        url = f"ws://127.0.0.1:{way_to_model.port}/v1/realtime"
        with one_gateway(tmp_path, OPENAI_REALTIME_URL=url) as (office, process, switch):
            way_to_model.lead_to(office.model.server.port)
            call = in_the_answer(office)
            switch.hold()
            switch.reset()
            process.wait_for_line(r"\[PARKED\]")
            way_to_model.reset()
            eventually(lambda: office.model.server.sessions_open == 0)
            switch.release()
            eventually(call.is_back, 8)
            judge(call)
            assert office.model.asked(office.model.count) == [HEBREW.continuing]
            assert [role for role, _ in office.model.told(office.model.count)] == [
                "assistant",
                "user",
                "assistant",
            ]


def test_a_process_without_a_record_says_so_and_does_not_greet_again(tmp_path: Path) -> None:
    """The store forgets with its process: nobody knows what was said."""
    with one_gateway(tmp_path, DATABASE_URL="sqlite://") as (office, _process, switch):
        old = office.gateway(DATABASE_URL="sqlite://")
        call = in_the_answer(office)
        switch.lead_to(old.port)
        switch.reset()
        eventually(call.is_back, 8)
        judge(call)
        assert call.heard(BACK) <= 1 and call.heard(ANSWER) == 0
        (told,) = [n for n in range(2, office.model.count + 1) if office.model.asked(n)]
        assert office.model.asked(told) == [HEBREW.continuing_blank]
        old.wait_for_line("KAV-145")
