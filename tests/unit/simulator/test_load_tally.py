"""Loss, order and lateness, counted by hand."""

from __future__ import annotations

import pytest

from server.simulator.load.stamps import FROM_CALLER
from server.simulator.load.tally import LATE_NS, Tally, percentile

MS = 1_000_000


def come(tally: Tally, seq: int, sent_ms: int = 0, after_ms: float = 1, flow: int = 0, end: int = 0) -> None:
    sent_ns = 1000 * MS + sent_ms * MS
    tally.take((FROM_CALLER, flow, seq, sent_ns), end, sent_ns + int(after_ms * MS))


@pytest.fixture
def tally() -> Tally:
    """Its window is open."""
    opened = Tally()
    opened.open(1000 * MS)
    return opened


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([], 50, 0),
        ([7], 1, 7),
        ([7], 100, 7),
        ([1, 2, 3, 4], 50, 2),
        ([1, 2, 3, 4], 51, 3),
        (range(1, 101), 99, 99),
        (range(1, 1001), 99, 990),
        (range(1, 1001), 99.9, 999),
        (range(1, 11), 99, 10),
    ],
)
def test_percentile_by_nearest_rank(values: list[int], q: float, expected: int) -> None:
    assert percentile(list(values), q) == expected


def test_frames_in_order_are_all_there(tally: Tally) -> None:
    for seq in range(5):
        tally.sent += 1
        come(tally, seq, after_ms=seq + 1)
    tally.close(2000 * MS)
    verdict = tally.verdict()
    assert (verdict.sent, verdict.received, verdict.lost) == (5, 5, 0)
    assert (verdict.reordered, verdict.duplicated, verdict.late) == (0, 0, 0)
    assert (verdict.p50_ms, verdict.p99_ms, verdict.max_ms) == (3.0, 5.0, 5.0)


def test_a_frame_that_never_comes_is_lost(tally: Tally) -> None:
    tally.sent = 4
    for seq in (0, 1, 3):
        come(tally, seq)
    tally.close(2000 * MS)
    assert (tally.verdict().lost, tally.verdict().reordered) == (1, 0)


def test_the_last_frames_of_a_flow_can_be_lost_too(tally: Tally) -> None:
    tally.sent = 4
    come(tally, 0)
    tally.close(2000 * MS)
    assert tally.verdict().lost == 3


def test_a_frame_overtaken_is_reordered_and_not_lost(tally: Tally) -> None:
    tally.sent = 4
    for seq in (0, 2, 3, 1):
        come(tally, seq)
    tally.close(2000 * MS)
    assert (tally.verdict().lost, tally.verdict().reordered, tally.verdict().duplicated) == (0, 1, 0)


def test_a_frame_that_comes_twice_counts_once(tally: Tally) -> None:
    tally.sent = 2
    for seq in (0, 1, 1, 0):
        come(tally, seq)
    tally.close(2000 * MS)
    assert (tally.verdict().received, tally.verdict().duplicated) == (2, 2)


def test_flows_are_counted_apart(tally: Tally) -> None:
    tally.sent = 4
    for flow in (0, 1):
        come(tally, 0, flow=flow, end=flow)
        come(tally, 1, flow=flow, end=flow)
    tally.close(2000 * MS)
    assert (tally.verdict().received, tally.verdict().reordered, tally.verdict().misrouted) == (4, 0, 0)


def test_a_frame_at_another_calls_end_is_misrouted(tally: Tally) -> None:
    come(tally, 0, flow=1, end=1)
    come(tally, 1, flow=1, end=2)
    assert tally.verdict().misrouted == 1


def test_later_than_the_next_frame_is_late(tally: Tally) -> None:
    tally.sent = 2
    come(tally, 0, after_ms=LATE_NS / MS)
    come(tally, 1, after_ms=LATE_NS / MS + 0.1)
    tally.close(2000 * MS)
    assert tally.verdict().late == 1


def test_only_frames_sent_within_the_window_count(tally: Tally) -> None:
    tally = Tally()
    tally.sent = 10  # while it was closed
    come(tally, 8, sent_ms=-20)
    tally.open(1000 * MS)
    come(tally, 9, sent_ms=-1, after_ms=50)  # sent before, came within
    tally.sent += 1
    come(tally, 10, sent_ms=500)
    tally.close(2000 * MS)
    tally.sent += 1
    come(tally, 11, sent_ms=1000)
    verdict = tally.verdict()
    assert (verdict.sent, verdict.received, verdict.lost) == (1, 1, 0)


def test_a_frame_still_on_its_way_at_the_end_is_waited_for(tally: Tally) -> None:
    tally.sent = 1
    tally.close(1500 * MS)
    assert tally.received < tally.sent_within
    come(tally, 0, sent_ms=499, after_ms=100)
    assert tally.received == tally.sent_within


def test_changed_payloads_count_from_the_window_on() -> None:
    tally = Tally()
    tally.spoil(500 * MS)
    tally.open(1000 * MS)
    tally.spoil(1500 * MS)
    assert tally.verdict().altered == 1
