"""Is this JSON what the Realtime protocol allows here, and if not, in whose words?

Small checks that combine into shapes. Each takes a value and its path (`session.audio.input`) and
raises `Rejected` with the code, message and `param` that the real server answers; none changes
the value. Missing fields are reported before unknown ones, and those before wrong values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from server.errors import GatewayError

Check = Callable[[Any, str], None]


class Rejected(GatewayError):
    """The client's event has no effect. Becomes an `error` event; the session goes on."""

    def __init__(self, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def unknown_parameter(path: str) -> Rejected:
    return Rejected("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def missing_parameter(path: str) -> Rejected:
    return Rejected("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def invalid_type(path: str, expected: str, value: Any) -> Rejected:
    message = f"Invalid type for '{path}': expected {expected}, but got {_kind(value)} instead."
    return Rejected("invalid_type", message, path)


def invalid_value(path: str, why: str) -> Rejected:
    return Rejected("invalid_value", f"Invalid value for '{path}': {why}", path)


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """An object of these fields and no others."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        for name in required:
            if name not in value:
                raise missing_parameter(_join(path, name))
        for name in value:
            if name not in fields:
                raise unknown_parameter(_join(path, name))
        for name, inner in value.items():
            fields[name](inner, _join(path, name))

    return check


def tagged(tag: str, shapes: Mapping[str, Check]) -> Check:
    """An object whose field `tag` says which of the shapes it has."""
    choices = choice(*shapes)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", value)
        if tag not in value:
            raise missing_parameter(_join(path, tag))
        choices(value[tag], _join(path, tag))
        shapes[value[tag]](value, path)

    return check


def choice(*values: str) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise invalid_type(path, "one of the supported strings", value)
        if value not in values:
            listed = ", ".join(f"'{v}'" for v in values)
            message = f"Invalid value: '{value[:100]}'. Supported values are: {listed}."
            raise Rejected("invalid_value", message, path)

    return check


def integer(low: int, high: int | None = None) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(path, "an integer", value)
        if value < low or (high is not None and value > high):
            raise invalid_value(path, f"expected {_between(low, high)}.")

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_type(path, "a decimal", value)
        if not low <= value <= high:
            raise invalid_value(path, f"expected {_between(low, high)}.")

    return check


def text(max_chars: int = 200_000) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise invalid_type(path, "a string", value)
        if len(value) > max_chars:
            raise invalid_value(path, f"a string of {len(value)} characters, at most {max_chars} allowed.")

    return check


def boolean(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise invalid_type(path, "a boolean", value)


def any_object(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise invalid_type(path, "an object", value)


def nullable(inner: Check) -> Check:
    def check(value: Any, path: str) -> None:
        if value is not None:
            inner(value, path)

    return check


def list_of(inner: Check, max_items: int = 128) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise invalid_type(path, "an array", value)
        if len(value) > max_items:
            raise invalid_value(path, f"an array of {len(value)}, at most {max_items} allowed.")
        for index, element in enumerate(value):
            inner(element, f"{path}[{index}]")

    return check


def string_or(inner: Check, *values: str) -> Check:
    """One of a few words, or what `inner` allows."""
    words = choice(*values)

    def check(value: Any, path: str) -> None:
        (words if isinstance(value, str) else inner)(value, path)

    return check


def metadata(value: Any, path: str) -> None:
    """Up to 16 pairs: keys of 64, values of 512 characters."""
    any_object(value, path)
    if len(value) > 16:
        raise invalid_value(path, f"{len(value)} pairs, at most 16 allowed.")
    for key, inner in value.items():
        if len(key) > 64:
            raise invalid_value(path, "a key of over 64 characters.")
        text(512)(inner, _join(path, key))


def too_deep(value: Any, limit: int = 64) -> bool:
    """Whether JSON nests deeper than anything the protocol has use for."""
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name[:100]}" if path else name[:100]


def _between(low: float, high: float | None) -> str:
    return f"a value >= {low}" if high is None or math.isinf(high) else f"a value from {low} to {high}"


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
        dict: "an object",
        type(None): "null",
    }
    return kinds.get(type(value), "something else")
