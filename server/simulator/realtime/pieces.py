"""Into which pieces is an answer cut: audio into deltas, words to go with them?

What one response needs besides the order of its events. Audio is μ-law, sizes are bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from server.simulator.realtime.conversation import Item
from server.simulator.realtime.formats import Encoder


class OpenItem:
    """The message being said."""

    def __init__(self, response_id: str, index: int, item: Item, content_type: str, encoder: Encoder) -> None:
        self.item = item
        self._encoder = encoder
        self.content_type = content_type
        self.is_audio = content_type == "output_audio"
        self.text_field = "transcript" if self.is_audio else "text"
        self.transcript = ""
        self.place: dict[str, Any] = {
            "response_id": response_id,
            "item_id": item.body["id"],
            "output_index": index,
            "content_index": 0,
        }
        self._payload = bytearray()

    def encode(self, chunk: bytes) -> str:
        """The chunk as a delta: base64 of the session's output format."""
        return to_base64(self._encoder.encode(chunk))

    def add(self, chunk: bytes) -> None:
        self._payload += chunk
        self.item.audio_bytes = len(self._payload)

    def keep_audio(self) -> None:
        if self.is_audio:
            self.item.payload = bytes(self._payload)


class Words:
    """A transcript, released word by word as its audio goes out."""

    def __init__(self, transcript: str, audio_bytes: int) -> None:
        words = transcript.split(" ") if transcript else []
        self._words = [words[0], *(f" {word}" for word in words[1:])] if words else []
        self._total = max(audio_bytes, 1)
        self._sent = self._said = 0

    def due(self, n_bytes: int) -> str:
        self._sent += n_bytes
        upto = len(self._words) * self._sent // self._total
        return self._until(upto)

    def rest(self) -> str:
        return self._until(len(self._words))

    def _until(self, upto: int) -> str:
        said, self._said = "".join(self._words[self._said : upto]), max(self._said, upto)
        return said


def cut(payload: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    at = 0
    while at < len(payload):
        size = next(sizes)
        yield payload[at : at + size]
        at += size


def to_base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def voice_name(voice: Any) -> Any:
    return voice["id"] if isinstance(voice, dict) else voice
