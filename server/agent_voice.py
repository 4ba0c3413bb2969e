"""The model's audio on its way to the caller: cut into frames of 20 ms, item by item."""

from __future__ import annotations

from collections.abc import Callable

from server.audio.framing import Framer
from server.audio.g711 import FRAME_BYTES
from server.audio_trail import AudioTrail
from server.gateway import CallerLeg
from server.services.openai_realtime_client import AudioChunk


class AgentVoice:
    """One call's. Chunks that are not wanted any more are kept from it."""

    def __init__(self, caller: CallerLeg, trail: AudioTrail) -> None:
        self._caller = caller
        self._trail = trail
        self._item = ""
        """Whose audio is on its way; empty between items."""
        self._response = ""
        self._framer = Framer()

    def take(self, chunk: AudioChunk) -> None:
        """Queue what the model said next."""
        if not chunk.item_id:
            if chunk.response_id == self._response:
                self.end_item()
            return
        self._response = chunk.response_id
        if chunk.item_id != self._item:
            self.end_item()  # a cancelled item never says that it is done
            self._item, self._framer = chunk.item_id, Framer()
        if chunk.payload:
            self._play(self._framer.push(chunk.payload))
            self._caller.wake()
        else:
            self.end_item()

    def take_rest(self, next_chunk: Callable[[], AudioChunk | None], at_most: int) -> bool:
        """The model is gone: queue what it had said at once, so that no prompt overtakes it, and end the
        item. False when there is more than `at_most` chunks."""
        for _ in range(at_most):
            if (chunk := next_chunk()) is None:
                self.end_item()
                return True
            self.take(chunk)
        return False

    def take_plain(self, item_id: str, payload: bytes) -> bool:
        """The short way, in the hub: true when `payload` continued the item under way and is on its way
        to the caller. `take` would have done the same, two green threads later."""
        if item_id != self._item:
            return False
        frames = self._framer.push(payload)
        self._trail.queued(item_id, len(frames), FRAME_BYTES * len(frames))
        for frame in frames:
            self._caller.play_now(item_id, frame)
        return True

    def end_item(self) -> None:
        """Pad the last partial frame and mark the item's end, unless it was interrupted meanwhile."""
        last = self._framer.flush()
        if self._trail.knows(self._item):
            if last is not None:
                self._play([last])
            self._caller.end_item(self._item)
            self._trail.item_queued(self._item)
        self._item = ""
        self._caller.wake()

    def cut(self) -> None:
        """Nobody hears the rest of the item under way."""
        self._item, self._framer = "", Framer()

    def _play(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._caller.play(self._item, frame)
        self._trail.queued(self._item, len(frames), sum(map(len, frames)))
