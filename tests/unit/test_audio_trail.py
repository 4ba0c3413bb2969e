import base64
import re

import pytest

from server.audio_trail import MAX_ITEMS, AudioTrail
from server.telephony.outbox import Frame

FRAME = bytes(range(160))


@pytest.fixture
def lines(caplog):
    """The log lines since the last time this was called."""
    caplog.set_level("INFO", "server.media_ws_ai")

    def take() -> list[str]:
        said = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return said

    return take


def frames(count: int, item_id: str = "item_a") -> list[Frame]:
    return [Frame(item_id, FRAME)] * count


def test_the_lines_of_a_healthy_answer_word_for_word(lines):
    trail = AudioTrail("CA012345", traces_all=False)
    trail.asked()
    assert trail.came("item_a", 4000)
    trail.queued("item_a", 25, 4000)
    trail.sent(frames(20), [])
    chunk, queued, sending, sent, latency = lines()
    assert chunk == "[REALTIME] got audio chunk from OpenAI: bytes=4000, call_sid=CA012345"
    assert queued == "[REALTIME] enqueue audio to tx_q: bytes=4000, total_frames=25, call_sid=CA012345"
    first10 = base64.b64encode(FRAME[:10]).decode()
    assert sending == f"[REALTIME] sending frame to Twilio: len=160, first10={first10}, call_sid=CA012345"
    assert sent == "[REALTIME] sent media frame to Twilio: bytes=160, total_sent=1, call_sid=CA012345"
    assert re.fullmatch(r"response\.create sent! OpenAI=\d+ms, T0→speak=\d+ms call_sid=CA012345", latency)


def test_after_the_first_of_each_item_there_is_only_its_sum(lines):
    trail = AudioTrail("CA1", traces_all=False)
    for _ in range(3):
        trail.came("item_a", 1600)
        trail.queued("item_a", 10, 1600)
    trail.sent(frames(20), [])
    lines()
    trail.came("item_a", 1600)
    trail.queued("item_a", 10, 1600)
    trail.sent(frames(20), [])
    assert lines() == []
    trail.item_queued("item_a")
    trail.sent([], ["item_a"])
    assert lines() == [
        "[REALTIME] enqueue audio to tx_q: bytes=6400, total_frames=40, call_sid=CA1",
        "[REALTIME] sent media frame to Twilio: bytes=6400, total_sent=40, call_sid=CA1",
    ]


def test_the_next_item_has_its_first_lines_again_and_the_latency_is_told_once(lines):
    trail = AudioTrail("CA1", traces_all=False)
    for item_id in ("item_a", "item_b"):
        assert trail.came(item_id, 160)
        trail.queued(item_id, 1, 160)
        trail.sent(frames(1, item_id), [item_id])
    said = lines()
    assert sum("got audio chunk" in line for line in said) == 2
    assert sum("sending frame" in line for line in said) == 2
    assert sum("response.create sent!" in line for line in said) == 1


def test_with_the_trace_on_every_frame_has_its_line(lines):
    trail = AudioTrail("CA1", traces_all=True)
    for n in range(5):
        assert trail.came("item_a", 160) == (n == 0)
        trail.queued("item_a", 1, 160)
        trail.sent(frames(1), [])
    said = lines()
    for start in ("got audio chunk", "enqueue audio", "sending frame", "sent media frame"):
        assert sum(start in line for line in said) == 5, start


def test_the_sums_of_the_call_count_every_item():
    trail = AudioTrail("CA1", traces_all=False)
    trail.came("item_a", 320)
    trail.queued("item_a", 2, 320)
    trail.queued("never announced", 3, 480)
    trail.sent(frames(2) + frames(3, "never announced"), [])
    assert (trail.realtime_tx_frames, trail.realtime_tx_bytes, trail.sent_frames) == (5, 800, 5)


def test_the_caller_was_spoken_to_from_the_first_frame_on():
    trail = AudioTrail("CA1", traces_all=False)
    assert not trail.has_spoken
    assert trail.first_audio_at is None
    trail.came("item_a", 160)
    assert not trail.has_spoken
    trail.sent([], [])
    assert not trail.has_spoken
    trail.sent(frames(1), [])
    assert trail.has_spoken
    assert trail.first_audio_at is not None


def test_an_interrupted_item_has_no_sum(lines):
    trail = AudioTrail("CA1", traces_all=False)
    trail.came("item_a", 4000)
    trail.queued("item_a", 25, 4000)
    trail.sent(frames(5), [])
    trail.forget("item_a")
    assert not trail.knows("item_a")
    lines()
    trail.item_queued("item_a")
    trail.sent(frames(1), ["item_a"])
    trail.forget("item_a")
    assert lines() == []


def test_part_of_a_frame_is_not_yet_queued(lines):
    trail = AudioTrail("CA1", traces_all=True)
    trail.came("item_a", 100)
    lines()
    trail.queued("item_a", 0, 0)
    assert lines() == []


def test_items_that_never_end_do_not_fill_the_memory():
    trail = AudioTrail("CA1", traces_all=False)
    for n in range(10 * MAX_ITEMS):
        assert trail.came(f"item_{n}", 160)
    assert len(trail._items) == MAX_ITEMS
    assert trail.knows(f"item_{10 * MAX_ITEMS - 1}")
    assert not trail.knows("item_0")


def test_a_voice_is_told_once_in_two_seconds(lines):
    trail = AudioTrail("CA012345", traces_all=True)
    for tenths in range(45):
        trail.voice(810 + tenths, 200, 100.0 + tenths / 10)
    told = [f"[REAL_VOICE] rms={rms} > 200 (voice detected) call_sid=CA012345" for rms in (810, 830, 850)]
    assert lines() == told
