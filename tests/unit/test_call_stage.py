"""What a conversation asks for, done: where the caller goes, what is heard meanwhile, what is counted."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from server import call_stage, green
from server.call_record import CallRecord
from server.call_services import CallServices
from server.call_stage import BRIDGE_AFTER_S, TRANSFER_PROMPT_AFTER_S, CallStage
from server.call_tools import CallTools
from server.endings import EndReason
from server.errors import CallIsGone, TwilioRestError
from server.realtime import events
from server.realtime.call_plan import CallPlan, barge_in_limits
from server.realtime.conversation import Conversation
from server.realtime.events import FunctionCall
from server.services.tool_answer import Outcome, ToolAnswer
from server.telephony.playout import Cut
from server.turns.latency import TurnLatency
from server.turns.leaving import HangUp, Transfer
from tests.unit.call_parts import (
    BASE_URL,
    CALL_SID,
    CALLED,
    PERSON,
    PROMPTS,
    Client,
    Leg,
    Receivers,
    Rest,
    eventually,
    services,
    turns,
)

TOOL = """
[[business]]
id = "bakery"

[business.transfers]
"מזכירות" = "+972509998888"

[[business.tools]]
name = "check_stock"
description = "מלאי"
url = "https://bakery.example/stock"
"""


class Call:
    """One call's stage with a real conversation, record and tools, and nobody at either end."""

    def __init__(self, made: CallServices | None = None) -> None:
        self.services = made = made or services(TOOL)
        business = made.businesses.default
        self.leg = Leg()
        self.tools = CallTools(made, business, CALL_SID, "CA1")
        self.stage = CallStage(self.leg, made, business, self.tools, CALL_SID)
        self.client = Client(lambda kind, event: None)
        plan = CallPlan(business, barge_in_limits(business), self.tools.names, 1800.0, is_transcribed=True)
        self.conversation = Conversation(
            self.stage, self.leg.tx_q, self.client.commands, plan, time.monotonic()
        )
        self.record = CallRecord(made.store, business, CALL_SID)
        self.forgotten: list[str] = []
        self.failures: list[tuple[EndReason, str, str]] = []
        self.stage.attach(
            self.conversation, self.record, self.forgotten.append, lambda *why: self.failures.append(why)
        )

    def begin(self) -> None:
        """The model is there, and was asked for the greeting."""
        self.stage.client = self.client
        self.record.attach(self.conversation)
        self.conversation.session_ready(time.monotonic())

    def calls_tool(self, call_id: str, arguments: str = "{}") -> None:
        now_s = time.monotonic()
        self.conversation.on_event(events.ResponseCreated("resp_1"), now_s)
        call = FunctionCall("check_stock", call_id, arguments)
        self.conversation.on_event(events.ResponseDone("resp_1", "completed", "", (call,), None, 0), now_s)

    def outputs(self) -> list[Any]:
        """What the model was told of its tools."""
        items = [json.loads(text).get("item", {}) for text in self.client.sent]
        return [json.loads(item["output"]) for item in items if item.get("type") == "function_call_output"]

    def documents(self) -> str:
        return self.services.calls.transfer_of(CALL_SID)


@pytest.fixture(autouse=True)
def _quick_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twilio stops a stream at once here."""
    monkeypatch.setattr(call_stage, "STOPS_WITHIN_S", 0.02)
    monkeypatch.setattr(call_stage, "ASKS_WITHIN_S", 0.02)


# What is said without a model


def test_a_prompt_is_an_item_of_ours_from_its_first_frame_to_its_end():
    call = Call()
    call.stage.play_prompt("one_moment")
    call.stage.play_prompt("one_moment")
    assert list(call.leg.items) == ["kav_one_moment_1", "kav_one_moment_2"] == call.leg.done
    assert set(call.leg.items.values()) == {PROMPTS.get("he", "one_moment").payload}
    assert call.leg.flushes == 2


def test_a_prompt_is_in_the_language_of_the_business():
    call = Call(services(CALL_LANGUAGE="en"))
    call.stage.play_prompt("apology")
    assert list(call.leg.items.values()) == [PROMPTS.get("en", "apology").payload]


def test_a_sound_of_any_length_goes_in_whole_frames():
    call = Call()
    call.stage.play("tones", b"\x55" * 250)
    assert call.leg.items == {"kav_tones_1": b"\x55" * 250 + b"\xff" * 70}


def test_the_model_is_told_as_soon_as_there_is_one():
    call = Call()
    call.stage.send('{"type": "x"}')
    call.stage.client = call.client
    call.stage.send('{"type": "y"}')
    assert call.client.sent == ['{"type": "y"}']


def test_who_is_back_hears_something_before_long():
    call = Call()
    call.stage.bridge(100.0)
    call.stage.tick(100.0 + BRIDGE_AFTER_S - 0.01)
    assert call.leg.items == {}
    call.stage.tick(100.0 + BRIDGE_AFTER_S)
    call.stage.tick(110.0)
    assert list(call.leg.items) == ["kav_one_moment_1"], "once"


def test_a_bridge_is_not_needed_once_somebody_speaks():
    call = Call()
    call.stage.bridge(100.0)
    call.stage.bridged()
    call.stage.tick(110.0)
    assert call.leg.items == {}


# Leaving


def test_a_hang_up_ends_the_stream_for_its_reason():
    call = Call()
    call.stage.leave(HangUp(EndReason.IDLE))
    assert call.leg.ended == [(EndReason.IDLE, "")]


def test_without_an_account_a_transfer_follows_the_stream():
    call = Call()
    call.begin()
    call.stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(call.leg.ended))
    assert call.leg.ended == [(EndReason.TRANSFER, "")]
    assert f">{PERSON}</Number>" in call.documents()
    assert f'callerId="{CALLED}"' in call.documents()
    assert f'action="{BASE_URL}/webhook/dial_ended"' in call.documents()
    parked = call.services.store.take(CALL_SID)
    assert parked is not None
    assert (parked.reason, parked.extra["destination"]) == ("transfer", "מזכירות")


def test_with_an_account_twilio_is_told_and_stops_the_stream_itself():
    rest = Rest()
    call = Call(services(TOOL, rest=rest))
    call.stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(rest.updated))
    assert rest.updated == [(CALL_SID, call.documents())]
    turns()
    assert call.leg.ended == [], "Twilio was to stop it"
    eventually(lambda: bool(call.leg.ended))
    assert call.leg.ended == [(EndReason.TRANSFER, "")]


def test_while_twilio_takes_its_time_the_caller_is_asked_for_a_moment(monkeypatch):
    monkeypatch.setattr(call_stage, "TRANSFER_PROMPT_AFTER_S", 0.0)
    rest = Rest(takes_s=0.1)
    call = Call(services(TOOL, rest=rest))
    call.stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(rest.updated))
    call.stage.tick(time.monotonic())
    assert list(call.leg.items) == ["kav_one_moment_1"]
    eventually(lambda: bool(call.leg.ended))


def test_a_quick_transfer_needs_no_prompt():
    rest = Rest()
    call = Call(services(TOOL, rest=rest))
    call.stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(rest.updated))
    turns()
    call.stage.tick(time.monotonic() + TRANSFER_PROMPT_AFTER_S + 1)
    assert call.leg.items == {}
    eventually(lambda: bool(call.leg.ended))


def test_a_caller_who_hung_up_meanwhile_is_not_transferred():
    call = Call(services(TOOL, rest=Rest(error=CallIsGone("KAV-156", "21220"))))
    call.stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(call.leg.ended))
    assert call.leg.ended == [(EndReason.STOP, "")]


def test_when_twilios_rest_fails_the_transfer_follows_the_stream(caplog):
    call = Call(services(TOOL, rest=Rest(error=TwilioRestError("KAV-151", "no\nway"))))
    call.stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(call.leg.ended))
    assert call.leg.ended == [(EndReason.TRANSFER, "")]
    assert "KAV-151" in caplog.text and "no way" in caplog.text
    assert PERSON in call.documents()


def test_a_transfer_that_cannot_be_is_a_fault_with_an_end(caplog):
    call = Call()
    call.stage.leave(Transfer("nobody"))
    eventually(lambda: bool(call.leg.ended))
    assert call.leg.ended == [(EndReason.FAULT, "")]
    assert "KAV-199" in caplog.text and call.documents() == ""


def test_no_log_line_tells_a_persons_number(caplog):
    with caplog.at_level(logging.DEBUG):
        call = Call()
        call.stage.leave(Transfer("מזכירות"))
        eventually(lambda: bool(call.leg.ended))
    assert "[TRANSFER] to=מזכירות" in caplog.text
    assert PERSON not in caplog.text


# Hanging up


def closed(rest: Rest | None, reason: EndReason = EndReason.AGENT_HANGUP) -> CallServices:
    """A call whose stream we have just closed."""
    made = services(TOOL, rest=rest)
    made.calls.began(CALL_SID, "MZ1")
    made.calls.ending(CALL_SID, "MZ1", reason)
    return made


def is_draining() -> bool:
    return False


def a_while() -> None:
    green.sleep(0.06)


@pytest.mark.parametrize(
    "reason", [EndReason.AGENT_HANGUP, EndReason.IDLE, EndReason.MAX_DURATION, EndReason.APOLOGISED]
)
def test_a_call_of_which_twilio_never_asks_is_ended_by_rest(reason, caplog):
    rest = Rest()
    with caplog.at_level(logging.INFO):
        call_stage.see_off(closed(rest, reason), is_draining, CALL_SID)
        assert rest.hung_up == [], "Twilio has its time"
        eventually(lambda: "[HANG_UP] ended by REST" in caplog.text)
    assert rest.hung_up == [CALL_SID]
    assert "call_sid=CA111111" in caplog.text


def test_a_call_of_which_twilio_asks_costs_no_request():
    rest = Rest()
    made = closed(rest)
    call_stage.see_off(made, is_draining, CALL_SID)
    made.calls.asked(CALL_SID)
    a_while()
    assert rest.hung_up == []


@pytest.mark.parametrize("reason", [EndReason.STOP, EndReason.TRANSFER, EndReason.CLOSED, EndReason.FAULT])
def test_a_call_that_is_over_or_goes_on_is_not_hung_up(reason):
    rest = Rest()
    call_stage.see_off(closed(rest, reason), is_draining, CALL_SID)
    a_while()
    assert rest.hung_up == []


def test_a_call_with_another_stream_by_now_is_not_hung_up():
    rest = Rest()
    made = closed(rest)
    call_stage.see_off(made, is_draining, CALL_SID)
    made.calls.began(CALL_SID, "MZ2")
    a_while()
    assert rest.hung_up == []


def test_a_process_that_ends_hangs_nobody_up():
    rest = Rest()
    drained: list[bool] = []
    call_stage.see_off(closed(rest), lambda: bool(drained), CALL_SID)
    drained.append(True)
    a_while()
    assert rest.hung_up == []


def test_without_an_account_nothing_is_waited_for():
    call_stage.see_off(closed(None), is_draining, CALL_SID)
    a_while()


def test_a_call_that_was_gone_already_is_told_as_such(caplog):
    with caplog.at_level(logging.INFO):
        call_stage.see_off(closed(Rest(is_gone=True)), is_draining, CALL_SID)
        eventually(lambda: "[HANG_UP] was gone already" in caplog.text)


@pytest.mark.parametrize(
    ("error", "fault_id"), [(TwilioRestError("KAV-151", "no\nway"), "KAV-151"), (OSError("oops"), "KAV-199")]
)
def test_a_hang_up_that_fails_is_one_line_with_its_fault(error, fault_id, caplog):
    call_stage.see_off(closed(Rest(error=error)), is_draining, CALL_SID)
    eventually(lambda: fault_id in caplog.text)
    assert len(caplog.records) == 1
    assert "[HANG_UP]" not in caplog.text


# Tools


def test_a_tool_answers_to_the_model_which_then_speaks():
    call = Call()
    call.begin()
    call.calls_tool("call_1")
    eventually(lambda: bool(call.outputs()))
    assert call.outputs() == [{"ok": True, "answer": {"in_stock": True}}]
    assert json.loads(call.client.sent[-1])["type"] == "response.create"


def test_a_tool_that_breaks_is_an_answer_as_well(caplog):
    call = Call(services(TOOL, receivers=Receivers(error=RuntimeError("oops"))))
    call.begin()
    call.calls_tool("call_1")
    eventually(lambda: bool(call.outputs()))
    assert call.outputs() == [{"error": "the tool failed"}]
    assert "KAV-199" in caplog.text


def test_an_answer_after_the_end_of_the_call_is_dropped(caplog):
    answer = ToolAnswer("check_stock", Outcome.OK, answer=1)
    call = Call(services(TOOL, receivers=Receivers(answer)))
    call.begin()
    call.calls_tool("call_1")
    call.stage.close()
    with caplog.at_level(logging.INFO):
        eventually(lambda: "answered after the call had ended" in caplog.text)
    assert call.outputs() == []


# What is told


def test_what_went_wrong_is_told_until_the_call_is_over():
    call = Call()
    call.stage.fail(EndReason.MODEL_SILENT, "KAV-137", "seen")
    call.stage.close()
    call.stage.fail(EndReason.MODEL_GONE, "KAV-135", "seen")
    assert call.failures == [(EndReason.MODEL_SILENT, "KAV-137", "seen")]


def test_a_barge_in_is_counted_and_its_item_forgotten(caplog):
    call = Call()
    with caplog.at_level(logging.INFO):
        call.stage.was_cut(Cut("item_1\n", 340, 900))
    assert call.services.counters.barge_ins == 1
    assert call.forgotten == ["item_1\n"]
    assert "item=item_1  heard_ms=340 sent_ms=900" in caplog.text


def samples(counters_spread: Any) -> dict[str, float]:
    return {
        sample.labels.get("le", sample.name): sample.value
        for sample in counters_spread.family("x_seconds", "x").samples
    }


def test_the_greeting_and_the_turns_are_counted_apart():
    call = Call()
    counters = call.services.counters
    call.stage.turn_done(TurnLatency(0, 700, 900, 650, has_filler=False))
    call.stage.turn_done(TurnLatency(1, 1200, None, None, has_filler=False))
    call.stage.turn_done(TurnLatency(2, None, None, None, has_filler=False))
    assert samples(counters.first_audio)["x_seconds_sum"] == pytest.approx(0.7)
    assert samples(counters.turn_gaps)["x_seconds_sum"] == pytest.approx(1.2)
    assert samples(counters.turn_gaps)["+Inf"] == 1


def test_the_conversation_is_kept_after_each_turn():
    call = Call()
    call.begin()
    call.services.store.take(CALL_SID)
    call.conversation.history.began("item_1")
    call.conversation.history.caller("item_1", "שלום")
    call.stage.turn_done(TurnLatency(1, 500, None, None, has_filler=False))
    parked = call.services.store.take(CALL_SID)
    assert parked is not None
    assert (list(parked.history), parked.reason) == ([("user", "שלום")], "crash")


def test_warnings_are_counted_by_their_fault(caplog):
    call = Call()
    call.stage.warn("KAV-136", "odd\nthing")
    assert call.services.counters.model_errors == {"KAV-136": 1}
    assert "odd thing" in caplog.text and "call=CA111111" in caplog.text


def test_a_note_is_one_line(caplog):
    with caplog.at_level(logging.INFO):
        Call().stage.note("a\nb")
    assert "a b call_sid=CA111111" in caplog.text


def test_a_stage_without_a_conversation_does_what_needs_none():
    """Between the stream's start and the record's arrival a prompt may be due, and a turn is none."""
    made = services(TOOL)
    business = made.businesses.default
    leg = Leg()
    stage = CallStage(leg, made, business, CallTools(made, business, CALL_SID, "CA1"), CALL_SID)
    stage.play_prompt("one_moment")
    stage.fail(EndReason.MODEL_GONE, "KAV-135", "seen")
    stage.turn_done(TurnLatency(0, None, None, None, has_filler=False))
    stage.run_tool("call_1", "check_stock", {})
    turns()
    stage.leave(Transfer("מזכירות"))
    eventually(lambda: bool(leg.ended))
    assert list(leg.items) == ["kav_one_moment_1"]
    assert leg.ended == [(EndReason.TRANSFER, "")]
    assert made.store.take(CALL_SID) is None
