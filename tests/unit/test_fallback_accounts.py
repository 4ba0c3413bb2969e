"""What a lost session costs: which tries are left, what is held against the model, what is counted and told.

With the real stage; `lost` reads the clock by itself, so times that passed are told as times long ago.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from server import fallback
from server.call_stage import CallStage
from server.call_tools import CallTools
from server.endings import EndReason
from server.fallback import BRIDGE_AFTER_S, BRIDGE_OWED_AFTER_S, Fallback
from server.turns.ladder import FAILURES, FIRST_VOICE_S, LASTS_S, Breaker, Ladder, Rung
from tests.unit.call_parts import CALL_SID, PERSON, PROMPTS, Leg, eventually, services

ALL = (Rung.REALTIME, Rung.PIPELINE, Rung.PERSON, Rung.MESSAGE)
POOR = (Rung.REALTIME, Rung.MESSAGE)
SPENT_S = LASTS_S + 1


class Call:
    def __init__(self, *rungs: Rung, breaker: Breaker | None = None) -> None:
        made = services(PERSON_NUMBER=PERSON)
        business = made.businesses.default
        self.now_s = time.monotonic()
        self.counters = made.counters
        self.breaker = breaker or Breaker()
        self.leg = Leg()
        self.stage = CallStage(self.leg, made, business, CallTools(made, business, CALL_SID, "CA1"), CALL_SID)
        self.opened: list[Rung] = []
        self.has_voice = True
        self.fallback = Fallback(
            Ladder(rungs),
            self.breaker,
            self.stage,
            self.leg,
            self.counters,
            next(iter(business.transfers), ""),
            self.opened.append,
            lambda: None,
        )

    def works(self, since_s: float = 0.0, *, speaks: bool = False) -> None:
        """A session came up so long ago."""
        self.fallback.works(time.monotonic() - since_s)
        if speaks:
            self.fallback.spoke()

    def lost(self, fault_id: str = "KAV-135", seen: str = "seen", **more: Any) -> None:
        more = {"has_voice": self.has_voice, "is_owed": False} | more
        self.fallback.lost(EndReason.MODEL_GONE, fault_id, seen, **more)

    def wait(self, seconds: float, *, is_caller_speaking: bool = False) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.leg.tx_q.take(self.now_s)
            self.now_s += 0.02
            self.fallback.tick(self.now_s, has_voice=self.has_voice, is_caller_speaking=is_caller_speaking)

    def prompts(self) -> list[str]:
        return [item_id.removeprefix("kav_").rpartition("_")[0] for item_id in self.leg.items]

    def next_rung(self) -> Rung:
        """Where it went."""
        [rung] = self.counters.fallbacks
        self.counters.fallbacks.clear()
        return Rung(rung)


# What is left


def test_a_model_that_lasts_is_tried_anew_each_time():
    call = Call(*ALL)
    for _ in range(6):
        call.works(SPENT_S)
        call.lost()
        assert call.next_rung() is Rung.REALTIME
        call.wait(0.3)
        assert call.opened.pop() is Rung.REALTIME


def test_one_that_keeps_breaking_is_given_up():
    call = Call(*ALL)
    for rung in (Rung.REALTIME, Rung.REALTIME, Rung.REALTIME, Rung.PIPELINE):
        call.works()
        call.lost()
        assert call.next_rung() is rung
        call.wait(3.2)


def test_before_the_first_voice_there_is_less_patience():
    call = Call(*ALL)
    call.has_voice = False
    for rung in (Rung.REALTIME, Rung.REALTIME, Rung.PIPELINE):
        call.lost()
        assert call.next_rung() is rung
        call.wait(1.1)


def test_all_tries_of_a_rung_share_its_time(monkeypatch):
    call = Call(*POOR)
    call.has_voice = False
    monkeypatch.setattr(fallback, "time", SimpleNamespace(monotonic=lambda: call.now_s))
    call.wait(FIRST_VOICE_S - 1.0)
    call.lost("KAV-131")
    call.wait(0.9)
    assert call.prompts() == []
    call.wait(0.2)
    assert call.prompts() == ["leave_message"], "four seconds after the first try began, not the second"


@pytest.mark.parametrize("fault_id", ["KAV-134", "KAV-139"])
def test_a_model_that_refuses_is_not_tried_again(fault_id):
    call = Call(*ALL)
    call.lost(fault_id)
    assert call.next_rung() is Rung.PIPELINE


def test_during_an_outage_a_call_that_breaks_goes_on_without_the_model():
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(time.monotonic())
    call = Call(*ALL, breaker=breaker)
    call.works(SPENT_S, speaks=False)
    call.lost()
    assert call.next_rung() is Rung.PIPELINE


def test_a_session_that_comes_up_after_all_needs_no_other():
    call = Call(*ALL)
    call.works()
    call.lost()
    call.works()
    call.wait(1.0)
    assert call.opened == [] and call.prompts() == []


def test_who_was_given_up_is_not_given_up_again():
    call = Call(*POOR)
    call.lost("KAV-132")
    call.lost("KAV-135")
    call.has_voice = False
    call.wait(FIRST_VOICE_S + 1)
    assert call.prompts() == ["leave_message"]
    assert call.leg.ended == [(EndReason.TAKE_MESSAGE, "")]
    assert call.counters.refused == {"KAV-132": 1}


def test_the_last_rung_is_an_apology_and_the_end():
    call = Call(Rung.REALTIME)
    call.lost("KAV-132")
    assert call.prompts() == ["apology"]
    call.wait(len(PROMPTS.get("he", "apology").payload) / 8000 - 0.5)
    assert call.leg.ended == [], "it is heard to its end"
    call.wait(1.5)
    assert call.leg.ended == [(EndReason.APOLOGISED, "")]


def test_a_person_is_rung_once_the_caller_knows():
    call = Call(*ALL)
    call.lost("KAV-133")
    assert call.prompts() == ["one_moment"]
    call.wait(2.0)
    eventually(lambda: bool(call.leg.ended))
    assert call.leg.ended == [(EndReason.TRANSFER, "")]


# What is held against the model


def losses(
    breaker: Breaker, count: int, *, since_s: float, speaks: bool, fault_id: str = "KAV-135"
) -> list[Call]:
    """So many calls at a time, each with a session that came up, and then broke."""
    calls = [Call(*ALL, breaker=breaker) for _ in range(count)]
    for call in calls:
        call.works(since_s, speaks=speaks)
    for call in calls:
        call.lost(fault_id)
    return calls


def is_asked(breaker: Breaker) -> bool:
    return Call(*ALL, breaker=breaker).fallback.may_begin()


@pytest.mark.parametrize(
    ("since_s", "speaks", "fault_id", "asked"),
    [
        (0.0, False, "KAV-135", False),
        (0.0, True, "KAV-135", True),
        (SPENT_S, False, "KAV-135", True),
        (SPENT_S, True, "KAV-132", False),
        (SPENT_S, True, "KAV-139", False),
    ],
    ids=["at once", "after it spoke", "after a while", "no account", "no such model"],
)
def test_which_losses_are_failures_of_the_model(since_s, speaks, fault_id, asked):
    breaker = Breaker()
    losses(breaker, FAILURES, since_s=since_s, speaks=speaks, fault_id=fault_id)
    assert is_asked(breaker) is asked


def test_what_an_earlier_session_said_does_not_excuse_the_next():
    breaker = Breaker()
    for call in losses(breaker, FAILURES, since_s=SPENT_S, speaks=True):
        call.wait(0.3)
        call.lost("KAV-131")
    assert not is_asked(breaker)


def test_a_word_of_the_model_forgives_the_failures_before_it():
    breaker = Breaker()
    losses(breaker, FAILURES - 1, since_s=0.0, speaks=False)
    Call(*ALL, breaker=breaker).works(speaks=True)
    losses(breaker, FAILURES - 1, since_s=0.0, speaks=False)
    assert is_asked(breaker)


def test_a_word_of_the_pipelines_says_nothing_of_the_model():
    breaker = Breaker()
    losses(breaker, FAILURES, since_s=0.0, speaks=False)
    Call(Rung.PIPELINE, breaker=breaker).works(speaks=True)
    assert not is_asked(breaker)


# What is said meanwhile


def test_nobody_is_asked_for_a_moment_while_the_agent_is_still_heard():
    call = Call(*ALL)
    for at in range(100):
        call.leg.play("item_1", bytes([at]) * 160)
    call.leg.end_item("item_1")
    call.lost(is_owed=True)
    call.wait(BRIDGE_OWED_AFTER_S + 1.0)
    assert call.prompts() == ["item"]
    call.wait(2.0)
    assert call.prompts()[1:] == ["one_moment"]


def test_a_caller_who_speaks_on_is_asked_all_the_same():
    call = Call(*ALL)
    call.lost(is_owed=True)
    call.wait(BRIDGE_OWED_AFTER_S + BRIDGE_AFTER_S - 0.1, is_caller_speaking=True)
    assert call.prompts() == []
    call.wait(0.3, is_caller_speaking=True)
    assert call.prompts() == ["one_moment"]


# What is counted and told


def test_each_loss_is_counted_by_its_fault_and_each_step_by_its_rung():
    call = Call(*ALL)
    call.lost("KAV-131")
    call.wait(0.3)
    call.lost("KAV-132")
    assert call.counters.refused == {"KAV-131": 1, "KAV-132": 1}
    assert call.counters.fallbacks == {Rung.REALTIME: 1, Rung.PERSON: 1}


def test_what_the_model_said_at_its_end_is_one_clean_line(caplog):
    Call(*ALL).lost("KAV-135", "1011 bad\nthing \x1b[2J\u202e")
    [line] = [record.getMessage() for record in caplog.records if "KAV-135" in record.getMessage()]
    assert "1011 bad thing" in line and not set(line) & set("\n\x1b\u202e")


def test_an_outage_is_told_once_when_it_begins(caplog):
    losses(Breaker(), FAILURES, since_s=0.0, speaks=False)
    assert caplog.text.count("KAV-142") == 1
