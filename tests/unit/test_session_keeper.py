"""How the sessions of one call follow each other: real sessions and a real conversation, and the hour in a
moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from server.endings import EndReason
from server.model_session import ModelSession
from server.realtime import events
from server.realtime.commands import SessionSettings
from server.realtime.events import Event
from server.realtime.session_clock import LIFETIME_S, SessionClock
from server.realtime.words import WORDS
from server.session_keeper import READY_WITHIN_S, TRY_AGAIN_AFTER_S, SessionKeeper
from tests.unit.call_parts import Client, eventually, turns
from tests.unit.realtime.talk import Talk

RENEW_S, MUST_S = LIFETIME_S * 5 / 6, LIFETIME_S * 59 / 60
SETTINGS = SessionSettings(voice="marin", instructions="", language="he", transcription_model="m", tools=())


@dataclass
class Listener:
    """A `SessionListener` that remembers."""

    ready: list[ModelSession] = field(default_factory=list)
    lost: list[tuple[ModelSession, EndReason]] = field(default_factory=list)

    def session_ready(self, session: ModelSession) -> None:
        self.ready.append(session)

    def session_event(self, session: ModelSession, event: Event) -> None:
        pass

    def session_lost(self, session: ModelSession, reason: EndReason, fault_id: str, seen: str) -> None:
        self.lost.append((session, reason))


class Hour:
    """A keeper whose sessions begin when the test says so."""

    def __init__(self) -> None:
        self.began_s = self.now_s = 1024.0  # a whole number: its sums with whole seconds are exact
        self.made: list[ModelSession] = []
        self.listener = Listener()
        self.talk = Talk().opened()
        self.talk.conversation.history.began("item_1")
        self.talk.conversation.history.agent("item_1", "שלום, במה אפשר לעזור?")
        self.used: list[ModelSession] = []
        self.keeper = SessionKeeper(self.make, self.use, "CA1")
        self.keeper.current.start()
        self.answer(self.keeper.current)

    def make(self) -> ModelSession:
        session = ModelSession(Client, None, SETTINGS, self.listener, "CA1")
        session.clock, session.began_at = SessionClock(self.now_s), self.now_s
        self.made.append(session)
        return session

    def use(self, session: ModelSession) -> bool:
        assert not self.talk.asked(), "nothing is asked before it is known of whom"
        self.used.append(session)
        return False

    def answer(self, session: ModelSession) -> None:
        """The model takes the settings."""
        turns()
        client(session).say("session.updated", events.SessionUpdated())

    def at(self, age_s: float) -> bool:
        """Tick when the call is so old."""
        self.now_s = self.began_s + age_s
        took_over = self.keeper.tick(self.talk.conversation, self.now_s)
        turns()
        return took_over


def client(session: ModelSession) -> Client:
    assert isinstance(session.client, Client)
    return session.client


@pytest.fixture
def hour() -> Iterator[Hour]:
    made = Hour()
    yield made
    made.keeper.close()
    eventually(lambda: all(client(session).is_closed for session in made.made))


def test_a_fresh_session_stays_alone(hour: Hour):
    assert not hour.at(RENEW_S - 1)
    assert len(hour.made) == 1


def test_the_next_session_is_made_ready_and_takes_over(hour: Hour):
    first = hour.keeper.current
    assert not hour.at(RENEW_S)
    [_, second] = hour.made
    assert client(second).configured == [SETTINGS], "it was started"
    assert not hour.at(RENEW_S + 1), "it is not ready"
    assert hour.keeper.current is first
    hour.answer(second)
    assert hour.at(RENEW_S + 2)
    assert hour.keeper.current is second
    eventually(lambda: client(first).is_closed)
    assert not client(second).is_closed
    [told] = [json.loads(text) for text in client(second).sent]
    assert told["item"]["role"] == "assistant" and "במה אפשר לעזור" in str(told), "it knows what was said"
    assert not hour.at(RENEW_S + 3), "once"


def test_the_conversation_asks_the_new_session_from_then_on(hour: Hour):
    hour.at(RENEW_S)
    hour.answer(hour.made[1])
    hour.at(RENEW_S + 1)
    talk = hour.talk
    talk.caller_says(0.6, "מתי אתם פתוחים?")
    assert talk.sent("response.create"), "it is ready at once"


def test_nobody_is_interrupted_for_it(hour: Hour):
    hour.talk.caller_starts()
    assert not hour.at(RENEW_S)
    assert len(hour.made) == 1, "not even prepared: it would be too old when it is wanted"
    hour.talk.caller_stops()
    hour.talk.responds(ms=200)
    hour.talk.wait(0.5)
    hour.at(RENEW_S + 10)
    hour.answer(hour.made[1])
    hour.talk.caller_starts("item_2")
    assert not hour.at(RENEW_S + 11)
    assert hour.keeper.current is hour.made[0]


def test_in_the_last_minute_it_is_done_whoever_speaks(hour: Hour):
    hour.talk.caller_starts()
    assert not hour.at(MUST_S)
    hour.answer(hour.made[1])
    assert hour.at(MUST_S + 1)
    assert hour.keeper.current is hour.made[1]


def test_what_was_being_said_is_owed_by_the_session_that_takes_over(hour: Hour):
    talk = hour.talk
    talk.caller_says(0.6, "ספרו לי הכול")
    talk.responds(ms=400, done=False)
    hour.at(MUST_S)
    hour.answer(hour.made[1])
    talk.stage.sent.clear()
    assert hour.at(MUST_S + 1)
    assert hour.used == [hour.made[1]]
    assert talk.asked() == [WORDS["en"].continuing]


def test_the_call_goes_on_as_before(hour: Hour):
    hour.at(RENEW_S)
    hour.answer(hour.made[1])
    assert hour.at(RENEW_S + 1)
    hour.talk.stage.sent.clear()
    hour.talk.wait(11.0)
    assert len(hour.talk.asked()) == 1, "a silent caller is asked whether they are still there"


def test_one_that_does_not_come_up_is_given_up_and_tried_again_later(hour: Hour):
    hour.at(RENEW_S)
    second = hour.made[1]
    hour.at(RENEW_S + READY_WITHIN_S)
    assert not client(second).is_closed
    hour.at(RENEW_S + READY_WITHIN_S + 0.1)
    eventually(lambda: client(second).is_closed)
    hour.at(RENEW_S + READY_WITHIN_S + TRY_AGAIN_AFTER_S)
    assert len(hour.made) == 2
    hour.at(RENEW_S + READY_WITHIN_S + TRY_AGAIN_AFTER_S + 0.2)
    assert len(hour.made) == 3
    assert hour.keeper.current is hour.made[0]


def test_a_spare_that_breaks_is_no_loss_for_the_call(hour: Hour, caplog: pytest.LogCaptureFixture):
    hour.at(RENEW_S)
    hour.answer(hour.made[1])
    client(hour.made[1]).breaks()
    eventually(lambda: bool(hour.listener.lost))
    assert hour.listener.lost == [(hour.made[1], EndReason.MODEL_GONE)]
    assert not hour.keeper.lost(hour.made[1], "KAV-132", "HTTP 401")
    assert "KAV-132" in caplog.text and "HTTP 401" in caplog.text, "the operator has ten minutes"
    assert not hour.at(RENEW_S + 1), "a session that is gone takes nothing over"
    assert hour.keeper.current is hour.made[0]
    assert hour.keeper.lost(hour.made[0], "KAV-135", "")


def test_a_replacement_is_of_the_new_kind_and_so_are_those_after_it(hour: Hour):
    first = hour.keeper.current
    hour.at(RENEW_S)
    spare = hour.made[1]
    others: list[ModelSession] = []

    def other() -> ModelSession:
        others.append(hour.make())
        return others[-1]

    replaced = hour.keeper.replace(other)
    assert replaced is hour.keeper.current is others[0]
    turns()
    assert client(replaced).configured == [SETTINGS], "it was started"
    eventually(lambda: client(first).is_closed and client(spare).is_closed)
    assert not client(replaced).is_closed
    assert not hour.at(RENEW_S + 1), "it is fresh"
    hour.at(2 * RENEW_S)
    assert len(others) == 2
    assert hour.keeper.replace() is others[2]


def test_closing_closes_the_spare_as_well(hour: Hour):
    hour.at(RENEW_S)
    hour.keeper.close()
    assert [client(session).is_closed for session in hour.made] == [True, True]
    assert hour.listener.lost == [], "nobody is told of what we end ourselves"
