"""The tools of one call: what the model is offered, what is written down, who is told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import pytest

from server import green
from server.business import Business
from server.call_services import CallServices
from server.call_tools import MAX_MESSAGE_CHARS, MAX_NAME_CHARS, MAX_SMS_CHARS, CallTools, notify
from server.errors import TwilioRestError
from server.services.http_tools import HttpToolClient
from server.services.tool_answer import Outcome, ToolAnswer
from server.store.caller_messages import CallerMessage
from tests.unit.call_parts import CALL_SID, CALLED, CALLER, PERSON, Receivers, Rest, eventually, services

STOCK = """
[[business]]
id = "bakery"
notify_url = "https://bakery.example/kav"
notify_number = "+972501112222"
share_caller = true

[[business.tools]]
name = "check_stock"
description = "מלאי"
url = "https://bakery.example/stock"

[business.tools.parameters]
type = "object"
required = ["product"]
additionalProperties = false

[business.tools.parameters.properties.product]
type = "string"
"""
MESSAGE = CallerMessage("שיחזרו אליי", CALL_SID, "bakery", 1e9, "דנה", CALLER)


def tools(made: CallServices) -> CallTools:
    return CallTools(made, made.businesses.default, CALL_SID, "CA1")


def take(made: CallServices, **arguments: object) -> CallerMessage | None:
    answer = tools(made).run("call_1", "take_message", arguments)
    noted = made.store.messages()
    assert answer.get("ok", False) is bool(noted)
    return noted[0] if noted else None


def business_of(made: CallServices) -> Business:
    return made.businesses.default


def test_the_model_is_offered_its_own_tools_and_the_businesss():
    made = services(STOCK, PERSON_NUMBER=PERSON)
    offered = {tool.name: tool for tool in tools(made).offered}
    assert set(offered) == {"end_call", "take_message", "send_dtmf", "transfer_call", "check_stock"}
    assert offered["check_stock"].parameters["required"] == ["product"]
    assert tools(made).names == {"take_message", "check_stock"}, "the others need no running"


def test_without_anybody_to_ring_there_is_no_transfer():
    assert "transfer_call" not in {tool.name for tool in tools(services()).offered}


# A message


def test_a_message_is_written_down_with_the_number_that_calls():
    made = services()
    noted = take(made, message=" שיחזרו אליי מחר ", name="דנה")
    assert noted is not None
    assert (noted.text, noted.name, noted.number) == ("שיחזרו אליי מחר", "דנה", CALLER)
    assert (noted.call_sid, noted.business_id) == (CALL_SID, "1")
    assert noted.noted_at > 1.7e9


def test_a_number_that_was_told_comes_first():
    noted = take(services(), message="hello", phone="03-1234567")
    assert noted is not None and noted.number == "03-1234567"
    noted = take(services(), message="hello", phone=97231234567)
    assert noted is not None and noted.number == "97231234567", "models write numbers as numbers"


@pytest.mark.parametrize("nothing", [None, "", "  ", [], {}], ids=repr)
def test_what_the_caller_did_not_say_is_nothing(nothing):
    noted = take(services(), message="hello", name=nothing, phone=nothing)
    assert noted is not None
    assert (noted.name, noted.number) == ("", CALLER)


@pytest.mark.parametrize("nothing", [None, "", " \n ", [], {"text": "x"}], ids=repr)
def test_an_empty_message_is_none(nothing):
    made = services()
    assert take(made, message=nothing) is None
    assert "empty" in tools(made).run("call_2", "take_message", {})["error"]


def test_a_message_is_hostile_text():
    noted = take(
        services(),
        message="a\n\x1b[2J\u202e" + "x" * 2 * MAX_MESSAGE_CHARS,
        name="n\r" * MAX_NAME_CHARS,
        phone="p" * 2 * MAX_NAME_CHARS,
    )
    assert noted is not None
    assert len(noted.text) == MAX_MESSAGE_CHARS and noted.text.startswith("a �[2J�x")
    assert len(noted.name) == MAX_NAME_CHARS and "\r" not in noted.name
    assert len(noted.number) == MAX_NAME_CHARS


def test_no_log_line_tells_a_message(caplog):
    with caplog.at_level(logging.DEBUG):
        take(services(), message="סוד גדול", name="דנה", phone="03-1234567")
    assert "סוד" not in caplog.text and "דנה" not in caplog.text and "1234567" not in caplog.text
    assert "[MESSAGE] noted chars=8" in caplog.text


def test_the_business_is_told_of_it():
    receivers, rest = Receivers(), Rest()
    made = services(STOCK, receivers=receivers, rest=rest)
    take(made, message="שיחזרו אליי", name="דנה")
    eventually(lambda: bool(rest.texts))
    [(business_id, told, message_id)] = receivers.notified
    assert business_id == "bakery" and told["text"] == "שיחזרו אליי" and told["number"] == CALLER
    assert len(message_id) == 16
    assert json.dumps(told)
    [(to, sender, text)] = rest.texts
    assert (to, sender) == ("+972501112222", CALLED)
    assert text == f"הודעה טלפונית\nדנה {CALLER}\nשיחזרו אליי"


def test_nobody_is_told_where_nobody_asked(caplog):
    receivers, rest = Receivers(), Rest()
    made = services(receivers=receivers, rest=rest)
    notify(made, business_of(made), MESSAGE, "CA1")
    assert receivers.notified == [] and rest.texts == []
    made = services(STOCK, receivers=receivers)
    notify(made, business_of(made), MESSAGE, "CA1")
    assert len(receivers.notified) == 1, "without an account of Twilio's there are no text messages"
    assert caplog.text == ""


def test_a_receiver_that_fails_is_told_in_the_log_and_the_text_message_goes(caplog):
    rest = Rest()
    made = services(STOCK, receivers=Receivers(ToolAnswer("notify", Outcome.TIMEOUT, "no answer")), rest=rest)
    notify(made, business_of(made), MESSAGE, "CA1")
    assert "KAV-161" in caplog.text and "call=CA1" in caplog.text
    assert len(rest.texts) == 1


def test_a_text_message_that_is_refused_is_told_in_the_log(caplog):
    made = services(STOCK, rest=Rest(error=TwilioRestError("KAV-158", "not a number\nof yours")))
    notify(made, business_of(made), MESSAGE, "CA1")
    assert "KAV-158" in caplog.text and "not a number of yours" in caplog.text


def test_a_fault_of_our_own_stops_nobody(caplog):
    made = services(STOCK, receivers=Receivers(error=RuntimeError("oops")))
    notify(made, business_of(made), MESSAGE, "CA1")
    assert "KAV-199" in caplog.text


class SlowReceivers(Receivers):
    """They answer in their own time."""

    def notify(self, business: Business, message: Mapping[str, Any], message_id: str) -> ToolAnswer:
        green.sleep(0.2)
        return super().notify(business, message, message_id)


def test_the_text_message_does_not_wait_for_a_slow_receiver():
    receivers, rest = SlowReceivers(), Rest()
    take(services(STOCK, receivers=receivers, rest=rest), message="hello")
    eventually(lambda: bool(rest.texts), within_s=0.1)
    assert receivers.notified == []
    eventually(lambda: bool(receivers.notified))


def test_a_process_that_ends_waits_until_the_business_was_told(caplog):
    receivers = SlowReceivers()
    made = services(STOCK, receivers=receivers)
    take(made, message="hello")
    made.settle(time.monotonic() + 2.0)
    assert len(receivers.notified) == 1
    made.close()
    assert caplog.text == ""


def test_who_could_not_be_told_in_time_is_named(caplog):
    receivers = SlowReceivers()
    made = services(STOCK, receivers=receivers)
    take(made, message="hello")
    made.settle(time.monotonic() + 0.05)
    made.close()
    assert receivers.notified == []
    [line] = caplog.messages
    assert "the process ends" in line and line.endswith("call_sid=CA1")
    eventually(lambda: bool(receivers.notified))


@pytest.mark.parametrize(
    ("language", "message", "text"),
    [
        ("en", CallerMessage("", CALL_SID, "1", 1.0, "", CALLER, "https://r"), "Telephone message\nno name "),
        ("he", CallerMessage("", CALL_SID, "1", 1.0, "", CALLER, "https://r"), "הודעה טלפונית\nלא נמסר שם "),
    ],
)
def test_a_recording_is_told_by_its_address(language, message, text):
    rest = Rest()
    made = services(rest=rest, NOTIFY_NUMBER=PERSON, CALL_LANGUAGE=language)
    notify(made, business_of(made), message, "CA1")
    assert rest.texts[0][2] == f"{text}{CALLER}\nhttps://r"


def test_a_text_message_is_not_a_book():
    rest = Rest()
    made = services(rest=rest, NOTIFY_NUMBER=PERSON)
    notify(made, business_of(made), CallerMessage("א" * 5000, CALL_SID, "1", 1.0), "CA1")
    assert len(rest.texts[0][2]) == MAX_SMS_CHARS


# The business's own


def test_a_tool_of_the_businesss_is_asked_for_this_caller():
    receivers = Receivers()
    answer = tools(services(STOCK, receivers=receivers)).run("call_7", "check_stock", {"product": "חלה"})
    assert answer == {"ok": True, "answer": {"in_stock": True}}
    [(name, arguments, context)] = receivers.asked
    assert (name, arguments) == ("check_stock", {"product": "חלה"})
    assert (context.call_id, context.call_sid, context.caller) == ("call_7", CALL_SID, CALLER)
    assert context.business.id == "bakery"


def test_a_tool_that_fails_is_told_to_the_model_and_to_the_log(caplog):
    receivers = Receivers(ToolAnswer("check_stock", Outcome.TIMEOUT, "no answer", elapsed_ms=8000))
    answer = tools(services(STOCK, receivers=receivers)).run("call_7", "check_stock", {"product": "חלה"})
    assert answer["ok"] is False and answer["error"] == "timeout"
    assert "KAV-161" in caplog.text and "call=CA1" in caplog.text
    assert "חלה" not in caplog.text


def test_arguments_that_do_not_fit_reach_nobody():
    """The real client: it judges before it would look for the receiver."""
    made = services(STOCK, receivers=HttpToolClient())  # type: ignore[arg-type]
    answer = tools(made).run("call_7", "check_stock", {"amount": 3})
    assert answer["error"] == "bad_arguments" and "product" in answer["problem"]
