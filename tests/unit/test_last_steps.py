"""A call that is about to be left: its last words in order, and nothing else is done for it."""

from __future__ import annotations

import time

from server.realtime import events
from server.services.openai_realtime_client import AudioChunk
from server.telephony.twiml import RESUME
from server.turns.leaving import HangUp, Transfer
from tests.unit.call_parts import PERSON, Leg, services
from tests.unit.test_ended_calls import mode, record

WORDS = b"\x55" * 1600


def test_while_a_person_is_rung_no_model_is_looked_for() -> None:
    """The session may be gone by then: that is no outage, and the agent does not come back."""
    made, leg = services(PERSON_NUMBER=PERSON), Leg()
    call = mode(made, leg)
    call.start()
    call._stage.leave(Transfer("person"))
    for seconds in range(1, 10):
        call.tick(time.monotonic() + seconds)
    assert dict(made.counters.refused) == {}
    assert leg.items == {}


def test_after_hanging_up_no_model_is_looked_for() -> None:
    made, leg = services(), Leg()
    call = mode(made, leg)
    call.start()
    call._stage.leave(HangUp())
    call.tick(time.monotonic() + 9)
    assert (dict(made.counters.refused), leg.items, len(leg.ended)) == ({}, {}, 1)


def test_who_is_back_hears_something_while_their_record_is_looked_for() -> None:
    made, leg = services(PERSON_NUMBER=PERSON), Leg()
    made.store.put(record(made, "transfer", destination="person"))
    call = mode(made, leg, RESUME)
    call.start()
    call.tick(time.monotonic() + 1.5)
    assert list(leg.items) == ["kav_one_moment_1"]


def test_a_prompt_does_not_overtake_the_last_words_of_a_model_that_is_gone() -> None:
    made, leg = services(), Leg()
    call = mode(made, leg)
    call.start()
    assert call._keeper is not None and call._conversation is not None
    session = call._keeper.current
    call.session_ready(session)
    for response, item in (("resp_1", "item_1"), ("resp_2", "item_2")):
        call.session_event(session, events.ResponseCreated(response))
        call.session_event(session, events.AudioDelta(response, item, WORDS))
        session.client.audio_out_queue.append(AudioChunk(response, item, WORDS))  # type: ignore[attr-defined]
        asked = events.FunctionCall("end_call", "call_1", "{}")
        if response == "resp_1":
            done = events.ResponseDone(response, "completed", "", (asked,), None, 0)
            call.session_event(session, done)
    assert call._conversation.is_leaving
    call._end_session()
    assert list(leg.items) == ["item_1", "item_2", "kav_goodbye_1"]
