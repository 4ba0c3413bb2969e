"""Two clocks, row by row of their table; `run` updates ten times a second as the call does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.turns.idle import Due, IdleClocks

STILL_THERE_S = 8.0
IDLE_S = 120.0
THIRD_S = IDLE_S / 3
TICK_S = 0.1


class Call:
    """The clocks under a steady tick; `said` holds when each thing was due."""

    def __init__(self, still_there_s: float = STILL_THERE_S, idle_s: float = IDLE_S) -> None:
        self.clocks = IdleClocks(still_there_s, idle_s)
        self.ticks = 0
        self.said: list[tuple[float, Due]] = []

    @property
    def now_s(self) -> float:
        return self.ticks * TICK_S

    def run(
        self, until_s: float, *, audible: bool = False, busy: bool = False, noise: bool = False
    ) -> list[tuple[float, Due]]:
        """What was due until then, each with its time."""
        self.said = []
        while self.now_s < until_s - TICK_S / 2:
            if noise:
                self.clocks.voice(self.now_s)
            due = self.clocks.update(self.now_s, is_agent_audible=audible, is_busy=busy)
            if due is not Due.NOTHING:
                self.said.append((round(self.now_s, 1), due))
            self.ticks += 1
        return self.said


def within_a_tick(said: list[tuple[float, Due]], expected: list[tuple[float, Due]]) -> bool:
    return [due for _, due in said] == [due for _, due in expected] and all(
        at <= seen <= at + 2 * TICK_S for (seen, _), (at, _) in zip(said, expected, strict=True)
    )


def test_silence_is_asked_about_twice_then_the_call_says_goodbye_once() -> None:
    said = Call().run(300)
    assert within_a_tick(said, [(8, Due.ASK), (16, Due.ASK), (24, Due.GOODBYE)])


def test_noise_is_asked_about_in_thirds() -> None:
    """A voice without a word resets the sound clock for ever; the words clock runs on."""
    said = Call().run(600, noise=True)
    assert within_a_tick(said, [(40, Due.ASK), (80, Due.ASK), (120, Due.GOODBYE)])


@pytest.mark.parametrize("reason", ["audible", "busy"])
def test_the_sound_period_begins_when_the_agent_was_heard_or_is_done(reason: str) -> None:
    call = Call()
    assert call.run(5) == []
    assert call.run(30, **{reason: True}) == []
    assert within_a_tick(call.run(45), [(38, Due.ASK)])


def test_the_agent_heard_in_the_last_moment_makes_the_whole_period_begin_anew() -> None:
    call = Call()
    call.run(7.9)
    call.run(8.0, audible=True)
    assert call.run(15.9) == []
    assert within_a_tick(call.run(17), [(16, Due.ASK)])


def test_nothing_is_due_while_the_agent_is_audible_or_busy() -> None:
    call = Call()
    assert call.run(200, audible=True) == []
    assert call.run(400, busy=True) == []
    assert call.run(600, audible=True, busy=True, noise=True) == []


@pytest.mark.parametrize("reason", ["audible", "busy"])
def test_the_words_clock_stands_still_meanwhile_and_keeps_its_count(reason: str) -> None:
    """A model that answers noise each time does not keep the call alive."""
    call = Call()
    call.run(30, noise=True)
    call.run(90, noise=True, **{reason: True})
    assert call.run(99.5, noise=True) == []
    assert within_a_tick(call.run(101, noise=True), [(100, Due.ASK)])


def test_noise_that_the_model_answers_for_ever_ends_the_call() -> None:
    call = Call()
    said = []
    while call.now_s < 400:
        said += call.run(call.now_s + 3, noise=True)
        said += call.run(call.now_s + 3, audible=True)
    assert [due for _, due in said] == [Due.ASK, Due.ASK, Due.GOODBYE]


def test_a_voice_restarts_the_sound_period_and_nothing_else() -> None:
    call = Call()
    call.run(10)  # asked once, at 8
    call.clocks.voice(call.now_s)
    assert call.clocks.asks == 1
    assert within_a_tick(call.run(30), [(18, Due.ASK), (26, Due.GOODBYE)])


def test_words_restart_both_periods_and_the_count_of_asks() -> None:
    call = Call()
    call.run(20)  # asked at 8 and at 16
    call.clocks.words(call.now_s)
    assert call.clocks.asks == 0
    assert within_a_tick(call.run(50), [(28, Due.ASK), (36, Due.ASK), (44, Due.GOODBYE)])
    call = Call()
    call.run(39, noise=True)
    call.clocks.words(call.now_s)
    assert within_a_tick(call.run(100, noise=True), [(79, Due.ASK)])


def test_an_ask_by_the_words_clock_restarts_the_sound_period() -> None:
    call = Call()
    call.run(35, noise=True)
    assert within_a_tick(call.run(45), [(40, Due.ASK)]), "silent since 35: the sound clock was at 5"
    assert within_a_tick(call.run(49), [(48, Due.ASK)])


def test_an_ask_by_the_sound_clock_restarts_the_words_period() -> None:
    call = Call()
    call.run(30, noise=True)
    assert within_a_tick(call.run(38.5), [(38, Due.ASK)])
    assert call.run(77.5, noise=True) == []
    assert within_a_tick(call.run(79, noise=True), [(78, Due.ASK)])


def test_asks_of_both_clocks_are_counted_together() -> None:
    call = Call()
    call.run(30, noise=True)
    said = call.run(38.5)  # by the sound clock
    said += call.run(90, noise=True)  # by the words clock
    said += call.run(120)
    assert within_a_tick(said, [(38, Due.ASK), (78, Due.ASK), (97.9, Due.GOODBYE)])


def test_the_question_itself_is_not_silence() -> None:
    """The period after an ask begins when the question was heard to its end."""
    call = Call()
    call.run(8.1)
    call.run(11, audible=True)
    assert call.run(18.9) == []
    assert within_a_tick(call.run(20), [(19, Due.ASK)])


def test_only_a_word_begins_anew_after_the_goodbye() -> None:
    call = Call()
    assert call.run(25)[-1][1] is Due.GOODBYE
    call.run(28, audible=True)
    call.clocks.voice(call.now_s)
    assert call.run(400, noise=True) == []
    call.clocks.words(call.now_s)
    assert within_a_tick(call.run(450), [(408, Due.ASK), (416, Due.ASK), (424, Due.GOODBYE)])


def test_the_clocks_begin_with_the_first_update_that_finds_silence() -> None:
    """Not with the start of anybody's clock: monotonic time may be of any size."""
    call = Call()
    call.ticks = 10_000_000
    assert within_a_tick(call.run(1_000_009), [(1_000_008, Due.ASK)])


def test_a_greeting_to_come_is_busy() -> None:
    call = Call()
    assert call.run(20, busy=True) == []
    assert call.run(25, audible=True) == []
    assert within_a_tick(call.run(35), [(33, Due.ASK)])


@pytest.mark.parametrize("touch", [IdleClocks.voice, IdleClocks.words])
def test_what_was_heard_before_the_first_update_does_no_harm(
    touch: Callable[[IdleClocks, float], None],
) -> None:
    clocks = IdleClocks(8, 120)
    touch(clocks, 5.0)
    assert clocks.update(6.0, is_agent_audible=False, is_busy=False) is Due.NOTHING
    assert clocks.update(13.9, is_agent_audible=False, is_busy=False) is Due.NOTHING
    assert clocks.update(14.0, is_agent_audible=False, is_busy=False) is Due.ASK


def test_a_voice_told_late_neither_counts_twice_nor_backwards() -> None:
    clocks = IdleClocks(8, 120)
    clocks.update(0.0, is_agent_audible=False, is_busy=False)
    clocks.update(5.0, is_agent_audible=False, is_busy=False)
    clocks.voice(4.0)
    assert clocks.update(12.9, is_agent_audible=False, is_busy=False) is Due.NOTHING
    assert clocks.update(13.0, is_agent_audible=False, is_busy=False) is Due.ASK


@pytest.mark.parametrize(
    ("still_there_s", "idle_s", "expected"),
    [(0, 120, [40, 80, 120]), (8, 0, [8, 16, 24]), (0, 0, []), (50, 120, [40, 80, 120])],
)
def test_a_clock_of_length_nought_never_falls_due(
    still_there_s: float, idle_s: float, expected: list[float]
) -> None:
    said = Call(still_there_s, idle_s).run(300)
    assert within_a_tick(said, list(zip(expected, [Due.ASK, Due.ASK, Due.GOODBYE], strict=False)))


def test_a_hub_that_slept_gives_one_thing_at_a_time() -> None:
    clocks = IdleClocks(8, 120)
    assert clocks.update(0.0, is_agent_audible=False, is_busy=False) is Due.NOTHING
    assert clocks.update(1000.0, is_agent_audible=False, is_busy=False) is Due.ASK
    assert clocks.update(1000.1, is_agent_audible=False, is_busy=False) is Due.NOTHING


def test_a_period_is_over_at_its_very_end() -> None:
    for clocks, period_s in ((IdleClocks(8, 0), 8.0), (IdleClocks(0, 120), 40.0)):
        assert clocks.update(0.0, is_agent_audible=False, is_busy=False) is Due.NOTHING
        assert clocks.update(period_s, is_agent_audible=False, is_busy=False) is Due.ASK
