"""How a call ends, in silence or by the clock; tools and keys; what a new session is asked for."""

from __future__ import annotations

import json

import pytest

from server.endings import EndReason
from server.realtime.events import FunctionCall, ResponseDone, ServerError
from server.realtime.words import WORDS
from server.turns.leaving import HangUp, Transfer
from tests.unit.realtime.talk import Talk, business

ENGLISH = WORDS["en"]


# -- silence, and the end of a call


def test_a_silent_caller_is_asked_twice_and_told_goodbye():
    talk = Talk(business=business(STILL_THERE_SECONDS="5")).opened()
    for _ in range(2):
        talk.wait(5.2)
        assert talk.asked()[-1] == ENGLISH.still_there
        talk.responds(ms=1000)
        talk.wait(1.1)
    talk.wait(5.2)
    assert talk.asked()[-1] == ENGLISH.idle_goodbye
    talk.responds(ms=1000)
    talk.wait(0.9)
    assert talk.stage.left == [], "not before it was heard"
    talk.wait(0.4)
    assert talk.stage.left == [HangUp(EndReason.IDLE)]


def test_a_word_begins_the_count_anew():
    talk = Talk(business=business(STILL_THERE_SECONDS="5")).opened()
    talk.wait(5.2)
    talk.responds(ms=500)
    talk.wait(0.6)
    talk.caller_says(0.6, "yes I am here")
    talk.responds(ms=500)
    talk.wait(0.6)
    talk.wait(5.2)
    assert talk.asked()[-1] == ENGLISH.still_there


def noise(talk: Talk, seconds: float) -> None:
    """So long a voice that says nothing."""
    for _ in range(round(seconds / 0.02)):
        talk.wait(0.02)
        talk.conversation.voice(400, 0, talk.now_s)


def said_goodbye(talk: Talk, *, ms: int = 3000) -> Talk:
    """Nobody answered twice, and the agent says goodbye."""
    for _ in range(2):
        talk.wait(5.2)
        talk.responds(ms=400)
        talk.wait(0.5)
    talk.wait(5.2)
    assert talk.asked()[-1] == ENGLISH.idle_goodbye
    talk.responds(ms=ms, item="item_goodbye")
    talk.wait(0.5)
    talk.stage.sent.clear()
    return talk


def test_music_without_a_pause_is_asked_and_told_goodbye_too():
    talk = Talk(business=business(STILL_THERE_SECONDS="60", IDLE_SECONDS="15")).opened()
    talk.caller_starts("item_music")
    noise(talk, 9.9)
    assert talk.asked() == [], "somebody may be telling something"
    for words in (ENGLISH.still_there, ENGLISH.still_there, ENGLISH.idle_goodbye):
        noise(talk, 5.2)
        assert talk.asked()[-1] == words
        talk.responds(ms=1000)
        noise(talk, 1.1)
    assert talk.stage.left == [HangUp(EndReason.IDLE)]


def test_whoever_speaks_as_the_clock_runs_out_is_let_finish():
    talk = Talk(business=business(STILL_THERE_SECONDS="60", IDLE_SECONDS="15")).opened()
    talk.wait(4.5)
    talk.caller_says(4.0, "sorry, I was looking for my calendar")
    assert ENGLISH.still_there not in talk.asked()
    assert talk.asked() == [""]


def test_noise_over_the_goodbye_does_not_keep_the_call_alive():
    talk = said_goodbye(Talk(business=business(STILL_THERE_SECONDS="5")).opened())
    talk.caller_says(1.9, "", "item_television")
    assert talk.stage.cuts == []
    talk.wait(3.0)
    assert talk.stage.left == [HangUp(EndReason.IDLE)]


@pytest.mark.parametrize("words", ["wait, I am here!", "yes"])
def test_words_over_the_goodbye_keep_the_call_alive(words):
    talk = said_goodbye(Talk(business=business(STILL_THERE_SECONDS="5")).opened())
    talk.caller_says(0.8, words)
    assert [cut.item_id for cut in talk.stage.cuts] == ["item_goodbye"]
    assert talk.asked() == [""]
    talk.responds(ms=400)
    talk.wait(3.0)
    assert talk.stage.left == []
    talk.wait(3.0)
    assert talk.asked()[-1] == ENGLISH.still_there, "and the count begins anew"


def test_after_a_goodbye_that_was_interrupted_long_speech_is_an_interruption_again():
    talk = said_goodbye(Talk(business=business(STILL_THERE_SECONDS="5")).opened())
    talk.caller_says(0.8, "wait, I am here!")
    talk.responds(ms=4000, item="item_answer")
    talk.wait(0.5)
    talk.caller_starts("item_more")
    noise(talk, 0.2)
    talk.conversation.voice(1000, 0, talk.now_s)
    assert [cut.item_id for cut in talk.stage.cuts] == ["item_goodbye", "item_answer"]


def test_a_goodbye_interrupted_by_what_nobody_could_write_down_is_said_again_later():
    talk = said_goodbye(Talk(business=business(STILL_THERE_SECONDS="5")).opened())
    talk.caller_says(0.8)
    talk.caller_words(None)
    assert [cut.item_id for cut in talk.stage.cuts] == ["item_goodbye"]
    talk.responds(ms=400)
    talk.wait(6.0)
    assert talk.asked()[-1] == ENGLISH.still_there, "the count begins anew"


def test_a_caller_whom_only_the_model_hears_is_not_silent():
    talk = Talk(business=business(STILL_THERE_SECONDS="5")).opened()
    talk.caller_starts()
    talk.wait(20.0)
    assert talk.asked() == []


def test_words_of_a_speech_that_began_before_the_goodbye_keep_the_call_alive():
    talk = Talk(business=business(STILL_THERE_SECONDS="60", IDLE_SECONDS="15")).opened()
    talk.caller_starts("item_story")
    for _ in range(2):
        noise(talk, 15.2)
        talk.responds(ms=400)
    noise(talk, 6.0)
    assert talk.asked()[-1] == ENGLISH.idle_goodbye
    talk.responds(ms=3000, item="item_goodbye")
    noise(talk, 0.5)
    talk.stage.sent.clear()
    talk.caller_stops("item_story")
    assert talk.asked() == [], "it may have been a television"
    talk.caller_words("and so I would like to come on Tuesday", "item_story")
    assert talk.asked() == [""]
    talk.wait(4.0)
    assert talk.stage.left == []


def test_a_tool_at_work_is_not_silence():
    talk = Talk(business=business(STILL_THERE_SECONDS="5")).opened()
    talk.caller_says(0.8, "book a table")
    response = talk.responds(done=False)
    talk.done(response, FunctionCall("lookup", "call_1", "{}"))
    talk.wait(7.0)
    assert ENGLISH.still_there not in talk.asked()


def test_a_call_that_lasts_too_long_is_warned_and_then_told_goodbye():
    talk = Talk(business=business(STILL_THERE_SECONDS="3600", IDLE_SECONDS="9000"), max_call_s=60).opened()
    talk.wait(48.0)
    assert ENGLISH.time_is_nearly_up not in talk.asked()
    while ENGLISH.time_is_up not in talk.asked():
        talk.caller_says(0.4, "go on please", f"item_{talk.now_s}")
        talk.responds(ms=400)
        talk.wait(0.5)
        assert talk.now_s < 170
    assert ENGLISH.time_is_nearly_up in talk.asked()
    assert talk.now_s - 100 == pytest.approx(61, abs=2)
    talk.responds(ms=400)
    talk.wait(1.0)
    assert talk.stage.left == [HangUp(EndReason.MAX_DURATION)]


# -- tools


def using(talk: Talk, *calls: FunctionCall, spoken_ms: int = 0) -> Talk:
    """The caller asks, and the model calls tools."""
    talk.caller_says(0.8, "please do")
    response = talk.responds(ms=spoken_ms, done=False)
    talk.stage.sent.clear()
    talk.done(response, *calls)
    return talk


def outputs(talk: Talk) -> dict[str, dict]:
    return {
        event["item"]["call_id"]: json.loads(event["item"]["output"])
        for event in talk.sent("conversation.item.create")
        if event["item"]["type"] == "function_call_output"
    }


def test_the_call_is_ended_when_the_goodbye_was_heard():
    talk = using(Talk().opened(), FunctionCall("end_call", "call_1", "{}"), spoken_ms=1000)
    assert outputs(talk)["call_1"]["ok"] is True
    assert talk.asked() == [], "the goodbye was said already"
    talk.wait(0.9)
    assert talk.stage.left == []
    talk.wait(0.3)
    assert talk.stage.left == [HangUp()]


def test_whoever_hangs_up_without_a_word_is_made_to_say_goodbye():
    talk = using(Talk().opened(), FunctionCall("end_call", "call_1", "{}"))
    assert talk.asked() == [ENGLISH.goodbye]
    talk.responds(ms=600)
    talk.wait(0.8)
    assert talk.stage.left == [HangUp()]


def test_a_goodbye_that_failed_is_said_before_the_call_ends():
    talk = using(Talk().opened(), FunctionCall("end_call", "call_1", "{}"))
    response = talk.responds(done=False)
    failure = ServerError("server_error", "rate_limit_exceeded", "slow down", "", "")
    talk.event(ResponseDone(response, "failed", "", (), failure, 0))
    talk.wait(0.4)
    assert talk.stage.left == []
    talk.wait(0.2)
    assert talk.asked() == [ENGLISH.goodbye, ENGLISH.goodbye]
    talk.responds(ms=600)
    talk.wait(0.8)
    assert talk.stage.left == [HangUp()]


def test_an_interrupted_goodbye_does_not_end_the_call_and_the_model_knows():
    talk = using(Talk().opened(), FunctionCall("end_call", "call_1", "{}"), spoken_ms=3000)
    talk.wait(0.5)
    talk.caller_says(1.2, "wait, one more thing", "item_wait")
    talk.wait(5.0)
    assert talk.stage.left == []
    notes = [
        e["item"]["content"][0]["text"]
        for e in talk.sent("conversation.item.create")
        if e["item"].get("role") == "system"
    ]
    assert notes == [ENGLISH.interrupted_goodbye]
    assert talk.asked() == [""]


def test_a_transfer_goes_to_the_businesss_own_numbers_only():
    talk = using(
        Talk(business=business(PERSON_NUMBER="+97231234567")).opened(),
        FunctionCall("transfer_call", "call_1", '{"destination": "+15550100"}'),
    )
    assert "person" in outputs(talk)["call_1"]["error"]
    assert talk.asked() == [""]
    talk.responds(ms=400)
    talk.wait(1.0)
    assert talk.stage.left == []


def test_a_transfer_is_announced_and_happens_when_that_was_heard():
    talk = using(
        Talk(business=business(PERSON_NUMBER="+97231234567")).opened(),
        FunctionCall("transfer_call", "call_1", '{"destination": "person"}'),
    )
    assert talk.asked() == [ENGLISH.transfer.format(destination="person")]
    talk.responds(ms=1000)
    talk.wait(0.8)
    assert talk.stage.left == []
    talk.wait(0.4)
    assert talk.stage.left == [Transfer("person")]


def test_a_tool_is_run_and_the_model_speaks_when_it_has_the_answer():
    talk = using(Talk().opened(), FunctionCall("lookup", "call_1", '{"day": "מחר"}'))
    assert talk.stage.tools == [("call_1", "lookup", {"day": "מחר"})]
    assert talk.asked() == []
    talk.conversation.tool_done("call_1", {"free": ["10:00"]}, talk.now_s)
    assert outputs(talk) == {"call_1": {"free": ["10:00"]}}
    assert talk.asked() == [""]
    talk.conversation.tool_done("call_1", {"free": []}, talk.now_s)
    assert len(talk.sent("conversation.item.create")) == 1, "one answer only"


def test_of_two_tools_the_slower_is_waited_for():
    talk = using(
        Talk().opened(),
        FunctionCall("lookup", "call_1", "{}"),
        FunctionCall("take_message", "call_2", '{"message": "hi"}'),
    )
    talk.conversation.tool_done("call_2", {"ok": True}, talk.now_s)
    assert talk.asked() == []
    talk.conversation.tool_done("call_1", {"ok": True}, talk.now_s)
    assert talk.asked() == [""]


def test_while_a_tool_works_the_caller_is_asked_for_a_moment():
    talk = using(Talk().opened(), FunctionCall("lookup", "call_1", "{}"))
    talk.wait(2.7)
    assert talk.stage.prompts == ["one_moment"]
    assert talk.stage.failed == []


def test_a_tool_that_never_answers_is_answered_for_in_time():
    talk = using(Talk().opened(), FunctionCall("lookup", "call_1", "{}"))
    talk.wait(10.2)
    assert "in time" in outputs(talk)["call_1"]["error"]
    assert talk.asked() == [""]
    talk.conversation.tool_done("call_1", {"late": True}, talk.now_s)
    assert len(outputs(talk)) == 1
    assert talk.stage.failed == []


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("lookup", "{broken", "not valid JSON"),
        ("lookup", "[1]", "not a JSON object"),
        ("launch_rocket", "{}", "no such tool"),
        ("send_dtmf", '{"digits": "12x"}', "digits are"),
        ("send_dtmf", '{"digits": ""}', "digits are"),
    ],
)
def test_a_call_that_cannot_be_is_answered_in_words_and_the_model_speaks(name, arguments, words):
    talk = using(Talk().opened(), FunctionCall(name, "call_1", arguments))
    assert words in outputs(talk)["call_1"]["error"]
    assert talk.asked() == [""]
    assert talk.stage.tools == []


def test_keys_are_pressed_on_the_line_as_sound():
    talk = using(Talk().opened(), FunctionCall("send_dtmf", "call_1", '{"digits": "12#"}'))
    assert outputs(talk)["call_1"] == {"ok": True}
    assert talk.tx_q.waiting_ms() >= 3 * 100


# -- keys


def test_keys_without_a_menu_are_told_to_the_model_after_a_pause():
    talk = Talk().opened()
    talk.conversation.key("1", talk.now_s)
    talk.conversation.key("2", talk.now_s)
    assert talk.stage.sent == []
    talk.wait(3.0)
    (item,) = talk.sent("conversation.item.create")
    assert item["item"]["content"][0]["text"] == "[keys] 12"
    assert talk.asked() == [""]


def test_keys_pressed_before_the_session_is_ready_are_not_lost():
    talk = Talk()
    talk.conversation.key("7", talk.now_s)
    talk.wait(3.0)
    talk.ready()
    (item,) = talk.sent("conversation.item.create")
    assert item["item"]["content"][0]["text"] == "[keys] 7"


# -- sessions


def test_a_new_session_is_asked_for_what_the_old_one_still_owed():
    talk = Talk().opened()
    talk.caller_says(0.8, "what are your hours?")
    talk.responds(done=False)
    talk.stage.sent.clear()
    talk.conversation.session_changed(talk.commands, is_transcribed=True)
    talk.ready()
    assert talk.asked() == [""]


def test_a_new_session_at_rest_is_asked_for_nothing():
    talk = Talk().opened()
    assert talk.conversation.is_restful
    talk.conversation.session_changed(talk.commands, is_transcribed=True)
    talk.ready()
    assert talk.asked() == []


def test_the_session_is_not_changed_while_its_last_sentence_is_heard():
    talk = Talk().opened()
    talk.caller_says(0.8, "what are your hours?")
    talk.responds(ms=2000)
    talk.wait(1.9)
    assert talk.conversation.is_restful
    assert not talk.conversation.may_change_session(talk.now_s)
    talk.wait(0.2)
    assert talk.conversation.may_change_session(talk.now_s)


def test_who_speaks_or_waits_is_not_at_rest():
    talk = Talk().opened()
    talk.caller_starts()
    assert not talk.conversation.is_restful
    talk.wait(1.0)
    talk.caller_stops()
    assert not talk.conversation.is_restful
    talk.responds(ms=200)
    talk.wait(0.5)
    assert talk.conversation.is_restful
