"""What differs from one business, and so from one called number, to the next?

`Businesses.from_settings` makes them once at start, from the variables and the text of the file that
BUSINESSES_FILE names; docs/businesses.md describes that file. What a business leaves out it takes
from the variables. Every problem is collected and raised as one ConfigError.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from server.business_tools import HttpTool, derived_key, read_tool, receiver_url, secret
from server.config import Settings, variables
from server.config_defaults import DEFAULT_GREETING, DEFAULT_INSTRUCTIONS
from server.config_values import phone_number
from server.errors import ConfigError
from server.faults import FAULTS
from server.toml_table import Table, did_you_mean

TELEPHONE_KEYS = "0123456789*#"
_READERS = {spec.name: spec.metadata["read"] for spec in variables()}
"""How the variables are read: the same words and the same limits hold in the file."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class BargeInRule(StrEnum):
    """Whether callers may interrupt the agent."""

    ON = "on"
    OFF = "off"
    AFTER_GREETING = "after_greeting"


class KeyKind(StrEnum):
    TRANSFER = "transfer"
    """`text` is the destination's name."""
    SAY = "say"
    """The model is asked to say `text`."""
    MESSAGE = "message"
    HANGUP = "hangup"
    MODEL = "model"
    """The model is told of the key."""


@dataclass(frozen=True, slots=True)
class KeyAction:
    """What a key of the caller's telephone does."""

    kind: KeyKind
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> KeyAction:
        """`transfer:NAME`, `say:TEXT`, `message`, `hangup` or `model`. Raises ValueError."""
        word, colon, rest = text.partition(":")
        word, rest = word.strip().lower(), rest.strip()
        if word in (KeyKind.TRANSFER, KeyKind.SAY) and rest:
            return cls(KeyKind(word), rest)
        if word in (KeyKind.MESSAGE, KeyKind.HANGUP, KeyKind.MODEL) and not colon:
            return cls(KeyKind(word))
        raise ValueError("none of transfer:NAME, say:TEXT, message, hangup and model")


@dataclass(frozen=True, slots=True)
class Business:
    id: str
    """Short and Latin: it travels through Twilio and stands in logs."""
    name: str
    numbers: tuple[str, ...]
    """The numbers that callers dial, E.164."""
    language: str
    """he or en"""
    voice: str
    greeting: str
    instructions: str
    barge_in: BargeInRule
    min_speech_ms: int
    still_there_s: int
    idle_s: int
    transfers: Mapping[str, str]
    """Name of a destination, in whatever language, to its number (E.164)."""
    keys: Mapping[str, KeyAction]
    """`0` to `9`, `*` and `#`; those not named do nothing of their own."""
    notify_number: str
    """Gets a text message for each message taken; empty: none."""
    notify_url: str = field(repr=False)
    """Gets a signed POST for each message taken; empty: none."""
    tools: tuple[HttpTool, ...]
    backchannels: tuple[str, ...]
    """Words beyond the usual ones that mean `go on` and not `stop`."""
    share_caller: bool
    """Whether receivers learn the caller's whole number."""
    signing_key: str = field(repr=False)
    """Signs what goes to `notify_url`; empty: it is not signed."""


class Businesses:
    """All of them. The first one also answers what is known by no other number or id."""

    def __init__(self, businesses: tuple[Business, ...]) -> None:
        self.all = businesses
        self.default = businesses[0]
        self._by_id = {business.id: business for business in businesses}
        self._by_number = {_digits(number): each for each in businesses for number in each.numbers}

    @classmethod
    def from_settings(cls, settings: Settings, toml_text: str | None) -> Businesses:
        """`toml_text` is what the file holds; None without a file: then there is one business, `1`.

        Raises ConfigError that names everything that cannot be used.
        """
        problems: list[str] = []
        businesses: tuple[Business, ...] = (_from_variables(settings, problems),)
        if toml_text is not None:
            businesses = _from_file(toml_text, businesses[0], settings, problems)
        if problems:
            raise ConfigError(FAULTS["KAV-169"].line("\n  " + "\n  ".join(problems) + "\n "))
        return cls(businesses)

    def for_number(self, to: str) -> Business:
        """Who is called at this number, written in whatever way."""
        return self._by_number.get(_digits(to), self.default)

    def by_id(self, business_id: str) -> Business:
        return self._by_id.get(business_id, self.default)


def _digits(number: str) -> str:
    """Two ways to write a number are one: a form's `+` may have arrived as a blank."""
    return re.sub(r"[\s().-]", "", number).removeprefix("+")


def _from_variables(settings: Settings, problems: list[str]) -> Business:
    try:
        receiver_url(settings.notify_url)
    except ValueError as error:
        problems.append(f"NOTIFY_URL: {error}")
    return Business(
        id="1",
        name="",
        numbers=(),
        language=settings.call_language,
        voice=settings.voice,
        greeting=settings.greeting_text,
        instructions=settings.instructions_text,
        barge_in=BargeInRule(settings.barge_in),
        min_speech_ms=settings.min_speech_ms,
        still_there_s=settings.still_there_seconds,
        idle_s=settings.idle_seconds,
        transfers={"person": settings.person_number} if settings.person_number else {},
        keys={},
        notify_number=settings.notify_number,
        notify_url=settings.notify_url,
        tools=(),
        backchannels=(),
        share_caller=False,
        signing_key=_key_of("1", settings),
    )


def _key_of(business_id: str, settings: Settings) -> str:
    return derived_key(next(iter(settings.twilio_auth_tokens), ""), business_id)


def _from_file(text: str, default: Business, settings: Settings, problems: list[str]) -> tuple[Business, ...]:
    try:
        root = Table(tomllib.loads(text), problems, "the file")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"not TOML: {error}")
        return (default,)
    tables = root.tables("business", _owner)
    root.finish()
    if not tables and not problems:
        problems.append("the file describes no business: begin each with [[business]]")
    businesses = [_business(at, table, default, settings) for at, table in enumerate(tables, 1)]
    ids: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for at, (table, business) in enumerate(zip(tables, businesses, strict=True)):
        if ids.setdefault(business.id, table.owner) != table.owner:
            table.problem("id", f"the same as that of {ids[business.id]}")
        for number in business.numbers:
            if numbers.setdefault(number, table.owner) != table.owner:
                table.problem("numbers", f"{number} belongs to {numbers[number]}")
        if at and not table.raw("numbers"):
            table.problem("numbers", "none, so no call would reach it; only the first may go without")
    return tuple(businesses) or (default,)


def _owner(at: int, values: Mapping[str, Any]) -> str:
    shown = values.get("id", values.get("name"))
    return f'business {at} ("{shown}")' if isinstance(shown, str) and shown else f"business {at}"


def _business(at: int, table: Table, default: Business, settings: Settings) -> Business:
    business_id = table.read("id", str(at), _read_id)
    language = table.read("language", default.language, _READERS["call_language"])
    if language != default.language:  # the variables' own words are in the other language
        default = dataclasses.replace(
            default, greeting=DEFAULT_GREETING[language], instructions=DEFAULT_INSTRUCTIONS[language]
        )
    transfers = _transfers(table, default)
    signing_key = table.read("secret", _key_of(business_id, settings), secret)
    business = Business(
        id=business_id,
        name=table.text("name", business_id),
        numbers=_numbers(table),
        language=language,
        voice=table.read("voice", default.voice, lambda voice: _read_voice(voice, settings)),
        greeting=table.text("greeting", default.greeting),
        instructions=table.text("instructions", default.instructions),
        barge_in=BargeInRule(table.read("barge_in", default.barge_in.value, _READERS["barge_in"])),
        min_speech_ms=table.read("min_speech_ms", default.min_speech_ms, _READERS["min_speech_ms"]),
        still_there_s=table.read("still_there_s", default.still_there_s, _READERS["still_there_seconds"]),
        idle_s=table.read("idle_s", default.idle_s, _READERS["idle_seconds"]),
        transfers=transfers,
        keys=_keys(table, transfers),
        notify_number=table.read("notify_number", default.notify_number, phone_number),
        notify_url=table.read("notify_url", default.notify_url, receiver_url),
        tools=_tools(table, signing_key),
        backchannels=tuple(table.texts("backchannels")),
        share_caller=table.flag("share_caller", False),
        signing_key=signing_key,
    )
    table.finish()
    return business


def _read_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("not 1 to 32 Latin letters, digits, _ and -")
    return text


def _read_voice(text: str, settings: Settings) -> str:
    voice = text.strip()
    if dataclasses.replace(settings, realtime_voice=voice).voice != voice:
        raise ValueError("not a voice of the model")
    return voice


def _one_number(text: str) -> str:
    return phone_number(text or "none")


def _numbers(table: Table) -> tuple[str, ...]:
    numbers: dict[str, None] = {}
    for text in table.texts("numbers"):
        try:
            number = _one_number(text)
        except ValueError as error:
            table.problem("numbers", f'"{text}" is {error}')
            continue
        if number in numbers:
            table.problem("numbers", f"{number} stands there twice")
        numbers[number] = None
    return tuple(numbers)


def _transfers(table: Table, default: Business) -> Mapping[str, str]:
    below = table.table("transfers")
    if below is None:
        return default.transfers
    return {name: below.read(name, "", _one_number) for name in below.names()}


def _keys(table: Table, transfers: Mapping[str, str]) -> Mapping[str, KeyAction]:
    below = table.table("keys")
    if below is None:
        return {}
    actions: dict[str, KeyAction] = {}
    for key in below.names():
        action = below.read(key, None, KeyAction.parse)
        if len(key) != 1 or key not in TELEPHONE_KEYS:
            below.problem(key, "not a key of a telephone: 0 to 9, * and #")
        elif action is not None:
            actions[key] = action
            if action.kind is KeyKind.TRANSFER and action.text not in transfers:
                guess = did_you_mean(action.text, transfers)
                below.problem(key, f'"{action.text}" is not among the transfers{guess}')
    return actions


def _tools(table: Table, signing_key: str) -> tuple[HttpTool, ...]:
    def owner(at: int, values: Mapping[str, Any]) -> str:
        name = values.get("name")
        return f"{table.owner}: " + (f'tool {at} ("{name}")' if isinstance(name, str) else f"tool {at}")

    tables = table.tables("tools", owner)
    tools = tuple(read_tool(below, signing_key) for below in tables)
    names: dict[str, str] = {}
    for below, tool in zip(tables, tools, strict=True):
        if tool.name and names.setdefault(tool.name, below.owner) != below.owner:
            below.problem("name", "the same as that of another tool")
    return tools
