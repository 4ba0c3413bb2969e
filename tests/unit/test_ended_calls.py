"""A stream ended on purpose, and another process is asked what follows: it finds out from the store."""

from __future__ import annotations

import pytest

from server.business import Business
from server.call_services import CallServices
from server.config import CallMode
from server.endings import GOES_ON, EndReason
from server.media_ws_ai import RealtimeMode
from server.store.parked_calls import ParkedCall
from server.telephony.messages import Start
from server.telephony.twiml import RESUME
from tests.unit.call_parts import CALL_SID, PERSON, Leg, eventually, services, turns

OTHERS = (EndReason.STOP, EndReason.TRANSFER, EndReason.NO_START, EndReason.REFUSED)
ON_PURPOSE = [reason for reason in EndReason if reason not in (*GOES_ON, *OTHERS)]
SAID = [("assistant", "שלום"), ("user", "אפשר לדבר עם נציג?")]


def mode(made: CallServices, leg: Leg, resume: str = "") -> RealtimeMode:
    parameters = {"business": business(made).id, "resume": resume}
    start = Start("MZ1", CALL_SID, "", "audio/x-mulaw", 8000, 1, parameters)
    return RealtimeMode(leg, start, made, CallMode.REALTIME)


def business(made: CallServices) -> Business:
    return made.businesses.default


def record(made: CallServices, reason: str, **extra: str) -> ParkedCall:
    return ParkedCall(CALL_SID, business(made).id, "he", SAID, reason=reason, extra=extra)


@pytest.mark.parametrize("reason", ON_PURPOSE)
def test_a_call_that_ended_in_another_process_ends_the_same_way_here(reason: EndReason) -> None:
    made, leg = services(), Leg()
    mode(made, Leg()).ending(reason)
    mode(made, leg, RESUME).start()
    eventually(lambda: bool(leg.ended))
    assert leg.ended == [(reason, "")]
    assert leg.items == {}, "nobody says a word more"


def test_what_is_kept_of_an_ended_call_is_no_word_of_it() -> None:
    made = services()
    made.store.put(record(made, "crash"))
    mode(made, Leg()).ending(EndReason.AGENT_HANGUP)
    kept = made.store.take(CALL_SID)
    assert kept is not None
    assert (kept.reason, kept.history, kept.extra) == ("agent_hangup", [], {})


def test_of_a_call_whose_caller_hung_up_nothing_is_kept() -> None:
    made = services()
    made.store.put(record(made, "crash"))
    mode(made, Leg()).ending(EndReason.STOP)
    turns()
    assert made.store.take(CALL_SID) is None


def test_a_person_who_was_promised_in_another_process_is_rung() -> None:
    made, leg = services(PERSON_NUMBER=PERSON), Leg()
    made.store.put(record(made, "transfer", destination="person"))
    mode(made, leg, RESUME).start()
    eventually(lambda: bool(leg.ended))
    assert leg.ended == [(EndReason.TRANSFER, "")]
    assert PERSON in made.calls.transfer_of(CALL_SID)
    kept = made.store.take(CALL_SID)
    assert kept is not None and kept.history == SAID, "for the way back"


def test_a_person_who_cannot_be_rung_here_is_not_the_end() -> None:
    made, leg = services(), Leg()
    made.store.put(record(made, "transfer", destination="nobody"))
    back = mode(made, leg, RESUME)
    back.start()
    turns()
    assert leg.ended == []
    assert made.calls.transfer_of(CALL_SID) == ""
    back.close()


def test_who_reached_nobody_is_not_sent_there_again() -> None:
    made, leg = services(PERSON_NUMBER=PERSON), Leg()
    made.store.put(record(made, "transfer", destination="person"))
    back = mode(made, leg, "transfer:no-answer")
    back.start()
    turns()
    assert leg.ended == []
    assert made.calls.transfer_of(CALL_SID) == ""
    back.close()


@pytest.mark.parametrize(("resume", "reason"), [("transfer:busy", "reset"), (RESUME, "transfer")])
def test_a_line_that_breaks_on_the_way_back_keeps_what_follows(resume: str, reason: str) -> None:
    made, leg = services(PERSON_NUMBER=PERSON), Leg()
    made.store.put(record(made, "transfer", destination="person"))
    back = mode(made, leg, resume)
    back.start()
    back.ending(EndReason.RESET)
    turns()
    kept = made.store.take(CALL_SID)
    assert kept is not None
    assert (kept.reason, kept.history) == (reason, SAID)
