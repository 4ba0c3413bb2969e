"""The lines by which a healthy call is known: audio that came, was queued, and left.

At INFO the first of each response and a sum at its end; with CALL_TRACE=1 every one. Their starts
are relied on from outside, so they are all here, apart from the decisions of the call.
"""

from __future__ import annotations

import base64
import logging
import time
from dataclasses import dataclass

from server.telephony.outbox import Frame

log = logging.getLogger("server.media_ws_ai")

MAX_ITEMS = 256
VOICE_EVERY_S = 2.0


@dataclass(slots=True)
class _Tally:
    queued_frames: int = 0
    queued_bytes: int = 0
    sent_bytes: int = 0


class AudioTrail:
    """Follows the model's audio through one call, item by item."""

    def __init__(self, call_tag: str, *, traces_all: bool) -> None:
        self.realtime_tx_frames = 0
        """Frames of the model's that were queued for the caller."""
        self.realtime_tx_bytes = 0
        self.sent_frames = 0
        self.first_audio_at: float | None = None
        """When the model's first audio of the call came."""
        self.has_spoken = False
        """The caller was sent something."""
        self._tag = call_tag
        self._traces_all = traces_all
        self._items: dict[str, _Tally] = {}
        self._voice_said_at = float("-inf")
        self._began_at = time.monotonic()
        self._asked_at = self._began_at

    def asked(self) -> None:
        """The first `response.create` goes out now."""
        self._asked_at = time.monotonic()

    def came(self, item_id: str, n_bytes: int) -> bool:
        """The model sent audio; True when it is the first of its item."""
        if self.first_audio_at is None:
            self.first_audio_at = time.monotonic()
        is_first = item_id not in self._items
        if is_first:
            if len(self._items) >= MAX_ITEMS:
                del self._items[next(iter(self._items))]
            self._items[item_id] = _Tally()
        if is_first or self._traces_all:
            log.info("[REALTIME] got audio chunk from OpenAI: bytes=%d, call_sid=%s", n_bytes, self._tag)
        return is_first

    def queued(self, item_id: str, frames: int, n_bytes: int) -> None:
        self.realtime_tx_frames += frames
        self.realtime_tx_bytes += n_bytes
        tally = self._items.get(item_id)
        if tally is None or not frames:
            return
        is_first = tally.queued_frames == 0
        tally.queued_frames += frames
        tally.queued_bytes += n_bytes
        if is_first or self._traces_all:
            self._say_queued(n_bytes, tally.queued_frames)

    def item_queued(self, item_id: str) -> None:
        """All of the item was queued."""
        if (tally := self._items.get(item_id)) is not None:
            self._say_queued(tally.queued_bytes, tally.queued_frames)

    def sent(self, frames: list[Frame], ended: list[str]) -> None:
        """The tx loop wrote these frames, and these items to their end."""
        for frame in frames:
            self.passed(frame.item_id, frame.payload)
        for item_id in ended:
            if (tally := self._items.pop(item_id, None)) is not None:
                self._say_sent(tally.sent_bytes)

    def passed(self, item_id: str, payload: bytes) -> None:
        """One frame was written."""
        self.sent_frames += 1
        tally = self._items.get(item_id)
        if tally is not None:
            is_first = tally.sent_bytes == 0
            tally.sent_bytes += len(payload)
            if is_first or self._traces_all:
                self._say_sending(payload)
        if not self.has_spoken:
            self._say_latency()

    def forget(self, item_id: str) -> None:
        """The item was interrupted: its sum would be that of what nobody heard."""
        self._items.pop(item_id, None)

    def voice(self, level: int, threshold: int, now_s: float) -> None:
        """The caller began to speak; said once in two seconds."""
        if now_s - self._voice_said_at >= VOICE_EVERY_S:
            self._voice_said_at = now_s
            log.info("[REAL_VOICE] rms=%d > %d (voice detected) call_sid=%s", level, threshold, self._tag)

    def say_totals(self) -> None:
        """At the end of the call."""
        log.info(
            "[REALTIME] realtime_tx_frames=%d realtime_tx_bytes=%d sent_frames=%d call_sid=%s",
            self.realtime_tx_frames,
            self.realtime_tx_bytes,
            self.sent_frames,
            self._tag,
        )

    def knows(self, item_id: str) -> bool:
        return item_id in self._items

    def _say_sending(self, payload: bytes) -> None:
        n_bytes, first10 = len(payload), base64.b64encode(payload[:10]).decode("ascii")
        log.info(
            "[REALTIME] sending frame to Twilio: len=%d, first10=%s, call_sid=%s", n_bytes, first10, self._tag
        )
        self._say_sent(n_bytes)

    def _say_latency(self) -> None:
        self.has_spoken = True
        model_ms = ((self.first_audio_at or self._asked_at) - self._asked_at) * 1000
        to_speech_ms = (time.monotonic() - self._began_at) * 1000
        log.info(
            "response.create sent! OpenAI=%dms, T0→speak=%dms call_sid=%s", model_ms, to_speech_ms, self._tag
        )

    def _say_queued(self, n_bytes: int, total_frames: int) -> None:
        log.info(
            "[REALTIME] enqueue audio to tx_q: bytes=%d, total_frames=%d, call_sid=%s",
            n_bytes,
            total_frames,
            self._tag,
        )

    def _say_sent(self, n_bytes: int) -> None:
        log.info(
            "[REALTIME] sent media frame to Twilio: bytes=%d, total_sent=%d, call_sid=%s",
            n_bytes,
            self.sent_frames,
            self._tag,
        )
