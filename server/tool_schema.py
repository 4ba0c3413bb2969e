"""Do the arguments that a model gives a tool fit the JSON schema that the operator wrote?

A schema is compiled once, at start (fastjsonschema turns it into a Python function), so a call only
runs that function. What may be written is narrower than JSON Schema and described by `_META`: no
references, because resolving one may open a URL; no keyword that would be ignored in silence; and
no pattern that hostile text could make slow, because matching holds the hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastjsonschema

MAX_ARGUMENTS_BYTES = 4096
"""Of the arguments as JSON: two thousand letters of Hebrew, three minutes of speech."""
_MAX_STEPS = 1_000_000
"""What a pattern may cost at worst: 5 ms, and far less for any text that is not made for it."""

_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_A_TYPE = f"one of {', '.join(_TYPES)}"
_A_PATTERN = "a regular expression of Python"
_A_QUICK_PATTERN = "quick for every text: begin it with ^, and write {1,40} instead of + or *"


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _is_quick(text: str) -> bool:
    return not _is_pattern(text) or worst_steps(text) <= _MAX_STEPS


_FORMATS: dict[str, str | Callable[[Any], bool]] = {
    _A_TYPE: _TYPES.__contains__,
    _A_PATTERN: _is_pattern,
    _A_QUICK_PATTERN: _is_quick,
}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_PLAIN = {"type": ["string", "number", "boolean", "null"]}
_ANNOTATION = {"type": [*_PLAIN["type"], "array"], "items": _PLAIN}
"""A table would do, were it not for the compiler: it follows a "$ref" even in a default."""
_SCHEMA = {"$ref": "#/definitions/schema"}
_META = {
    "allOf": [
        _SCHEMA,
        {"required": ["type"], "properties": {"type": {"enum": ["object"]}, "anyOf": False}},
    ],
    "definitions": {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "type": {"type": ["string", "array"], "format": _A_TYPE, "items": {"enum": list(_TYPES)}},
                "title": _TEXT,
                "description": _TEXT,
                "default": _ANNOTATION,
                "examples": {"type": "array", "items": _ANNOTATION},
                "enum": {"type": "array", "minItems": 1, "items": _PLAIN},
                "const": _PLAIN,
                "properties": {"type": "object", "additionalProperties": _SCHEMA},
                "required": {"type": "array", "items": _TEXT, "uniqueItems": True},
                "additionalProperties": {"type": "boolean"},
                "items": _SCHEMA,
                "minItems": _COUNT,
                "maxItems": _COUNT,
                "uniqueItems": {"type": "boolean"},
                "minLength": _COUNT,
                "maxLength": _COUNT,
                "pattern": {
                    "type": "string",
                    "allOf": [{"format": _A_PATTERN}, {"format": _A_QUICK_PATTERN}],
                },
                "format": {"enum": ["date", "time", "date-time"]},
                "minimum": _NUMBER,
                "maximum": _NUMBER,
                "exclusiveMinimum": _NUMBER,
                "exclusiveMaximum": _NUMBER,
                "multipleOf": {"type": "number", "exclusiveMinimum": 0},
                "anyOf": {"type": "array", "minItems": 1, "items": _SCHEMA},
            },
        }
    },
}


def _compile(schema: dict[str, Any], *, is_stopped_by_first: bool) -> Callable[[Any], Any]:
    """The function that raises JsonSchemaException for what does not fit `schema`."""
    return fastjsonschema.compile(
        schema,
        formats=_FORMATS,
        use_default=False,
        fast_fail=is_stopped_by_first,
    )


_check_schema = _compile(_META, is_stopped_by_first=False)


class ArgumentsSchema:
    """What a tool's arguments look like; `parameters` is the JSON schema itself, as the model gets it."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises ValueError with a line for each thing that is wrong with the schema."""
        self.parameters = dict(parameters)
        problems = _judge(_check_schema, self.parameters, "parameters")
        if not problems:
            problems = list(_unknown_requirements(self.parameters, "parameters"))
        try:
            json.dumps(self.parameters, allow_nan=False)
        except (TypeError, ValueError):
            problems.append("parameters holds what JSON does not know: write dates and times in quotes")
        except RecursionError:
            problems.append("parameters has too many levels")
        if problems:
            raise ValueError("\n".join(problems))
        try:
            self._check = _compile(self.parameters, is_stopped_by_first=True)
        except (fastjsonschema.JsonSchemaException, SyntaxError, RecursionError) as error:
            # SyntaxError: a hundred levels of tables, which Python cannot indent
            raise ValueError(f"parameters cannot be compiled: {error}") from error

    def problem(self, arguments: object) -> str:
        """The first thing that is wrong, in words for the model; empty when the arguments fit."""
        try:
            size = len(json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))
        except (TypeError, ValueError, RecursionError):
            return "the arguments are not JSON"
        if size > MAX_ARGUMENTS_BYTES:
            return f"the arguments are {size} bytes long, and {MAX_ARGUMENTS_BYTES} is the limit"
        return "\n".join(_judge(self._check, arguments, ""))


def _judge(check: Callable[[Any], Any], value: object, name: str) -> list[str]:
    """The checker's complaints; it calls what it checks `data`, and here it is called `name`."""
    try:
        check(value)
    except fastjsonschema.JsonSchemaValuesException as error:
        return [_renamed(each.message, name) for each in error.errors]
    except fastjsonschema.JsonSchemaValueException as error:
        return [_renamed(error.message, name)]
    except (ArithmeticError, RecursionError):  # a number of 400 digits, lists of 900 levels
        return [f"{name or 'the arguments'} cannot be judged: a number too large, or too many levels"]
    return []


def _renamed(message: str, name: str) -> str:
    path, blank, rest = message.removeprefix("data").partition(" ")
    return (f"{name}{path}".lstrip(".") or "the arguments") + blank + rest


def _unknown_requirements(schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """Required, but not among the properties: a slip of the pen that nothing else would show."""
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in properties:
            yield f"{place}.required names {name!r}, which is not among the properties"
    for name, below in properties.items():
        yield from _unknown_requirements(below, f"{place}.properties.{name}")
    if "items" in schema:
        yield from _unknown_requirements(schema["items"], f"{place}.items")
    for at, below in enumerate(schema.get("anyOf", ())):
        yield from _unknown_requirements(below, f"{place}.anyOf[{at}]")


_TOKEN = re.compile(
    r"""(?P<atom>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^()|*+?{])
      |(?P<open>\((?:\?:)?)
      |(?P<close>\))
      |(?P<or>\|)
      |(?P<repeat>[*+?]|\{(?P<low>\d*)(?P<comma>,?)(?P<high>\d*)\})[?+]?
      |(?P<brace>\{)""",
    re.VERBOSE | re.DOTALL,
)
_NEVER = float("inf")


def worst_steps(pattern: str) -> float:
    """An upper bound of the ways in which a backtracking matcher can try a valid pattern.

    It is the product of what each repeat may choose from, for a text as long as arguments may be, and
    for an unanchored pattern of the places where a match may begin. Infinite for look-arounds,
    back-references and other things not understood here.
    """
    if re.search(r"\(\?(?!:)|\\[1-9]", pattern):
        return _NEVER
    stack: list[list[float]] = []
    level = [0.0, 1.0, 1.0]  # ways of the branches before, of this branch, and of its last atom
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup if token.lastgroup not in ("low", "comma", "high") else "repeat"
        if kind == "open":
            stack.append(level)
            level = [0.0, 1.0, 1.0]
        elif kind == "or":
            level = [level[0] + level[1], 1.0, 1.0]
        elif kind == "close":
            group = level[0] + level[1]
            level = stack.pop()
            level[1:] = [level[1] * group, group]
        elif kind == "repeat":
            level[1] = level[1] / level[2] * _ways(token, level[2])
            level[2] = 1.0
        else:
            level[2] = 1.0
        if level[1] > 1e30:
            return _NEVER
    if pattern.startswith("^") and not level[0]:
        return level[1]
    return (level[0] + level[1]) * MAX_ARGUMENTS_BYTES


def _ways(repeat: re.Match[str], each: float) -> float:
    """Of matching an atom, which itself can be matched in `each` ways, again and again."""
    sign = repeat["repeat"][0]
    low = int(repeat["low"] or 0) if sign == "{" else int(sign == "+")
    if sign == "{":
        high = int(repeat["high"]) if repeat["high"] else MAX_ARGUMENTS_BYTES if repeat["comma"] else low
    else:
        high = 1 if sign == "?" else MAX_ARGUMENTS_BYTES
    if each == 1:
        return high - low + 1
    return (high - low + 1) * each**high if high * each < 200 else _NEVER
