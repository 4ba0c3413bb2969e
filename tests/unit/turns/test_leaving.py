from server.endings import EndReason
from server.turns.leaving import AT_LATEST_S, HangUp, Leaving, Transfer


def test_a_plan_waits_until_the_goodbye_was_heard_and_is_given_once():
    it = Leaving()
    it.ask(HangUp(), 10.0)
    assert it.due(11.0, is_heard=False, remaining_ms=0) is None
    assert it.due(12.0, is_heard=True, remaining_ms=0) == HangUp(EndReason.AGENT_HANGUP)
    assert it.due(12.1, is_heard=True, remaining_ms=0) is None


def test_an_interrupted_goodbye_is_no_goodbye():
    it = Leaving()
    it.ask(Transfer("מזכירות"), 10.0)
    assert it.interrupt() == Transfer("מזכירות")
    assert it.due(12.0, is_heard=True, remaining_ms=0) is None
    assert it.interrupt() is None


def test_the_latest_plan_counts():
    it = Leaving()
    it.ask(HangUp(), 10.0)
    it.ask(Transfer("office"), 11.0)
    assert it.due(12.0, is_heard=True, remaining_ms=0) == Transfer("office")


def test_words_without_end_do_not_keep_the_line_for_ever():
    it = Leaving()
    it.ask(HangUp(EndReason.IDLE), 10.0)
    assert it.due(10.0 + AT_LATEST_S - 0.1, is_heard=False, remaining_ms=0) is None
    assert it.due(10.0 + AT_LATEST_S, is_heard=False, remaining_ms=0) == HangUp(EndReason.IDLE)


def test_time_that_is_up_stays_up():
    it = Leaving()
    it.ask(HangUp(EndReason.MAX_DURATION), 10.0)
    assert it.interrupt() is None
    assert it.due(12.0, is_heard=True, remaining_ms=0) == HangUp(EndReason.MAX_DURATION)
