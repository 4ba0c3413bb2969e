"""What does this YAML say, and in which line?

The composer of PyYAML gives nodes with their places; what a scalar means is decided here, where it is
known what is expected. So `NOISE_GATE: off` and `+97231234567` stay the words they are, and only
`true` and `false` are truth values (as in YAML 1.2): PyYAML by itself would make them False and a number.
Each mistake is a ScenarioError with its line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from server.errors import GatewayError

_TAG = re.compile(r"tag:yaml\.org,2002:[a-z]+")
_NULL = re.compile(r"~|null|Null|NULL|")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "True": True, "false": False, "False": False}
_WORDS_FOR_TRUTH = ("yes", "no", "on", "off", "y", "n")
_MAX_SHOWN = 60


class ScenarioError(GatewayError):
    """A scenario that cannot be played as it is written: `greeting.yaml:12: …`."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path = path
        self.line = line
        self.message = message


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean say?`, or what there is."""
    names = [name for name in known if name]
    close = difflib.get_close_matches(word, names, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


class _Loader(yaml.SafeLoader):
    """Without aliases: a node that stands twice could be written once and never end."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None,
                None,
                "anchors (&) and aliases (*) are not taken; a text that begins so needs quotes",
                event.start_mark,
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def read_yaml(text: str, path: Path) -> Value:
    """The document's top. Raises ScenarioError."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ScenarioError(path, mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ScenarioError(path, 1, f"not YAML: {error or 'nested too deeply'}") from error
    if node is None:
        raise ScenarioError(path, 1, "an empty file")
    return Value(node, path)


class Value:
    """One node: a scalar, a list or a mapping, until somebody says what it shall be."""

    def __init__(self, node: yaml.Node, path: Path) -> None:
        self._node = node
        self.path = path
        self.line: int = node.start_mark.line + 1
        if not _TAG.fullmatch(node.tag):
            raise self.error(f"the tag {node.tag[:_MAX_SHOWN]} is not taken")

    def error(self, message: str) -> ScenarioError:
        return ScenarioError(self.path, self.line, message)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_block(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_empty(self) -> bool:
        """Nothing, `~` or null."""
        return self._is_plain and bool(_NULL.fullmatch(self._node.value))

    def text(self) -> str:
        """As it stands in the file, whatever else it might mean: `off`, `0123`, `+97231234567`."""
        if not isinstance(self._node, yaml.ScalarNode) or self.is_empty:
            raise self.error(f"a text was expected, not {self._shown()}")
        return str(self._node.value)

    def number(self, low: float = 0.0, high: float = 1e9) -> float:
        if not (self._is_plain and _NUMBER.fullmatch(self._node.value)):
            raise self.error(f"a number was expected, not {self._shown()}")
        if not low <= (found := float(self._node.value)) <= high:
            raise self.error(f"{found:g} is not from {low:g} to {high:g}")
        return found

    def integer(self, low: int = 0, high: int = 1_000_000_000) -> int:
        if not (self._is_plain and _INTEGER.fullmatch(self._node.value)):
            raise self.error(f"a whole number was expected, not {self._shown()}")
        if not low <= (found := int(self._node.value)) <= high:
            raise self.error(f"{found} is not from {low} to {high}")
        return found

    def flag(self) -> bool:
        if self._is_plain and self._node.value in _TRUTH:
            return _TRUTH[self._node.value]
        raise self.error(f"true or false was expected, not {self._shown()}")

    def choice(self, *words: str) -> str:
        if (found := self.text()) not in words:
            raise self.error(f"{found[:_MAX_SHOWN]!r} is not known here{suggestion(found, words)}")
        return found

    def regex(self) -> re.Pattern[str]:
        try:
            return re.compile(self.text())
        except re.error as error:
            raise self.error(f"{self._shown()} is no regular expression: {error}") from error

    def items(self) -> list[Value]:
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error(f"a list was expected, not {self._shown()}")
        return [Value(node, self.path) for node in self._node.value]

    def one_or_more(self) -> list[Value]:
        """A list, or one thing that stands for a list of itself."""
        return self.items() if self.is_list else [self]

    def block(self, known: Iterable[str] | None = None, what: str = "here") -> Block:
        """A mapping; with `known`, of these keys and no others."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error(f"`key: value` lines were expected {what}, not {self._shown()}")
        block = Block(self._node, self.path)
        if known is not None:
            block.only(known, what)
        return block

    def plain(self) -> Any:
        """As JSON would have it: text, number, true, false, null, list or object."""
        if self.is_list:
            return [item.plain() for item in self.items()]
        if self.is_block:
            return {name: value.plain() for name, value in self.block().entries()}
        text = self._node.value
        if not self._is_plain:
            return text
        if self.is_empty:
            return None
        if text in _TRUTH:
            return _TRUTH[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _NUMBER.fullmatch(text) else text

    @property
    def _is_plain(self) -> bool:
        """A scalar without quotes, which alone may be more than a text."""
        return isinstance(self._node, yaml.ScalarNode) and self._node.style is None

    def _shown(self) -> str:
        if self.is_list:
            return "a list"
        if self.is_block:
            return "`key: value` lines"
        if self.is_empty:
            return "nothing"
        text = str(self._node.value)[:_MAX_SHOWN]
        if self._is_plain and text.lower() in _WORDS_FOR_TRUTH:
            return f"{text!r}, which is a mere word here"
        return repr(text) if self._is_plain else f"{text!r} in quotes"


class Block:
    """A mapping whose keys are texts, each once."""

    def __init__(self, node: yaml.MappingNode, path: Path) -> None:
        self.path = path
        self.line: int = node.start_mark.line + 1
        self._entries: dict[str, tuple[Value, Value]] = {}
        for key_node, value_node in node.value:
            key = Value(key_node, path)
            name = key.text()
            if name in self._entries:
                raise key.error(f"{name!r} stands here twice, first in line {self._entries[name][0].line}")
            self._entries[name] = key, Value(value_node, path)

    def error(self, message: str) -> ScenarioError:
        return ScenarioError(self.path, self.line, message)

    def only(self, known: Iterable[str], what: str = "here") -> None:
        """Raises ScenarioError for the first key that is none of these."""
        names = list(known)
        for name, (key, _) in self._entries.items():
            if name not in names:
                raise key.error(f"unknown key {name[:_MAX_SHOWN]!r} {what}{suggestion(name, names)}")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return list(self._entries)

    def get(self, name: str) -> Value | None:
        found = self._entries.get(name)
        return found[1] if found else None

    def need(self, name: str) -> Value:
        found = self._entries.get(name)
        if found is None:
            raise self.error(f"{name!r} is missing")
        return found[1]

    def key(self, name: str) -> Value:
        """The key itself, for its line."""
        return self._entries[name][0]

    def entries(self) -> Iterator[tuple[str, Value]]:
        for name, (_, value) in self._entries.items():
            yield name, value
