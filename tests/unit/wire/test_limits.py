from hypothesis import given, settings
from hypothesis import strategies as st

from server.wire.limits import TokenBucket


def test_a_burst_passes_at_once_and_no_more():
    bucket = TokenBucket(rate=10, burst=5, now_s=100.0)
    assert [bucket.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_the_rate_is_allowed_for_ever():
    bucket = TokenBucket(rate=50, burst=2, now_s=0.0)
    assert all(bucket.take(n / 50) for n in range(5000))


def test_twice_the_rate_is_refused_half_of_the_time_once_the_burst_is_spent():
    bucket = TokenBucket(rate=50, burst=50, now_s=0.0)
    taken = sum(bucket.take(n / 100) for n in range(10_000))
    assert 5000 <= taken <= 5051


def test_a_long_silence_saves_up_one_burst_only():
    bucket = TokenBucket(rate=10, burst=5, now_s=0.0)
    assert bucket.take(0.0, 5)
    assert [bucket.take(3600.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_refused_count_costs_nothing():
    bucket = TokenBucket(rate=1, burst=5, now_s=0.0)
    assert not bucket.take(0.0, 6)
    assert bucket.take(0.0, 5)


@given(
    gaps_s=st.lists(st.floats(0, 2), min_size=1, max_size=200),
    rate=st.floats(0.1, 500),
    burst=st.integers(1, 500),
)
@settings(deadline=None)
def test_never_more_than_the_burst_and_the_rate_together(gaps_s, rate, burst):
    bucket, now_s, taken = TokenBucket(rate, burst, 0.0), 0.0, 0
    for gap_s in gaps_s:
        now_s += gap_s
        taken += bucket.take(now_s)
        assert taken <= burst + rate * now_s + 1e-6
