"""What goes to the caller now, and what waits?

The model speaks faster than real time. All of it sent at once would sit in Twilio's buffer, where
a barge-in throws it away after it was paid for on the wire; sent frame by frame, any stall of ours
would be heard. So a lead is kept: when less than 200 ms wait at Twilio, frames are sent until
400 ms do, many in one write. A stall shorter than the lead is inaudible, and what a barge-in
cannot call back is short.

Pure: no sockets, and the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

import binascii
from collections import Counter, deque
from dataclasses import dataclass, replace

from server.audio.g711 import FRAME_BYTES, FRAME_MS
from server.telephony.messages import encode_clear, encode_mark, encode_media
from server.telephony.playout import Cut, PlayoutLedger

LEAD_LOW_MS = 200
LEAD_HIGH_MS = 400
MEDIA_TAIL = b'"}}'
KEPT_FRAMES = 64
"""Of those sent last, so that a held sentence can go on where it was last heard: more than the lead and
the longest way to the caller's ear."""
MAX_QUEUED_FRAMES = 5 * 60 * 1000 // FRAME_MS
"""Five minutes of speech: far more than an answer, far less than Twilio's ten (31931)."""


@dataclass(slots=True)  # not frozen: one for each frame of each call
class Frame:
    """20 ms of one item, ready for Twilio."""

    item_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ItemEnd:
    item_id: str


@dataclass(slots=True)
class Batch:
    """What to write now."""

    messages: list[str]
    frames: list[Frame]
    ended: list[str]
    """Items whose last frame is among those written so far."""
    wait_s: float | None
    """Until the next frame may go; None: nothing waits."""


class Outbox:
    """`tx_q`: everything on its way to the caller, in order, and the ledger of what was sent."""

    def __init__(self, stream_sid: str) -> None:
        self.stream_sid = stream_sid
        self._media_head = b""
        self.ledger = PlayoutLedger()
        self._queue: deque[Frame | ItemEnd] = deque()
        self._urgent: list[str] = []
        self._recent: deque[Frame | ItemEnd] = deque(maxlen=KEPT_FRAMES)
        self._held: list[Cut] | None = None
        self.dropped_frames = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put_frame(self, item_id: str, payload: bytes) -> bool:
        """Queue one frame; False when the queue is full and the frame was dropped."""
        if len(self._queue) >= MAX_QUEUED_FRAMES:
            self.dropped_frames += 1
            return False
        self._queue.append(Frame(item_id, payload))
        return True

    def pass_frame(self, item_id: str, payload: bytes, now_s: float) -> tuple[bytes, str | None] | None:
        """The `media` message of a frame that may go at once, and the `mark` to send after it, if any;
        the frame counts as sent. None: something waits before it, or enough at Twilio: queue it."""
        if self._queue or self._urgent or self.is_held or self.ledger.lead_ms(now_s) >= LEAD_LOW_MS:
            return None
        if not self._media_head:
            self._media_head = encode_media(self.stream_sid, b"").encode("ascii")[: -len(MEDIA_TAIL)]
        mark = self.ledger.sent(item_id, FRAME_BYTES, now_s)
        self._recent.append(Frame(item_id, payload))
        media = self._media_head + binascii.b2a_base64(payload, newline=False) + MEDIA_TAIL
        return media, None if mark is None else encode_mark(self.stream_sid, mark)

    def end_item(self, item_id: str) -> None:
        """The item's last frame was queued: a mark follows it."""
        self._queue.append(ItemEnd(item_id))

    @property
    def is_held(self) -> bool:
        """The agent was silenced, and may go on."""
        return self._held is not None

    def hold(self, now_s: float) -> None:
        """Silence the agent for now: clear what Twilio holds, keep what was not heard. `resume` goes on
        from there, `interrupt` gives it up."""
        if self._held is not None:
            return
        was_playing = self.ledger.lead_ms(now_s) > 0
        self._held = self.ledger.rewind(now_s)
        self._queue.extendleft(reversed(self._unheard(self._held)))
        self._recent.clear()
        if was_playing or any(cut.heard_ms < cut.sent_ms for cut in self._held):
            self._urgent.append(encode_clear(self.stream_sid))

    def resume(self) -> None:
        """Go on where the caller stopped hearing."""
        self._held = None

    def interrupt(self, now_s: float) -> list[Cut]:
        """Silence the agent: drop what is queued, clear what Twilio holds, say what was cut."""
        self.hold(now_s)
        held, self._held = {cut.item_id: cut for cut in self._held or ()}, None
        dropped = Counter(frame.item_id for frame in self._queue if isinstance(frame, Frame))
        self._queue.clear()
        cuts = [held.get(cut.item_id, cut) for cut in self.ledger.cut(now_s)]
        return [replace(cut, unheard_ms=dropped[cut.item_id] * FRAME_MS) for cut in cuts]

    def unheard(self, now_s: float) -> list[Cut]:
        """What `interrupt` would cut now; nothing is changed."""
        queued = Counter(frame.item_id for frame in self._queue if isinstance(frame, Frame))
        return [
            replace(cut, unheard_ms=cut.sent_ms - cut.heard_ms + queued[cut.item_id] * FRAME_MS)
            for cut in self.ledger.unfinished(now_s)
        ]

    def waiting_ms(self) -> int:
        """How much is queued."""
        return len(self._queue) * FRAME_MS

    def remaining_ms(self, now_s: float) -> float:
        """How much is queued, or waits at Twilio."""
        return self.waiting_ms() + self.ledger.lead_ms(now_s)

    def _unheard(self, cuts: list[Cut]) -> list[Frame | ItemEnd]:
        """What was sent of these items last and did not reach the caller's ear, in order."""
        unheard = {cut.item_id: -(-cut.sent_ms // FRAME_MS) - cut.heard_ms // FRAME_MS for cut in cuts}
        found: list[Frame | ItemEnd] = []
        for sent in reversed(self._recent):
            if sent.item_id not in unheard:
                continue
            if isinstance(sent, Frame):
                if not unheard[sent.item_id]:
                    continue
                unheard[sent.item_id] -= 1
            found.append(sent)
        found.reverse()
        return found

    def is_quiet(self, now_s: float) -> bool:
        """Nothing is queued or held, and all that was sent has been heard."""
        return not self._queue and not self._urgent and not self.is_held and not self.ledger.is_unheard(now_s)

    def is_dry(self, now_s: float) -> bool:
        """The caller hears nothing and nothing is at hand, though the item under way may have no end yet."""
        return not self._queue and not self._urgent and not self.is_held and not self.ledger.is_playing(now_s)

    def take(self, now_s: float) -> Batch:
        """What may be written now. The caller writes it at once: it counts as sent."""
        messages, self._urgent = self._urgent, []
        frames: list[Frame] = []
        if self.is_held:
            return Batch(messages, frames, [], None)
        ended: list[str] = []
        lead_ms = self.ledger.lead_ms(now_s)
        budget = int((LEAD_HIGH_MS - lead_ms) // FRAME_MS) if lead_ms < LEAD_LOW_MS else 0
        while self._queue:
            head = self._queue[0]
            if isinstance(head, ItemEnd):
                mark = self.ledger.complete(head.item_id, now_s)
                ended.append(head.item_id)
                self._recent.append(head)
            elif budget > 0:
                budget -= 1
                frames.append(head)
                self._recent.append(head)
                messages.append(encode_media(self.stream_sid, head.payload))
                mark = self.ledger.sent(head.item_id, FRAME_BYTES, now_s)
            else:
                break
            self._queue.popleft()
            if mark is not None:
                messages.append(encode_mark(self.stream_sid, mark))
        wait_s = None
        if self._queue:
            wait_s = max(0.0, (self.ledger.lead_ms(now_s) - LEAD_LOW_MS + 1) / 1000)
        return Batch(messages, frames, ended, wait_s)
