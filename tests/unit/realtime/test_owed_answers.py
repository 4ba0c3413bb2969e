"""A caller who is owed an answer gets one: from a model that says nothing, from the next one, once."""

from __future__ import annotations

import pytest

from server.config import Dialect
from server.endings import EndReason
from server.realtime.asking import MAX_SILENT_ROUNDS
from server.realtime.commands import Commands
from server.realtime.events import FunctionCall, ServerError
from server.realtime.words import WORDS
from server.turns.barge_in import BargeInLimits
from server.turns.leaving import HangUp
from tests.unit.realtime.talk import Talk, business

ENGLISH = WORDS["en"]
NEVER = BargeInLimits(is_allowed=False)


def next_session(talk: Talk, *, is_retold: bool = False, is_transcribed: bool = True) -> None:
    """The present one is gone, and another one is ready."""
    talk.conversation.session_changed(Commands(Dialect.GA), is_transcribed=is_transcribed)
    talk.stage.sent.clear()
    talk.conversation.session_ready(talk.now_s, is_retold=is_retold)


def stream(talk: Talk, response: str, item: str, seconds: float) -> None:
    """Audio as fast as it is heard, by the short way: the conversation is not told of it."""
    until_s = talk.now_s + seconds
    while talk.now_s < until_s:
        if not talk.conversation.is_abandoned(response) and talk.tx_q.waiting_ms() < 200:
            talk.tx_q.put_frame(item, bytes(160))
        talk.wait(0.02)


def idle_goodbye(**plan: object) -> Talk:
    """A call in which nobody has said anything for so long that its goodbye is being heard."""
    talk = Talk(**plan).opened()
    for line in (ENGLISH.still_there, ENGLISH.still_there, ENGLISH.idle_goodbye):
        while not talk.asked():
            talk.wait(0.1)
        assert talk.asked() == [line]
        talk.stage.sent.clear()
        talk.responds(ms=2000)
    talk.wait(1.0)
    return talk


# A model that says nothing


def test_an_answer_without_a_sound_is_asked_for_again():
    talk = Talk().opened()
    talk.caller_says(1.0, "when do you open?")
    talk.responds(ms=0)
    talk.wait(0.6)
    assert talk.asked() == ["", ""]
    talk.responds(ms=1000)
    talk.wait(3.0)
    assert (talk.asked(), talk.stage.prompts, talk.stage.failed) == (["", ""], [], [])


def test_a_model_that_answers_without_a_sound_every_time_is_given_up():
    talk = Talk().opened()
    talk.caller_says(1.0, "when do you open?")
    for _ in range(3):
        talk.responds(ms=0)
        talk.wait(1.1)
    assert talk.stage.failed == [(EndReason.MODEL_SILENT, "KAV-137")]
    next_session(talk)
    assert talk.asked() == [""], "the next one is asked what this one owed"


@pytest.mark.parametrize("is_told_first", [True, False])
def test_a_television_needs_no_answer(is_told_first: bool):
    """A model that has nothing to say to it is not broken, turn after turn."""
    talk = Talk(business=business(STILL_THERE_SECONDS="3600", IDLE_SECONDS="9000")).opened()
    for number in range(1, 6):
        talk.caller_says(1.0, item=f"item_{number}")
        if is_told_first:
            talk.caller_words("", f"item_{number}")
            talk.wait(0.3)
        talk.responds(ms=0)
        talk.caller_words("", f"item_{number}")
        talk.wait(3.0)
        assert (len(talk.asked()), talk.stage.prompts, talk.stage.failed) == (number, [], [])


def test_a_cough_while_an_answer_is_waited_for_takes_nothing_from_it():
    talk = Talk().opened()
    talk.caller_says(1.0, "when do you open?")
    talk.caller_says(0.1, "", "item_cough")
    talk.responds(ms=0)
    talk.wait(0.7)
    assert talk.asked() == ["", ""]


def test_a_tool_called_without_a_word_is_no_silence():
    talk = Talk().opened()
    talk.caller_says(1.0, "is it ready?")
    talk.done(talk.responds(done=False), FunctionCall("lookup", "call_1", "{}"))
    talk.wait(2.0)
    assert talk.asked() == [""]


def test_an_answer_that_stalled_and_then_ended_was_an_answer():
    talk = Talk().opened()
    talk.caller_says(1.0, "when do you open?")
    response = talk.responds(done=False)
    talk.speaks(response, "item_a", 400, is_whole=False)
    talk.wait(1.5)
    talk.tx_q.end_item("item_a")
    talk.done(response)
    talk.wait(2.0)
    assert talk.asked() == [""]


# The next model


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "silent"])
def test_who_follows_a_model_that_was_given_up_is_asked_what_it_owed(is_refused: bool):
    talk = Talk().opened()
    talk.caller_says(1.0, "are you open?")
    for _ in range(2):
        if is_refused:
            asked = talk.sent("response.create")[-1]["event_id"]
            talk.event(ServerError("server_error", "", "no luck", "", asked))
        talk.wait(6.2)
    assert len(talk.stage.failed) == 1
    next_session(talk)
    assert talk.asked() == [""]
    assert "tool_choice" not in talk.sent("response.create")[0].get("response", {})


@pytest.mark.parametrize("gap_s", [0.2, 3.0, 13.0], ids=["speaking", "silent", "given up"])
def test_an_answer_that_stalled_is_gone_on_with_and_not_said_anew(gap_s: float):
    talk = Talk().opened()
    talk.caller_says(1.0, "when do you open?")
    talk.speaks(talk.responds(done=False), "item_a", 400, is_whole=False)
    talk.wait(0.4 + gap_s)
    next_session(talk)
    assert talk.asked() == [ENGLISH.continuing]
    talk.wait(3.0)
    assert talk.asked() == [ENGLISH.continuing]


def test_a_new_session_has_all_the_time_for_what_the_old_one_owed():
    talk = Talk().opened()
    talk.caller_says(1.0, "are you open?")
    talk.wait(5.5)
    next_session(talk)
    talk.wait(5.0)
    assert (talk.asked(), talk.sent("response.cancel")) == ([""], [])
    talk.wait(1.5)
    assert talk.asked() == ["", ""]


@pytest.mark.parametrize("is_transcribed", [True, False])
def test_what_is_told_again_is_answered_when_it_was_heard(is_transcribed: bool):
    talk = Talk(is_transcribed=is_transcribed).opened()
    talk.caller_says(1.5)
    talk.wait(0.3)
    next_session(talk, is_retold=True, is_transcribed=is_transcribed)
    talk.wait(0.2)
    assert talk.asked() == []
    talk.caller_starts("item_again")
    talk.wait(0.1)
    talk.caller_stops("item_again")
    assert talk.asked() == [""]
    talk.caller_words("yes", "item_again")
    talk.responds(ms=500)
    talk.wait(2.0)
    assert (talk.asked(), talk.sent("conversation.item.delete")) == ([""], [])


def test_what_is_told_again_and_was_no_voice_is_not_waited_for():
    talk = Talk().opened()
    talk.caller_says(1.5, "are you open?")
    next_session(talk, is_retold=True)
    talk.wait(1.1)
    assert talk.asked() == [""]


def test_a_filler_does_not_follow_upon_another_prompt():
    talk = Talk().opened()
    talk.caller_says(1.0, "are you open?")
    talk.wait(1.5)
    talk.stage.play("one_moment", bytes(160 * 40))  # the ladder's, 0.8 s
    next_session(talk)
    talk.wait(3.0)
    assert talk.stage.prompts == []
    talk.wait(0.5)
    assert talk.stage.prompts == ["one_moment"]


# Once


@pytest.mark.parametrize("rule", [NEVER, BargeInLimits()], ids=["off", "before the greeting"])
def test_an_agent_who_is_heard_is_not_cut_for_an_answer_that_waits_behind(rule: BargeInLimits):
    talk = Talk(barge_in=rule)
    talk.ready()
    response = talk.responds(done=False)
    if rule is NEVER:
        talk.speaks(response, "item_a", 100, is_whole=False)
        stream(talk, response, "item_a", 1.0)
    talk.caller_starts("item_caller")
    talk.wait(0.5)
    talk.caller_stops("item_caller")
    if rule is not NEVER:
        talk.speaks(response, "item_a", 100, is_whole=False)
    talk.caller_words("I want to book a table", "item_caller")
    stream(talk, response, "item_a", 12.0)
    assert talk.sent("response.cancel") == []
    talk.tx_q.end_item("item_a")
    talk.done(response)
    assert talk.asked()[1:] == [""]


def test_turns_that_end_while_the_agent_speaks_are_answered_together():
    talk = Talk(barge_in=NEVER).opened()
    talk.caller_says(1.0, "tell me everything")
    response = talk.responds(done=False)
    talk.speaks(response, "item_a", 4000)
    talk.caller_says(0.6, "one more thing please", "item_1")
    talk.caller_says(0.6, "and another", "item_2")
    talk.done(response)
    talk.responds(ms=500)
    talk.wait(1.0)
    assert talk.asked() == ["", ""]


def test_a_goodbye_because_time_is_up_is_not_said_twice():
    talk = Talk(business=business(STILL_THERE_SECONDS="3600", IDLE_SECONDS="9000"), max_call_s=60).opened()
    while ENGLISH.time_is_nearly_up not in talk.asked():
        talk.wait(0.1)
    talk.responds(ms=1000)
    talk.wait(8.0)
    talk.stage.sent.clear()
    talk.caller_starts()
    while not talk.asked():
        talk.wait(0.1)
    talk.responds(ms=2500)
    talk.wait(0.5)
    talk.caller_stops()
    talk.caller_words("and what I wanted to say")
    assert talk.asked() == [ENGLISH.time_is_up]
    talk.wait(2.5)
    assert talk.stage.left == [HangUp(EndReason.MAX_DURATION)]


def test_a_goodbye_without_a_model_is_said_once():
    talk = Talk().opened()
    talk.caller_says(0.8, "that was all")
    talk.done(talk.responds(done=False), FunctionCall("end_call", "call_1", "{}"))
    talk.conversation.session_lost()
    talk.conversation.session_lost()  # its error told of it, and its close
    assert talk.stage.prompts == ["goodbye"]


# Whoever answers a goodbye


def test_words_over_a_goodbye_that_may_not_be_interrupted_are_waited_for():
    talk = idle_goodbye(barge_in=NEVER)
    talk.caller_says(1.5)
    talk.wait(0.4)
    assert talk.stage.left == []
    talk.caller_words("yes, I am still here")
    assert talk.asked() == [""]
    talk.wait(3.0)
    assert talk.stage.left == []


def test_noise_over_a_goodbye_that_may_not_be_interrupted_ends_the_call():
    talk = idle_goodbye(barge_in=NEVER)
    talk.caller_says(1.5)
    talk.wait(2.5)
    assert talk.stage.left == [HangUp(EndReason.IDLE)]


def test_where_nothing_is_transcribed_a_voice_over_the_goodbye_is_somebody():
    talk = idle_goodbye(barge_in=NEVER, is_transcribed=False)
    talk.caller_says(1.5)
    assert talk.asked() == [""]
    talk.wait(0.4)
    assert talk.stage.left == []


def test_words_that_never_come_are_not_awaited_for_ever():
    """Else every later "uh-huh" would silence the agent until those words came."""
    talk = Talk().opened()
    talk.caller_says(0.8, "tell me everything")
    talk.responds(ms=30_000)
    talk.caller_says(0.1, item="item_lost")
    talk.wait(11.0)
    talk.caller_says(0.4, "uh-huh", "item_later")
    assert not talk.tx_q.is_held


# A session that hears at once what is told again


def hears_at_once(talk: Talk, *, ends: bool = True) -> None:
    """The present session is lost; the next one has told of the caller's words before it is ready."""
    talk.conversation.session_changed(Commands(Dialect.GA), is_transcribed=True)
    talk.stage.sent.clear()
    talk.caller_starts("item_again")
    if ends:
        talk.caller_stops("item_again")
    talk.conversation.session_ready(talk.now_s, is_retold=True, silence_ms=800)


def in_an_answer(*, is_audible: bool = False) -> Talk:
    talk = Talk().opened()
    talk.caller_says(1.0, "what are your hours?")
    talk.responds(ms=600, done=False)
    talk.wait(0.2 if is_audible else 1.0)
    return talk


def test_words_spoken_while_the_session_changed_are_answered_and_nothing_else_is_said():
    talk = in_an_answer()
    hears_at_once(talk)
    assert talk.asked() == [""]
    talk.responds(ms=500)
    talk.wait(2.0)
    assert talk.asked() == [""]


def test_who_still_speaks_when_the_session_changed_is_not_spoken_over():
    talk = in_an_answer()
    hears_at_once(talk, ends=False)
    talk.wait(0.4)
    assert talk.asked() == []
    talk.caller_stops("item_again")
    assert talk.asked() == [""]


@pytest.mark.parametrize(("words", "asked"), [("are you there?", ""), ("", ENGLISH.continuing)])
def test_words_over_the_rest_of_the_answer_decide_what_is_said_next(words: str, asked: str):
    talk = in_an_answer(is_audible=True)
    hears_at_once(talk)
    assert talk.asked() == []
    talk.wait(0.5)
    talk.caller_words(words, "item_again")
    talk.wait(2.0)
    assert talk.asked() == [asked]


def test_noises_while_the_session_changed_do_not_swallow_the_rest_of_the_answer():
    talk = in_an_answer(is_audible=True)
    hears_at_once(talk, ends=False)
    talk.wait(0.3)
    talk.caller_stops("item_again")
    talk.caller_words("", "item_again")
    assert talk.asked() == []
    talk.caller_starts("item_more")
    talk.caller_stops("item_more")
    talk.caller_words("", "item_more")
    talk.wait(3.0)
    assert talk.asked() == [ENGLISH.continuing]


def test_a_cough_while_the_session_changed_is_not_missed_an_answer():
    """Its transcript comes late and is empty; a model that says nothing to it is right."""
    talk = Talk().opened()
    talk.caller_says(1.0, "what are your hours?")
    talk.responds(ms=300)
    talk.wait(2.0)
    hears_at_once(talk)
    talk.wait(1.2)
    talk.caller_words("", "item_again")
    talk.responds(ms=0)
    talk.wait(2.0)
    assert (talk.asked(), talk.stage.failed) == ([""], [])


def test_a_short_sound_does_not_silence_the_agent_though_its_end_is_told_late():
    """A session that tells of an end only after 0.8 s of silence."""
    talk = Talk().opened()
    talk.conversation.session_changed(Commands(Dialect.GA), is_transcribed=True)
    talk.conversation.session_ready(talk.now_s, silence_ms=800)
    talk.caller_says(1.0, "what are your hours?")
    talk.responds(ms=5000)
    talk.wait(1.0)
    talk.caller_starts("cough")
    talk.wait(0.9)
    assert not talk.tx_q.is_held
    talk.caller_stops("cough")
    talk.caller_words("", "cough")
    talk.wait(0.2)
    assert not talk.tx_q.is_held


# A model that uses tools and says nothing


def calls_a_tool(talk: Talk, number: int, after_s: float) -> None:
    """A response that comes so late, holds a call nobody can answer, and not a sound."""
    talk.wait(after_s)
    response = talk.responds(done=False)
    talk.done(response, FunctionCall("lookup", f"call_{number}", "{broken"))


def test_a_filler_is_not_put_off_by_a_tool():
    talk = Talk().opened()
    talk.caller_says(1.0, "is there bread?")
    calls_a_tool(talk, 1, after_s=1.5)
    assert talk.stage.prompts == []
    talk.wait(1.1)
    assert talk.stage.prompts == ["one_moment"]


def test_a_model_that_only_calls_tools_is_given_up():
    talk = Talk().opened()
    talk.caller_says(1.0, "is there bread?")
    for number in range(MAX_SILENT_ROUNDS):
        assert talk.stage.failed == []
        calls_a_tool(talk, number, after_s=2.0)
    assert talk.stage.failed == [(EndReason.MODEL_SILENT, "KAV-137")]
    assert len(talk.stage.prompts) >= 3, "and nobody waited in silence"


def test_tools_between_sounds_are_no_fault():
    talk = Talk().opened()
    talk.caller_says(1.0, "is there bread?")
    for number in range(2 * MAX_SILENT_ROUNDS):
        calls_a_tool(talk, number, after_s=0.5)
        if number % 4 == 3:
            talk.responds(ms=200, done=False, item=f"item_{number}")
            talk.done(f"resp_{talk._responses}", FunctionCall("lookup", f"call_s{number}", "{broken"))
    assert talk.stage.failed == []
