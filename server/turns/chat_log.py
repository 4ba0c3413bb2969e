"""A conversation as a chat model is told of it: items in order, cut to what was heard.

The items carry the ids by which they are truncated and deleted, as in a Realtime conversation, so that
one set of decisions serves both kinds of model. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from server.turns.history import TOOL_MARK, shortened

MAX_ITEMS = 200
MAX_CHARS = 100_000
"""Of all items: tools may answer with 64 KB each, and a model's context has an end. The oldest go first."""
SHORT_CHARS = 2000
"""What is kept of a long output when younger ones need the room."""
MAX_USER_CHARS = 4000
MAX_NAME_CHARS = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
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
    asked: int = 0
    """When it came, counted, if it wants an answer."""


@dataclass(slots=True)
class ChatLog:
    """One call's."""

    _items: dict[str, _Item] = field(default_factory=dict)
    _own: int = 0
    _n_asked: int = 0
    _n_answered: int = 0

    @property
    def asked(self) -> int:
        """How often something came that wants an answer: the caller's words, a tool's output, a note."""
        return self._n_asked

    @property
    def is_unanswered(self) -> bool:
        """Something came that no answer has known of. Where it stands says nothing: the words of who spoke
        before the greeting stand before it."""
        return any(item.asked > self._n_answered for item in self._items.values())

    def has_answered(self, asked: int) -> None:
        """An answer was made that knew of what had come when `asked` was read."""
        self._n_answered = max(self._n_answered, asked)

    def say(self, kind: Literal["user", "assistant", "system"], text: str, item_id: str = "") -> None:
        """What was said or noted; with an id that is known, in that item's place."""
        item = self._place(item_id, kind)
        item.text = text if kind != "user" else text[:MAX_USER_CHARS]
        if text and kind != "assistant":
            self._asks(item)
        self._bound()

    def recall(self, role: Literal["user", "assistant", "system"], text: str) -> None:
        """What was said in an earlier session, in order: what the agent said there, it said to all before."""
        self.say(role, text)
        if role == "assistant" and not text.startswith(TOOL_MARK):
            self._n_answered = self._n_asked
        elif role == "assistant":
            self._asks(next(reversed(self._items.values())))

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
        self._asks(item)
        self._bound()

    def truncate(self, item_id: str, heard_ms: int) -> None:
        """The caller heard only so much of this item."""
        item = self._items.get(item_id)
        if item is not None and item.total_ms > 0:
            item.text = shortened(item.text, min(1.0, heard_ms / item.total_ms))

    def delete(self, item_id: str) -> None:
        self._items.pop(item_id, None)

    def messages(self, instructions: str, more: str = "") -> list[dict[str, Any]]:
        """For /chat/completions. `more`: instructions for this answer alone.

        The service wants a call's output right after it, and refuses all that follows if anything stands
        between: so a call stands where its output does, whatever was said meanwhile, and one half without
        the other nowhere."""
        calls = self._calls()
        messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
        last: tuple[int, dict[str, Any]] | None = None  # the answer whose outputs come now, and its message
        for item in self._items.values():
            if item.kind == "call" or not (item.text or item.kind == "output"):
                continue
            if item.kind != "output":
                messages.append({"role": item.kind, "content": item.text})
                last = None
            elif item.call_id in calls:
                n_answer, call = calls[item.call_id]
                if last is None or last[0] != n_answer:
                    last = n_answer, {"role": "assistant", "content": None, "tool_calls": []}
                    messages.append(last[1])
                last[1]["tool_calls"].append(call)
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.text})
        if more:
            messages.append({"role": "system", "content": more})
        return messages

    def _calls(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """By id: the answer of the model's in which it was made, counted, and what a chat is told of it."""
        calls: dict[str, tuple[int, dict[str, Any]]] = {}
        n_answer, before = 0, ""
        for item in self._items.values():
            if item.kind == "call":
                n_answer += before != "call"
                name = _NOT_IN_NAMES.sub("_", item.name)[:MAX_NAME_CHARS] or "unnamed"
                function = {"name": name, "arguments": item.text}
                calls[item.call_id] = n_answer, {"id": item.call_id, "type": "function", "function": function}
            before = item.kind
        return calls

    def _bound(self) -> None:
        """Shorten tools' long outputs, the oldest first, and should that not do let the oldest items go."""
        n_chars = sum(len(item.text) for item in self._items.values())
        for item in self._items.values():
            if n_chars > MAX_CHARS and item.kind == "output" and len(item.text) > SHORT_CHARS:
                n_chars -= len(item.text) - SHORT_CHARS
                item.text = f"{item.text[: SHORT_CHARS - 1]}…"
        while n_chars > MAX_CHARS and len(self._items) > 1:
            oldest = next(iter(self._items))
            n_chars -= len(self._items.pop(oldest).text)

    def _asks(self, item: _Item) -> None:
        self._n_asked += 1
        item.asked = self._n_asked

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


def as_chat_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Flat functions, as a Realtime session has them, nested as a chat has them."""
    return [
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} for tool in tools
    ]
