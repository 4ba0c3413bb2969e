"""What follows when a model is gone, step by step: which session is opened, what is spoken, how it ends."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from server.endings import EndReason
from server.fallback import BRIDGE_AFTER_S, BRIDGE_OWED_AFTER_S, Fallback
from server.metrics import Counters
from server.telephony.outbox import Outbox
from server.turns.ladder import FAILURES, FIRST_VOICE_S, Breaker, Ladder, Rung
from server.turns.leaving import HangUp, Plan, Transfer

FRAME = b"\x55" * 160
PROMPT_FRAMES = 50
ALL = (Rung.REALTIME, Rung.PIPELINE, Rung.PERSON, Rung.MESSAGE)
POOR = (Rung.REALTIME, Rung.MESSAGE)


class Call:
    """One call without a model, and the clock that the test turns."""

    def __init__(self, *rungs: Rung, breaker: Breaker | None = None, destination: str = "office") -> None:
        self.now_s = time.monotonic()
        self.tx_q = Outbox("MZ1")
        self.call_tag = "CA1"
        self.prompts: list[str] = []
        self.left: list[Plan] = []
        self.opened: list[Rung] = []
        self.ended_sessions = 0
        self.has_voice = False
        self.fallback = Fallback(
            Ladder(rungs),
            breaker or Breaker(),
            self,  # type: ignore[arg-type]  # the two methods of a stage that are used
            SimpleNamespace(tx_q=self.tx_q, call_tag="CA1"),  # type: ignore[arg-type]
            Counters(),
            destination,
            self.opened.append,
            self._end_session,
        )

    def _end_session(self) -> None:
        self.ended_sessions += 1

    def play_prompt(self, name: str) -> None:
        self.prompts.append(name)
        for _ in range(PROMPT_FRAMES):
            self.tx_q.put_frame(f"kav_{len(self.prompts)}", FRAME)
        self.tx_q.end_item(f"kav_{len(self.prompts)}")

    def leave(self, plan: Plan) -> None:
        self.left.append(plan)

    def wait(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.tx_q.take(self.now_s)
            self.now_s += 0.02
            self.fallback.tick(self.now_s, has_voice=self.has_voice)

    def lost(self, fault_id: str = "KAV-135", *, is_owed: bool = False, **more: Any) -> None:
        self.fallback.lost(
            EndReason.MODEL_GONE, fault_id, "seen", has_voice=self.has_voice, is_owed=is_owed, **more
        )


def speaking(*rungs: Rung, **more: Any) -> Call:
    """The caller has heard the agent."""
    call = Call(*rungs, **more)
    call.fallback.works(call.now_s)
    call.has_voice = True
    return call


def test_a_session_that_breaks_is_followed_by_another_at_once():
    call = speaking(*POOR)
    call.lost()
    assert call.ended_sessions == 1 and call.opened == [] and not call.fallback.is_opening
    call.wait(0.3)
    assert call.opened == [Rung.REALTIME] and call.fallback.is_opening
    call.fallback.works(call.now_s)
    call.wait(5.0)
    assert call.prompts == [], "nobody waited for words"


def test_whoever_waits_for_words_hears_a_voice_soon_and_again():
    call = speaking(*POOR)
    call.lost(is_owed=True)
    call.wait(BRIDGE_OWED_AFTER_S + 0.1)
    assert call.prompts == ["one_moment"]
    call.wait(6.5)
    assert call.prompts == ["one_moment"] * 2


def test_whoever_waits_for_nothing_is_asked_for_a_moment_when_it_takes_long():
    call = speaking(*POOR)
    call.lost()
    call.wait(BRIDGE_AFTER_S - 0.3)
    assert call.prompts == []
    call.wait(0.6)
    assert call.prompts == ["one_moment"]


def test_a_second_word_about_the_same_loss_changes_nothing():
    call = speaking(*POOR)
    call.lost()
    call.lost("KAV-131")
    assert call.ended_sessions == 1


@pytest.mark.parametrize("fault_id", ["KAV-132", "KAV-133"])
def test_a_refused_account_is_not_asked_again_and_a_person_is_rung(fault_id):
    call = Call(*ALL)
    call.lost(fault_id)
    assert call.fallback.is_over and call.ended_sessions == 1
    assert call.prompts == ["one_moment"], "not the demo's advice to set a key"
    call.wait(0.5)
    assert call.left == [], "the prompt is heard first"
    call.wait(1.0)
    assert call.left == [Transfer("office")] and call.opened == []


def test_where_there_is_nobody_to_ring_a_message_is_taken():
    call = Call(*ALL, destination="")
    call.lost("KAV-132")
    assert call.prompts == ["leave_message"]
    call.wait(1.5)
    assert call.left == [HangUp(EndReason.TAKE_MESSAGE)]


def test_a_prompt_is_heard_though_the_agent_was_held_when_its_model_went():
    call = speaking(*POOR)
    call.tx_q.put_frame("item_1", FRAME)
    call.tx_q.hold(call.now_s)
    call.lost("KAV-132")
    call.wait(1.5)
    assert call.left == [HangUp(EndReason.TAKE_MESSAGE)]


def test_the_first_voice_is_waited_for_in_all_tries_together():
    call = Call(*POOR)
    call.wait(FIRST_VOICE_S - 1.0)
    call.lost("KAV-131")
    call.wait(0.5)
    assert call.opened == [Rung.REALTIME]
    call.wait(0.6)
    assert call.prompts[-1] == "leave_message" and call.fallback.is_over


def test_the_next_rung_has_its_own_time_and_somebody_says_that_it_takes_a_moment():
    call = Call(*ALL)
    call.wait(FIRST_VOICE_S + 0.2)
    assert call.opened == [Rung.PIPELINE] and call.ended_sessions == 1
    assert call.prompts == ["one_moment"]
    call.wait(FIRST_VOICE_S - 0.5)
    assert not call.fallback.is_over


def test_a_call_that_leaves_needs_no_other_session():
    call = speaking(*ALL)
    call.lost(is_owed=True, is_leaving=True)
    call.wait(3.0)
    assert call.ended_sessions == 1 and call.opened == [] and call.prompts == []


def test_a_model_that_fails_every_call_is_not_asked_by_the_next():
    breaker = Breaker()
    for _ in range(FAILURES):
        Call(*POOR, breaker=breaker).lost("KAV-131")
    call = Call(*ALL, breaker=breaker)
    assert not call.fallback.may_begin()
    call.wait(0.1)
    assert call.opened == [Rung.PIPELINE] and call.prompts == ["one_moment"]
    assert not Call(*POOR, breaker=breaker).fallback.may_begin()
    assert Call(*ALL).fallback.may_begin()


def test_sockets_that_break_together_are_no_outage():
    """A provider moves its calls to another machine: each is taken up at once, by the model itself."""
    breaker = Breaker()
    calls = [speaking(*ALL, breaker=breaker) for _ in range(2 * FAILURES)]
    for call in calls:
        call.fallback.spoke()
    for call in calls:
        call.lost()
        call.wait(0.3)
        assert call.opened == [Rung.REALTIME]


def test_a_model_that_is_there_and_says_nothing_is_a_failing_one():
    breaker = Breaker()
    for _ in range(FAILURES):
        call = Call(*POOR, breaker=breaker)
        call.fallback.works(call.now_s)
        call.wait(FIRST_VOICE_S + 0.2)
    assert not Call(*POOR, breaker=breaker).fallback.may_begin()


def test_nobody_is_asked_for_a_moment_in_the_middle_of_a_word():
    call = speaking(*POOR)
    call.lost(is_owed=True)
    for _ in range(40):
        call.now_s += 0.02
        call.fallback.tick(call.now_s, has_voice=True, is_caller_speaking=True)
    assert call.prompts == []
    call.wait(0.1)
    assert call.prompts == ["one_moment"]


def test_what_the_pipeline_loses_is_not_held_against_the_model():
    breaker = Breaker()
    for _ in range(FAILURES + 1):
        call = speaking(Rung.PIPELINE, Rung.MESSAGE, breaker=breaker)
        call.lost("KAV-131")
    assert breaker.allows(call.now_s)
    assert Call(Rung.PIPELINE, breaker=breaker).fallback.may_begin()
