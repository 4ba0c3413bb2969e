"""What the agent does with what it hears: the opening, turns, interruptions, a slow or failing model."""

from __future__ import annotations

import pytest

from server.endings import EndReason
from server.realtime.events import ResponseDone, ServerError
from server.realtime.words import WORDS
from server.turns.barge_in import BargeInLimits
from tests.unit.realtime.talk import Talk, business

ENGLISH = WORDS["en"]


def speaking(talk: Talk, ms: int = 4000, heard_s: float = 1.0) -> Talk:
    """The agent answers, and the caller has heard a part of it."""
    talk.caller_says(0.8, "what are your hours?", "item_question")
    talk.responds(ms=ms, item="item_answer")
    talk.wait(heard_s)
    talk.stage.sent.clear()
    return talk


# -- the opening


def test_the_greeting_is_asked_for_word_for_word_when_the_session_is_ready():
    talk = Talk(business=business(GREETING="Hello from the bakery"))
    talk.wait(1.0)
    assert talk.stage.sent == []
    talk.ready()
    assert talk.asked() == [ENGLISH.exactly.format(text="Hello from the bakery")]
    talk.ready()
    assert len(talk.asked()) == 1


def test_a_hello_before_the_greeting_does_not_keep_it_from_being_heard():
    talk = Talk()
    talk.ready()
    talk.responds(done=False, response="resp_g")
    talk.caller_says(0.6, "hello?")
    talk.speaks("resp_g", "item_g", 1000)
    talk.done("resp_g")
    talk.wait(1.5)
    assert not talk.sent("response.cancel")
    assert len(talk.asked()) == 1, "the greeting is its answer"
    assert talk.stage.cuts == []


def test_a_call_that_goes_on_opens_with_what_it_goes_on_with_and_knows_what_was_said():
    talk = Talk(opening="say we are back", history=(("user", "hello"), ("assistant", "hi")))
    talk.ready()
    assert talk.asked() == ["say we are back"]
    assert talk.conversation.history.entries() == [("user", "hello"), ("assistant", "hi")]


# -- turns


def test_a_turn_is_answered_when_it_ends():
    talk = Talk().opened()
    talk.caller_says(1.0)
    assert talk.asked() == [""]
    assert talk.sent("response.create")[0].keys() == {"type", "event_id"}


def test_how_long_the_caller_waited_is_told_once_the_answer_was_heard():
    talk = Talk().opened()
    talk.stage.turns.clear()
    talk.caller_says(1.0)
    talk.wait(0.3)
    talk.responds(ms=1000)
    talk.wait(0.5)
    (turn,) = talk.stage.turns
    assert turn.turn == 1
    assert turn.gap_ms == pytest.approx(800, abs=25)
    assert turn.heard_ms == pytest.approx(820, abs=45)
    assert turn.model_ms == pytest.approx(300, abs=25)


def test_a_pause_in_a_turn_takes_back_the_answer_that_nobody_heard():
    talk = Talk().opened()
    talk.caller_says(1.0, item="item_1")
    talk.event_response = talk.responds(done=False, response="resp_1")
    talk.caller_says(1.4, item="item_2")
    assert [event["response_id"] for event in talk.sent("response.cancel")] == ["resp_1"]
    talk.done("resp_1", status="cancelled")
    assert talk.asked() == ["", ""], "the whole turn is answered"


# -- barge-in


def test_a_cough_is_not_answered_and_nothing_of_it_stays():
    talk = speaking(Talk().opened())
    talk.caller_says(0.14, "")
    assert talk.stage.cuts == []
    assert not talk.is_silent()
    assert talk.sent("conversation.item.delete")[0]["item_id"] == "item_caller"
    assert talk.asked() == []


def test_an_interruption_silences_the_agent_and_tells_the_model_what_was_heard():
    talk = speaking(Talk().opened(), heard_s=1.0)
    talk.caller_starts()
    talk.wait(0.2)
    talk.conversation.voice(200, 0, talk.now_s)
    assert talk.is_silent()
    talk.wait(0.8)
    talk.conversation.voice(1000, 0, talk.now_s)
    (truncate,) = talk.sent("conversation.item.truncate")
    assert truncate["item_id"] == "item_answer"
    assert truncate["audio_end_ms"] == pytest.approx(1200, abs=20)
    talk.caller_stops()
    assert talk.asked() == [""]


def test_a_backchannel_lets_the_agent_go_on_from_where_it_was_heard():
    talk = speaking(Talk().opened(), ms=4000, heard_s=1.0)
    talk.caller_says(0.4, "uh-huh")
    assert not talk.tx_q.is_held
    assert talk.stage.cuts == []
    assert talk.asked() == []
    talk.wait(2.9)
    assert talk.tx_q.is_quiet(talk.now_s), "4 s in all, of which 1.2 s were heard before"


def test_words_take_the_floor_and_the_agents_rest_is_given_up():
    talk = speaking(Talk().opened())
    talk.caller_says(0.4, "no")
    assert [cut.item_id for cut in talk.stage.cuts] == ["item_answer"]
    assert talk.asked() == [""]
    assert talk.conversation.history.entries()[-1] == ("user", "no")


def test_noise_that_nobody_can_write_down_in_two_seconds_lets_the_agent_go_on():
    talk = speaking(Talk().opened())
    talk.caller_says(0.4)
    assert talk.is_silent()
    talk.wait(1.9)
    assert talk.is_silent()
    talk.wait(0.2)
    assert not talk.is_silent()


def test_the_response_being_made_is_cancelled():
    talk = Talk().opened()
    talk.caller_says(0.8, "tell me a story", "item_q")
    talk.responds(ms=2000, response="resp_story", done=False)
    talk.wait(0.5)
    talk.caller_says(1.2)
    assert [event["response_id"] for event in talk.sent("response.cancel")] == ["resp_story"]
    assert talk.asked() == [""], "the next is asked for when the cancelled one is done"
    talk.done("resp_story", status="cancelled")
    assert talk.asked() == ["", ""]


def test_audio_of_a_cancelled_response_is_never_expected_again():
    talk = Talk().opened()
    talk.caller_says(0.8, "tell me a story", "item_q")
    talk.responds(ms=2000, response="resp_story", done=False)
    talk.wait(0.5)
    talk.caller_says(1.2)
    talk.speaks("resp_story", "item_late", 500)
    assert talk.is_silent()
    assert talk.tx_q.ledger.heard_ms("item_late", talk.now_s) is None


def test_what_is_said_next_to_a_protected_greeting_can_be_interrupted():
    talk = Talk(barge_in=BargeInLimits(is_allowed_in_greeting=False))
    talk.echoes_marks = True
    talk.ready()
    talk.responds(ms=3000)
    talk.wait(0.5)
    talk.caller_says(0.8, "what are your hours?", "item_question")
    assert talk.stage.cuts == [], "the greeting goes on"
    talk.responds(ms=3000, item="item_answer")  # queued behind it, without a pause
    talk.wait(0.5)
    talk.caller_says(0.4, "no", "item_early")
    assert talk.stage.cuts == [], "and is protected to its end"
    talk.responds(ms=3000, item="item_no")
    talk.wait(2.0)
    talk.caller_says(0.4, "no", "item_no")
    assert [cut.item_id for cut in talk.stage.cuts] == ["item_answer", "item_no"]


def test_where_interrupting_is_off_the_agent_ends_its_sentence_and_answers_then():
    talk = speaking(Talk(barge_in=BargeInLimits(is_allowed=False)).opened(), ms=3000)
    talk.caller_says(1.2)
    assert not talk.tx_q.is_held
    assert talk.stage.cuts == []
    assert talk.asked() == [""]


def test_without_transcripts_a_short_interruption_counts():
    talk = speaking(Talk(is_transcribed=False).opened())
    talk.caller_says(0.4)
    assert [cut.item_id for cut in talk.stage.cuts] == ["item_answer"]
    assert talk.asked() == [""]


# -- a model that is slow or fails


def test_a_filler_is_heard_when_the_answer_takes_long():
    talk = Talk().opened()
    talk.caller_says(1.0)  # and half a second of silence, by which the model knows
    talk.wait(1.9)
    assert talk.stage.prompts == []
    talk.wait(0.2)
    assert talk.stage.prompts == ["one_moment"]
    talk.wait(2.0)
    assert talk.stage.prompts == ["one_moment"]


def test_a_filler_is_heard_when_the_greeting_takes_long():
    talk = Talk()
    talk.ready()
    talk.responds(done=False, response="resp_g")
    talk.wait(2.4)
    assert talk.stage.prompts == []
    talk.wait(0.2)
    assert talk.stage.prompts == ["one_moment"]
    talk.speaks("resp_g", "item_g", 1000)
    talk.done("resp_g")
    talk.wait(1.5)
    assert len(talk.asked()) == 1


def test_a_model_that_says_nothing_is_asked_again_and_then_given_up():
    talk = Talk().opened()
    talk.caller_says(1.0)
    talk.responds(done=False, response="resp_mute")
    talk.wait(6.1)
    assert [event["response_id"] for event in talk.sent("response.cancel")] == ["resp_mute"]
    talk.done("resp_mute", status="cancelled")
    assert talk.asked() == ["", ""]
    talk.wait(6.1)
    assert talk.stage.failed == [(EndReason.MODEL_SILENT, "KAV-137")]


def test_a_model_that_does_not_even_begin_is_asked_again():
    talk = Talk().opened()
    talk.caller_says(1.0)
    talk.wait(6.1)
    assert talk.asked() == ["", ""]


def test_a_failed_response_is_asked_for_again_with_what_it_was_to_say():
    talk = Talk()
    talk.ready()
    failure = ServerError("server_error", "rate_limit_exceeded", "slow down", "", "")
    for n in range(2):
        talk.responds(done=False, response=f"resp_{n}")
        talk.event(ResponseDone(f"resp_{n}", "failed", "", (), failure, 0))
        talk.wait(1.1)
    assert len(talk.asked()) == 3
    assert len(set(talk.asked())) == 1, "the greeting each time"
    talk.responds(done=False, response="resp_9")
    talk.event(ResponseDone("resp_9", "failed", "", (), failure, 0))
    assert talk.stage.failed == [(EndReason.MODEL_SILENT, "KAV-137")]


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        ("insufficient_quota", (EndReason.MODEL_REFUSED, "KAV-133")),
        ("session_expired", (EndReason.MODEL_GONE, "KAV-135")),
    ],
)
def test_an_error_that_ends_the_model_ends_with_its_cure(code, failed):
    talk = Talk().opened()
    talk.event(ServerError("invalid_request_error", code, "words", "", ""))
    assert talk.stage.failed == [failed]
