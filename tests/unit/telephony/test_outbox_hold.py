"""A sentence that is held goes on where the caller stopped hearing it."""

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from server.telephony.outbox import Outbox

FRAME_S = 0.02


def numbered(n: int) -> bytes:
    return n.to_bytes(4, "big") + b"\xff" * 156


class Line:
    """Twilio's buffer and a caller's ear: plays in real time, `clear` empties it."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        """Numbers of frames of which anything was heard."""
        self._buffer: list[tuple[float, int]] = []  # when it starts, number
        self._ends_at = 0.0

    def take(self, messages: list[str], now_s: float) -> None:
        for message in map(json.loads, messages):
            if message["event"] == "media":
                payload = base64.b64decode(message["media"]["payload"])
                starts_at = max(now_s, self._ends_at)
                self._buffer.append((starts_at, int.from_bytes(payload[:4], "big")))
                self._ends_at = starts_at + FRAME_S
            elif message["event"] == "clear":
                self.play_until(now_s)
                self._buffer.clear()
                self._ends_at = now_s

    def play_until(self, now_s: float) -> None:
        while self._buffer and self._buffer[0][0] < now_s - 1e-9:
            self.heard.append(self._buffer.pop(0)[1])


def speak(box: Outbox, line: Line, from_s: float, until_s: float) -> float:
    """Run the tx loop on a clock of 10 ms."""
    now_s = from_s
    while now_s < until_s:
        line.take(box.take(now_s).messages, now_s)
        now_s += 0.01
        line.play_until(now_s)
    return now_s


@given(
    frames=st.integers(1, 150),
    pauses=st.lists(st.tuples(st.floats(0.005, 1.5), st.floats(0.0, 2.0)), max_size=5),
    two_items=st.booleans(),
)
def test_nothing_is_lost_and_at_most_one_frame_is_heard_twice_at_each_hold(frames, pauses, two_items):
    box, line, now_s = Outbox("MZ1"), Line(), 10.0
    for n in range(frames):
        box.put_frame("a" if n < frames // 2 or not two_items else "b", numbered(n))
        if two_items and n == frames // 2 - 1:
            box.end_item("a")
    box.end_item("b" if two_items else "a")
    for speaks_s, rests_s in pauses:
        now_s = speak(box, line, now_s, now_s + speaks_s)
        box.hold(now_s)
        heard = list(line.heard)
        now_s = speak(box, line, now_s, now_s + rests_s)
        assert line.heard == heard, "a held agent is silent"
        box.resume()
    speak(box, line, now_s, now_s + frames * FRAME_S + 1.0)
    assert sorted(set(line.heard)) == list(range(frames))
    assert len(line.heard) - frames <= len(pauses)
    assert line.heard == sorted(line.heard), "in order, a repeated frame right after itself"


def test_what_a_barge_in_after_a_hold_cuts_is_where_the_hold_stopped():
    box = Outbox("MZ1")
    for n in range(50):
        box.put_frame("item_a", numbered(n))
    box.take(1.0)
    box.hold(1.25)
    cuts = box.interrupt(3.0)
    assert [(cut.item_id, cut.heard_ms, cut.sent_ms) for cut in cuts] == [("item_a", 250, 400)]
    assert not box.is_held
    assert len(box) == 0
    messages = [json.loads(message)["event"] for message in box.take(3.0).messages]
    assert messages == ["clear"], "one for the hold, none for giving it up"


def test_audio_that_comes_while_held_waits_behind_what_was_not_heard():
    box = Outbox("MZ1")
    for n in range(5):
        box.put_frame("item_a", numbered(n))
    box.take(1.0)
    box.hold(1.04)
    box.put_frame("item_a", numbered(5))
    assert box.pass_frame("item_a", numbered(6), 1.05) is None
    assert [json.loads(m)["event"] for m in box.take(1.1).messages] == ["clear"]
    assert box.take(1.2).messages == []
    box.resume()
    frames = [int.from_bytes(frame.payload[:4], "big") for frame in box.take(1.3).frames]
    assert frames == [2, 3, 4, 5]


def test_a_frame_that_took_the_short_way_is_held_too():
    box = Outbox("MZ1")
    for n in range(3):
        assert box.pass_frame("item_a", numbered(n), 1.0 + n * FRAME_S) is not None
    box.hold(1.05)
    box.resume()
    frames = [int.from_bytes(frame.payload[:4], "big") for frame in box.take(1.3).frames]
    assert frames == [2], "of the third 10 ms were heard: it is heard from its start"


def test_a_held_agent_is_not_quiet_and_the_resumed_one_is_after_its_last_frame():
    box = Outbox("MZ1")
    box.put_frame("item_a", numbered(0))
    box.end_item("item_a")
    box.take(1.0)
    box.hold(1.01)
    assert not box.is_quiet(5.0)
    box.resume()
    box.take(5.0)
    assert not box.is_quiet(5.01)
    assert box.is_quiet(5.03)


def test_the_item_that_was_heard_to_its_end_does_not_come_back():
    box = Outbox("MZ1")
    box.put_frame("item_a", numbered(0))
    box.end_item("item_a")
    box.take(1.0)
    box.put_frame("item_b", numbered(1))
    box.take(1.1)
    box.hold(1.11)
    box.resume()
    assert [frame.item_id for frame in box.take(1.2).frames] == ["item_b"]


def test_marks_of_what_is_held_prove_nothing_afterwards():
    box = Outbox("MZ1")
    for n in range(25):
        box.put_frame("item_a", numbered(n))
    box.take(1.0)
    names = [m["mark"]["name"] for m in map(json.loads, box.take(1.21).messages) if m["event"] == "mark"]
    assert len(names) == 1
    box.hold(1.3)
    assert not box.ledger.echoed(names[0], 1.31), "`clear` sends them back unheard"
    assert [cut.heard_ms for cut in box.interrupt(1.4)] == [300]
