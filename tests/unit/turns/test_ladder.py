import pytest

from server.turns.ladder import LASTS_S, OPEN_S, WITHIN_S, Attempt, Breaker, Cause, Ladder, Rung

ALL = (Rung.REALTIME, Rung.PIPELINE, Rung.PERSON, Rung.MESSAGE, Rung.APOLOGY)


def down(ladder: Ladder, cause: Cause = Cause.TRANSIENT, now_s: float = 0.0, **more: bool) -> Attempt:
    return ladder.failed(cause, now_s, **{"may_ask": True, "has_voice": True, **more})


def test_a_session_that_broke_is_tried_three_times_and_then_the_next_rung():
    ladder = Ladder(ALL)
    assert [down(ladder) for _ in range(4)] == [
        Attempt(Rung.REALTIME, 0.2),
        Attempt(Rung.REALTIME, 1.0),
        Attempt(Rung.REALTIME, 3.0),
        Attempt(Rung.PIPELINE),
    ]


def test_each_rung_below_is_tried_once():
    ladder = Ladder(ALL)
    down(ladder, Cause.MODEL)
    assert [down(ladder).rung for _ in range(4)] == [Rung.PERSON, Rung.MESSAGE, Rung.APOLOGY, Rung.APOLOGY]


def test_a_model_that_does_not_exist_is_not_tried_again_but_its_account_is_good():
    assert down(Ladder(ALL), Cause.MODEL) == Attempt(Rung.PIPELINE)


def test_a_refused_key_is_refused_for_the_pipeline_as_well():
    assert down(Ladder(ALL), Cause.ACCOUNT) == Attempt(Rung.PERSON)


def test_a_provider_in_trouble_is_not_asked_by_every_call():
    assert down(Ladder(ALL), may_ask=False) == Attempt(Rung.PIPELINE)


def test_who_has_heard_nothing_yet_is_not_kept_waiting_for_the_third_try():
    ladder = Ladder(ALL)
    attempts = [down(ladder, has_voice=False) for _ in range(3)]
    assert [attempt.after_s for attempt in attempts] == [0.2, 1.0, 0.0]
    assert attempts[-1].rung is Rung.PIPELINE


def test_a_session_that_lasted_gives_the_next_failure_its_own_tries():
    ladder = Ladder(ALL)
    for _ in range(3):
        down(ladder)
    ladder.works(100.0)
    assert down(ladder, now_s=100.0 + LASTS_S) == Attempt(Rung.REALTIME, 0.2)


def test_a_session_that_comes_and_goes_does_not_go_on_for_ever():
    ladder, now_s, attempts = Ladder(ALL), 0.0, 0
    while down(ladder, now_s=now_s).rung is Rung.REALTIME:
        ladder.works(now_s)
        now_s, attempts = now_s + 1.0, attempts + 1
        assert attempts < 10
    assert attempts == 3


def test_the_first_voice_is_waited_for_only_so_long():
    assert Ladder(ALL).too_late() == Attempt(Rung.PIPELINE)
    assert Ladder((Rung.REALTIME, Rung.MESSAGE)).too_late() == Attempt(Rung.MESSAGE)


@pytest.mark.parametrize("rungs", [(), (Rung.REALTIME,), (Rung.PIPELINE, Rung.APOLOGY)])
def test_the_last_word_is_an_apology(rungs):
    ladder = Ladder(rungs)
    for _ in range(6):
        last = down(ladder)
    assert last.rung is Rung.APOLOGY


def test_a_breaker_closes_after_five_failures_in_a_row_and_lets_one_try_later():
    breaker = Breaker()
    assert [breaker.failed(10.0 + n) for n in range(5)] == [False] * 4 + [True]
    assert not breaker.allows(14.1)
    assert not breaker.allows(13.9 + OPEN_S)
    assert breaker.allows(14.0 + OPEN_S), "one"
    assert not breaker.allows(14.1 + OPEN_S), "and only one"
    breaker.failed(15.0 + OPEN_S)
    assert not breaker.allows(14.0 + OPEN_S + WITHIN_S)
    assert breaker.allows(15.0 + 2 * OPEN_S)
    breaker.worked()
    assert breaker.allows(15.1 + 2 * OPEN_S)
    assert breaker.allows(15.1 + 2 * OPEN_S)


def test_failures_far_apart_are_no_storm():
    breaker = Breaker()
    for n in range(20):
        assert not breaker.failed(n * WITHIN_S)
    assert breaker.allows(21 * WITHIN_S)
