"""An answer that does not come is asked for once more, then given up."""

from __future__ import annotations

from server.realtime.answer_watch import ANSWER_WITHIN_S, AnswerWatch, Due


def test_nothing_is_due_while_nobody_waits() -> None:
    assert AnswerWatch().due(1000.0) is Due.NOTHING


def test_a_silent_model_is_asked_once_more_and_then_given_up() -> None:
    watch = AnswerWatch()
    watch.owed(10.0)
    assert watch.due(10.0 + ANSWER_WITHIN_S - 0.1) is Due.NOTHING
    assert watch.due(10.0 + ANSWER_WITHIN_S) is Due.ASK_AGAIN
    assert watch.due(10.1 + ANSWER_WITHIN_S) is Due.NOTHING
    assert watch.due(10.0 + 2 * ANSWER_WITHIN_S) is Due.GIVE_UP


def test_the_first_sound_settles_it() -> None:
    watch = AnswerWatch()
    watch.owed(0.0)
    watch.settled()
    assert watch.due(100.0) is Due.NOTHING
    watch.owed(100.0)
    assert watch.due(100.0 + ANSWER_WITHIN_S) is Due.ASK_AGAIN


def test_what_is_owed_already_is_owed_since_then() -> None:
    watch = AnswerWatch()
    watch.owed(0.0)
    watch.owed(5.0)
    assert watch.due(ANSWER_WITHIN_S) is Due.ASK_AGAIN
