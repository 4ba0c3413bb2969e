import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.telephony import outbox as outbox_module
from server.telephony.outbox import LEAD_HIGH_MS, LEAD_LOW_MS, MAX_QUEUED_FRAMES, Outbox
from server.telephony.playout import Cut


def numbered(n: int) -> bytes:
    return n.to_bytes(4, "big") + b"\xff" * 156


def outbox(frames: int = 0, item_id: str = "item_a", *, ended: bool = False) -> Outbox:
    box = Outbox("MZ1")
    fill(box, frames, item_id, ended=ended)
    return box


def fill(box: Outbox, frames: int, item_id: str = "item_a", *, ended: bool = False) -> None:
    for n in range(frames):
        assert box.put_frame(item_id, numbered(n))
    if ended:
        box.end_item(item_id)


def events(messages: list[str]) -> list[str]:
    return [json.loads(message)["event"] for message in messages]


def mark_names(messages: list[str]) -> list[str]:
    return [m["mark"]["name"] for m in map(json.loads, messages) if m["event"] == "mark"]


def test_an_empty_outbox_has_nothing_to_write_and_nothing_to_wait_for():
    batch = outbox().take(0.0)
    assert (batch.messages, batch.frames, batch.ended, batch.wait_s) == ([], [], [], None)


def test_the_first_write_fills_the_lead_and_no_more():
    batch = outbox(100).take(5.0)
    assert len(batch.frames) == LEAD_HIGH_MS // 20 == 20
    assert events(batch.messages) == ["media"] * 20
    assert batch.wait_s == pytest.approx((LEAD_HIGH_MS - LEAD_LOW_MS) / 1000, abs=0.002)


def test_nothing_more_goes_before_the_lead_has_shrunk():
    box = outbox(100)
    box.take(5.0)
    for now_s in (5.0, 5.1, 5.19):
        batch = box.take(now_s)
        assert batch.messages == []
        assert now_s + batch.wait_s == pytest.approx(5.201)
    assert len(box.take(5.201).frames) == 10


def test_a_short_answer_goes_at_once_and_nothing_is_waited_for():
    box = outbox(3, ended=True)
    batch = box.take(0.0)
    assert events(batch.messages) == ["media", "media", "media", "mark"]
    assert (batch.ended, batch.wait_s, len(box)) == (["item_a"], None, 0)


def test_frames_leave_in_the_order_they_came_with_their_own_bytes():
    box, now_s, left = outbox(200, ended=True), 0.0, []
    while True:
        batch = box.take(now_s)
        left += [frame.payload for frame in batch.frames]
        if batch.wait_s is None:
            break
        now_s += batch.wait_s
    assert left == [numbered(n) for n in range(200)]


def test_a_mark_follows_every_half_second_and_the_items_end():
    box, now_s, log = outbox(110, ended=True), 0.0, []
    while True:
        batch = box.take(now_s)
        log += events(batch.messages)
        if batch.wait_s is None:
            break
        now_s += batch.wait_s
    assert [n for n, event in enumerate(log) if event == "mark"] == [25, 51, 77, 103, 114]
    assert log.count("media") == 110


def test_the_next_item_waits_behind_the_one_before():
    box = outbox(2, "first", ended=True)
    fill(box, 2, "second", ended=True)
    batch = box.take(0.0)
    assert [frame.item_id for frame in batch.frames] == ["first", "first", "second", "second"]
    assert events(batch.messages) == ["media", "media", "mark", "media", "media", "mark"]
    assert batch.ended == ["first", "second"]


def test_an_items_end_does_not_wait_for_room():
    box = outbox(20, ended=True)
    batch = box.take(0.0)
    assert (batch.ended, batch.wait_s) == (["item_a"], None)


def run_line(box: Outbox, *, until_s: float, late_s=lambda n: 0.0) -> list[float]:
    """Drive the loop on a virtual clock; the audio waiting at Twilio, in ms, just before each write."""
    now_s, leads, turn = 0.0, [], 0
    box.take(now_s)
    while now_s < until_s:
        batch = box.take(now_s)
        if batch.wait_s is None:
            break
        assert batch.wait_s >= 0
        assert box.ledger.lead_ms(now_s) <= LEAD_HIGH_MS + 0.001
        now_s += batch.wait_s + late_s(turn)
        turn += 1
        leads.append(box.ledger.lead_ms(now_s))
    return leads


def test_the_line_never_runs_dry_while_something_waits():
    leads = run_line(outbox(3000, ended=True), until_s=60.0)
    assert len(leads) > 250
    assert min(leads) > LEAD_LOW_MS - 5
    assert max(leads) <= LEAD_HIGH_MS + 0.001


@pytest.mark.parametrize("late_ms", [20, 100, 190])
def test_a_stall_of_ours_shorter_than_the_lead_is_inaudible(late_ms):
    leads = run_line(outbox(3000, ended=True), until_s=60.0, late_s=lambda n: late_ms / 1000)
    assert min(leads) > 0


def test_after_a_longer_stall_the_lead_is_built_up_again_at_once():
    box = outbox(1000)
    box.take(0.0)
    assert len(box.take(3.0).frames) == 20
    assert box.ledger.lead_ms(3.0) == pytest.approx(LEAD_HIGH_MS)


def test_audio_slower_than_real_time_is_passed_on_as_it_comes():
    box = outbox()
    for n in range(50):
        fill(box, 1)
        batch = box.take(n * 0.05)
        assert (len(batch.frames), batch.wait_s) == (1, None)


# -- barge-in


def test_an_interruption_while_playing_clears_twilio_before_anything_else():
    box = outbox(100)
    box.take(0.0)
    assert box.interrupt(0.1) == [Cut("item_a", heard_ms=100, sent_ms=400, unheard_ms=1900)]
    fill(box, 5, "item_b", ended=True)
    batch = box.take(0.1)
    assert batch.messages[0] == '{"event":"clear","streamSid":"MZ1"}'
    assert events(batch.messages) == ["clear"] + ["media"] * 5 + ["mark"]
    assert {frame.item_id for frame in batch.frames} == {"item_b"}


def test_what_was_queued_is_dropped_with_it():
    box = outbox(100)
    box.take(0.0)
    box.interrupt(0.1)
    assert len(box) == 0
    assert events(box.take(0.1).messages) == ["clear"]
    assert box.take(0.2).messages == []


def test_an_interruption_before_anything_was_sent_clears_nothing_at_twilio():
    box = outbox(100)
    box.ledger.expect("item_a")
    assert box.interrupt(0.0) == [Cut("item_a", heard_ms=0, sent_ms=0, unheard_ms=2000)]
    assert box.take(0.0).messages == []


def test_an_interruption_after_everything_was_heard_clears_nothing():
    box = outbox(10, ended=True)
    box.take(0.0)
    assert box.interrupt(0.3) == []
    assert box.take(0.3).messages == []


def test_two_interruptions_clear_once():
    box = outbox(100)
    box.take(0.0)
    box.interrupt(0.1)
    assert box.interrupt(0.1) == []
    assert events(box.take(0.1).messages) == ["clear"]


def test_marks_that_the_clear_sends_back_count_for_nothing():
    box = outbox(100)
    names = mark_names(box.take(0.0).messages) + mark_names(box.take(0.21).messages)
    assert names
    box.interrupt(0.3)
    assert not any(box.ledger.echoed(name, 0.31) for name in names)


def test_after_an_interruption_new_speech_starts_at_once():
    box = outbox(100)
    box.take(0.0)
    box.interrupt(0.01)
    fill(box, 100, "item_b")
    assert len(box.take(0.01).frames) == 20


# -- quiet, full


def test_quiet_means_nothing_queued_nothing_unheard_nothing_to_tell():
    box = outbox()
    assert box.is_quiet(0.0)
    fill(box, 10, ended=True)
    assert not box.is_quiet(0.0)
    box.take(0.0)
    assert not box.is_quiet(0.1)
    assert box.is_quiet(0.21)
    fill(box, 10)
    box.take(1.0)
    box.interrupt(1.1)
    assert not box.is_quiet(1.1), "the clear is still to be written"
    box.take(1.1)
    assert box.is_quiet(1.1)


def test_a_begun_item_is_not_quiet_even_between_its_deltas():
    box = outbox(5)
    box.take(0.0)
    assert not box.is_quiet(60.0)


def test_a_full_queue_drops_and_counts_and_takes_again_when_there_is_room():
    box = outbox(MAX_QUEUED_FRAMES)
    assert not box.put_frame("item_a", numbered(0))
    assert not box.put_frame("item_a", numbered(0))
    assert (len(box), box.dropped_frames) == (MAX_QUEUED_FRAMES, 2)
    box.take(0.0)
    assert box.put_frame("item_a", numbered(0))


def test_the_queue_and_the_lead_stay_far_below_twilios_ten_minutes():
    assert MAX_QUEUED_FRAMES * 20 + LEAD_HIGH_MS < 10 * 60 * 1000


actions = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 40)),
    st.tuples(st.just("end"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 600)),
    st.tuples(st.just("interrupt"), st.just(0)),
)


@given(st.lists(actions, max_size=40))
@settings(deadline=None)
def test_whatever_happens_twilio_gets_each_frame_once_in_order_and_never_too_much(steps):
    box, now_s, item, serial = Outbox("MZ1"), 0.0, 0, 0
    expected: list[bytes] = []
    got: list[bytes] = []
    for action, count in steps:
        match action:
            case "put":
                for _ in range(count):
                    box.put_frame(f"item_{item}", numbered(serial))
                    expected.append(numbered(serial))
                    serial += 1
            case "end":
                box.end_item(f"item_{item}")
                item += 1
            case "wait":
                now_s += count / 1000
            case "interrupt":
                was_playing = box.ledger.lead_ms(now_s) > 0
                sent_unheard = any(cut.heard_ms < cut.sent_ms for cut in box.interrupt(now_s))
                expected = expected[: len(got)]
                assert events(box.take(now_s).messages) == ["clear"] * (was_playing or sent_unheard)
                item += 1
        batch = box.take(now_s)
        got += [frame.payload for frame in batch.frames]
        assert events(batch.messages).count("media") == len(batch.frames)
        assert box.ledger.lead_ms(now_s) <= LEAD_HIGH_MS + 0.001
        assert (batch.wait_s is None) == (len(box) == 0)
        assert got == expected[: len(got)]
    assert len(expected) == len(got) + len(
        [entry for entry in box._queue if isinstance(entry, outbox_module.Frame)]
    )


def test_what_a_cut_would_say_can_be_asked_without_cutting():
    box = Outbox("MZ1")
    for _ in range(100):
        box.put_frame("item_1", b"\x55" * 160)
    box.end_item("item_1")
    box.take(0.0)
    (cut,) = box.unheard(0.3)
    assert (cut.item_id, cut.heard_ms, cut.heard_ms + cut.unheard_ms) == ("item_1", 300, 2000)
    assert box.interrupt(0.3) == [cut], "nothing was changed by asking"
    assert box.unheard(0.3) == []


def test_what_was_heard_of_a_held_sentence_is_known():
    box = Outbox("MZ1")
    for _ in range(100):
        box.put_frame("item_1", b"\x55" * 160)
    box.take(0.0)
    box.hold(0.2)
    (cut,) = box.unheard(5.0)
    assert (cut.heard_ms, cut.heard_ms + cut.unheard_ms) == (200, 2000)
