"""A call is warned, ended with words, and only then cut."""

from __future__ import annotations

import pytest

from server.turns.call_limit import CallLimit, Limit


def said(limit: CallLimit, until_s: int) -> dict[float, Limit]:
    """When each was due, asked ten times a second; OVER only the first time."""
    heard: dict[float, Limit] = {}
    for tick in range(until_s * 10):
        due = limit.due(tick / 10)
        if due is not Limit.NOTHING and not (due is Limit.OVER and Limit.OVER in heard.values()):
            heard[tick / 10] = due
    return heard


@pytest.mark.parametrize(
    ("max_s", "warn_s"), [(1800, 1770), (181, 151), (180, 150), (120, 100), (60, 50), (12, 10)]
)
def test_a_call_is_warned_told_goodbye_and_cut(max_s: int, warn_s: float) -> None:
    expected = {warn_s: Limit.WARN, max_s: Limit.END, max_s + 15: Limit.OVER}
    assert said(CallLimit(max_s), max_s + 20) == expected


def test_nothing_is_due_before() -> None:
    limit = CallLimit(1800)
    assert limit.due(0) is Limit.NOTHING
    assert limit.due(1769.9) is Limit.NOTHING


def test_what_is_over_stays_over() -> None:
    limit = CallLimit(60)
    assert [limit.due(75), limit.due(75.1), limit.due(9999)] == [Limit.OVER] * 3


def test_a_warning_that_comes_too_late_is_left_out() -> None:
    limit = CallLimit(60)
    assert limit.due(61) is Limit.END
    assert limit.due(62) is Limit.NOTHING
    late = CallLimit(60)
    assert late.due(80) is Limit.OVER


@pytest.mark.parametrize("max_s", [0, -1])
def test_no_limit_is_never_due(max_s: float) -> None:
    assert CallLimit(max_s).due(1e9) is Limit.NOTHING
