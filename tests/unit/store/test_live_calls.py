import pytest

from server.store import live_calls
from server.store.live_calls import EndReason, FollowUp, LiveCalls


def ended(reason: EndReason) -> LiveCalls:
    calls = LiveCalls()
    calls.answered("CA1")
    calls.began("CA1", "MZ1")
    calls.ended("CA1", "MZ1", reason)
    return calls


FOLLOW_UPS = dict.fromkeys(EndReason, FollowUp.APOLOGY) | {
    EndReason.STOP: FollowUp.HANGUP,
    EndReason.AGENT_HANGUP: FollowUp.HANGUP,
    EndReason.MAX_DURATION: FollowUp.HANGUP,
    EndReason.DRAIN: FollowUp.ASK_AGAIN,
}


@pytest.mark.parametrize(("reason", "follow_up"), FOLLOW_UPS.items())
def test_what_the_caller_hears_after_each_kind_of_end(reason, follow_up):
    assert ended(reason).follow_up("CA1") is follow_up


def test_of_an_unknown_call_nothing_is_known():
    assert LiveCalls().follow_up("CA1") is None


def test_a_call_whose_stream_never_came_gets_an_apology():
    calls = LiveCalls()
    calls.answered("CA1")
    assert calls.follow_up("CA1") is FollowUp.APOLOGY


def test_a_live_call_whose_stream_broke_at_twilio_is_apologised_for():
    calls = LiveCalls()
    calls.answered("CA1")
    calls.began("CA1", "MZ1")
    assert calls.follow_up("CA1") is FollowUp.APOLOGY


def test_a_stream_may_begin_without_its_webhook():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    assert (calls.live_count, calls.follow_up("CA1")) == (1, FollowUp.APOLOGY)


def test_a_webhook_repeated_does_not_forget_how_the_stream_ended():
    calls = ended(EndReason.DRAIN)
    calls.answered("CA1")
    assert calls.follow_up("CA1") is FollowUp.ASK_AGAIN


def test_a_second_stream_of_a_call_makes_it_live_again():
    calls = ended(EndReason.DRAIN)
    calls.began("CA1", "MZ2")
    assert calls.follow_up("CA1") is FollowUp.APOLOGY


def test_of_two_streams_the_later_one_tells_the_end():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    calls.began("CA1", "MZ2")
    calls.ended("CA1", "MZ1", EndReason.FAULT)
    assert (calls.live_count, calls.follow_up("CA1")) == (1, FollowUp.APOLOGY)
    calls.ended("CA1", "MZ2", EndReason.STOP)
    assert (calls.live_count, calls.follow_up("CA1")) == (0, FollowUp.HANGUP)


def test_live_calls_are_counted_by_streams():
    calls = LiveCalls()
    for n in range(10):
        calls.began(f"CA{n}", f"MZ{n}")
    for n in range(4):
        calls.ended(f"CA{n}", f"MZ{n}", EndReason.STOP)
    assert calls.live_count == 6


def test_the_oldest_calls_are_forgotten_and_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(live_calls, "MAX_REMEMBERED", 100)
    calls = LiveCalls()
    for n in range(1000):
        calls.answered(f"CA{n}")
    assert calls.follow_up("CA899") is None
    assert calls.follow_up("CA900") is FollowUp.APOLOGY
    assert len(calls._calls) == 100


def test_live_calls_are_not_forgotten_however_many_come_after(monkeypatch):
    monkeypatch.setattr(live_calls, "MAX_REMEMBERED", 100)
    calls = LiveCalls()
    for n in range(20):
        calls.began(f"CAlive{n}", f"MZ{n}")
    for n in range(1000):
        calls.answered(f"CA{n}")
    assert all(calls.follow_up(f"CAlive{n}") is FollowUp.APOLOGY for n in range(20))
    assert len(calls._calls) <= 121


def test_a_call_forgotten_while_it_ends_is_no_error():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    calls._calls.clear()
    calls.ended("CA1", "MZ1", EndReason.STOP)
    assert calls.live_count == 0
