"""What a stream finds of the call that it goes on with."""

from __future__ import annotations

from server.call_record import CallRecord, ended_as
from server.store.parked_calls import ParkedCall
from tests.unit.call_parts import CALL_SID, services

SAID = [("assistant", "שלום")]


def record(store, *, may_be_new: bool) -> CallRecord:
    return CallRecord(store, services().businesses.default, CALL_SID, may_be_new=may_be_new)


def test_a_call_that_went_on_elsewhere_without_a_record_is_known_to_be_unknown():
    assert record(services().store, may_be_new=False).take() is None


def test_a_call_that_may_never_have_begun_is_a_new_one_where_no_record_says_otherwise():
    parked = record(services().store, may_be_new=True).take()
    assert parked is not None
    assert (parked.history, parked.greeting_done, parked.spent_s, ended_as(parked)) == ([], False, 0, None)


def test_a_record_says_that_the_call_had_begun():
    store = services().store
    store.put(ParkedCall(CALL_SID, "1", "he", SAID, greeting_done=True, reason="agent_hangup"))
    parked = record(store, may_be_new=True).take()
    assert parked is not None
    assert (parked.history, parked.greeting_done) == (SAID, True)
    assert ended_as(parked) == "agent_hangup"
