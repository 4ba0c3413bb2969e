"""How is an expectation written, and which kinds are there?

An entry of `expect:` is one kind of expectation with its own further keys. Each becomes a check, which
answers with what was expected and what was so instead, or with nothing when it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from server.errors import AudioFileError
from server.logs import clean
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.evidence import Evidence
from server.simulator.scenario.yaml_text import Block, Value

Check = Callable[[Evidence], str]
Reader = Callable[[Block, ClipShelf], Check]

SHOWN_CHARS = 240


class Need(Enum):
    """What has to take part for an expectation to be judged."""

    CALL = "the call alone"
    GATEWAY = "a gateway started here"
    MODEL = "a `model:` section"


@dataclass(frozen=True, slots=True)
class Kind:
    """One word that an expectation may begin with."""

    head: str
    read: Reader
    more: tuple[str, ...] = ()
    """Its further keys."""
    need: Need = Need.CALL
    allows: Callable[[Block], frozenset[int]] = lambda _: frozenset()
    """Findings that are no failures then, by Twilio's numbers."""


@dataclass(frozen=True, slots=True)
class Expectation:
    line: int
    head: str
    need: Need
    check: Check
    allowed_findings: frozenset[int] = frozenset()

    def failure(self, evidence: Evidence) -> str:
        """Empty when it holds."""
        told = self.check(evidence)
        return f"line {self.line}: {told}" if told else ""


def read_expectations(value: Value, kinds: Iterable[Kind], shelf: ClipShelf) -> tuple[Expectation, ...]:
    """The `expect:` section. Raises ScenarioError."""
    by_head = {kind.head: kind for kind in kinds}
    return tuple(_expectation(item.block(), by_head, shelf) for item in value.items())


def _expectation(block: Block, by_head: dict[str, Kind], shelf: ClipShelf) -> Expectation:
    heads = [name for name in block.names() if name in by_head]
    if not heads:
        block.only(by_head, "of an expectation")
        raise block.error("an expectation says something")
    kind = by_head[heads[0]]
    block.only(
        (kind.head, *kind.more), f"beside {kind.head!r}" if kind.more else f"({kind.head!r} stands alone)"
    )
    try:
        check = kind.read(block, shelf)
    except AudioFileError as error:
        raise block.need(kind.head).error(str(error)) from error
    return Expectation(block.line, kind.head, kind.need, check, kind.allows(block))


def counted(found: int, wanted: int | None) -> bool:
    """Whether that is often enough: exactly `wanted` times, or at least once."""
    return found > 0 if wanted is None else found == wanted


def times(block: Block) -> int | None:
    value = block.get("times")
    return None if value is None else value.integer()


def how_often(wanted: int | None) -> str:
    if wanted is None:
        return ""
    return {0: " never", 1: " once", 2: " twice"}.get(wanted, f" {wanted} times")


def difference(wanted: Any, got: Any, path: str = "") -> str:
    """Where `got` lacks something of `wanted`; empty when all of it is there.

    Objects may hold more; lists are compared element by element; a text that begins with `~` is a
    regular expression, to be found in the other.
    """
    where = path or "it"
    if isinstance(wanted, dict):
        if not isinstance(got, dict):
            return f"{where} is {shown(got)}"
        for name, inner in wanted.items():
            inner_path = f"{path}.{name}" if path else name
            if name not in got:
                return f"there is no {inner_path}"
            if found := difference(inner, got[name], inner_path):
                return found
        return ""
    if isinstance(wanted, list):
        if not isinstance(got, list) or len(got) != len(wanted):
            return f"{where} is {shown(got)}"
        pairs = enumerate(zip(wanted, got, strict=True))
        return next((d for index, (w, g) in pairs if (d := difference(w, g, f"{path}[{index}]"))), "")
    if isinstance(wanted, str) and wanted.startswith("~"):
        holds = isinstance(got, str) and re.search(wanted[1:], got) is not None
        return "" if holds else f"{where} is {shown(got)}"
    same = wanted == got and isinstance(wanted, bool) == isinstance(got, bool)
    return "" if same else f"{where} is {shown(got)}"


def shown(value: Any) -> str:
    """A value of the far end's, for one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return clean(text, SHOWN_CHARS) + ("…" if len(text) > SHOWN_CHARS else "")


def s(ms: float) -> str:
    """`3.21 s`."""
    return f"{ms / 1000:.2f} s"
