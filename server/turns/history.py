"""What was said so far, as text that another session can be given?

A new session knows nothing of the call, and cannot be given the old one's audio; it is given text, the
caller's as role `user` and the agent's as `assistant`. The agent's counts only as far as it was heard: a
model that is told of words the caller never heard builds on them.

The caller's transcripts come late, after the answer to them, and in any order. So each item has its place
from the moment it began, and its text is put there whenever it comes. An item nobody announced stands last.

Every text is one line, whatever was in it: speech is hostile text, and a line of its own could pass for
something else. At most 200 entries and 24 KB of UTF-8 are kept, the youngest. Pure, no clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "assistant"]

MAX_ENTRIES = 200
MAX_BYTES = 24 * 1024
MAX_ENTRY_CHARS = 4000
MAX_TOOL_CHARS = 160
"""Of a tool's arguments, and of its result."""
TOOL_MARK = "[tool]"
"""How an entry begins that tells what a tool answered, to a model that did not ask for it."""
CUT_MARK = "…"

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(slots=True)
class _Item:
    role: Role = "user"
    text: str = ""
    heard_ms: float | None = None
    """None: all of it."""
    total_ms: float = 0.0

    def told(self, so_far: float | None = None) -> str:
        """As the other session shall know it; empty for nothing. `so_far`: the share heard by now of an
        item that is being spoken."""
        if self.heard_ms is None:
            return self.text if so_far is None else shortened(self.text, so_far)
        share = self.heard_ms / self.total_ms if self.total_ms > 0 else float(self.heard_ms > 0)
        return shortened(self.text, max(0.0, share))


class History:
    """One call's conversation, in the order in which it began."""

    def __init__(self) -> None:
        self.changes = 0
        """Counts up whenever something was added, cut or corrected."""
        self._items: dict[str, _Item] = {}
        self._n_bytes = 0
        """Of all texts, unshortened."""
        self._own = 0

    def began(self, item_id: str) -> None:
        """The model added this item to the conversation: this is its place."""
        self._item(item_id)

    def knows(self, item_id: str) -> bool:
        """The item has its place."""
        return item_id in self._items

    def caller(self, item_id: str, text: str) -> None:
        """What the caller said in this item, as far as it is known by now."""
        self._put(item_id, "user", text)

    def agent(self, item_id: str, text: str) -> None:
        """What the agent says in this item, all of it so far."""
        self._put(item_id, "assistant", text)

    def cut(self, item_id: str, heard_ms: float, total_ms: float) -> None:
        """The agent was interrupted: of `total_ms`, all that was spoken of this item, `heard_ms` were heard.

        May come before the item's text.
        """
        item = self._item(item_id)
        item.heard_ms, item.total_ms = heard_ms, total_ms
        self.changes += 1

    def cut_further(self, item_id: str, ms: float) -> None:
        """So much more was spoken of an item that had been cut: its text will have those words too."""
        if (item := self._items.get(item_id)) is not None:
            item.total_ms += ms

    def keys(self, text: str) -> None:
        """The caller pressed these keys."""
        self._put(self._own_id(), "user", f"[keys] {text}")

    def tool(self, name: str, arguments: object, result: object) -> str:
        """The agent used a tool; text as it is, anything else as JSON, both cut short. Returns the entry."""
        told = f"{TOOL_MARK} {name}({_short(arguments)}) = {_short(result)}"
        self._put(self._own_id(), "assistant", told)
        return told

    def entries(self, so_far: Mapping[str, float] | None = None) -> list[tuple[Role, str]]:
        """Role and text, the oldest first. `so_far`: of items that are being spoken, the share that was
        heard by now."""
        so_far = so_far or {}
        kept: list[tuple[Role, str]] = []
        n_bytes = 0
        for item_id, item in reversed(self._items.items()):
            if not (text := item.told(so_far.get(item_id))):
                continue
            n_bytes += len(text.encode())
            if n_bytes > MAX_BYTES or len(kept) == MAX_ENTRIES:
                break
            kept.append((item.role, text))
        return kept[::-1]

    @classmethod
    def from_list(cls, stored: object) -> History:
        """What `entries` gave, back from JSON. Whatever else is among it is left out: a store may hold
        anything."""
        history = cls()
        for entry in stored if isinstance(stored, list) else []:
            match entry:
                case ["user" | "assistant" as role, str(text)]:
                    history._put(history._own_id(), "user" if role == "user" else "assistant", text)
        return history

    def _item(self, item_id: str) -> _Item:
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = _Item()
            self._drop_oldest()
        return item

    def _put(self, item_id: str, role: Role, text: str) -> None:
        self.changes += 1
        item = self._item(item_id)
        self._n_bytes -= len(item.text.encode())
        item.role, item.text = role, _one_line(text, MAX_ENTRY_CHARS)
        self._n_bytes += len(item.text.encode())
        self._drop_oldest()

    def _own_id(self) -> str:
        self._own += 1
        return f"\0{self._own}"  # no item of the model's is called so

    def _drop_oldest(self) -> None:
        """Twice what is told is kept: an item may still be without text, or be told shortened."""
        while len(self._items) > 2 * MAX_ENTRIES or self._n_bytes > 2 * MAX_BYTES:
            oldest = self._items.pop(next(iter(self._items)))
            self._n_bytes -= len(oldest.text.encode())


def shortened(text: str, share: float) -> str:
    """The whole words among the first `share` of `text`, and a mark that it went on; empty for none.

    Speech and text run at about the same pace within one item, so its share is the time's share.
    """
    if share >= 1:
        return text
    at = max(0, int(len(text) * share))
    head = text[:at]
    if not text[at : at + 1].isspace():
        head = head[: max((n + 1 for n, char in enumerate(head) if char.isspace()), default=0)]
    head = head.rstrip().rstrip(",;:-–—־").rstrip()
    return head + CUT_MARK if head else ""


def _short(value: object) -> str:
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return _one_line(value, MAX_TOOL_CHARS)


def _one_line(text: str, max_chars: int) -> str:
    """Without line ends, control characters and what cannot be seen, bidi controls among it."""
    line = " ".join(_CONTROL.sub(" ", _INVISIBLE.sub("", text[: 2 * max_chars])).split())
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + CUT_MARK
