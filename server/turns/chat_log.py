"""A conversation as a chat model is told of it: items in order, cut to what was heard.

The items carry the ids by which they are truncated and deleted, as in a Realtime conversation, so that
one set of decisions serves both kinds of model. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from server.turns.history import shortened

MAX_ITEMS = 200
MS_PER_CHAR = 75.0
"""How fast a voice speaks whose sound is not complete: the recorded prompts of 20 characters and more take
79 ms a character in Hebrew and 58 in English, a voice at 12 characters a second 83."""

Kind = Literal["user", "assistant", "system", "call", "output"]


@dataclass(slots=True)
class _Item:
    kind: Kind
    text: str = ""
    call_id: str = ""
    name: str = ""
    total_ms: int = 0


@dataclass(slots=True)
class ChatLog:
    """One call's."""

    _items: dict[str, _Item] = field(default_factory=dict)
    _own: int = 0

    @property
    def is_unanswered(self) -> bool:
        """The caller, a tool or a note has the last word."""
        last = next((item for item in reversed(self._items.values()) if item.text), None)
        return last is not None and last.kind not in ("assistant", "call")

    def say(self, kind: Literal["user", "assistant", "system"], text: str, item_id: str = "") -> None:
        """What was said or noted; with an id that is known, in that item's place."""
        item = self._place(item_id, kind)
        item.text = text

    def began(self, item_id: str) -> None:
        """The caller speaks: this is the place of the words that will come."""
        self._place(item_id, "user")

    def speaks(self, item_id: str, sentence: str, n_ms: int) -> str:
        """So much more audio was made of this item, which is to be `sentence`. Its text until `say` has the
        whole, and what is returned, are the words that a voice has begun by then."""
        item = self._place(item_id, "assistant")
        item.total_ms += n_ms
        end = sentence.find(" ", int(item.total_ms / MS_PER_CHAR))
        item.text = sentence if end < 0 else sentence[:end]
        return item.text

    def called(self, call_id: str, name: str, arguments: str) -> None:
        """The model called a tool."""
        item = self._place("", "call")
        item.call_id, item.name, item.text = call_id, name, arguments

    def answered(self, call_id: str, output: str) -> None:
        item = self._place("", "output")
        item.call_id, item.text = call_id, output

    def truncate(self, item_id: str, heard_ms: int) -> None:
        """The caller heard only so much of this item."""
        item = self._items.get(item_id)
        if item is not None and item.total_ms > 0:
            item.text = shortened(item.text, min(1.0, heard_ms / item.total_ms))

    def delete(self, item_id: str) -> None:
        self._items.pop(item_id, None)

    def messages(self, instructions: str, more: str = "") -> list[dict[str, Any]]:
        """For /chat/completions. `more`: instructions for this answer alone. A call without its answer,
        and an answer without its call, are left out: the service refuses both."""
        answered = {item.call_id for item in self._items.values() if item.kind == "output"}
        called = {item.call_id for item in self._items.values() if item.kind == "call"}
        messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
        for item in self._items.values():
            match item.kind:
                case "call" if item.call_id in answered:
                    _add_call(messages, item)
                case "output" if item.call_id in called:
                    messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.text})
                case "user" | "assistant" | "system" if item.text:
                    messages.append({"role": item.kind, "content": item.text})
        if more:
            messages.append({"role": "system", "content": more})
        return messages

    def _place(self, item_id: str, kind: Kind) -> _Item:
        if not item_id:
            self._own += 1
            item_id = f"\0{self._own}"
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = _Item(kind)
            while len(self._items) > MAX_ITEMS:
                del self._items[next(iter(self._items))]
        return item


def _add_call(messages: list[dict[str, Any]], item: _Item) -> None:
    """Calls of one answer stand in one message, before their outputs."""
    call = {
        "id": item.call_id,
        "type": "function",
        "function": {"name": item.name, "arguments": item.text},
    }
    if messages[-1].get("tool_calls"):
        messages[-1]["tool_calls"].append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def as_chat_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Flat functions, as a Realtime session has them, nested as a chat has them."""
    return [
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} for tool in tools
    ]
