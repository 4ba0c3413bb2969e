"""What does a key do?

Keys that the business gave a meaning act at once and without the model, so that "0 for a person" works even
when the model does not. All others are an entry (an identity number, a date) that is told to the model as
text once the caller pauses (`KeyBuffer`).

| typed so far | in the menu | |
|---|---|---|
| 0 | 0 | acts at once |
| 7 | | waits: after a pause it is text |
| 7 0 | 0 | an entry is being typed: the 0 belongs to it |
| 1 2 | 12 | acts at once |
| 1 | 1 and 12 | waits for the 2; a pause or `#` makes it act |
| 5 # | | `#` ends the entry: text "5#" at once |
| # | | text "#" at once |
| # or * | # or * | acts at once, unless an entry is being typed |

`#` ends an entry, so a choice of several keys cannot hold it.

What a key does is the caller's own type: the menu hands it back unseen. Pure; the time is an argument
(seconds, monotonic).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.telephony.keys import END_KEY, KeyBuffer

Action = TypeVar("Action")


@dataclass(frozen=True, slots=True)
class Chosen(Generic[Action]):
    """The caller chose from the menu."""

    keys: str
    action: Action


@dataclass(frozen=True, slots=True)
class Typed:
    """An entry that is no choice: the model is told."""

    keys: str


class KeyMenu(Generic[Action]):
    """One caller's keys against the menu: from one or several keys to what they do."""

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = {keys: action for keys, action in actions.items() if keys}
        self._buffer = KeyBuffer()
        self._keys = ""
        """What the buffer holds."""

    def press(self, digit: str, now_s: float) -> list[Chosen[Action] | Typed]:
        """One key. Returns what is to be done now: mostly nothing or one thing, two if an entry that a
        pause had ended was not asked for before."""
        done = self.due(now_s)
        keys = self._keys + digit
        if keys in self._actions and not self._goes_on(keys):
            self._clear()
            return [*done, Chosen(keys, self._actions[keys])]
        self._keys = keys
        entry = self._buffer.press(digit, now_s)
        return done + self._ended(entry)

    def due(self, now_s: float) -> list[Chosen[Action] | Typed]:
        """The entry that a pause has ended, if there is one. Called ten times a second."""
        return self._ended(self._buffer.due(now_s))

    def _ended(self, entry: str) -> list[Chosen[Action] | Typed]:
        if not entry:
            return []
        self._clear()
        keys = entry if entry in self._actions else entry.removesuffix(END_KEY)
        return [Chosen(keys, self._actions[keys])] if keys in self._actions else [Typed(entry)]

    def _goes_on(self, keys: str) -> bool:
        return any(other != keys and other.startswith(keys) for other in self._actions)

    def _clear(self) -> None:
        self._keys, self._buffer = "", KeyBuffer()
