"""A session is renewed at a pause, then at any price, before it ends by itself."""

from __future__ import annotations

import pytest

from server.realtime.session_clock import LIFETIME_S, Phase, SessionClock

NOW = 1_790_000_000.0
"""Unix time of the tests."""
OPENED = 5000.0


@pytest.mark.parametrize(
    ("age_s", "phase"),
    [
        (0, Phase.FRESH),
        (2999, Phase.FRESH),
        (3000, Phase.RENEW_WHEN_QUIET),
        (3539, Phase.RENEW_WHEN_QUIET),
        (3540, Phase.MUST_RENEW),
        (3599, Phase.MUST_RENEW),
        (3600, Phase.EXPIRED),
        (1e6, Phase.EXPIRED),
        (-1, Phase.FRESH),
    ],
)
def test_an_hour_has_four_phases(age_s: float, phase: Phase) -> None:
    assert SessionClock(OPENED).phase(OPENED + age_s) is phase


def test_a_shorter_session_is_renewed_in_the_same_shares() -> None:
    clock = SessionClock(OPENED, 60)
    phases = [clock.phase(OPENED + age_s) for age_s in (49, 50, 58, 59, 60)]
    assert phases == [
        Phase.FRESH,
        Phase.RENEW_WHEN_QUIET,
        Phase.RENEW_WHEN_QUIET,
        Phase.MUST_RENEW,
        Phase.EXPIRED,
    ]


def test_the_lifetime_is_the_one_announced() -> None:
    clock = SessionClock.announced(OPENED, NOW + 1800, NOW)
    assert clock.lifetime_s == 1800
    assert clock.phase(OPENED + 1499) is Phase.FRESH
    assert clock.phase(OPENED + 1500) is Phase.RENEW_WHEN_QUIET


def test_a_wall_clock_that_jumps_later_changes_nothing() -> None:
    clock = SessionClock.announced(OPENED, NOW + 3600, NOW)
    assert clock.phase(OPENED + 2999) is Phase.FRESH


@pytest.mark.parametrize(
    "expires_at",
    [None, 0, -1, NOW, NOW - 3600, NOW + 24 * 3600 + 1, NOW * 1000, float("nan"), float("inf"), 3600],
)
def test_nonsense_is_an_hour(expires_at: float | None) -> None:
    assert SessionClock.announced(OPENED, expires_at, NOW).lifetime_s == LIFETIME_S


@pytest.mark.parametrize("lifetime_s", [0, -5, float("nan"), 1e9])
def test_a_nonsensical_length_is_an_hour_too(lifetime_s: float) -> None:
    assert SessionClock(OPENED, lifetime_s).lifetime_s == LIFETIME_S
    assert SessionClock(OPENED, 24 * 3600).lifetime_s == 24 * 3600
