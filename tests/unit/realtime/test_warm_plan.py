"""What a pool of model connections dials and closes, second by second, without a socket or a clock."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from server.realtime.warm_plan import FILL_AT_ONCE, MAX_OPEN, WarmPlan, WarmTimes

TIMES = WarmTimes()
FIVE_MINUTES_S = 300.0


def open_all(plan: WarmPlan, now_s: float) -> list[int]:
    """Every dial that is due succeeds at once."""
    opened: list[int] = []
    while numbers := plan.due(now_s).dial:
        for number in numbers:
            plan.opened(number, now_s)
        opened += numbers
    return opened


def test_without_spares_and_calls_nothing_is_ever_due():
    due = WarmPlan(0).due(1000.0)
    assert (due.dial, due.close, due.again_in_s) == ([], [], None)


def test_an_expected_call_is_dialled_for_once():
    plan = WarmPlan(0)
    plan.expect(10.0)
    assert len(plan.due(10.0).dial) == 1
    assert plan.due(10.1).dial == []


def test_a_free_spare_serves_an_expected_call():
    plan = WarmPlan(2)
    assert len(open_all(plan, 0.0)) == 2
    plan.expect(1.0)
    plan.expect(1.0)
    assert plan.due(1.0).dial == []
    plan.expect(1.0)
    assert len(plan.due(1.0).dial) == 1, "the third has none"


def test_a_call_that_does_not_come_is_given_up_after_15_s():
    plan = WarmPlan(0)
    plan.expect(0.0)
    [number] = open_all(plan, 0.3)
    assert plan.due(0.3).again_in_s == 14.7
    assert plan.due(14.9).close == []
    assert plan.due(15.0).close == [number]
    assert plan.due(15.0).again_in_s is None


def test_a_dial_for_a_call_that_came_without_it_is_closed_when_it_opens():
    plan = WarmPlan(0)
    plan.expect(0.0)
    [number] = plan.due(0.0).dial
    plan.arrived(0.1)
    plan.opened(number, 0.2)
    assert plan.due(0.2).close == [number]


def test_a_taken_spare_is_replaced():
    plan = WarmPlan(1)
    [number] = open_all(plan, 0.0)
    plan.arrived(5.0)
    assert plan.takeable(5.0) == [number]
    plan.taken(number)
    assert len(plan.due(5.0).dial) == 1


def test_the_newest_goes_first():
    plan = WarmPlan(2)
    old, less_old = open_all(plan, 0.0)
    for _ in range(3):
        plan.expect(50.0)
    [new] = open_all(plan, 50.0)
    assert plan.takeable(51.0) == [new, less_old, old]


def test_what_a_call_takes_has_more_than_55_minutes_left_since_its_dial_began():
    plan = WarmPlan(1)
    [number] = plan.due(0.0).dial
    plan.opened(number, 4.9)
    assert plan.takeable(FIVE_MINUTES_S - 0.001) == [number]
    assert plan.takeable(FIVE_MINUTES_S) == []
    assert plan.due(FIVE_MINUTES_S).close == [number]


def test_an_ageing_spare_is_closed_when_its_successor_is_open():
    plan = WarmPlan(1)
    [old] = open_all(plan, 0.0)
    at = plan.due(0.0).again_in_s
    assert at is not None and TIMES.refresh_s[0] <= at <= TIMES.refresh_s[1]
    due = plan.due(at)
    assert (len(due.dial), due.close) == (1, [])
    assert plan.takeable(at) == [old], "it serves a call meanwhile"
    plan.opened(due.dial[0], at + 1)
    assert plan.due(at + 1).close == [old]
    assert plan.takeable(at + 1) == due.dial


def test_spares_opened_together_are_replaced_one_by_one():
    plan = WarmPlan(20)
    assert len(open_all(plan, 0.0)) == 20
    now_s, moments = 0.0, []
    while len(moments) < 20:
        due = plan.due(now_s)
        assert len(due.dial) <= 1
        if due.dial:
            moments.append(now_s)
            plan.opened(due.dial[0], now_s)
        else:
            now_s += due.again_in_s or 0.0
    gaps = [after - before for before, after in pairwise(moments)]
    assert min(gaps) > 0.5 and moments[-1] < FIVE_MINUTES_S


def test_a_successor_that_cannot_be_had_costs_no_spare_before_its_time():
    plan = WarmPlan(1)
    [old] = open_all(plan, 0.0)
    now_s = TIMES.refresh_s[1]
    while now_s < FIVE_MINUTES_S - 0.001:
        due = plan.due(now_s)
        assert due.close == [] and due.again_in_s is not None
        for number in due.dial:
            plan.failed(number, now_s)
        now_s += plan.due(now_s).again_in_s or 0.0
    assert plan.due(FIVE_MINUTES_S).close == [old]


def test_the_first_fill_is_no_storm():
    plan = WarmPlan(50)
    assert len(plan.due(0.0).dial) == FILL_AT_ONCE
    assert plan.due(0.0).dial == []
    assert len(open_all(WarmPlan(50), 0.0)) == 50


def test_calls_are_dialled_for_all_at_once_but_never_above_the_cap():
    plan = WarmPlan(0)
    for _ in range(1000):
        plan.expect(0.0)
    assert len(plan.due(0.0).dial) == MAX_OPEN
    for _ in range(MAX_OPEN):
        plan.arrived(0.1)
        plan.expect(0.1)
    plan.waiting = MAX_OPEN
    assert plan.due(0.1).dial == [], "those under way are promised, and still too many"


def test_a_dial_that_a_call_waits_for_is_not_counted_as_a_spare():
    plan = WarmPlan(1)
    assert len(plan.due(0.0).dial) == 1
    plan.arrived(0.1)
    plan.waiting = 1
    assert len(plan.due(0.1).dial) == 1


def test_failing_dials_are_made_ever_more_seldom():
    plan = WarmPlan(1)
    now_s, pauses = 0.0, []
    for _ in range(9):
        [number] = plan.due(now_s).dial
        plan.failed(number, now_s)
        pause_s = plan.due(now_s).again_in_s
        assert pause_s is not None
        assert plan.due(now_s + pause_s - 0.001).dial == []
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_dials_that_fail_together_are_one_failure():
    plan = WarmPlan(4)
    numbers = plan.due(0.0).dial
    assert [plan.failed(number, 5.0 + i) for i, number in enumerate(numbers)] == [True, False, False, False]
    assert plan.back_off.paused_until == 6.0


def test_after_a_pause_one_goes_ahead_alone():
    plan = WarmPlan(4)
    for number in plan.due(0.0).dial:
        plan.failed(number, 0.5)
    [scout] = plan.due(2.0).dial
    assert plan.due(2.0).dial == []
    plan.opened(scout, 2.1)
    assert len(plan.due(2.1).dial) == 3


def test_an_expected_call_does_not_shorten_a_pause():
    plan = WarmPlan(0)
    plan.expect(0.0)
    plan.failed(plan.due(0.0).dial[0], 0.1)
    plan.expect(0.2)
    assert plan.due(0.2).dial == []
    assert len(plan.due(1.1).dial) == 1


def test_a_connection_that_lasted_ends_the_row_of_failures():
    plan = WarmPlan(1)
    plan.failed(plan.due(0.0).dial[0], 0.0)
    plan.opened(plan.due(1.0).dial[0], 1.0)
    plan.due(30.9)
    assert plan.back_off.failures == 1
    assert plan.due(1.0).again_in_s == TIMES.settled_s
    plan.due(31.0)
    assert plan.back_off.failures == 0


def test_one_that_a_call_took_ends_it_as_well():
    plan = WarmPlan(0)
    plan.expect(0.0)
    plan.failed(plan.due(0.0).dial[0], 0.0)
    [number] = open_all(plan, 1.0)
    plan.taken(number)
    assert plan.back_off.failures == 0


def test_one_from_before_the_failures_proves_nothing():
    plan = WarmPlan(2)
    first, second = plan.due(0.0).dial
    plan.opened(first, 0.1)
    plan.due(40.0)
    plan.failed(second, 40.0)
    plan.due(80.0)
    assert plan.back_off.failures == 1
    plan.taken(first)
    assert plan.back_off.failures == 1


def test_a_model_that_opens_and_closes_at_once_is_backed_off_from():
    plan = WarmPlan(1)
    now_s, pauses = 0.0, []
    for _ in range(8):
        [number] = plan.due(now_s).dial
        plan.opened(number, now_s + 0.1)
        now_s += 20.0
        assert plan.ended(number, now_s) is (pauses == [])
        pauses.append(plan.due(now_s).again_in_s)
        now_s += pauses[-1] or 0.0
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_one_that_ends_after_a_good_while_is_simply_replaced():
    plan = WarmPlan(1)
    [number] = open_all(plan, 0.0)
    assert not plan.ended(number, 30.0)
    assert len(plan.due(30.0).dial) == 1


def test_a_restart_of_the_model_takes_all_spares_and_counts_once():
    plan = WarmPlan(10)
    numbers = open_all(plan, 0.0)
    assert [plan.ended(number, 5.0) for number in numbers] == [True] + [False] * 9
    assert plan.back_off.paused_until == 6.0


def test_a_refusal_is_told_once_and_left_alone_for_five_minutes():
    plan = WarmPlan(4)
    assert [plan.refused(number, 1.0) for number in plan.due(0.0).dial] == [True, False, False, False]
    plan.expect(2.0)
    assert plan.due(2.0).dial == []
    assert plan.due(300.9).dial == []
    [scout] = plan.due(301.0).dial
    assert not plan.refused(scout, 301.0)
    assert plan.due(600.9).dial == []


def test_a_refusal_weighs_more_than_a_failure_of_the_same_moment():
    plan = WarmPlan(2)
    first, second = plan.due(0.0).dial
    plan.failed(first, 1.0)
    plan.refused(second, 1.0)
    assert plan.back_off.paused_until == 301.0


def test_a_refusal_after_good_days_is_told_again():
    plan = WarmPlan(1)
    plan.refused(plan.due(0.0).dial[0], 0.0)
    plan.opened(plan.due(300.0).dial[0], 300.0)
    plan.due(330.0)
    [number] = plan.due(600.0).dial
    assert plan.refused(number, 600.0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["expect", "call", "open", "fail", "refuse", "end"]),
        st.floats(0.0, 70.0),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(target=st.integers(0, 70), steps=STEPS)
def test_whatever_happens_there_are_not_too_many_and_no_old_ones(target, steps):
    plan, now_s = WarmPlan(target), 0.0
    dials: list[int] = []
    spares: dict[int, float] = {}
    expected: list[float] = []
    for step, elapsed_s in steps:
        now_s += elapsed_s
        expected = [at for at in expected if at + TIMES.expected_s > now_s]
        if step == "expect":
            plan.expect(now_s)
            expected.append(now_s)
        elif step == "call":
            plan.arrived(now_s)
            expected = expected[1:]
            for number in plan.takeable(now_s)[:1]:
                assert now_s - spares[number] < FIVE_MINUTES_S
                plan.taken(number)
                del spares[number]
        elif step in ("open", "fail", "refuse") and dials:
            number = dials.pop(0)
            if step == "open":
                plan.opened(number, now_s)
                spares[number] = now_s
            else:
                (plan.failed if step == "fail" else plan.refused)(number, now_s)
        elif step == "end" and spares:
            number = next(iter(spares))
            plan.ended(number, now_s)
            del spares[number]
        due = plan.due(now_s)
        for number in due.close:
            del spares[number]
        dials += due.dial
        if due.dial:
            assert now_s >= plan.back_off.paused_until
            assert len(spares) + len(dials) <= max(target, len(expected)) + 1
        assert len(spares) <= max(target, len(expected)) + 1
        assert len(spares) + len(dials) <= MAX_OPEN
        assert all(now_s - opened_at < FIVE_MINUTES_S for opened_at in spares.values())
        assert due.again_in_s is None or due.again_in_s > 0
        assert plan.due(now_s).dial == []
