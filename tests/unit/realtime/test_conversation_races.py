"""Events of a call that meet in a bad order: what they leave behind, one at a time."""

from __future__ import annotations

import dataclasses
import json

from server.business import KeyAction
from server.realtime.answer_watch import ANSWER_WITHIN_S
from server.realtime.conversation import MAX_EARLY_KEYS
from server.realtime.events import AgentTranscript, AudioDelta, FunctionCall, ResponseDone, ServerError
from server.realtime.words import WORDS
from server.turns.barge_in import BargeInLimits
from server.turns.leaving import HangUp, Transfer
from tests.unit.realtime.talk import FRAME, Talk, business

ENGLISH = WORDS["en"]
FAILURE = ServerError("server_error", "rate_limit_exceeded", "slow down", "", "")
WORDS_OF_ANSWER = " ".join(f"word{n}" for n in range(20))


def outputs(talk: Talk) -> dict[str, dict[str, object]]:
    """What each function call was answered."""
    items = [event["item"] for event in talk.sent("conversation.item.create")]
    return {
        item["call_id"]: json.loads(item["output"])
        for item in items
        if item["type"] == "function_call_output"
    }


def told_words(talk: Talk) -> int:
    """Of the agent's last answer, as another session would be told it."""
    role, text = next(entry for entry in reversed(talk.conversation.history.entries()) if "word0" in entry[1])
    assert role == "assistant"
    return len(text.split())


# -- what was heard of an answer that was made faster than it was spoken


def test_history_tells_the_share_of_all_that_was_made_not_of_what_was_sent():
    talk = Talk().opened()
    talk.responds(ms=10_000, item="item_answer", response="resp_answer")
    talk.event(AgentTranscript("item_answer", WORDS_OF_ANSWER))
    talk.wait(1.0)
    talk.caller_says(1.2, item="item_no")
    assert told_words(talk) == 2, "1.2 s of 10, though it is most of what was sent"


def test_what_the_model_went_on_to_say_after_a_cut_makes_the_heard_share_smaller():
    talk = Talk().opened()
    talk.responds(ms=4000, item="item_answer", response="resp_answer", done=False)
    talk.wait(1.0)
    talk.caller_says(1.2, item="item_no")
    talk.event(AudioDelta("resp_answer", "item_answer", FRAME * 300))
    talk.event(AgentTranscript("item_answer", WORDS_OF_ANSWER))
    assert told_words(talk) == 2, "1.2 s of 10, of which 6 came too late to be heard"


def test_an_answer_given_up_before_its_first_sound_is_nowhere_in_the_history():
    talk = Talk().opened()
    talk.caller_says(0.8, "what are your hours?", "item_q")
    talk.responds(done=False, response="resp_1")
    talk.caller_says(1.2, item="item_more")
    talk.event(AudioDelta("resp_1", "item_unsaid", FRAME))
    talk.event(AgentTranscript("item_unsaid", "we open at seven"))
    assert "seven" not in str(talk.conversation.history.entries())


# -- function calls of a response that came to nothing


def test_a_tool_of_an_answer_that_was_talked_over_is_not_run_and_the_model_is_told():
    talk = Talk().opened()
    talk.caller_says(0.8, "is there bread?", "item_q")
    talk.responds(ms=2000, response="resp_1", done=False)
    talk.wait(0.5)
    talk.caller_says(1.2, item="item_no")
    talk.done("resp_1", FunctionCall("lookup", "call_1", "{}"))
    assert talk.stage.tools == []
    assert "error" in outputs(talk)["call_1"]


def test_the_calls_of_a_response_that_failed_are_answered_too():
    talk = Talk().opened()
    talk.caller_says(0.8, "is there bread?", "item_q")
    talk.responds(done=False, response="resp_1")
    call = FunctionCall("lookup", "call_1", "{}")
    talk.event(ResponseDone("resp_1", "failed", "", (call,), FAILURE, 0))
    talk.event(ResponseDone("resp_1", "failed", "", (call,), FAILURE, 0))
    assert list(outputs(talk)) == ["call_1"]
    assert len(talk.sent("conversation.item.create")) == 1


# -- asking again


def polite() -> Talk:
    """Nobody may interrupt; an answer is being made, and the caller says something more."""
    talk = Talk(barge_in=BargeInLimits(is_allowed=False)).opened()
    talk.caller_says(0.8, "hello", "item_1")
    talk.responds(done=False, response="resp_1")
    talk.caller_starts("item_2")
    return talk


def test_a_failed_answer_is_not_tried_again_beside_the_one_that_followed_it():
    talk = polite()
    talk.caller_stops("item_2")
    talk.event(ResponseDone("resp_1", "failed", "", (), FAILURE, 0))
    talk.responds(ms=400)
    talk.wait(2.0)
    assert talk.asked() == ["", ""], "the second waited behind the first, and answers for both"


def test_a_new_request_takes_the_place_of_one_that_was_to_be_tried_again():
    talk = polite()
    talk.event(ResponseDone("resp_1", "failed", "", (), FAILURE, 0))
    talk.caller_stops("item_2")
    talk.responds(ms=400)
    talk.wait(2.0)
    assert talk.asked() == ["", ""]


def test_a_goodbye_that_failed_is_said_before_the_call_is_left():
    talk = Talk().opened()
    talk.caller_says(0.8, "bye", "item_bye")
    talk.responds(done=False, response="resp_1")
    talk.done("resp_1", FunctionCall("end_call", "call_1", "{}"))
    talk.responds(done=False, response="resp_2")
    talk.event(ResponseDone("resp_2", "failed", "", (), FAILURE, 0))
    talk.wait(0.7)
    assert talk.stage.left == []
    assert talk.asked()[-1] == ENGLISH.goodbye
    talk.responds(ms=1000)
    talk.wait(1.2)
    assert talk.stage.left == [HangUp()]


def test_a_request_that_waited_for_another_response_is_watched_as_any_other():
    talk = Talk().opened()
    talk.caller_says(0.8, "hello", "item_1")
    talk.responds(ms=400, done=False, response="resp_1")
    talk.wait(0.5)
    talk.conversation.tool_done("unknown", {}, talk.now_s)
    talk.conversation._asking.instruct("say one thing more", talk.now_s)
    talk.done("resp_1")
    asked = len(talk.asked())
    talk.wait(6.3)
    assert len(talk.asked()) == asked + 1, "nothing came of it, so it is asked for once more"


def test_a_cough_does_not_make_us_forget_that_an_answer_is_owed():
    talk = Talk().opened()
    talk.caller_says(1.0, "hello", "item_1")
    talk.responds(done=False, response="resp_mute")
    talk.caller_says(0.1, "", "item_cough")
    talk.wait(6.3)
    assert [event["response_id"] for event in talk.sent("response.cancel")] == ["resp_mute"]


def test_an_answer_that_comes_after_it_was_asked_for_once_more_is_not_given_twice():
    talk = Talk().opened()
    talk.caller_says(1.0)
    talk.wait(6.1)
    first, again = (event["event_id"] for event in talk.sent("response.create"))
    talk.responds(ms=400, done=False, response="resp_late")
    lost = ServerError("x", "conversation_already_has_active_response", "", "", again)
    talk.event(lost)
    talk.done("resp_late")
    talk.wait(1.0)
    assert [event["event_id"] for event in talk.sent("response.create")] == [first, again]


# -- leaving


def test_goodbye_is_said_after_the_last_tool_has_answered():
    talk = Talk().opened()
    talk.caller_says(0.8, "take a message, and bye", "item_bye")
    talk.responds(done=False, response="resp_1")
    calls = (
        FunctionCall("take_message", "call_1", '{"message": "x"}'),
        FunctionCall("end_call", "call_2", ""),
    )
    talk.done("resp_1", *calls)
    talk.wait(0.5)
    asked = len(talk.asked())
    talk.conversation.tool_done("call_1", {"ok": True}, talk.now_s)
    assert talk.asked()[asked:] == [ENGLISH.goodbye]


def test_a_goodbye_that_is_refused_as_a_filler_begins_is_said_all_the_same():
    talk = Talk().opened()
    talk.stage.play_prompt = lambda name: talk.stage.play(name, FRAME * 50)  # type: ignore[method-assign]
    talk.caller_says(0.8, "bye", "item_bye")
    talk.responds(done=False, response="resp_1")
    talk.done("resp_1", FunctionCall("end_call", "call_1", "{}"))
    talk.wait(2.49)
    goodbye = talk.sent("response.create")[-1]
    talk.event(ServerError("invalid_request_error", "invalid_value", "", "", goodbye["event_id"]))
    talk.wait(1.2)
    assert talk.stage.left == [], "the filler was heard, and the goodbye is owed still"
    talk.wait(ANSWER_WITHIN_S)
    talk.responds(ms=400)
    talk.wait(0.6)
    assert talk.stage.left == [HangUp()]


# -- keys and words at the very beginning and the very end


def with_menu(**plan: object) -> Talk:
    menu = {"0": "transfer:office", "1": "say:we open at seven", "9": "hangup"}
    keys = {key: KeyAction.parse(action) for key, action in menu.items()}
    transfers = {"office": "+97231234567"}
    return Talk(business=dataclasses.replace(business(), transfers=transfers, keys=keys), **plan)


def test_a_key_pressed_again_and_again_before_the_greeting_is_answered_once():
    talk = with_menu()
    talk.ready()
    for _ in range(3):
        talk.conversation.key("1", talk.now_s)
    talk.responds(ms=600)
    talk.wait(1.0)
    talk.responds(ms=600)
    talk.wait(3.0)
    assert talk.asked()[1:] == [ENGLISH.exactly.format(text="we open at seven")]


def test_of_keys_pressed_before_the_session_is_ready_the_last_few_are_kept():
    talk = Talk()
    for _ in range(100):
        talk.conversation.key("5", talk.now_s)
        talk.conversation.key("#", talk.now_s)
    talk.ready()
    assert len(talk.sent("conversation.item.create")) <= MAX_EARLY_KEYS


def test_who_is_about_to_be_connected_is_not_greeted():
    talk = with_menu()
    talk.conversation.key("0", talk.now_s)
    talk.ready()
    talk.wait(1.0)
    assert (talk.asked(), talk.stage.left) == ([], [Transfer("office")])


def test_what_is_said_while_a_transfer_is_carried_out_is_not_answered():
    talk = with_menu().opened()
    talk.conversation.key("0", talk.now_s)
    talk.responds(ms=600)
    talk.wait(1.5)
    assert talk.stage.left == [Transfer("office")]
    talk.stage.sent.clear()
    talk.caller_says(0.8, "thanks, is it far?")
    assert talk.asked() == []


def test_a_greeting_that_is_given_anew_is_protected_like_the_first():
    talk = Talk(barge_in=BargeInLimits(is_allowed_in_greeting=False))
    talk.ready()
    talk.responds(ms=200, done=False, response="resp_lost")
    talk.conversation.left(talk.now_s)
    talk.conversation.back(talk.tx_q, talk.now_s)
    talk.done("resp_lost", status="cancelled")
    talk.responds(ms=3000)
    talk.wait(0.5)
    talk.caller_starts("over")
    talk.wait(1.5)
    assert not talk.tx_q.is_held and talk.stage.cuts == []


def test_who_speaks_before_the_greeting_is_answered_where_nobody_writes_it_down():
    talk = Talk(is_transcribed=False)
    talk.ready()
    talk.caller_starts("early")
    talk.responds(ms=600)
    talk.wait(3.0)
    talk.caller_stops("early")
    talk.wait(0.1)
    assert talk.asked()[1:] == [""]
