import pytest

from server.endings import EndReason
from server.store import live_calls
from server.store.live_calls import MAX_RESUMES, CallFacts, FollowUp, LiveCalls


def ended(reason: EndReason) -> LiveCalls:
    calls = LiveCalls()
    calls.answered("CA1")
    calls.began("CA1", "MZ1")
    calls.ended("CA1", "MZ1", reason)
    return calls


FOLLOW_UPS = dict.fromkeys(EndReason, FollowUp.RECORD) | {
    EndReason.STOP: FollowUp.HANGUP,
    EndReason.AGENT_HANGUP: FollowUp.HANGUP,
    EndReason.MAX_DURATION: FollowUp.HANGUP,
    EndReason.IDLE: FollowUp.HANGUP,
    EndReason.APOLOGISED: FollowUp.HANGUP,
    EndReason.DRAIN: FollowUp.ASK_AGAIN,
    EndReason.REFUSED: FollowUp.APOLOGY,
    EndReason.CLOSED: FollowUp.RESUME,
    EndReason.RESET: FollowUp.RESUME,
    EndReason.SILENT_LEG: FollowUp.RESUME,
    EndReason.NOT_READING: FollowUp.RESUME,
    EndReason.PROTOCOL: FollowUp.RESUME,
}


@pytest.mark.parametrize(("reason", "follow_up"), FOLLOW_UPS.items())
def test_what_the_caller_hears_after_each_kind_of_end(reason, follow_up):
    assert ended(reason).follow_up("CA1") is follow_up


HUNG_UP = {EndReason.AGENT_HANGUP, EndReason.MAX_DURATION, EndReason.IDLE, EndReason.APOLOGISED}


@pytest.mark.parametrize("reason", EndReason)
def test_a_call_that_we_hung_up_is_held_until_twilio_asks(reason):
    calls = ended(reason)
    assert calls.is_held("CA1") is (reason in HUNG_UP)
    calls.asked("CA1")
    assert not calls.is_held("CA1")


def test_what_twilio_asked_of_one_stream_says_nothing_of_the_next():
    calls = ended(EndReason.CLOSED)
    calls.asked("CA1")
    calls.began("CA1", "MZ2")
    assert not calls.is_held("CA1"), "it is live"
    calls.ended("CA1", "MZ2", EndReason.IDLE)
    assert calls.is_held("CA1")
    calls.transferring("CA1", "<Response/>")
    assert not calls.is_held("CA1"), "a person is to be rung"


def test_a_call_that_is_not_known_is_not_held():
    calls = LiveCalls()
    calls.asked("CA1")
    assert not calls.is_held("CA1")


def test_of_an_unknown_call_nothing_is_known():
    assert LiveCalls().follow_up("CA1") is None


def test_a_call_whose_stream_never_came_gets_another():
    calls = LiveCalls()
    calls.answered("CA1")
    assert calls.follow_up("CA1") is FollowUp.RESUME


def test_a_live_call_whose_stream_broke_at_twilio_goes_on_in_another():
    calls = LiveCalls()
    calls.answered("CA1")
    calls.began("CA1", "MZ1")
    assert calls.follow_up("CA1") is FollowUp.RESUME


def test_a_stream_that_breaks_again_and_again_ends_in_a_message():
    calls = LiveCalls()
    calls.answered("CA1")
    for _ in range(MAX_RESUMES):
        assert calls.follow_up("CA1") is FollowUp.RESUME
        calls.resumed("CA1")
    assert calls.follow_up("CA1") is FollowUp.RECORD


def test_a_stream_may_begin_without_its_webhook():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    assert (calls.live_count, calls.follow_up("CA1")) == (1, FollowUp.RESUME)


def test_a_webhook_repeated_does_not_forget_how_the_stream_ended():
    calls = ended(EndReason.DRAIN)
    calls.answered("CA1")
    assert calls.follow_up("CA1") is FollowUp.ASK_AGAIN


def test_a_second_stream_of_a_call_makes_it_live_again():
    calls = ended(EndReason.DRAIN)
    calls.began("CA1", "MZ2")
    assert calls.follow_up("CA1") is FollowUp.RESUME


def test_of_two_streams_the_later_one_tells_the_end():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    calls.began("CA1", "MZ2")
    calls.ended("CA1", "MZ1", EndReason.FAULT)
    assert (calls.live_count, calls.follow_up("CA1")) == (1, FollowUp.RESUME)
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
    assert calls.follow_up("CA900") is FollowUp.RESUME
    assert len(calls._calls) == 100


def test_live_calls_are_not_forgotten_however_many_come_after(monkeypatch):
    monkeypatch.setattr(live_calls, "MAX_REMEMBERED", 100)
    calls = LiveCalls()
    for n in range(20):
        calls.began(f"CAlive{n}", f"MZ{n}")
    for n in range(1000):
        calls.answered(f"CA{n}")
    assert all(calls.follow_up(f"CAlive{n}") is FollowUp.RESUME for n in range(20))
    assert len(calls._calls) <= 121


def test_a_call_forgotten_while_it_ends_is_no_error():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    calls._calls.clear()
    calls.ended("CA1", "MZ1", EndReason.STOP)
    assert calls.live_count == 0


def test_a_caller_who_was_promised_a_person_is_connected_until_the_person_was_rung():
    calls = ended(EndReason.STOP)
    calls.transferring("CA1", "<Dial/>")
    assert calls.follow_up("CA1") is FollowUp.TRANSFER
    assert calls.transfer_of("CA1") == "<Dial/>"
    calls.transfer_over("CA1")
    assert calls.follow_up("CA1") is FollowUp.RECORD
    assert calls.transfer_of("CA1") == ""


def test_what_the_webhook_told_is_known_to_the_stream():
    calls = LiveCalls()
    calls.answered("CA1", CallFacts("+972501234567", "+97231234567", "https://kav.example"))
    calls.began("CA1", "MZ1")
    assert calls.facts("CA1").called == "+97231234567"
    assert calls.facts("CA2") == CallFacts()
    assert "+972501234567" not in repr(calls.facts("CA1"))


def test_after_a_stream_that_lasted_breaks_are_counted_anew():
    calls = LiveCalls()
    for n in range(5):
        calls.began("CA1", f"MZ{n}")
        calls.ending("CA1", f"MZ{n}", EndReason.RESET, lasted_s=live_calls.STEADY_S)
        assert calls.follow_up("CA1") is FollowUp.RESUME
        calls.resumed("CA1")


def test_a_call_of_another_process_goes_on_and_its_breaks_count():
    calls = LiveCalls()
    calls.inherited("CA1", MAX_RESUMES - 1)
    assert (calls.has_begun("CA1"), calls.follow_up("CA1")) == (True, FollowUp.RESUME)
    assert calls.resumed("CA1") == MAX_RESUMES
    assert calls.follow_up("CA1") is FollowUp.RECORD


def test_what_is_known_of_a_call_is_not_overwritten_by_what_another_process_knew():
    calls = ended(EndReason.AGENT_HANGUP)
    calls.inherited("CA1", 2)
    assert calls.follow_up("CA1") is FollowUp.HANGUP


def test_a_call_whose_stream_never_came_has_not_begun():
    calls = LiveCalls()
    calls.answered("CA1")
    assert not calls.has_begun("CA1")
    calls.began("CA1", "MZ1")
    assert calls.has_begun("CA1")
    assert not calls.has_begun("CA2")
    assert calls.resumed("CA2") == 0


def test_a_stream_that_is_refused_is_followed_by_words():
    calls = LiveCalls()
    calls.answered("CA1")
    calls.refused("CA1")
    assert calls.follow_up("CA1") is FollowUp.APOLOGY
    calls.refused("CA2")
    assert calls.follow_up("CA2") is FollowUp.APOLOGY, "another process answered its webhook"


def test_the_refused_stream_of_a_call_that_broke_is_the_last():
    calls = ended(EndReason.RESET)
    calls.refused("CA1")
    assert calls.follow_up("CA1") is FollowUp.RESUME, "Twilio has yet to ask what follows the one that broke"
    calls.asked("CA1")
    calls.refused("CA1")
    assert calls.follow_up("CA1") is FollowUp.APOLOGY


def test_a_stream_that_twilio_has_given_up_does_not_hide_that_the_next_one_was_refused():
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    calls.asked("CA1")
    calls.refused("CA1")
    calls.ended("CA1", "MZ1", EndReason.SILENT_LEG)
    assert calls.follow_up("CA1") is FollowUp.APOLOGY


@pytest.mark.parametrize("reason", [EndReason.AGENT_HANGUP, EndReason.TAKE_MESSAGE])
def test_a_refused_stream_changes_nothing_of_a_call_that_lives_or_has_ended(reason):
    calls = LiveCalls()
    calls.began("CA1", "MZ1")
    calls.refused("CA1")
    assert calls.end_reason("CA1") is None
    calls.ended("CA1", "MZ1", reason)
    calls.asked("CA1")
    calls.refused("CA1")
    assert calls.end_reason("CA1") is reason


def test_a_call_holds_its_place_until_its_stream_begins_or_for_a_while():
    calls = LiveCalls()
    for number in range(4):
        calls.expected(f"CA{number}", 100.0 + number)
    assert calls.expected_count(104.0) == 4
    assert calls.expected_count(104.0, {"CA1"}, ["CA2"]) == 2
    calls.began("CA0", "MZ1")
    calls.asked("CA1")
    calls.refused("CA2")
    assert [calls.is_expected(f"CA{n}", 104.0) for n in range(4)] == [False, False, False, True]
    assert calls.expected_count(103.0 + live_calls.STREAM_WITHIN_S) == 0
    assert not calls.is_expected("CA3", 103.0 + live_calls.STREAM_WITHIN_S)
    assert not calls._expected


def test_who_is_expected_once_more_holds_one_place():
    calls = LiveCalls()
    calls.expected("CA1", 100.0)
    calls.expected("CA2", 101.0)
    calls.expected("CA1", 110.0)
    assert calls.expected_count(111.0) == 2
    assert calls.expected_count(101.0 + live_calls.STREAM_WITHIN_S) == 1


def test_what_the_stream_tells_is_taken_where_no_webhook_told_it():
    calls = LiveCalls()
    calls.told("CA1", CallFacts("+972501234567", "+97231234567"))
    assert calls.facts("CA1").caller == "+972501234567"
    calls.answered("CA2", CallFacts("+1", "+2", "https://kav.example"))
    calls.told("CA2", CallFacts("+3", "+4"))
    assert calls.facts("CA2") == CallFacts("+1", "+2", "https://kav.example")


def test_breaks_elsewhere_count_unless_the_latest_stream_was_here():
    calls = ended(EndReason.RESET)
    calls.inherited("CA1", 2)
    assert calls.resumes("CA1") == 0
    calls.asked("CA1")
    calls.inherited("CA1", 2)
    assert calls.resumes("CA1") == 2
    calls.answered("CA2")
    calls.inherited("CA2", 2)
    assert (calls.resumes("CA2"), calls.has_begun("CA2")) == (2, False)
