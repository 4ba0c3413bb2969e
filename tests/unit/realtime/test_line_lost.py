"""What a conversation does while nobody is on the line, and what it says when the caller is back."""

from __future__ import annotations

import pytest

from server.config import Dialect
from server.realtime.call_plan import continued
from server.realtime.commands import Commands
from server.realtime.events import AgentTranscript, FunctionCall
from server.realtime.words import WORDS
from server.telephony.outbox import Outbox
from tests.unit.realtime.talk import Talk, business

ENGLISH = WORDS["en"]


def leave(talk: Talk) -> None:
    talk.conversation.left(talk.now_s)


def come_back(talk: Talk, after_s: float = 1.0) -> None:
    """In another stream: nobody looks after the conversation in between."""
    talk.now_s += after_s
    talk.tx_q = talk.stage.tx_q = Outbox("MZ2")
    talk.stage.sent.clear()
    talk.conversation.back(talk.tx_q, talk.now_s)


def answering(talk: Talk) -> str:
    """Asked, and half a second into an answer of two."""
    talk.caller_says(0.8, "what are your hours?")
    response = talk.responds(done=False)
    talk.speaks(response, "item_answer", 2000)
    talk.wait(0.5)
    return response


def test_what_was_not_heard_is_given_up_at_once() -> None:
    talk = Talk().opened()
    response = answering(talk)
    leave(talk)
    (truncated,) = talk.sent("conversation.item.truncate")
    assert (truncated["item_id"], truncated["audio_end_ms"]) == ("item_answer", pytest.approx(500, abs=40))
    assert [event["response_id"] for event in talk.sent("response.cancel")] == [response]
    assert talk.conversation.is_abandoned(response)
    assert len(talk.tx_q) == 0
    assert talk.stage.cuts == [], "nobody barged in"


def test_the_caller_is_told_and_the_agent_goes_on() -> None:
    talk = Talk().opened()
    response = answering(talk)
    leave(talk)
    talk.done(response, status="cancelled")
    come_back(talk)
    assert talk.asked() == [ENGLISH.continuing]
    talk.responds(ms=600)
    talk.wait(0.1)
    assert talk.tx_q.ledger.lead_ms(talk.now_s) > 0, "it is said in the new stream"


def test_nothing_is_asked_for_while_nobody_is_there() -> None:
    talk = Talk().opened()
    talk.caller_starts()
    leave(talk)
    talk.stage.sent.clear()
    talk.caller_stops()
    talk.caller_words("is there bread today?")
    assert talk.asked() == []
    assert ("user", "is there bread today?") in talk.conversation.told(talk.now_s), "but it is not lost"
    come_back(talk)
    assert talk.asked() == [ENGLISH.continuing]
    talk.wait(1.0)
    assert talk.asked() == [ENGLISH.continuing]


def test_who_has_heard_nothing_is_greeted() -> None:
    talk = Talk()
    talk.ready()
    assert not talk.conversation.is_greeted(talk.now_s)
    leave(talk)
    come_back(talk)
    late = talk.responds(ms=600, done=False)
    assert talk.conversation.is_abandoned(late), "the one that was asked for in the stream before"
    talk.done(late, status="cancelled")
    assert talk.asked() == [ENGLISH.exactly.format(text=business().greeting)]


def test_a_greeting_that_was_heard_in_part_is_not_said_again() -> None:
    talk = Talk()
    talk.ready()
    talk.responds(ms=2000)
    talk.wait(0.3)
    assert talk.conversation.is_greeted(talk.now_s)
    leave(talk)
    come_back(talk)
    assert talk.asked() == [ENGLISH.continuing]


def test_a_greeting_of_which_nothing_reached_the_ear_is_said_again() -> None:
    talk = Talk()
    talk.ready()
    talk.responds(ms=2000)
    talk.pump()
    assert not talk.conversation.is_greeted(talk.now_s)
    leave(talk)
    come_back(talk)
    assert talk.asked() == [ENGLISH.exactly.format(text=business().greeting)]


def test_a_goodbye_that_was_cut_ends_no_call() -> None:
    talk = Talk().opened()
    talk.caller_says(0.8, "that is all, thank you")
    response = talk.responds(done=False)
    talk.speaks(response, "item_bye", 2000)
    talk.done(response, FunctionCall("end_call", "call_1", "{}"))
    talk.wait(0.5)
    leave(talk)
    come_back(talk)
    talk.wait(3.0)
    assert talk.stage.left == []
    assert talk.asked() == [ENGLISH.continuing]


def test_a_tool_that_answers_meanwhile_is_told_to_the_same_session() -> None:
    talk = Talk().opened()
    talk.caller_says(0.8, "is there bread?")
    response = talk.responds(done=False)
    talk.done(response, FunctionCall("lookup", "call_1", "{}"))
    leave(talk)
    talk.stage.sent.clear()
    talk.conversation.tool_done("call_1", {"bread": True}, talk.now_s)
    (told,) = talk.sent("conversation.item.create")
    assert told["item"]["type"] == "function_call_output"
    assert talk.asked() == []
    come_back(talk)
    assert talk.asked() == [ENGLISH.continuing]


def test_a_tool_that_works_still_is_waited_for() -> None:
    talk = Talk().opened()
    talk.caller_says(0.8, "is there bread?")
    response = talk.responds(done=False)
    talk.done(response, FunctionCall("lookup", "call_1", "{}"))
    leave(talk)
    come_back(talk)
    assert talk.asked() == []
    talk.conversation.tool_done("call_1", {"bread": True}, talk.now_s)
    assert talk.asked() == [""]


def test_of_a_running_answer_the_heard_words_are_kept() -> None:
    talk = Talk().opened()
    response = answering(talk)
    talk.event(AgentTranscript("item_answer", "We are open from eight to seven every day."))
    before = talk.conversation.told(talk.now_s)
    assert before[-1] == ("assistant", "We are…")
    talk.wait(2.0)
    assert talk.conversation.told(talk.now_s)[-1] == (
        "assistant",
        "We are open from eight to seven every day.",
    )
    assert not talk.conversation.is_abandoned(response)


def test_a_call_that_goes_on_from_elsewhere_is_not_greeted_and_may_be_interrupted() -> None:
    talk = Talk(
        opening=ENGLISH.continuing, was_greeted=True, history=[("assistant", "Hello, this is Dana's.")]
    )
    assert talk.conversation.is_greeted(talk.now_s)
    talk.ready()
    assert talk.asked() == [ENGLISH.continuing]
    response = talk.responds(ms=3000, done=False)
    talk.wait(0.3)
    talk.caller_says(1.2, "what are your hours?")
    assert talk.conversation.is_abandoned(response)


@pytest.mark.parametrize(
    ("was_greeted", "opening"),
    [(True, ENGLISH.continuing), (False, ""), (None, ENGLISH.continuing_blank)],
)
def test_the_first_words_depend_on_what_is_known(was_greeted: bool | None, opening: str) -> None:
    assert continued(business(), "continue", "", was_greeted=was_greeted) == opening


@pytest.mark.parametrize("language", WORDS)
def test_whoever_comes_back_is_told_so_without_a_greeting(language: str) -> None:
    for text in (WORDS[language].continuing, WORDS[language].continuing_blank):
        assert {"he": "אל תברכי שוב", "en": "Do not greet again"}[language] in text


def test_a_session_that_changes_meanwhile_is_another_matter() -> None:
    """Commands stay those of the session that is in use."""
    talk = Talk().opened()
    leave(talk)
    talk.conversation.session_changed(Commands(Dialect.GA), is_transcribed=True)
    talk.ready()
    assert talk.asked() == []
