"""A deployment and a crash in the middle of twenty calls: two real gunicorns, one store, one telephone side.

Both processes stand behind one address. All calls begin at the first process, some of them in the greeting,
some with the caller speaking, some in an answer. Then it is told to end, or is killed, and whatever Twilio
asks next is answered by whoever is there.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.simulator.twilio.call_report import CallReport
from tests.integration.calls import eventually, speech
from tests.integration.gunicorn_process import descendants_of, http_status
from tests.integration.hand_over import (
    GREETING,
    GREETS,
    HEBREW,
    QUESTION,
    WELCOME,
    Rig,
    RunningCall,
    Sessions,
    live_calls,
    redis_url,
    rig,
)
from tests.integration.switch import Switch

CALLS = 20
APART_S = 0.3
VOICE_WITHIN_MS = 3000
SLACK_MS = 2000
"""Twenty calls come back in one moment, and their callers, both gateways and the model share two cores."""


def begin_calls(office: Rig) -> list[RunningCall]:
    """One after the other, so that they differ in where they are."""
    running = []
    for _ in range(CALLS):
        running.append(office.call(speech("hebrew_question")))
        time.sleep(APART_S)  # the distance between the calls itself
    eventually(lambda: all(call.call.line.received_bytes > 16_000 for call in running), 15)
    return running


def figures(name: str, values: list[float]) -> str:
    return f"{name}: median {statistics.median(values):.0f} ms, worst {max(values):.0f} ms"


def judge(calls: list[RunningCall], what: str) -> list[CallReport]:
    """Nobody was left in silence, nobody was greeted twice. Prints what was measured."""
    reports = [call.end() for call in calls]
    breaks_ms = [call.breaks_ms[0] for call in calls]
    pairs = list(zip(calls, breaks_ms, strict=True))
    voice_ms = [call.voice_after_ms(at_ms) for call, at_ms in pairs]
    agent_ms = [call.voice_after_ms(at_ms, agent_only=True) for call, at_ms in pairs]
    back_ms = [call.voices(at_ms, agent_only=True)[0].start_ms for call, at_ms in pairs]
    silence_ms = [
        call.longest_silence_ms(at_ms, to_ms) for (call, at_ms), to_ms in zip(pairs, back_ms, strict=True)
    ]
    print(f"\n{what}, {len(calls)} calls")
    for name, values in (("any voice", voice_ms), ("the agent", agent_ms), ("silence", silence_ms)):
        print("  " + figures(name, values))
    for values in (voice_ms, silence_ms):
        assert statistics.median(values) <= VOICE_WITHIN_MS + SLACK_MS / 2
        assert max(values) <= VOICE_WITHIN_MS + SLACK_MS
    for call, report in zip(calls, reports, strict=True):
        assert call.streams == 2
        assert call.heard(WELCOME) <= 1
        assert report.verbs[-1] == "Connect", report.verbs
    return reports


def new_sessions(model: Sessions, first: int) -> list[int]:
    """Those after the first ones that were used: a spare is none."""
    return [n for n in range(first + 1, model.count + 1) if model.events(n, "session.update")]


def judge_model(model: Sessions, known_by_ms: float) -> None:
    """Each new session was told what was said, once, and what the caller had said by `known_by_ms`."""
    sessions = new_sessions(model, CALLS)
    assert len(sessions) == CALLS
    told = [model.told(number) for number in sessions]
    for number, entries in zip(sessions, told, strict=True):
        assert model.asked(number)[0] == HEBREW.continuing
        roles = [role for role, _ in entries]
        assert roles[0] == "assistant" and GREETING.startswith(entries[0][1].rstrip("…"))
        assert len(set(entries)) == len(entries), "nothing twice"
    asked = [instructions for n in range(1, model.count + 1) for instructions in model.asked(n)]
    assert asked.count(GREETS) == CALLS, "nobody is greeted a second time"
    known = {text for n in range(1, CALLS + 1) for at_ms, text in model.heard(n) if at_ms <= known_by_ms}
    passed_on = [text for entries in told for role, text in entries if role == "user"]
    assert known <= set(passed_on), "no caller's words are lost"
    assert len(passed_on) == len(set(passed_on)), "each caller's words went to one session"
    assert all(text.startswith(QUESTION) for text in passed_on)


Store = Callable[[Path], dict[str, str]]


def sqlite(tmp_path: Path) -> dict[str, str]:
    return {}


def redis(tmp_path: Path) -> dict[str, str]:
    return {"REDIS_URL": redis_url(), "DATABASE_URL": "sqlite://"}


@pytest.mark.parametrize(
    ("store", "is_balanced"),
    [(sqlite, False), (sqlite, True), (redis, True)],
    ids=["alone", "sqlite", "redis"],
)
def test_twenty_calls_outlive_a_deployment(tmp_path: Path, store: Store, is_balanced: bool) -> None:
    """`is_balanced`: whoever is not ready is asked no more, as load balancers do it; else as long as it is
    there."""
    switch = Switch()
    with rig(tmp_path, switch, **store(tmp_path)) as office:
        old, new = office.gateway(), office.gateway()
        switch.lead_to(old.port, new.port)  # the first one, until it is gone
        calls = begin_calls(office)
        old.terminate()
        told_at_s = time.monotonic()
        eventually(lambda: http_status(old.port, "/readyz") == 503, 3.0)
        draining_ms = (time.monotonic() - told_at_s) * 1000
        if is_balanced:
            switch.lead_to(new.port)
        assert old.wait(27) == 0
        print(f"\n/readyz 503 after {draining_ms:.0f} ms, gone after {time.monotonic() - told_at_s:.1f} s")
        eventually(lambda: all(call.is_back() for call in calls), 15)
        assert live_calls(new) == CALLS
        assert office.model.server.sessions_open == CALLS
        reports = judge(calls, f"SIGTERM, {store.__name__}, balanced: {is_balanced}")
        if is_balanced:
            assert all("Say" not in report.verbs for report in reports)
        assert [report.findings for report in reports] == [()] * CALLS, "no abrupt close"
        judge_model(office.model, time.monotonic() * 1000)
        assert len(re.findall("WS_END .*reason=drain", old.output())) == CALLS
        eventually(lambda: live_calls(new) == 0)
        eventually(lambda: office.model.server.sessions_open == 0)
        assert draining_ms <= 500


@pytest.mark.parametrize("store", [sqlite, redis])
def test_twenty_calls_outlive_the_death_of_their_process(tmp_path: Path, store: Store) -> None:
    switch = Switch()
    with rig(tmp_path, switch, **store(tmp_path)) as office:
        old, new = office.gateway(), office.gateway()
        switch.lead_to(old.port, new.port)
        calls = begin_calls(office)
        family = [old.pid, *descendants_of(old.pid)]
        killed_at_ms = time.monotonic() * 1000
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: all(call.is_back() for call in calls), 15)
        assert live_calls(new) == CALLS
        assert office.model.server.sessions_open == CALLS
        reports = judge(calls, f"SIGKILL, {store.__name__}")
        found = {finding.text for report in reports for finding in report.findings}
        broken = {text for text in found if not text.startswith("status callback")}  # nobody lives by those
        assert broken == {"the connection broke without a close frame"}
        judge_model(office.model, killed_at_ms - 300)
        eventually(lambda: live_calls(new) == 0)
        eventually(lambda: office.model.server.sessions_open == 0)
