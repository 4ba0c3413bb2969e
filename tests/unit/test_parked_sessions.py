"""Calls whose line broke wait for a while, and none of them for ever."""

from __future__ import annotations

import logging

import pytest

from server import green
from server.parked_sessions import ParkedSessions

SHORT_S = 0.05


class Call:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def calls() -> list[Call]:
    return [Call() for _ in range(4)]


def until_closed(call: Call) -> None:
    with green.deadline(2.0):
        while not call.closed:
            green.sleep(0.005)


def test_who_is_back_in_time_gets_the_same_call_and_nobody_closes_it(calls: list[Call]) -> None:
    parked: ParkedSessions[Call] = ParkedSessions(4, SHORT_S)
    assert parked.park("CA1", calls[0])
    assert parked.park("CA2", calls[1])
    assert "CA1" in parked
    assert parked.take("CA1") is calls[0]
    until_closed(calls[1])  # which was parked after it
    assert (calls[0].closed, len(parked)) == (0, 0)


def test_who_is_not_back_in_time_has_hung_up(calls: list[Call], caplog: pytest.LogCaptureFixture) -> None:
    parked: ParkedSessions[Call] = ParkedSessions(4, SHORT_S)
    with caplog.at_level(logging.INFO):
        parked.park("CA1", calls[0])
        until_closed(calls[0])
    assert parked.take("CA1") is None
    assert "did not come back" in caplog.text


def test_a_call_is_taken_once() -> None:
    parked: ParkedSessions[Call] = ParkedSessions(4)
    parked.park("CA1", Call())
    assert parked.take("CA1") is not None
    assert parked.take("CA1") is None
    parked.close()


def test_the_oldest_makes_room(calls: list[Call], caplog: pytest.LogCaptureFixture) -> None:
    parked: ParkedSessions[Call] = ParkedSessions(3)
    for n, call in enumerate(calls):
        parked.park(f"CA{n}", call)
    until_closed(calls[0])
    assert len(parked) == 3
    assert "KAV-146" in caplog.text
    parked.close()
    assert [call.closed for call in calls] == [1, 1, 1, 1]


def test_of_one_call_the_later_session_is_kept(calls: list[Call]) -> None:
    parked: ParkedSessions[Call] = ParkedSessions(4)
    parked.park("CA1", calls[0])
    parked.park("CA1", calls[1])
    until_closed(calls[0])
    assert parked.take("CA1") is calls[1]
    parked.close()


def test_a_process_that_ends_keeps_nothing(calls: list[Call]) -> None:
    parked: ParkedSessions[Call] = ParkedSessions(4)
    parked.park("CA1", calls[0])
    parked.close()
    assert calls[0].closed == 1
    assert not parked.park("CA2", calls[1])
    assert "CA2" not in parked
    parked.end("CA3")  # which nobody knows


def test_none_are_kept_where_there_is_no_room(calls: list[Call]) -> None:
    parked: ParkedSessions[Call] = ParkedSessions(0)
    assert not parked.park("CA1", calls[0])
