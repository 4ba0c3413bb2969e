"""What a caller waits for is measured from their last voice to the answer's first sound."""

from __future__ import annotations

from server.turns.latency import TurnClock, TurnLatency


def greeted(started_s: float = 0.0) -> TurnClock:
    """A clock whose greeting is over."""
    clock = TurnClock(started_s)
    clock.asked(started_s)
    clock.handed(started_s + 0.5, "greeting")
    clock.heard(started_s + 0.6, "greeting")
    clock.finished()
    return clock


def answer(clock: TurnClock, at_s: float, gap_s: float, item_id: str) -> None:
    clock.caller_voice_ended(at_s)
    clock.asked(at_s)
    clock.first_audio(at_s + gap_s)
    clock.handed(at_s + gap_s, item_id)
    clock.heard(at_s + gap_s + 0.1, item_id)


def test_a_turn_is_told_once_its_answer_was_heard() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.02)
    clock.first_audio(10.63)
    clock.first_audio(10.7)
    clock.handed(10.64, "item_a")
    clock.handed(10.66, "item_a")
    assert clock.finished() == []
    clock.heard(10.702, "item_a")
    clock.heard(11.2, "item_a")
    turn = TurnLatency(1, gap_ms=640, heard_ms=702, model_ms=610, has_filler=False)
    assert clock.finished() == [turn]
    assert clock.finished() == []
    assert turn.text() == "[LATENCY] turn=1 gap_ms=640 heard_ms=702 model_ms=610 filler=no"


def test_the_greeting_is_turn_nought_and_begins_with_start() -> None:
    clock = TurnClock(100.0)
    assert clock.greeting is None
    clock.caller_voice_ended(100.3)  # a caller who says hello first does not shift it
    clock.asked(100.4)
    clock.first_audio(100.9)
    clock.handed(101.0, "greeting")
    clock.heard(101.2, "greeting")
    assert clock.greeting == TurnLatency(0, gap_ms=1000, heard_ms=1200, model_ms=500, has_filler=False)
    assert clock.finished() == [clock.greeting]


def test_a_greeting_from_a_file_needs_no_model() -> None:
    clock = TurnClock(100.0)
    clock.handed(100.1, "file")
    clock.heard(100.15, "file")
    assert clock.greeting == TurnLatency(0, gap_ms=100, heard_ms=150, model_ms=None, has_filler=False)
    assert clock.greeting.text() == "[LATENCY] turn=0 gap_ms=100 heard_ms=150 model_ms=- filler=no"


def test_a_filler_is_noted_and_answers_nothing() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.handed(12.5, "one moment", filler=True)
    clock.heard(12.6, "one moment")
    clock.first_audio(14.0)
    clock.handed(14.0, "item_a")
    clock.heard(14.1, "item_a")
    (turn,) = clock.finished()
    assert turn == TurnLatency(1, gap_ms=4000, heard_ms=4100, model_ms=4000, has_filler=True)
    assert turn.text().endswith(" filler=yes")


def test_a_filler_outside_a_turn_is_nobodys() -> None:
    clock = greeted()
    clock.handed(5.0, "are you there", filler=True)
    answer(clock, 10.0, 0.5, "item_a")
    assert clock.finished() == [TurnLatency(1, 500, 600, 500, has_filler=False)]


def test_a_barge_in_before_the_answer_was_heard_cuts_the_turn() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.first_audio(10.5)
    clock.handed(10.5, "item_a")
    clock.cut()
    clock.heard(10.6, "item_a")
    (turn,) = clock.finished()
    assert turn == TurnLatency(1, gap_ms=500, heard_ms=None, model_ms=500, has_filler=False, is_cut=True)
    assert turn.text() == "[LATENCY] turn=1 gap_ms=500 heard_ms=- model_ms=500 filler=no cut=yes"


def test_a_barge_in_before_the_answer_came_cuts_it_too() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.cut()
    assert clock.finished() == [TurnLatency(1, None, None, None, has_filler=False, is_cut=True)]
    answer(clock, 12.0, 0.3, "item_b")
    assert clock.finished() == [TurnLatency(2, 300, 400, 300, has_filler=False)]


def test_a_barge_in_after_the_first_sound_cuts_nothing() -> None:
    clock = greeted()
    answer(clock, 10.0, 0.5, "item_a")
    clock.finished()
    clock.cut()
    assert clock.finished() == []


def test_a_barge_in_before_anything_was_asked_cuts_nothing() -> None:
    clock = TurnClock(0.0)
    clock.cut()
    assert clock.finished() == []
    clock.handed(1.0, "greeting")
    clock.cut()
    assert clock.greeting is not None and clock.greeting.is_cut


def test_a_caller_who_has_more_to_say_waits_since_then() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.5)
    clock.caller_voice_ended(12.0)
    clock.asked(12.5)
    clock.first_audio(13.0)
    clock.handed(13.0, "item_a")
    clock.heard(13.1, "item_a")
    assert clock.finished() == [TurnLatency(1, 1000, 1100, 500, has_filler=False)]


def test_a_tool_belongs_to_its_turn() -> None:
    """The model's own time counts from the request that brought the answer."""
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.asked(13.0)
    clock.first_audio(13.4)
    clock.handed(13.4, "item_a")
    clock.heard(13.5, "item_a")
    assert clock.finished() == [TurnLatency(1, 3400, 3500, 400, has_filler=False)]


def test_a_request_without_a_voice_is_no_turn() -> None:
    clock = greeted()
    clock.asked(20.0)
    clock.first_audio(20.5)
    clock.handed(20.5, "are you there")
    clock.heard(20.6, "are you there")
    assert clock.finished() == []


def test_a_request_after_a_turn_is_no_turn_without_a_new_voice() -> None:
    clock = greeted()
    answer(clock, 10.0, 0.5, "item_a")
    clock.asked(11.0)  # the result of a tool that the answer announced
    clock.handed(11.5, "item_b")
    clock.heard(11.6, "item_b")
    assert [turn.turn for turn in clock.finished()] == [1]


def test_an_answer_heard_meanwhile_does_not_lose_the_next_turn() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.handed(10.4, "item_a")
    clock.asked(11.2)  # the caller spoke over it, and the model knew before our detector
    clock.heard(11.25, "item_a")
    clock.caller_voice_ended(11.0)
    clock.handed(11.7, "item_b")
    clock.heard(11.8, "item_b")
    assert [(turn.turn, turn.gap_ms) for turn in clock.finished()] == [(1, 400), (2, 700)]


def test_further_items_of_an_answer_are_no_answer_to_a_later_turn() -> None:
    clock = greeted()
    answer(clock, 10.0, 0.5, "item_a")
    clock.handed(11.0, "item_b")
    clock.caller_voice_ended(12.0)
    clock.asked(12.0)
    clock.handed(12.1, "item_a")
    clock.handed(12.1, "item_b")
    clock.handed(13.0, "item_c")
    clock.heard(13.1, "item_c")
    assert [turn.gap_ms for turn in clock.finished()] == [500, 1000]


def test_a_voice_told_after_the_request_begins_the_turn_all_the_same() -> None:
    """Our detector's hang-over is longer than the model's may be."""
    clock = greeted()
    clock.asked(10.2)
    clock.caller_voice_ended(10.0)
    clock.first_audio(10.7)
    clock.handed(10.7, "item_a")
    clock.heard(10.8, "item_a")
    assert clock.finished() == [TurnLatency(1, 700, 800, 500, has_filler=False)]


def test_a_voice_after_a_request_that_was_none_of_its_own_waits_for_the_next() -> None:
    clock = greeted()
    clock.asked(10.0)  # a question of ours
    clock.handed(10.3, "are you there")
    clock.caller_voice_ended(15.0)
    assert clock.finished() == []
    clock.asked(15.2)
    clock.handed(15.6, "item_a")
    clock.heard(15.7, "item_a")
    assert clock.finished() == [TurnLatency(1, 600, 700, None, has_filler=False)]


def test_a_turn_whose_end_was_never_told_ends_with_the_next() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.handed(10.5, "item_a")
    clock.caller_voice_ended(20.0)
    clock.asked(20.0)
    clock.heard(20.1, "item_a")
    clock.handed(20.4, "item_b")
    clock.heard(20.5, "item_b")
    assert clock.finished() == [
        TurnLatency(1, 500, None, None, has_filler=False),
        TurnLatency(2, 400, 500, None, has_filler=False),
    ]


def test_no_figure_is_negative() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.first_audio(9.9)
    clock.handed(9.9, "item_a")
    clock.heard(9.9, "item_a")
    assert clock.finished() == [TurnLatency(1, 0, 0, 0, has_filler=False)]


def test_a_slow_answer_that_was_talked_over_counts_as_a_gap() -> None:
    clock = greeted()
    clock.caller_voice_ended(10.0)
    clock.asked(10.0)
    clock.handed(13.0, "item_a")
    clock.cut()
    (turn,) = clock.finished()
    assert (turn.gap_ms, turn.heard_ms, turn.is_cut) == (3000, None, True)
