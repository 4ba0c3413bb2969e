"""Which sessions a call may have, what each is told, and what is known before the first word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.call_services import CallServices
from server.call_sessions import CallSessions
from server.config import CallMode
from server.model_session import ModelSession
from server.realtime.events import Event
from server.realtime.words import WORDS
from server.services.openai_realtime_client import OpenAIRealtimeClient
from server.store.parked_calls import ParkedCall
from server.turns.ladder import Rung
from server.turns.tools import built_in
from tests.unit.call_parts import CALL_SID, PERSON, Client, services, turns

MESSAGE, APOLOGY = Rung.MESSAGE, Rung.APOLOGY
HISTORY = [("user", "שלום"), ("assistant", "במה אפשר לעזור?")]


def pipeline(listener: Callable[[str, Event], None], call_tag: str) -> Client:
    assert call_tag == "CA1"
    return Client(listener)


def sessions(made: CallServices, mode: CallMode = CallMode.REALTIME) -> CallSessions:
    return CallSessions(made, made.businesses.default, built_in(()), "CA1", mode)


def parked(**more: object) -> ParkedCall:
    return ParkedCall(CALL_SID, "1", "he", HISTORY, **more)  # type: ignore[arg-type]


class Nobody:
    """A `SessionListener` whom nothing concerns."""

    def session_ready(self, session: ModelSession) -> None: ...

    def session_event(self, session: ModelSession, event: Event) -> None: ...

    def session_lost(self, session: ModelSession, *why: object) -> None: ...


@pytest.mark.parametrize(
    ("first", "has_pipeline", "person", "resume", "rungs"),
    [
        (Rung.REALTIME, True, PERSON, "", [Rung.REALTIME, Rung.PIPELINE, Rung.PERSON]),
        (Rung.REALTIME, False, PERSON, "", [Rung.REALTIME, Rung.PERSON]),
        (Rung.REALTIME, False, "", "", [Rung.REALTIME]),
        (Rung.PIPELINE, True, "", "", [Rung.PIPELINE]),
        (Rung.PIPELINE, True, PERSON, "continue", [Rung.PIPELINE, Rung.PERSON]),
        (Rung.REALTIME, True, PERSON, "transfer:busy", [Rung.REALTIME, Rung.PIPELINE]),
    ],
)
def test_the_rungs_are_what_there_is(first, has_pipeline, person, resume, rungs):
    made = services(pipeline=pipeline if has_pipeline else None, PERSON_NUMBER=person)
    assert sessions(made).rungs(first, resume) == (*rungs, MESSAGE, APOLOGY)


def test_a_new_call_is_greeted_by_its_business():
    made = services(MAX_CALL_SECONDS="600")
    plan = sessions(made).plan(frozenset({"take_message"}), "", None)
    assert plan.business is made.businesses.default
    assert (plan.opening, plan.was_greeted, list(plan.history)) == ("", False, [])
    assert plan.max_call_s == 600
    assert plan.tool_names == {"take_message"}


def test_what_was_kept_of_a_new_call_opens_nothing():
    """The caller's own number of streams is not told by the record alone, but by how the call came."""
    plan = sessions(services()).plan(frozenset(), "", parked(greeting_done=True))
    assert plan.opening == "" and list(plan.history) == HISTORY


@pytest.mark.parametrize(
    ("resume", "kept", "opening"),
    [
        ("continue", None, WORDS["he"].continuing_blank),
        ("continue", parked(greeting_done=True), WORDS["he"].continuing),
        ("continue", parked(greeting_done=False), ""),
    ],
    ids=["nothing is known", "greeted", "not greeted"],
)
def test_a_call_that_comes_back_goes_on_where_it_was(resume, kept, opening):
    plan = sessions(services()).plan(frozenset(), resume, kept)
    assert (plan.opening, plan.was_greeted) == (opening, bool(opening))


def test_who_comes_back_from_a_transfer_is_told_why():
    kept = parked(greeting_done=True, extra={"destination": "מזכירות"})
    plan = sessions(services()).plan(frozenset(), "transfer:busy", kept)
    assert "מזכירות" in plan.opening and WORDS["he"].no_answer["busy"] in plan.opening
    assert list(plan.history) == HISTORY


def test_the_longest_call_counts_all_its_streams():
    settings = services(MAX_CALL_SECONDS="600")
    assert (
        sessions(settings).plan(frozenset(), "continue", parked(extra={"spent_s": 500.0})).max_call_s == 100
    )
    assert (
        sessions(settings).plan(frozenset(), "continue", parked(extra={"spent_s": 900.0})).max_call_s == 1
    ), "a goodbye: 0 would be no limit at all"


@pytest.mark.parametrize(
    ("mode", "model", "is_transcribed"),
    [
        (CallMode.REALTIME, "gpt-transcribe", True),
        (CallMode.REALTIME, "off", False),
        (CallMode.DEMO, "gpt-transcribe", False),
        (CallMode.PIPELINE, "gpt-transcribe", True),
    ],
)
def test_words_are_known_where_somebody_writes_them_down(mode, model, is_transcribed):
    made = sessions(services(TRANSCRIPTION_MODEL=model), mode)
    assert made.is_transcribed is made.plan(frozenset(), "", None).is_transcribed is is_transcribed
    assert made.make(Rung.REALTIME, "marin", Nobody()).is_transcribed is is_transcribed


def test_a_realtime_session_has_a_client_of_its_own():
    first, second = (sessions(services()).make(Rung.REALTIME, "marin", Nobody()) for _ in range(2))
    assert isinstance(first.client, OpenAIRealtimeClient)
    assert first.client is not second.client


def test_a_pipelined_session_is_told_who_it_is_and_dials_nobody():
    made = services(pipeline=pipeline, INSTRUCTIONS="עני בקצרה", CALL_LANGUAGE="he")
    session = sessions(made).make(Rung.PIPELINE, "cedar", Nobody())
    assert isinstance(session.client, Client)
    session.start()
    turns()
    [told] = session.client.configured
    assert (told.voice, told.language, told.instructions) == ("cedar", "he", "עני בקצרה")
    assert told.tools == built_in(())
    assert session.client.connects == 0
    assert session.is_transcribed, "it hears by transcription"
    session.close()


def test_a_pipelined_session_writes_down_what_callers_say_whatever_is_set():
    made = services(pipeline=pipeline, TRANSCRIPTION_MODEL="off")
    assert sessions(made).make(Rung.PIPELINE, "cedar", Nobody()).is_transcribed
