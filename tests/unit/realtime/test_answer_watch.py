"""An answer that does not come is asked for once more, then given up."""

from __future__ import annotations

from server.realtime.answer_watch import ANSWER_WITHIN_S, FILL_AFTER_S, FILL_AGAIN_S, AnswerWatch, Due


def test_nothing_is_due_while_nobody_waits() -> None:
    assert AnswerWatch().due(1000.0) is Due.NOTHING


def test_a_silent_model_is_asked_once_more_and_then_given_up() -> None:
    watch = AnswerWatch()
    watch.owed(10.0)
    assert watch.due(10.0 + FILL_AFTER_S) is Due.FILL
    assert watch.due(10.0 + ANSWER_WITHIN_S - 0.1) is Due.NOTHING
    assert watch.due(10.0 + ANSWER_WITHIN_S) is Due.ASK_AGAIN
    assert watch.due(10.1 + ANSWER_WITHIN_S) is Due.NOTHING
    assert watch.due(10.0 + FILL_AFTER_S + FILL_AGAIN_S) is Due.FILL
    assert watch.due(10.0 + 2 * ANSWER_WITHIN_S) is Due.GIVE_UP


def test_the_first_sound_settles_it() -> None:
    watch = AnswerWatch()
    watch.owed(0.0)
    watch.settled()
    assert watch.due(100.0) is Due.NOTHING
    watch.owed(100.0)
    watch.due(100.0 + FILL_AFTER_S)
    assert watch.due(100.0 + ANSWER_WITHIN_S) is Due.ASK_AGAIN


def test_what_is_owed_already_is_owed_since_then() -> None:
    watch = AnswerWatch()
    watch.owed(0.0)
    watch.owed(5.0)
    watch.due(FILL_AFTER_S)
    assert watch.due(ANSWER_WITHIN_S) is Due.ASK_AGAIN


def test_a_filler_is_due_while_the_answer_takes_long() -> None:
    watch = AnswerWatch()
    watch.owed(10.0)
    assert watch.due(10.0 + FILL_AFTER_S - 0.1) is Due.NOTHING
    assert watch.due(10.0 + FILL_AFTER_S) is Due.FILL
    assert watch.due(10.1 + FILL_AFTER_S) is Due.NOTHING
    assert watch.due(10.0 + FILL_AFTER_S + FILL_AGAIN_S, is_working=True) is Due.FILL
    watch.settled()
    watch.owed(20.0)
    assert watch.due(20.0 + FILL_AFTER_S) is Due.FILL


def test_silence_before_the_request_counts_for_the_filler_alone() -> None:
    watch = AnswerWatch()
    watch.owed(10.0, waited_s=0.6)
    assert watch.due(9.3 + FILL_AFTER_S) is Due.NOTHING
    assert watch.due(9.4 + FILL_AFTER_S) is Due.FILL
    assert watch.due(9.9 + ANSWER_WITHIN_S) is Due.NOTHING
    assert watch.due(10.0 + ANSWER_WITHIN_S) is Due.ASK_AGAIN
    watch.settled()
    watch.owed(20.0, waited_s=60.0)
    assert watch.due(20.0) is Due.FILL


def test_while_a_tool_works_the_model_is_not_asked_again() -> None:
    watch = AnswerWatch()
    watch.owed(0.0)
    assert watch.due(FILL_AFTER_S, is_working=True) is Due.FILL
    for now_s in (6.0, 7.6, 12.0, 12.7, 17.8, 20.0):
        assert watch.due(now_s, is_working=True) in (Due.NOTHING, Due.FILL)
    assert watch.due(20.1) is Due.NOTHING, "the model has the tool's answer only now"
    assert watch.due(22.9) is Due.FILL
    assert watch.due(20.0 + ANSWER_WITHIN_S) is Due.ASK_AGAIN
