"""Who leaves a call in the middle of a word, and who is left waiting in it: nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.business import KeyAction, KeyKind
from server.endings import EndReason
from server.realtime.answer_watch import ANSWER_WITHIN_S, FILL_AFTER_S
from server.realtime.events import FunctionCall, ResponseDone, ServerError
from server.realtime.words import WORDS
from server.turns.barge_in import BargeInLimits
from server.turns.leaving import HangUp, Transfer
from tests.unit.realtime.talk import Talk, business

ENGLISH = WORDS["en"]
END_CALL = FunctionCall("end_call", "call_end", "{}")
OFF = BargeInLimits(is_allowed=False)


def says_goodbye(talk: Talk, ms: int = 1000, call: FunctionCall = END_CALL) -> Talk:
    """The agent's last words, and the tool that ends the call, in one response."""
    talk.caller_says(0.8, "that was all", "item_last")
    response = talk.responds(ms=ms, item="item_goodbye", done=False)
    talk.done(response, call)
    talk.stage.sent.clear()
    return talk


def test_long_last_words_are_heard_to_their_end():
    talk = says_goodbye(Talk().opened(), ms=26_000)
    talk.wait(25.5)
    assert talk.stage.left == []
    talk.wait(1.0)
    assert talk.stage.left == [HangUp()]


def test_last_words_without_an_end_are_left_all_the_same():
    talk = says_goodbye(Talk().opened())
    for _ in range(12):
        talk.speaks("resp_more", "item_more", 2000, is_whole=False)
        talk.wait(2.0)
    assert talk.stage.left == [HangUp()]


def test_nobody_is_left_while_they_speak_where_they_may_not_interrupt():
    talk = says_goodbye(Talk(barge_in=OFF).opened())
    talk.wait(0.5)
    talk.caller_starts("item_wait")
    talk.wait(2.0)
    assert talk.stage.left == []
    talk.caller_stops("item_wait")
    talk.caller_words("wait, one more thing", "item_wait")
    assert talk.asked() == [""], "it is answered, and the goodbye is taken back"
    talk.responds(ms=400)
    talk.wait(1.0)
    assert talk.stage.left == []


@pytest.mark.parametrize("before_s", [0.1, 0.2])
def test_a_word_that_begins_in_the_goodbyes_last_syllable_is_heard(before_s: float):
    talk = says_goodbye(Talk().opened())
    talk.wait(1.0 - before_s)
    talk.caller_says(0.6, item="item_wait")
    assert talk.stage.left == []
    talk.wait(0.3)
    talk.caller_words("wait, what about Friday?", "item_wait")
    talk.wait(0.2)
    assert talk.stage.left == [] and talk.asked() == [""]


def test_whoever_says_ok_to_the_goodbye_does_not_keep_the_call():
    talk = says_goodbye(Talk().opened())
    talk.wait(0.9)
    talk.caller_says(0.1, item="item_ok")
    talk.caller_words("ok", "item_ok")
    talk.wait(0.3)
    assert talk.stage.left == [HangUp()] and talk.asked() == []


def test_words_that_never_come_keep_the_call_for_two_seconds_only():
    talk = says_goodbye(Talk().opened())
    talk.wait(0.9)
    talk.caller_says(0.1, item="item_click")
    talk.wait(1.5)
    assert talk.stage.left == []
    talk.wait(0.7)
    assert talk.stage.left == [HangUp()]


def test_time_is_up_only_when_it_is():
    talk = says_goodbye(Talk(barge_in=OFF).opened(), ms=2000)
    talk.caller_says(0.4, "thanks, bye", "item_bye")
    assert ENGLISH.time_is_up not in talk.asked()


def test_whoever_pressed_the_key_for_a_person_is_connected():
    with_menu = replace(business(), keys={"0": KeyAction(KeyKind.TRANSFER, "office")})
    talk = Talk(business=with_menu).opened()
    talk.caller_starts("item_operator")
    talk.wait(0.4)
    talk.conversation.key("0", talk.now_s)
    talk.wait(0.5)
    talk.caller_stops("item_operator")
    assert ENGLISH.time_is_up not in talk.asked()
    talk.responds(ms=800)
    talk.caller_words("operator", "item_operator")
    talk.wait(1.5)
    assert talk.stage.left == [Transfer("office")]


def test_a_goodbye_whose_request_is_refused_is_asked_for_again():
    talk = Talk().opened()
    talk.caller_says(0.8, "that was all", "item_last")
    talk.done(talk.responds(done=False), END_CALL)
    assert talk.asked()[-1] == ENGLISH.goodbye
    talk.event(ServerError("invalid_request_error", "rate_limit_exceeded", "slow down", "", ""))
    talk.wait(1.0)
    assert talk.stage.left == [], "not a word was heard"
    talk.wait(ANSWER_WITHIN_S)
    assert talk.asked()[-1] == ENGLISH.goodbye and len(talk.asked()) == 3
    talk.responds(ms=600)
    talk.wait(1.0)
    assert talk.stage.left == [HangUp()]


def test_a_person_whose_words_cannot_be_written_down_is_somebody():
    talk = Talk(business=business(STILL_THERE_SECONDS="60", IDLE_SECONDS="15")).opened()
    for number in range(8):
        talk.caller_says(1.0, item=f"item_{number}")
        talk.caller_words(None, f"item_{number}")
        talk.responds(ms=2000)
        talk.wait(2.4)
    assert ENGLISH.still_there not in talk.asked() and talk.stage.left == []


def test_a_model_that_stops_in_the_middle_of_a_sentence_is_bridged_and_asked_again():
    talk = Talk().opened()
    talk.caller_says(0.8, "are you open?", "item_question")
    response = talk.responds(done=False)
    talk.speaks(response, "item_half", 600, is_whole=False)
    talk.stage.sent.clear()
    talk.wait(0.6 + FILL_AFTER_S + 0.3)
    assert talk.stage.prompts == ["one_moment"]
    talk.wait(ANSWER_WITHIN_S)
    assert talk.sent("response.cancel")
    talk.done(response, status="cancelled")
    assert talk.asked() == [""]
    talk.wait(ANSWER_WITHIN_S + 0.5)
    assert talk.stage.failed == [(EndReason.MODEL_SILENT, "KAV-137")]


def test_a_model_that_pauses_in_the_middle_of_a_sentence_goes_on():
    talk = Talk().opened()
    talk.caller_says(0.8, "are you open?", "item_question")
    response = talk.responds(done=False)
    talk.speaks(response, "item_half", 600, is_whole=False)
    talk.stage.sent.clear()
    talk.wait(3.0)
    for _ in range(5):  # the short way in: the conversation is not told of it
        for _ in range(100):
            talk.tx_q.put_frame("item_half", b"\x00" * 160)
        talk.wait(2.0)
    assert talk.stage.sent == [], "nothing is cancelled and nothing asked twice"


def test_an_answer_is_not_spoken_over_a_caller_who_asks_on():
    talk = Talk().opened()
    talk.caller_says(0.8, "is there bread?")
    talk.done(talk.responds(ms=400, done=False), FunctionCall("lookup", "call_1", "{}"))
    talk.wait(1.0)
    talk.stage.sent.clear()
    talk.caller_starts("item_more")
    talk.wait(0.5)
    talk.conversation.tool_done("call_1", {"bread": True}, talk.now_s)
    assert talk.sent("conversation.item.create") and not talk.asked()
    talk.wait(FILL_AFTER_S + 0.5)
    assert talk.stage.prompts == []
    talk.caller_stops("item_more")
    assert talk.asked() == [""], "one answer for both"


@pytest.mark.parametrize("calls", [(), (FunctionCall("lookup", "call_1", '{"na'),)], ids=["", "half a call"])
def test_a_response_that_ends_before_its_first_word_is_asked_for_again(calls: tuple[FunctionCall, ...]):
    talk = Talk().opened()
    talk.caller_says(0.8, "are you open?")
    response = talk.responds(done=False)
    talk.stage.sent.clear()
    talk.event(ResponseDone(response, "incomplete", "content_filter", calls, None, 0))
    talk.wait(1.0)
    assert talk.asked() == [""]


def test_after_the_business_own_words_a_slow_tool_is_bridged_as_well():
    talk = Talk().opened()
    talk.caller_says(0.8, "is there bread?")
    talk.done(talk.responds(ms=2800, done=False), FunctionCall("lookup", "call_1", "{}"))
    talk.wait(2.8 + FILL_AFTER_S + 0.5)
    assert talk.stage.prompts == ["one_moment"]
