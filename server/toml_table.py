"""How does a table of a TOML file become values, with every problem named at its place?

Each reader takes one key. A value that cannot be used is noted among the problems and its default
returned, so that one reading names all that is wrong; `finish` notes the keys that nobody took.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


class Table:
    """One table. `owner` names what it describes, `path` leads from there to it."""

    def __init__(self, values: Mapping[str, Any], problems: list[str], owner: str, path: str = "") -> None:
        self.owner = owner
        self._values = values
        self._problems = problems
        self._path = path
        self._taken: dict[str, None] = {}

    def problem(self, key: str, what: str) -> None:
        """Note what is wrong with `key`; an empty key is the table itself."""
        place = ".".join(part for part in (self._path, key) if part)
        self._problems.append(f"{self.owner}: {place}: {what}" if place else f"{self.owner}: {what}")

    def raw(self, key: str) -> Any:
        """The value as TOML has it; None when the key is absent."""
        self._taken[key] = None
        return self._values.get(key)

    def text(self, key: str, default: str) -> str:
        """Text without the blanks around it. An empty one means the default, as with a variable."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.problem(key, "not a text in quotes")
            return default
        return value.strip() or default

    def read(self, key: str, default: Value, reader: Callable[[str], Value]) -> Value:
        """What `reader` makes of a text or a number; its ValueError says what was expected."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            self.problem(key, "neither a text in quotes nor a number")
            return default
        try:
            return reader(str(value))
        except ValueError as error:
            self.problem(key, str(error))
            return default

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            self.problem(key, f"not a number from {low:g} to {high:g}")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, "neither true nor false")
            return default
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts, none of them empty."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            self.problem(key, 'not a list of texts such as ["one", "two"]')
            return []
        return [item.strip() for item in value]

    def table(self, key: str) -> Table | None:
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problem(key, "not a table")
            return None
        return Table(value, self._problems, self.owner, f"{self._path}.{key}".lstrip("."))

    def tables(self, key: str, name_of: Callable[[int, Mapping[str, Any]], str]) -> list[Table]:
        """An array of tables; `name_of(place from 1, its values)` names each one's owner."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem(key, f"not a list of tables: begin each with [[{key}]]")
            return []
        return [Table(item, self._problems, name_of(at, item)) for at, item in enumerate(value, 1)]

    def names(self) -> list[str]:
        return list(self._values)

    def finish(self) -> None:
        """Note each key that no reader asked for."""
        for key in self._values:
            if key not in self._taken:
                self.problem(key, f"unknown{did_you_mean(key, self._taken)}")


def did_you_mean(word: str, known: Mapping[str, Any]) -> str:
    """`; did you mean x?` when one of the known words is near, else nothing."""
    close = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""
