"""One call, and the end of its process: told to end, or killed. What caller, Twilio and model see."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from server.app_factory import DRAIN_LISTENER_S
from server.simulator.twilio.call_report import CallReport
from server.store.live_calls import MAX_RESUMES
from server.telephony.twiml import PATIENCE_S, SPEECH
from tests.integration.calls import eventually, speech
from tests.integration.gunicorn_process import GunicornProcess, http_status
from tests.integration.hand_over import (
    ANSWER,
    BACK,
    GREETING,
    GREETS,
    HEBREW,
    QUESTION,
    WELCOME,
    WELCOME_MS,
    Rig,
    RunningCall,
    in_the_answer,
    one_gateway,
    rig,
    until_heard,
)
from tests.integration.switch import Switch

VOICE_WITHIN_MS = 3000
PATIENCE_MS = PATIENCE_S * 1000
"""When nobody is there who could go on, the line rests for so long, and then Twilio asks again."""
MOMENT = SPEECH["he"].moment


def judge(call: RunningCall, what: str, within_ms: float = VOICE_WITHIN_MS) -> CallReport:
    at_ms = call.breaks_ms[0]
    voice_ms, agent_ms = call.voice_after_ms(at_ms), call.voice_after_ms(at_ms, agent_only=True)
    silence_ms = call.longest_silence_ms(at_ms, call.voices(at_ms, agent_only=True)[0].start_ms)
    report = call.end()
    print(f"\n{what}: any voice after {voice_ms:.0f} ms, the agent after {agent_ms:.0f} ms")
    assert max(voice_ms, silence_ms) <= within_ms
    assert call.heard(WELCOME) == 1, "greeted once"
    return report


def next_session(office: Rig, after: int = 1) -> int:
    """The one that took over."""
    (number,) = [n for n in range(after + 1, office.model.count + 1) if office.model.asked(n)]
    return number


def to_master(process: GunicornProcess) -> None:
    os.kill(process.master_pid, signal.SIGTERM)


def to_all(process: GunicornProcess) -> None:
    for pid in (process.master_pid, *process.worker_pids()):
        os.kill(pid, signal.SIGTERM)


def to_all_twice(process: GunicornProcess) -> None:
    to_all(process)
    process.wait_for_line("DRAIN live_calls")
    to_all(process)


@pytest.mark.parametrize("tell", [to_master, to_all, to_all_twice])
def test_a_sentence_ends_before_its_process_does(
    tmp_path: Path, tell: Callable[[GunicornProcess], None]
) -> None:
    switch = Switch()
    with rig(tmp_path, switch) as office:
        old, new = office.gateway(REALTIME_VOICE="marin"), office.gateway(REALTIME_VOICE="cedar")
        switch.lead_to(old.port, new.port)
        call = in_the_answer(office)
        told_at_s = time.monotonic()
        tell(old)
        eventually(lambda: http_status(old.port, "/readyz") == 503, 3.0)
        assert time.monotonic() - told_at_s < DRAIN_LISTENER_S / 2
        late = office.call()
        eventually(lambda: late.call.call.tally.verbs != [])
        assert old.wait(12) == 0
        eventually(call.is_back, 10)
        eventually(lambda: late.call.line.received_bytes > 8000, 10)
        assert late.end().verbs[:2] == ("Say", "Redirect"), "a moment's patience"
        assert (call.call.call.tally.close_code, call.heard(ANSWER)) == (1001, 1), "heard to its end"
        report = judge(call, f"SIGTERM, {tell.__name__}", VOICE_WITHIN_MS + PATIENCE_MS)
        assert report.findings == ()
        assert set(report.said) == {MOMENT}
        (number,) = [
            n for n in range(2, office.model.count + 1) if HEBREW.continuing in office.model.asked(n)
        ]
        assert [role for role, _ in office.model.told(number)] == ["assistant", "user", "assistant"]
        assert office.model.told(number)[0] == ("assistant", GREETING)
        assert office.model.told(number)[2] == ("assistant", ANSWER.transcript)
        assert office.model.voice(number) == office.model.voice(1) == "marin", "the same voice as before"
        assert "Traceback" not in old.output() + new.output()


def test_a_call_goes_on_in_a_process_that_starts_only_when_the_old_one_is_gone(tmp_path: Path) -> None:
    """As where one machine has one port: for a moment nobody listens, and nobody asks."""
    with one_gateway(tmp_path) as (office, old, switch):
        call = office.call()
        until_heard(call, WELCOME_MS / 2)
        old.terminate()
        assert old.wait(12) == 0
        new = office.gateway()
        switch.lead_to(new.port)
        eventually(call.is_back, 12)
        judge(call, "restart", VOICE_WITHIN_MS + PATIENCE_MS)
        assert switch.refused == 0
        assert office.model.asked(next_session(office)) == [HEBREW.continuing]


def test_what_was_heard_last_is_written_before_twilio_can_ask(tmp_path: Path) -> None:
    """The database file is locked from the middle of the last sentence until after its end."""
    switch = Switch()
    with rig(tmp_path, switch) as office:
        old, new = office.gateway(), office.gateway()
        switch.lead_to(old.port)
        call = office.call()
        until_heard(call, WELCOME_MS / 2)
        old.terminate()
        eventually(lambda: http_status(old.port, "/readyz") == 503, 3.0)
        switch.lead_to(new.port)
        with closing(sqlite3.connect(tmp_path / "kav.sqlite3", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            until_heard(call, WELCOME_MS - 50)
            ended_ms = call.now_ms
            eventually(lambda: call.now_ms > ended_ms + 200)
            db.execute("ROLLBACK")
        eventually(call.is_back, 5)
        judge(call, "locked store")
        assert office.model.told(next_session(office)) == [("assistant", GREETING)]


def kill(process: GunicornProcess, call: RunningCall) -> float:
    """The worker, at once; its arbiter starts another. Milliseconds until that one serves: until then Twilio
    waits at the arbiter's door."""
    (worker,) = process.worker_pids()
    killed_ms = call.now_ms
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: worker not in process.worker_pids())
    eventually(lambda: http_status(process.port, "/healthz") == 200, 20)
    return call.now_ms - killed_ms


def test_a_killed_worker_is_followed_by_one_that_knows(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, process, _switch):
        call = in_the_answer(office)
        boot_ms = kill(process, call)
        eventually(call.is_back, 25)
        judge(call, "SIGKILL of the worker", VOICE_WITHIN_MS + boot_ms)
        number = next_session(office)
        assert office.model.asked(number) == [HEBREW.continuing]
        greeting, question, answer = office.model.told(number)
        assert greeting == ("assistant", GREETING)
        assert question == ("user", f"{QUESTION} 1")
        assert answer[0] == "assistant" and answer[1].endswith("…"), "the answer was not heard to its end"
        assert ANSWER.transcript.startswith(answer[1].rstrip("…"))
        assert len(answer[1]) > 5, "but some of it was"
        eventually(lambda: office.model.server.sessions_open == 0)


def test_a_greeting_that_was_heard_is_known_to_the_next_process(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, process, _switch):
        call = office.call()
        until_heard(call, WELCOME_MS)
        eventually(lambda: call.now_ms > call.call.line.playing_until_ms + 1200)
        boot_ms = kill(process, call)
        eventually(call.is_back, 25)
        judge(call, "SIGKILL after the greeting", VOICE_WITHIN_MS + boot_ms)
        number = next_session(office)
        assert office.model.asked(number) == [HEBREW.continuing]
        assert office.model.told(number) == [("assistant", GREETING)]


def test_a_process_that_dies_again_and_again_still_knows_and_then_takes_a_message(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as (office, process, _switch):
        call = office.call()
        until_heard(call, WELCOME_MS)
        for deaths in range(1, MAX_RESUMES + 2):
            kill(process, call)
            eventually(lambda n=deaths: len(call.breaks_ms) == n)
            if deaths <= MAX_RESUMES:
                eventually(call.is_back, 25)
        eventually(lambda: "Record" in call.call.call.tally.verbs, 10)
        report = call.end()
        assert report.verbs[: MAX_RESUMES + 3] == ("Connect",) * (MAX_RESUMES + 1) + ("Say", "Record")
        asked = [office.model.asked(n) for n in range(1, office.model.count + 1) if office.model.asked(n)]
        assert asked == [[GREETS]] + [[HEBREW.continuing]] * MAX_RESUMES
        assert call.heard(WELCOME) == 1
        assert call.heard(BACK) <= MAX_RESUMES


def test_a_store_that_is_slow_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Its file is locked, and the new process goes on without knowing what was said."""
    switch = Switch()
    with rig(tmp_path, switch) as office:
        old, new = office.gateway(), office.gateway()
        switch.lead_to(old.port)
        call = office.call(speech("hebrew_question"))
        until_heard(call, WELCOME_MS)
        with closing(sqlite3.connect(tmp_path / "kav.sqlite3", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            kill_all = threading.Thread(target=old.close)
            switch.lead_to(new.port)
            for pid in (old.master_pid, *old.worker_pids()):
                os.kill(pid, signal.SIGKILL)
            kill_all.start()
            eventually(call.is_back, 10)
            db.execute("ROLLBACK")
        kill_all.join()
        judge(call, "locked store, SIGKILL")
        assert office.model.asked(next_session(office))[0] == HEBREW.continuing_blank
