import pytest

from server.turns.barge_in import JUDGED_WITHIN_S, SURE_MS, BargeIn, BargeInLimits, Move, Over, Words

FAR_MS = 5000.0


def weigh(text: str) -> Words:
    if not text.strip():
        return Words.NONE
    return Words.BACKCHANNEL if text in ("אהה", "כן", "uh-huh") else Words.REAL


def judge(**rule: object) -> BargeIn:
    return BargeIn(BargeInLimits(**rule), weigh)


def over_agent(judge: BargeIn, remaining_ms: float = FAR_MS, now_s: float = 10.0) -> tuple[Move, ...]:
    return judge.speech_started("item_1", now_s, Over.AGENT, remaining_ms)


def held(now_s: float = 10.0, remaining_ms: float = FAR_MS) -> BargeIn:
    """The agent fell silent 300 ms after the caller began, who has stopped at 10.8."""
    it = judge()
    over_agent(it, remaining_ms, now_s)
    assert it.voiced(300, now_s + 0.3) == (Move.HOLD,)
    assert it.speech_stopped(now_s + 0.8) == ()
    return it


def test_speech_over_nobody_is_a_turn_and_is_answered_at_its_end():
    it = judge()
    assert it.speech_started("item_1", 1.0, Over.NOBODY, 0) == ()
    assert it.voiced(900, 1.9) == ()
    assert it.speech_stopped(2.5) == (Move.ANSWER,)


def test_a_cough_does_not_silence_the_agent_and_is_forgotten_when_it_has_no_words():
    it = judge()
    assert over_agent(it) == ()
    assert it.voiced(160, 10.2) == ()
    assert it.speech_stopped(10.66) == ()
    assert it.words("item_1", "", is_agent_audible=True) == (Move.DISMISS,)
    assert it.dismissed == ["item_1"]


def test_without_transcripts_a_cough_is_forgotten_at_once():
    it = judge()
    it.can_judge = False
    over_agent(it)
    assert it.speech_stopped(10.6) == (Move.DISMISS,)


def test_the_agent_falls_silent_when_the_speech_has_lasted():
    it = judge()
    over_agent(it)
    assert it.voiced(180, 10.18) == ()
    assert it.voiced(200, 10.2) == (Move.HOLD,)
    assert it.voiced(220, 10.22) == (), "once"


def test_with_no_minimum_the_agent_falls_silent_at_once():
    it = judge(min_speech_ms=0)
    assert over_agent(it) == (Move.HOLD,)


def test_a_quiet_caller_whom_only_the_model_hears_is_let_in_too():
    it = judge()
    over_agent(it)
    assert it.voiced(0, 10.69) == ()
    assert it.tick(10.71) == (Move.HOLD,)


def test_long_speech_is_an_interruption_before_its_words_are_known():
    it = judge()
    over_agent(it)
    assert it.voiced(SURE_MS, 11.0) == (Move.HOLD, Move.YIELD)
    assert it.speech_stopped(12.0) == (Move.ANSWER,)
    assert it.words("item_1", "רגע, יש לי שאלה", is_agent_audible=False) == ()


def test_where_nobody_is_thought_to_be_there_only_words_are_an_interruption():
    it = judge()
    it.needs_words = True
    over_agent(it)
    assert it.voiced(SURE_MS * 3, 13.0) == (Move.HOLD,)
    assert it.tick(14.0) == ()
    assert it.speech_stopped(15.0) == ()
    assert it.words("item_1", "", is_agent_audible=True) == (Move.RESUME, Move.DISMISS)
    over_agent(it, now_s=20.0)
    assert it.voiced(SURE_MS * 3, 23.0) == (Move.HOLD,)
    assert it.words("item_1", "לא", is_agent_audible=True) == (Move.YIELD,)


def test_where_nothing_is_written_down_long_noise_counts_even_then():
    it = judge()
    it.needs_words, it.can_judge = True, False
    over_agent(it)
    assert it.voiced(SURE_MS, 11.0) == (Move.HOLD, Move.YIELD)


@pytest.mark.parametrize("text", ["אהה", "uh-huh", "", "  "])
def test_a_backchannel_or_a_noise_lets_the_agent_go_on(text):
    it = held()
    assert it.words("item_1", text, is_agent_audible=True) == (Move.RESUME, Move.DISMISS)
    assert it.dismissed == ["item_1"]


@pytest.mark.parametrize("text", ["לא", "רגע, מה השעה?", None])
def test_a_real_word_or_one_nobody_could_write_down_takes_the_floor(text):
    assert held().words("item_1", text, is_agent_audible=True) == (Move.YIELD, Move.ANSWER)


def test_a_yes_to_the_agents_last_words_is_an_answer():
    assert held(remaining_ms=900).words("item_1", "כן", is_agent_audible=True) == (Move.YIELD, Move.ANSWER)
    assert held(remaining_ms=900).words("item_1", "", is_agent_audible=True) == (Move.RESUME, Move.DISMISS)


def test_a_short_yes_while_the_agent_ended_is_answered():
    it = judge()
    over_agent(it)
    it.speech_stopped(10.6)
    assert it.words("item_1", "כן", is_agent_audible=False) == (Move.ANSWER,)


def test_a_short_real_word_stops_the_agent_when_it_is_known():
    it = judge()
    over_agent(it)
    assert it.speech_stopped(10.6) == ()
    assert it.words("item_1", "לא", is_agent_audible=True) == (Move.YIELD, Move.ANSWER)


def test_words_that_do_not_come_let_the_agent_go_on_after_two_seconds():
    it = held()
    assert it.tick(10.8 + JUDGED_WITHIN_S - 0.01) == ()
    assert it.tick(10.8 + JUDGED_WITHIN_S) == (Move.RESUME,)
    assert it.tick(14.0) == ()


def test_words_that_come_too_late_still_count():
    it = held()
    it.tick(13.0)
    assert it.words("item_1", "לא, תעצרי", is_agent_audible=True) == (Move.YIELD, Move.ANSWER)
    it = held()
    it.tick(13.0)
    assert it.words("item_1", "אהה", is_agent_audible=True) == (Move.DISMISS,)


def test_without_transcripts_whoever_spoke_long_enough_has_the_floor():
    it = judge()
    it.can_judge = False
    over_agent(it)
    it.voiced(300, 10.3)
    assert it.speech_stopped(10.8) == (Move.YIELD, Move.ANSWER)


def test_a_pause_for_breath_keeps_the_agent_silent_until_all_is_judged():
    it = held()
    assert it.speech_started("item_2", 11.0, Over.AGENT, FAR_MS) == ()
    assert it.words("item_1", "אהה", is_agent_audible=True) == (), "the caller speaks again"
    assert it.speech_stopped(11.6) == ()
    assert it.words("item_2", "כן", is_agent_audible=True) == (Move.RESUME, Move.DISMISS)
    assert it.dismissed == ["item_1", "item_2"]


def test_a_real_word_in_the_first_breath_takes_the_floor_while_the_second_goes_on():
    it = held()
    it.speech_started("item_2", 11.0, Over.AGENT, FAR_MS)
    assert it.words("item_1", "לא", is_agent_audible=True) == (Move.YIELD,)
    assert it.speech_stopped(12.0) == (Move.ANSWER,)


def test_where_nobody_may_interrupt_the_caller_is_answered_afterwards():
    it = judge(is_allowed=False)
    assert over_agent(it) == ()
    assert it.voiced(3000, 13.0) == ()
    assert it.speech_stopped(13.5) == (Move.ANSWER,)


def test_the_greeting_may_be_protected_alone():
    it = judge(is_allowed_in_greeting=False)
    assert it.speech_started("item_1", 1.0, Over.GREETING, FAR_MS) == ()
    assert it.voiced(2000, 3.0) == ()
    assert it.speech_stopped(3.5) == (Move.ANSWER,)
    over_agent(it)
    assert it.voiced(200, 10.2) == (Move.HOLD,)


def test_a_hello_before_the_greeting_does_not_stop_it_and_is_answered_by_it():
    it = judge()
    assert it.speech_started("item_1", 1.0, Over.UNHEARD_GREETING, FAR_MS) == ()
    assert it.voiced(2000, 3.0) == ()
    assert it.speech_stopped(3.5) == ()
    assert it.words("item_1", "הלו?", is_agent_audible=True) == ()


def test_a_request_before_the_greeting_is_answered_after_it():
    it = judge()
    it.speech_started("item_1", 1.0, Over.UNHEARD_GREETING, FAR_MS)
    it.speech_stopped(3.5)
    assert it.words("item_1", "אני רוצה לקבוע תור", is_agent_audible=True) == (Move.ANSWER,)


def test_a_new_session_awaits_nothing_of_the_old():
    it = held()
    it.reset()
    assert it.tick(20.0) == ()
    assert it.words("item_1", "לא", is_agent_audible=True) == ()
