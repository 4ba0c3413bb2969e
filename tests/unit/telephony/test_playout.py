import copy
import pickle

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.telephony.playout import KEPT_ITEMS, Cut, PlayoutLedger

FRAME_S, FRAME = 0.020, 160


def speak(ledger: PlayoutLedger, ms: int, item_id: str = "item_a", at: float = 0.0) -> list[str]:
    """Hand Twilio `ms` of speech at once, frame by frame; the marks that are due."""
    marks = [ledger.sent(item_id, FRAME, at) for _ in range(ms // 20)]
    return [mark for mark in marks if mark is not None]


def heard_ms(ledger: PlayoutLedger, now_s: float) -> dict[str, int]:
    """What a barge-in would say now, without one."""
    return {cut.item_id: cut.heard_ms for cut in copy.deepcopy(ledger).cut(now_s)}


def test_marks_echoed_by_a_clear_are_not_heard():
    ledger = PlayoutLedger()
    first, second = speak(ledger, 1000)
    assert ledger.echoed(first, 0.5)
    assert ledger.cut(0.5) == [Cut("item_a", heard_ms=500, sent_ms=1000)]
    assert not ledger.echoed(second, 0.51)  # Twilio's reply to our clear
    assert ledger.cut(0.52) == []


def test_a_mark_is_due_every_half_second_and_at_the_items_end():
    ledger = PlayoutLedger()
    due = [ledger.sent("item_a", FRAME, 0.0) is not None for _ in range(60)]
    assert [n for n, is_due in enumerate(due, 1) if is_due] == [25, 50]
    assert ledger.complete("item_a", 0.0) is not None


def test_an_item_that_ends_on_a_mark_needs_no_other():
    ledger = PlayoutLedger()
    (mark,) = speak(ledger, 500)
    assert ledger.complete("item_a", 0.0) is None
    ledger.echoed(mark, 0.5)
    assert not ledger.is_unheard(0.5)


def test_no_two_marks_share_a_name_whatever_was_cut_between():
    ledger, names = PlayoutLedger(), []
    for n in range(5):
        names += speak(ledger, 1000, f"item_{n}", at=n * 0.1)
        ledger.cut(n * 0.1 + 0.05)
    assert len(set(names)) == len(names) == 10


def test_a_mark_names_the_generation_that_a_cut_ends():
    ledger = PlayoutLedger()
    (before,) = speak(ledger, 500)
    ledger.cut(0.1)
    (after,) = speak(ledger, 500, at=0.1)
    assert before.partition(":")[0] != after.partition(":")[0]


@pytest.mark.parametrize("name", ["", "g1:99", "never ours", "x" * 100_000, "\ud800", "סימן"])
def test_a_mark_that_was_never_ours_credits_nothing(name):
    ledger = PlayoutLedger()
    speak(ledger, 1000)
    assert not ledger.echoed(name, 0.1)
    assert ledger.marks_echoed == 0
    assert heard_ms(ledger, 0.0) == {"item_a": 0}


def test_a_mark_echoed_twice_counts_once():
    ledger = PlayoutLedger()
    first, _ = speak(ledger, 1000)
    assert [ledger.echoed(first, 0.5), ledger.echoed(first, 0.6)] == [True, False]
    assert ledger.marks_echoed == 1


def test_between_marks_the_clock_tells_what_was_heard():
    ledger = PlayoutLedger()
    speak(ledger, 1000)
    assert [heard_ms(ledger, ms / 1000)["item_a"] for ms in (0, 20, 123, 500, 999)] == [0, 20, 123, 500, 999]


def test_sent_at_once_is_not_heard_at_once():
    ledger = PlayoutLedger()
    speak(ledger, 5000)
    assert ledger.lead_ms(0.0) == pytest.approx(5000)
    assert ledger.cut(1.0) == [Cut("item_a", heard_ms=1000, sent_ms=5000)]
    assert ledger.lead_ms(1.0) == 0


def test_an_item_heard_to_its_end_is_not_cut():
    ledger = PlayoutLedger()
    speak(ledger, 600)
    ledger.complete("item_a", 0.0)
    assert ledger.is_unheard(0.59)
    assert not ledger.is_unheard(0.61)
    assert ledger.cut(0.61) == []


def test_an_item_whose_end_is_still_to_come_is_cut_even_if_all_that_was_sent_is_heard():
    ledger = PlayoutLedger()
    speak(ledger, 600)
    assert ledger.cut(5.0) == [Cut("item_a", heard_ms=600, sent_ms=600)]


def test_an_item_announced_but_not_sent_is_cut_at_nothing():
    ledger = PlayoutLedger()
    ledger.expect("item_a")
    assert ledger.is_unheard(0.0)
    assert ledger.cut(3.0) == [Cut("item_a", heard_ms=0, sent_ms=0)]


def test_an_item_that_ends_without_audio_is_forgotten():
    ledger = PlayoutLedger()
    ledger.expect("item_a")
    assert ledger.complete("item_a", 0.0) is None
    assert not ledger.is_unheard(0.0)
    assert ledger.complete("never known", 0.0) is None


def test_items_play_one_after_the_other():
    ledger = PlayoutLedger()
    speak(ledger, 400, "preamble")
    ledger.complete("preamble", 0.0)
    speak(ledger, 400, "answer")
    assert heard_ms(ledger, 0.3) == {"preamble": 300, "answer": 0}
    assert heard_ms(ledger, 0.5) == {"answer": 100}
    assert ledger.cut(0.5) == [Cut("answer", heard_ms=100, sent_ms=400)]


def test_an_item_counts_from_its_own_start_not_from_the_calls():
    ledger = PlayoutLedger()
    speak(ledger, 400, "first", at=60.0)
    ledger.complete("first", 60.0)
    speak(ledger, 400, "second", at=90.0)
    assert ledger.cut(90.2) == [Cut("second", heard_ms=200, sent_ms=400)]


def test_a_pause_of_ours_inside_an_item_is_not_counted_as_heard():
    ledger = PlayoutLedger()
    speak(ledger, 200, at=0.0)
    speak(ledger, 200, at=1.0)  # the buffer ran dry at 0.2
    assert heard_ms(ledger, 0.9) == {"item_a": 200}
    assert heard_ms(ledger, 1.1) == {"item_a": 300}
    assert ledger.cut(9.0) == [Cut("item_a", heard_ms=400, sent_ms=400)]


@pytest.mark.parametrize("one_way_s", [0.0, 0.05, 0.2])
def test_late_marks_tell_the_lines_delay_and_half_of_it_is_the_way_there(one_way_s):
    """Speech arrives `one_way_s` later at the caller's ear, and the echo takes as long to come back."""
    ledger = PlayoutLedger()
    first, _ = speak(ledger, 1000)
    ledger.echoed(first, 0.5 + 2 * one_way_s)
    assert ledger.round_trip_ms == pytest.approx(2000 * one_way_s)
    assert ledger.heard_ms("item_a", 0.8) == pytest.approx(800 - one_way_s * 1000, abs=1)
    assert ledger.is_unheard(1.0 + one_way_s - 0.01)


@pytest.mark.parametrize("one_way_s", [0.0, 0.05, 0.2])
def test_a_cut_counts_what_is_heard_until_its_clear_gets_there(one_way_s):
    """Which takes as long as the audio took: on a slow line the caller hears no less of it."""
    ledger = PlayoutLedger()
    first, _ = speak(ledger, 1000)
    ledger.echoed(first, 0.5 + 2 * one_way_s)
    assert ledger.cut(0.9) == [Cut("item_a", heard_ms=900, sent_ms=1000)]


def test_a_slow_line_makes_a_finished_item_unheard_a_little_longer():
    ledger = PlayoutLedger()
    first, _ = speak(ledger, 1000)
    ledger.complete("item_a", 0.0)
    ledger.echoed(first, 0.9)
    assert ledger.is_unheard(1.1)
    assert not ledger.is_unheard(1.3)


def test_the_delay_outlives_a_cut():
    ledger = PlayoutLedger()
    first, _ = speak(ledger, 1000)
    ledger.echoed(first, 0.7)
    ledger.cut(0.8)
    speak(ledger, 1000, "item_b", at=1.0)
    assert ledger.heard_ms("item_b", 1.5) == 400


def test_one_stray_mark_does_not_upset_a_steady_line():
    ledger, now_s = PlayoutLedger(), 0.0
    for n in range(10):
        (mark,) = speak(ledger, 500, f"i{n}", at=now_s)
        ledger.complete(f"i{n}", now_s)
        now_s += 0.5
        ledger.echoed(mark, now_s + (2.0 if n == 8 else 0.1))
        now_s += 0.2
    speak(ledger, 1000, "last", at=now_s)
    assert heard_ms(ledger, now_s + 0.9)["last"] >= 400


def test_a_mark_before_its_time_proves_what_the_clock_did_not_know():
    ledger = PlayoutLedger()
    first, _ = speak(ledger, 1000)
    ledger.echoed(first, 0.4)
    assert heard_ms(ledger, 0.4) == {"item_a": 500}
    assert ledger.round_trip_ms == 0


def test_what_a_long_item_costs_does_not_grow_with_its_length():
    """A model that speaks no faster than the line plays leaves a gap after each frame."""
    ledger, now_s = PlayoutLedger(), 0.0
    sizes = []
    for n in range(1, 6001):
        mark = ledger.sent("item_a", FRAME, now_s)
        assert ledger.heard_ms("item_a", now_s) == (n - 1) * 20
        assert ledger.is_playing(now_s + 0.010)
        now_s += 0.0213
        assert not ledger.is_playing(now_s)
        if mark is not None:
            ledger.echoed(mark, now_s)
        if n % 1000 == 0:
            sizes.append(len(pickle.dumps(ledger)))
    assert max(sizes) < 1.5 * min(sizes)
    assert ledger.cut(now_s) == [Cut("item_a", heard_ms=120_000, sent_ms=120_000)]


def test_a_line_that_swallows_marks_does_not_fill_the_memory():
    ledger = PlayoutLedger()
    for n in range(1000):
        speak(ledger, 500, f"item_{n}", at=float(n))
        ledger.complete(f"item_{n}", float(n))
        assert len(ledger._items) <= KEPT_ITEMS + 1
    assert ledger.cut(1000.0) == []


class Playout(RuleBasedStateMachine):
    """Anything may happen in any order; what is said of it stays possible."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = PlayoutLedger()
        self.now_s = 1000.0
        self.sent_bytes: dict[str, int] = {}
        self.complete: set[str] = set()
        self.proven_bytes: dict[str, int] = {}
        self.marks: list[tuple[str, str, int]] = []
        self.stale: list[str] = []
        self.items = 0

    def current(self) -> str:
        return f"item_{self.items}"

    def note(self, mark: str | None) -> None:
        if mark is not None:
            self.marks.append((mark, self.current(), self.sent_bytes[self.current()]))

    @rule(seconds=st.floats(0, 2))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule(frames=st.integers(1, 60))
    def audio_is_sent(self, frames):
        for _ in range(frames):
            self.sent_bytes[self.current()] = self.sent_bytes.get(self.current(), 0) + FRAME
            self.note(self.ledger.sent(self.current(), FRAME, self.now_s))

    @rule()
    def the_item_ends(self):
        mark = self.ledger.complete(self.current(), self.now_s)
        self.note(mark)
        self.complete.add(self.current())
        self.items += 1

    @rule()
    def the_model_announces_an_item(self):
        self.ledger.expect(self.current())
        self.sent_bytes.setdefault(self.current(), 0)

    @rule()
    def the_oldest_mark_comes_back(self):
        if self.marks:
            name, item_id, end_bytes = self.marks.pop(0)
            assert self.ledger.echoed(name, self.now_s)
            self.proven_bytes[item_id] = max(self.proven_bytes.get(item_id, 0), end_bytes)

    @rule()
    def a_cleared_mark_comes_back(self):
        if self.stale:
            assert not self.ledger.echoed(self.stale.pop(), self.now_s)

    @rule()
    def the_caller_barges_in(self):
        cuts = self.ledger.cut(self.now_s)
        assert len({cut.item_id for cut in cuts}) == len(cuts)
        self.stale += [name for name, _, _ in self.marks]
        self.marks.clear()
        self.items += 1  # the model's next words are another item
        assert self.ledger.cut(self.now_s) == []
        assert not self.ledger.is_unheard(self.now_s)
        assert self.ledger.lead_ms(self.now_s) == 0

    @invariant()
    def never_more_is_heard_than_was_sent_nor_less_than_is_proven(self):
        for cut in copy.deepcopy(self.ledger).cut(self.now_s):
            sent, proven = self.sent_bytes[cut.item_id], self.proven_bytes.get(cut.item_id, 0)
            assert cut.sent_ms == sent // 8
            assert proven // 8 <= cut.heard_ms <= cut.sent_ms
            assert cut.heard_ms < cut.sent_ms or cut.item_id not in self.complete or sent > proven

    @invariant()
    def time_alone_never_takes_back_what_was_heard(self):
        now, later = heard_ms(self.ledger, self.now_s), heard_ms(self.ledger, self.now_s + 0.1)
        assert set(later) <= set(now)
        assert all(later[item_id] >= now[item_id] for item_id in later)

    @invariant()
    def the_lead_is_what_was_sent_and_not_yet_played(self):
        assert 0 <= self.ledger.lead_ms(self.now_s) <= sum(self.sent_bytes.values()) / 8 + 0.001


TestPlayout = Playout.TestCase
TestPlayout.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
