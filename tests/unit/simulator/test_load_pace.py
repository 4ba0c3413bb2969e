"""The schedule: even, endless, and honest about being late."""

from __future__ import annotations

import pytest

from server.simulator.load import pace as pace_module
from server.simulator.load.pace import BURST, PERIOD_NS, Pace

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class Voice:
    def __init__(self) -> None:
        self.spoke_ns: list[int] = []

    def speak(self, now_ns: int) -> None:
        self.spoke_ns.append(now_ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "monotonic_ns", clock)
    return clock


def run(pace: Pace, clock: Clock, until_ns: int) -> None:
    while clock.now_ns < until_ns:
        due_ns = pace.send_due()
        clock.now_ns = max(clock.now_ns, min(due_ns, until_ns))


def test_everyone_speaks_each_20_ms_in_a_slot_of_their_own(clock: Clock) -> None:
    pace, voices = Pace(2), [Voice() for _ in range(4)]
    for at, voice in enumerate(voices):
        assert pace.join(voice, is_model=at % 2 == 1)
    run(pace, clock, 100 * MS)
    for voice in voices:
        gaps = {after - before for before, after in zip(voice.spoke_ns, voice.spoke_ns[1:], strict=False)}
        assert (len(voice.spoke_ns), gaps) == (5, {PERIOD_NS})
    assert sorted(voice.spoke_ns[0] % PERIOD_NS for voice in voices) == [0, 5 * MS, 10 * MS, 15 * MS]
    assert max(pace.late_ns) == 0


def test_what_was_held_up_is_made_good_and_said(clock: Clock) -> None:
    pace, voice = Pace(1), Voice()
    pace.join(voice, is_model=False)
    run(pace, clock, 20 * MS)
    clock.now_ns += 100 * MS
    run(pace, clock, 200 * MS)
    assert len(voice.spoke_ns) == 10
    assert max(pace.late_ns) == 100 * MS


def test_sockets_are_read_between_bursts(clock: Clock) -> None:
    pace, voice = Pace(1), Voice()
    pace.join(voice, is_model=False)
    clock.now_ns = 10_000 * MS
    pace.send_due()
    assert len(voice.spoke_ns) == BURST // 2  # every other slot is a model's


def test_a_slot_that_was_left_is_given_again(clock: Clock) -> None:
    pace, first, second = Pace(1), Voice(), Voice()
    assert pace.join(first, is_model=False)
    assert not pace.join(second, is_model=False)
    pace.leave(first)
    pace.leave(first)
    assert pace.join(second, is_model=False)
    run(pace, clock, 40 * MS)
    assert (len(first.spoke_ns), len(second.spoke_ns)) == (0, 2)
