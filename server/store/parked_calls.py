"""What does a call need to go on in another process? One small record, as JSON.

It is read back strictly: it comes from a file or a server that others can write to, and a record that
is half understood would put words into a caller's mouth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

SPENT_S = "spent_s"
MAX_SPENT_S = 86_400.0
MAX_RECORD_BYTES = 64 * 1024
"""Of UTF-8. An hour's conversation is about half of it."""


@dataclass(frozen=True, slots=True)
class ParkedCall:
    """A conversation whose stream has ended, and whose caller is still there."""

    call_sid: str
    business_id: str
    language: str
    """he or en"""
    history: Sequence[tuple[str, str]] = field(default_factory=list, repr=False)
    """Role and text, the oldest first."""
    voice: str = ""
    greeting_done: bool = False
    """The caller has heard the greeting: it is not said again."""
    parked_at: float = 0.0
    """Unix seconds."""
    reason: str = ""
    """Why the stream ended, such as `drain`."""
    turns: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What later versions add; JSON-able."""

    @property
    def spent_s(self) -> float:
        """How long the call took so far, the time between its streams left out."""
        value = self.extra.get(SPENT_S)
        return float(min(max(0, value), MAX_SPENT_S)) if isinstance(value, int | float) else 0.0

    def to_json(self) -> str:
        """At most MAX_RECORD_BYTES of UTF-8; the oldest history is left out as far as that needs.

        Raises ValueError when the rest alone is longer, or cannot be JSON.
        """
        record = {spec.name: getattr(self, spec.name) for spec in fields(self)} | {"history": []}
        left_bytes = MAX_RECORD_BYTES - len(_json(record)) + len(",")  # none follows the last entry
        if left_bytes < len(","):
            raise ValueError(f"a parked call of more than {MAX_RECORD_BYTES} bytes besides its history")
        kept = []
        for role, text in reversed(self.history):
            if len(text) <= left_bytes:  # a longer one is not even encoded: it may be of any length
                left_bytes -= len(_json([role, text])) + len(",")
            else:
                left_bytes = -1
            if left_bytes < 0:
                break
            kept.append([role, text])
        return _json(record | {"history": kept[::-1]}).decode()

    @classmethod
    def from_json(cls, text: str) -> ParkedCall:
        """What `to_json` gave. Raises ValueError for everything else."""
        if len(text.encode()) > MAX_RECORD_BYTES:
            raise ValueError(f"a parked call of more than {MAX_RECORD_BYTES} bytes")
        try:
            record = json.loads(text, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("a parked call that is nested too deeply") from None
        if not isinstance(record, dict):
            raise ValueError(f"a parked call that is no object but {type(record).__name__}")
        if record.keys() != _KINDS.keys():
            raise ValueError(f"a parked call with other fields: {len(record.keys() ^ _KINDS.keys())} differ")
        for name, kinds in _KINDS.items():
            if type(record[name]) not in kinds:  # exactly: True is an int by isinstance
                raise ValueError(f"a parked call whose {name} is {type(record[name]).__name__}")
        if not record["call_sid"] or not 0 <= record["turns"] < 1e9 or not 0 <= record["parked_at"] < 1e11:
            raise ValueError("a parked call without call_sid, or with impossible numbers")
        record["history"] = [_entry(entry) for entry in record["history"]]
        return cls(**record)


_KINDS: dict[str, tuple[type, ...]] = {
    "call_sid": (str,),
    "business_id": (str,),
    "language": (str,),
    "history": (list,),
    "voice": (str,),
    "greeting_done": (bool,),
    "parked_at": (int, float),
    "reason": (str,),
    "turns": (int,),
    "extra": (dict,),
}


def _json(value: object) -> bytes:
    """Hebrew as itself: escaped it would be three times as long. Raises ValueError."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a parked call that cannot be JSON: {error}") from None
    return text.encode("utf-8", "replace")  # half a surrogate pair is no character


def _entry(entry: object) -> tuple[str, str]:
    match entry:
        case [str(role), str(text)]:
            return role, text
    raise ValueError("a parked call whose history is not made of pairs of text")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
