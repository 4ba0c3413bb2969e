"""What does the caller of a scenario do, and when?

A step is a trigger and a deed. Steps come in their order: each is waited for once the deed before it
is done. Times are seconds in the file and on the call's clock, which starts when Twilio answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from server.audio.g711 import ms
from server.errors import AudioFileError
from server.simulator.scenario import sounds
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.yaml_text import Block, Value

QUIET_S = 0.6
"""Of silence after which the agent is taken to have finished."""
COUGH_S = 0.3
NOISE_LOOP_S = 10.0
KEY_GAP_MS = 250
_KEYS = re.compile(r"[0-9*#A-D]+")
_MAX_RMS = 20_000


class When(Enum):
    AT = "at"
    """So many seconds of the call have passed."""
    AFTER = "after"
    """So many seconds have passed since the deed before was done."""
    SPEAKS = "agent_speaks"
    QUIET = "agent_quiet"
    CLEARED = "cleared"
    """The gateway took back what it had sent, since the deed before began."""


@dataclass(frozen=True, slots=True)
class Trigger:
    when: When
    seconds: float = 0.0
    utterance: int = 0
    """Of the agent's, counted from 1; 0: whichever it is."""

    def __str__(self) -> str:
        of = f" (utterance {self.utterance})" if self.utterance else ""
        match self.when:
            case When.AT:
                return f"at {self.seconds:g} s"
            case When.AFTER:
                return f"after {self.seconds:g} s"
            case When.SPEAKS:
                lasting = f" for {self.seconds:g} s" if self.seconds else ""
                return f"when the agent speaks{lasting}{of}"
            case When.QUIET:
                return f"when the agent has spoken and been quiet for {self.seconds:g} s{of}"
            case When.CLEARED:
                return "when a clear came"


@dataclass(frozen=True, slots=True)
class Say:
    """Make a sound."""

    name: str
    payload: bytes
    is_speech: bool = True
    """False for a cough and for noise: nobody owes them an answer."""


@dataclass(frozen=True, slots=True)
class Press:
    keys: str


@dataclass(frozen=True, slots=True)
class Stay:
    """Silent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


@dataclass(frozen=True, slots=True)
class Drop:
    """The media stream breaks off, without stop or close; the call goes on."""


@dataclass(frozen=True, slots=True)
class Background:
    """Mixed under everything from now on."""

    name: str
    loop: bytes
    """Empty: no more of it."""


Deed = Say | Press | Stay | HangUp | Drop | Background


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    line: int
    trigger: Trigger
    deed: Deed

    def __str__(self) -> str:
        return f"step {self.number} (line {self.line}): {self.trigger} → {describe(self.deed)}"


def duration_ms(deed: Deed) -> float:
    """From its begin until the next step is waited for."""
    match deed:
        case Say():
            return ms(len(deed.payload))
        case Press():
            return (len(deed.keys) - 1) * KEY_GAP_MS
        case Stay():
            return deed.seconds * 1000
        case HangUp() | Drop() | Background():
            return 0


def describe(deed: Deed) -> str:
    match deed:
        case Say():
            return deed.name if not deed.is_speech else f"say {deed.name}"
        case Press():
            return f"press {deed.keys}"
        case Stay():
            return f"stay silent for {deed.seconds:g} s"
        case HangUp():
            return "hang up"
        case Drop():
            return "drop the stream"
        case Background():
            return f"background {deed.name}"


def read_steps(value: Value, shelf: ClipShelf) -> tuple[Step, ...]:
    """The `caller:` section. Raises ScenarioError."""
    steps = []
    for number, item in enumerate(value.items(), 1):
        steps.append(_step(number, item, shelf))
    return tuple(steps)


def _step(number: int, item: Value, shelf: ClipShelf) -> Step:
    if not item.is_block:  # a bare word: `- hang_up`
        word = item.choice("hang_up", "drop")
        return Step(number, item.line, Trigger(When.AFTER), HangUp() if word == "hang_up" else Drop())
    block = item.block((*_TRIGGER_KEYS, *DEEDS, "rms", "voice"), "of a step")
    deeds = [name for name in DEEDS if name in block]
    if len(deeds) != 1:
        seen = f"{' and '.join(deeds)} are" if deeds else "nothing is"
        raise block.error(f"a step does one thing, {seen} done here; there are {', '.join(DEEDS)}")
    for name, owners in (("rms", LEVELLED), ("voice", ("speech",))):
        if name in block and deeds[0] not in owners:
            raise block.key(name).error(f"{name!r} goes with {', '.join(owners)}, not with {deeds[0]}")
    try:
        deed = DEEDS[deeds[0]](block, block.need(deeds[0]), shelf)
    except AudioFileError as error:
        raise block.need(deeds[0]).error(str(error)) from error
    return Step(number, block.line, _trigger(block), deed)


def _trigger(block: Block) -> Trigger:
    given = [name for name in ("at", "after", "when") if name in block]
    if len(given) > 1:
        raise block.key(given[1]).error(f"a step has one trigger: {' or '.join(given)}, not both")
    for name in ("for", "of"):
        if name in block and given != ["when"]:
            raise block.key(name).error(f"{name!r} goes with `when: agent_speaks` or `when: agent_quiet`")
    if "at" in block:
        return Trigger(When.AT, block.need("at").number())
    if "when" not in block:
        return Trigger(When.AFTER, block.need("after").number() if "after" in block else 0.0)
    words = (When.SPEAKS.value, When.QUIET.value, When.CLEARED.value)
    when = When(block.need("when").choice(*words))
    if when is When.CLEARED and ("for" in block or "of" in block):
        raise block.need("when").error("`cleared` has neither `for` nor `of`")
    default_s = QUIET_S if when is When.QUIET else 0.0
    seconds = block.need("for").number(0.02) if "for" in block else default_s
    return Trigger(when, seconds, block.need("of").integer(1) if "of" in block else 0)


def _say(block: Block, value: Value, shelf: ClipShelf) -> Deed:
    clip = shelf.get(value.text())
    payload = sounds.trimmed(clip.payload)
    if (level := block.get("rms")) is not None:
        payload = sounds.at_speech_level(payload, level.integer(1, _MAX_RMS))
    return Say(clip.name, payload)


def _speech(block: Block, value: Value, shelf: ClipShelf) -> Deed:
    voice = block.get("voice")
    clip = shelf.speech(value.text(), voice.text() if voice else "")
    level = block.get("rms")
    payload = sounds.at_speech_level(clip.payload, level.integer(1, _MAX_RMS)) if level else clip.payload
    return Say(clip.name, payload)


def _cough(block: Block, value: Value, _shelf: ClipShelf) -> Deed:
    seconds = COUGH_S if value.is_empty else value.number(0.02, 60)
    return Say("cough", sounds.cough(seconds, _level(block, sounds.COUGH_RMS), block.line), is_speech=False)


def _noise(block: Block, value: Value, _shelf: ClipShelf) -> Deed:
    level_rms = _level(block, sounds.NOISE_RMS)
    return Say("noise", sounds.noise(value.number(0.02, 60), level_rms, block.line), is_speech=False)


def _background(block: Block, value: Value, shelf: ClipShelf) -> Deed:
    name = value.text()
    if name == "none":
        return Background(name, b"")
    if name == "noise":
        return Background(name, sounds.noise(NOISE_LOOP_S, _level(block, sounds.NOISE_RMS), block.line))
    clip = shelf.get(name)
    level = block.get("rms")
    payload = clip.payload
    return Background(
        clip.name, sounds.at_speech_level(payload, level.integer(1, _MAX_RMS)) if level else payload
    )


def _press(_block: Block, value: Value, _shelf: ClipShelf) -> Deed:
    keys = value.text()
    if not _KEYS.fullmatch(keys):
        raise value.error(f"{keys[:40]!r} are no keys; there are 0 to 9, *, #, A to D (in quotes: '12#')")
    return Press(keys)


def _silent(_block: Block, value: Value, _shelf: ClipShelf) -> Deed:
    return Stay(value.number(0.0, 3600))


def _done(deed: Deed) -> Callable[[Block, Value, ClipShelf], Deed]:
    def read(_block: Block, value: Value, _shelf: ClipShelf) -> Deed:
        if not value.is_empty and not value.flag():
            raise value.error("leave the step out instead")
        return deed

    return read


def _level(block: Block, default_rms: int) -> int:
    level = block.get("rms")
    return level.integer(1, _MAX_RMS) if level else default_rms


_TRIGGER_KEYS = ("at", "after", "when", "for", "of")
LEVELLED = ("say", "speech", "cough", "noise", "background")
DEEDS: dict[str, Callable[[Block, Value, ClipShelf], Deed]] = {
    "say": _say,
    "speech": _speech,
    "cough": _cough,
    "noise": _noise,
    "keys": _press,
    "silent": _silent,
    "background": _background,
    "hang_up": _done(HangUp()),
    "drop": _done(Drop()),
}
