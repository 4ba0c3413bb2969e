"""What is in a scenario file?

    name, about, language, max_seconds
    gateway:    variables of the gateway that is started for it
    businesses_toml: |   the text of its BUSINESSES_FILE
    receivers:  the business's own computers, and what they answer
    model:      what the model says, hears and does wrong
    twilio:     numbers, what becomes of <Dial>, faults of the REST API
    caller:     steps
    expect:     what must have been so

Reading is strict: whatever is not known is refused with its line, for a typing error in a test would
otherwise be a test that never fails.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from server.config import LATER, variables
from server.errors import ConfigError
from server.simulator.scenario import expect_call, expect_heard, expect_model, expect_timing
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.expectations import Expectation, Need, read_expectations
from server.simulator.scenario.model_section import ModelSection, read_model
from server.simulator.scenario.receivers import Reply, read_receivers
from server.simulator.scenario.steps import Step, read_steps
from server.simulator.scenario.yaml_text import Block, ScenarioError, Value, read_yaml
from server.simulator.twilio import rest_faults
from server.simulator.twilio.dialling import DialOutcome

KINDS = (*expect_heard.KINDS, *expect_timing.KINDS, *expect_model.KINDS, *expect_call.KINDS)
MAX_SECONDS = 60.0
FILE_ENDINGS = (".yaml", ".yml")
SECTIONS = (
    *("name", "about", "language", "max_seconds"),
    *("gateway", "businesses_toml", "receivers", "model", "twilio", "caller", "expect"),
)
_TWILIO_KEYS = (
    "from",
    "to",
    "dial",
    "rest_faults",
    "offer_subprotocol",
    "timeout_s",
    "asks_action_after_update",
)
OWN_GATEWAY = ("gateway", "businesses_toml", "receivers", "model")
"""Sections that have a meaning only for a gateway started here."""
GIVEN = ("PORT", "OPENAI_REALTIME_URL", "TWILIO_API_URL", "BUSINESSES_FILE")
"""Variables that the runner sets itself."""
DialStatus = Literal["answered", "busy", "no-answer", "failed"]
_STATUSES: dict[str, DialStatus] = {status: status for status in get_args(DialStatus)}
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class TwilioSection:
    from_number: str = "+972501234567"
    to_number: str = "+97231234567"
    dial: tuple[DialOutcome, ...] = (DialOutcome(),)
    """Of each `<Dial>` in turn; the last one of all that follow."""
    rest_faults: tuple[str, ...] = ()
    offer_subprotocol: bool = True
    timeout_s: float = 15.0
    """For each HTTP answer and for the upgrade."""
    asks_action_after_update: bool = False
    """Whether a `<Connect>` that REST ended is followed by its `action`."""


@dataclass(frozen=True, slots=True)
class Scenario:
    path: Path
    name: str
    about: str
    language: str
    max_seconds: float
    variables: dict[str, str]
    """Of the gateway's environment."""
    businesses_toml: str | None
    receivers: dict[str, tuple[Reply, ...]]
    """By name."""
    model: ModelSection | None
    twilio: TwilioSection
    steps: tuple[Step, ...]
    expectations: tuple[Expectation, ...]
    shelf: ClipShelf
    own_gateway_lines: tuple[tuple[int, str], ...]
    """Where it speaks of what only a gateway started here has: line, and what."""


def find_files(paths: list[Path]) -> list[Path]:
    """The files, and those of each folder by name. Raises ConfigError for what is neither, or empty."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix in FILE_ENDINGS)
            if not inside:
                raise ConfigError(f"{path}: no scenario ({' or '.join(FILE_ENDINGS)}) in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ConfigError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def read_scenario(path: Path) -> Scenario:
    """Raises ScenarioError with the line of the first mistake."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ScenarioError(path, 0, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(path, 0, "not UTF-8 text") from error
    return parse_scenario(text, path)


def parse_scenario(text: str, path: Path) -> Scenario:
    """`path` names the file in errors, and its folder holds the clips. Raises ScenarioError."""
    block = read_yaml(text, path).block(SECTIONS, "of a scenario")
    language = _choice(block, "language", "he", "en")
    shelf = ClipShelf(path.parent, language)
    model_value = block.get("model")
    model = read_model(model_value, shelf) if model_value else None
    expectations = read_expectations(block.need("expect"), KINDS, shelf)
    for expectation in expectations:
        if expectation.need is Need.MODEL and model is None:
            raise ScenarioError(path, expectation.line, f"{expectation.head!r} needs {Need.MODEL.value}")
    receivers = read_receivers(block.get("receivers"))
    for item in block.need("expect").items():
        asked = item.block().get("received")
        if asked is not None and asked.text() not in receivers:
            raise asked.error(
                f"no receiver {asked.text()[:40]!r}; there are {', '.join(receivers) or 'none'}"
            )
    limit = block.get("max_seconds")
    businesses = block.get("businesses_toml")
    return Scenario(
        path=path,
        name=_text(block, "name") or path.stem,
        about=_text(block, "about"),
        language=language,
        max_seconds=limit.number(1, 7200) if limit else MAX_SECONDS,
        variables=_variables(block.get("gateway")),
        businesses_toml=businesses.text() if businesses else None,
        receivers=receivers,
        model=model,
        twilio=_twilio(block.get("twilio")),
        steps=read_steps(block.need("caller"), shelf),
        expectations=expectations,
        shelf=shelf,
        own_gateway_lines=_own_gateway(block, expectations),
    )


def _own_gateway(block: Block, expectations: tuple[Expectation, ...]) -> tuple[tuple[int, str], ...]:
    sections = [(block.key(name).line, f"{name}:") for name in OWN_GATEWAY if name in block]
    twilio = block.get("twilio")
    if twilio is not None and "rest_faults" in (inner := twilio.block()):
        sections.append((inner.key("rest_faults").line, "rest_faults"))
    needing = [(e.line, e.head) for e in expectations if e.need is not Need.CALL]
    return tuple(sorted(sections + needing))


def _variables(value: Value | None) -> dict[str, str]:
    """As they are written: `NOISE_GATE: off` is the text off."""
    if value is None:
        return {}
    block = value.block()
    known = [spec.metadata["variable"] for spec in variables()] + list(LATER)
    found: dict[str, str] = {}
    for name, inner in block.entries():
        key = block.key(name)
        if name in GIVEN:
            raise key.error(f"{name} is set by the runner itself")
        close = difflib.get_close_matches(name.upper(), known, 1, 0.7)
        if name not in known and (close or not _VARIABLE.fullmatch(name)):
            hint = f"; did you mean {close[0]}?" if close else ""
            raise key.error(f"unknown variable {name!r}{hint}")
        found[name] = "" if inner.is_empty else inner.text()
    return found


def _twilio(value: Value | None) -> TwilioSection:
    if value is None:
        return TwilioSection()
    block = value.block(_TWILIO_KEYS, "of Twilio")
    default = TwilioSection()
    dial, faults = block.get("dial"), block.get("rest_faults")
    offer, timeout = block.get("offer_subprotocol"), block.get("timeout_s")
    asks = block.get("asks_action_after_update")
    return TwilioSection(
        from_number=_text(block, "from") or default.from_number,
        to_number=_text(block, "to") or default.to_number,
        dial=tuple(_dial_outcome(item) for item in dial.one_or_more()) if dial else default.dial,
        rest_faults=tuple(_rest_fault(item) for item in faults.one_or_more()) if faults else (),
        offer_subprotocol=offer.flag() if offer else True,
        timeout_s=timeout.number(0.1, 60) if timeout else default.timeout_s,
        asks_action_after_update=asks.flag() if asks else False,
    )


def _dial_outcome(item: Value) -> DialOutcome:
    """A status alone, or with how long it rings and is talked."""
    if not item.is_block:
        return DialOutcome(_dial_status(item))
    block = item.block(("status", "rings_s", "talks_s"), "of a dial")
    rings, talks = block.get("rings_s"), block.get("talks_s")
    default = DialOutcome()
    return DialOutcome(
        _dial_status(block.need("status")),
        rings.number(0, 600) if rings else default.rings_s,
        talks.number(0, 3600) if talks else default.talks_s,
    )


def _dial_status(value: Value) -> DialStatus:
    return _STATUSES[value.choice(*_STATUSES)]


def _rest_fault(item: Value) -> str:
    try:
        rest_faults.parse(item.text())
    except ConfigError as error:
        raise item.error(str(error)) from error
    return item.text()


def _choice(block: Block, name: str, *words: str) -> str:
    """The first word when nothing is said."""
    value = block.get(name)
    return value.choice(*words) if value else words[0]


def _text(block: Block, name: str) -> str:
    value = block.get(name)
    return value.text() if value else ""
