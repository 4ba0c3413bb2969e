"""What a request may change about a call: Twilio's rules without its sockets."""

import pytest

from server.simulator.twilio.caller import Caller
from server.simulator.twilio.live_call import (
    CallStatus,
    EndCall,
    HangupRule,
    LiveCall,
    NewTwiml,
    NewUrl,
)
from server.simulator.twilio.rest_answers import Message, segments
from server.simulator.twilio.rest_answers import call as call_json
from server.simulator.twilio.rest_answers import message as message_json
from server.simulator.twilio.rest_calls import CallRegistry, Refused, asked

TWIML = "<Response><Say>שלום</Say></Response>"


def live(*, is_answered: bool = True) -> LiveCall:
    call = LiveCall("CA1", "AC1", Caller(b"", []), HangupRule())
    if is_answered:
        call.answer()
    return call


@pytest.mark.parametrize(
    ("form", "instruction"),
    [
        ({"Twiml": TWIML}, NewTwiml(TWIML.encode())),
        ({"Url": "https://a.example/x"}, NewUrl("https://a.example/x", "POST")),
        ({"Url": "https://a.example/x", "Method": "get"}, NewUrl("https://a.example/x", "GET")),
        ({"Status": "completed"}, EndCall()),
        ({"Status": "canceled"}, None),
        ({"Status": "completed", "Twiml": TWIML}, EndCall()),
        ({"Twiml": TWIML, "Url": ""}, NewTwiml(TWIML.encode())),
    ],
)
def test_what_a_form_asks(form, instruction):
    assert asked(form) == instruction


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 21200),
        ({"Twml": TWIML}, 21200),
        ({"Twiml": ""}, 21200),
        ({"Twiml": TWIML, "Url": "https://a.example/x"}, 21200),
        ({"Status": "in-progress"}, 21200),
        ({"Url": "https://a.example/x", "Method": "PUT"}, 21200),
        ({"Url": "/relative"}, 21205),
        ({"Url": "https://[::1/x"}, 21205),
        ({"Twiml": "<Response>"}, 12100),
        ({"Twiml": "hello"}, 12100),
        ({"Twiml": "<Say>no root</Say>"}, 12100),
    ],
)
def test_what_a_form_may_not_ask(form, code):
    with pytest.raises(Refused) as refused:
        asked(form)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_4000_characters_are_the_most_however_many_bytes_they_are():
    def filled(length: int) -> str:
        return f"<Response><Say>{'א' * (length - 32)}</Say></Response>"

    longest = filled(4000)
    assert len(longest) == 4000
    assert isinstance(asked({"Twiml": longest}), NewTwiml)
    with pytest.raises(Refused) as refused:
        asked({"Twiml": filled(4001)})
    assert refused.value.code == 32018


def test_a_live_call_is_interrupted_and_takes_its_instruction_once():
    call = live()
    assert not call.is_interrupted
    assert call.instruct(NewTwiml(b"first"))
    assert call.instruct(NewTwiml(b"second"))
    assert call.is_interrupted
    assert call.next_instruction() == NewTwiml(b"second")
    assert not call.is_interrupted
    assert call.tally.updates == [NewTwiml(b"first"), NewTwiml(b"second")]
    assert call.status is CallStatus.IN_PROGRESS


def test_a_call_that_has_ended_takes_no_instruction():
    call = live()
    assert call.next_instruction() is None
    assert call.status is CallStatus.COMPLETED
    assert not call.instruct(NewTwiml(b""))
    assert not call.instruct(EndCall())


def test_an_ended_call_takes_no_more_even_before_it_has_noticed():
    call = live()
    assert call.instruct(EndCall())
    assert call.status is CallStatus.COMPLETED
    assert not call.instruct(NewTwiml(b""))
    assert call.is_interrupted
    assert call.next_instruction() is None


def test_a_caller_who_hung_up_cannot_be_brought_back():
    call = live()
    call.instruct(NewTwiml(b""))
    call.hung_up.set()
    assert not call.instruct(NewTwiml(b""))
    assert call.next_instruction() is None
    assert call.status is CallStatus.COMPLETED


def test_a_ringing_call_can_be_ended_and_nothing_else():
    call = live(is_answered=False)
    assert not call.instruct(NewTwiml(b""))
    assert call.instruct(EndCall())
    call.answer()
    assert call.status is CallStatus.COMPLETED


def test_canceled_means_only_calls_that_ring():
    calls = CallRegistry("AC1")
    ringing, talking = live(is_answered=False), live()
    calls.register(ringing, "+972501234567", "+97231234567")
    assert calls.update("CA1", {"Status": "canceled"}).call.status is CallStatus.COMPLETED
    calls.register(talking, "+972501234567", "+97231234567")
    assert calls.update("CA1", {"Status": "canceled"}).call.status is CallStatus.IN_PROGRESS


def test_an_unknown_call_is_not_found():
    with pytest.raises(LookupError):
        CallRegistry("AC1").update("CA1", {"Status": "completed"})


def test_a_call_as_json():
    calls = CallRegistry("AC1")
    calls.declare("CA1", "+972501234567", "+97231234567")
    known = calls.get("CA1")
    assert known is not None
    shown = call_json(known)
    assert (shown["sid"], shown["status"], shown["direction"]) == ("CA1", "in-progress", "inbound")
    assert (shown["from"], shown["to"]) == ("+972501234567", "+97231234567")
    assert shown["uri"] == "/2010-04-01/Accounts/AC1/Calls/CA1.json"


def test_a_message_as_json_counts_what_it_costs():
    shown = message_json(Message("SM1", "+972501234567", "Bakery", "א" * 71), "AC1")
    assert (shown["status"], shown["num_segments"], shown["from"]) == ("queued", "2", "Bakery")
    assert [segments("a" * n) for n in (0, 1, 160, 161, 306, 307)] == [1, 1, 1, 2, 2, 3]
    assert [segments("א" * n) for n in (70, 71, 134, 135)] == [1, 2, 2, 3]
    assert segments("😀" * 35) == 1
