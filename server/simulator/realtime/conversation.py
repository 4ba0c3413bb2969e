"""Which items has this conversation, in which order, and how much audio has each?

Items are kept as the protocol shows them, without their audio; that is held beside them (μ-law) for
the newest few only, while its length is remembered for as long as the item lives, because
truncation is judged by it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from server.audio.g711 import BYTES_PER_MS, ms
from server.simulator.realtime.checks import Rejected, invalid_value
from server.simulator.realtime.formats import Encoder
from server.simulator.realtime.turn import Heard, Spoken, ToolOutput, Typed

Format = dict[str, Any]

MAX_ITEMS = 2000
"""Past this the oldest item is forgotten, as a model's context would truncate it."""
KEPT_AUDIO_ITEMS = 8


@dataclass(slots=True)
class Item:
    body: dict[str, Any]
    """As the protocol shows it, without audio."""
    payload: bytes | None = None
    """μ-law; None for an item without audio or with audio already forgotten."""
    audio_bytes: int = 0
    heard: Heard | None = None
    """For what the user contributed: how a persona gets to know of it."""
    is_answered: bool = False


class Conversation:
    """The default conversation of a session."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._items: dict[str, Item] = {}
        self._order: list[str] = []

    @property
    def last_id(self) -> str | None:
        return self._order[-1] if self._order else None

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put `item` at the end, or after the item named, or first for "root".

        Returns the id of the item before it. Raises Rejected for an unknown or a taken id.
        """
        item_id = item.body["id"]
        if item_id in self._items:
            raise invalid_value("item.id", f"an item with id '{item_id}' already exists.")
        if after is None:
            at = len(self._order)
        elif after == "root":
            at = 0
        elif after in self._items:
            at = self._order.index(after) + 1
        else:
            raise invalid_value("previous_item_id", f"the item with id '{after}' does not exist.")
        self._items[item_id] = item
        self._order.insert(at, item_id)
        if len(self._order) > MAX_ITEMS:
            del self._items[self._order.pop(0)]
            at -= 1
        self._forget_old_audio()
        return self._order[at - 1] if at > 0 else None

    def find(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one; None for the first, and for one deleted meanwhile."""
        if item_id not in self._items:
            return None
        at = self._order.index(item_id)
        return self._order[at - 1] if at > 0 else None

    def has_call(self, call_id: str) -> bool:
        return any(item.body.get("call_id") == call_id for item in self._items.values())

    def retrieve(self, item_id: str, input_format: Format, output_format: Format) -> dict[str, Any]:
        """The item with its audio, in the session's format for that side. Raises Rejected."""
        item = self._get(item_id, "retriev")
        if item.payload is None:
            return item.body
        encoder = Encoder(output_format if item.body.get("role") == "assistant" else input_format)
        audio = base64.b64encode(encoder.encode(item.payload)).decode("ascii")
        return item.body | {"content": [part | {"audio": audio} for part in item.body["content"]]}

    def delete(self, item_id: str) -> None:
        """Raises Rejected."""
        self._get(item_id, "delet")
        del self._items[item_id]
        self._order.remove(item_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Forget an answer's audio from `audio_end_ms` on, and all of its words. Raises Rejected."""
        item = self._get(item_id, "truncat")
        is_spoken = item.body.get("role") == "assistant" and item.audio_bytes > 0
        if not is_spoken and not _is_audio_message(item.body):
            raise Rejected(None, "Only model output audio messages can be truncated.", "item_id")
        if content_index != 0:
            raise invalid_value("content_index", "only content part 0 has audio.")
        if audio_end_ms > (length_ms := ms(item.audio_bytes)):
            raise Rejected(
                None, f"Audio content of {length_ms}ms is already shorter than {audio_end_ms}ms", None
            )
        item.audio_bytes = audio_end_ms * BYTES_PER_MS
        if item.payload is not None:
            item.payload = item.payload[: item.audio_bytes]
        item.body["content"] = [{"type": "output_audio", "transcript": ""}]

    def unanswered(self, *, answer: bool) -> tuple[Heard, ...]:
        """What the user contributed that no response has taken up; with `answer`, this one does."""
        found = []
        for item_id in self._order:
            item = self._items[item_id]
            if item.heard is not None and not item.is_answered:
                item.is_answered = answer
                found.append(item.heard)
        return tuple(found)

    def text_chars(self) -> int:
        """Characters of text in the conversation, from which its tokens are estimated."""
        return sum(
            len(part.get("text") or part.get("transcript") or "")
            for item in self._items.values()
            for part in item.body.get("content", ())
        )

    def audio_bytes(self) -> int:
        return sum(item.audio_bytes for item in self._items.values())

    def _get(self, item_id: str, verb: str) -> Item:
        if (item := self._items.get(item_id)) is None:
            noun = {"retriev": "retrieve", "delet": "delete", "truncat": "truncate"}[verb]
            raise Rejected(
                f"item_{noun}_invalid_item_id",
                f"Error {verb}ing item: the item with id '{item_id}' does not exist.",
                "item_id",
            )
        return item

    def _forget_old_audio(self) -> None:
        with_audio = [i for i in self._order if self._items[i].payload is not None]
        for item_id in with_audio[:-KEPT_AUDIO_ITEMS]:
            self._items[item_id].payload = None


def _is_audio_message(body: dict[str, Any]) -> bool:
    content = body.get("content") or [{}]
    return body.get("role") == "assistant" and content[0].get("type") == "output_audio"


def heard_in(body: dict[str, Any], payload: bytes | None) -> Heard | None:
    """What a persona is told of an item that the client made; None for the assistant's and system's."""
    if body["type"] == "function_call_output":
        return ToolOutput(body["call_id"], body["output"])
    if body.get("role") != "user":
        return None
    if payload is not None:
        return Spoken(payload, ms(len(payload)))
    texts = [part["text"] for part in body["content"] if part["type"] == "input_text"]
    return Typed(" ".join(texts)) if texts else None
