"""Who answers? The simulator speaks the protocol; a persona decides what is said.

A `Turn` tells a persona what has happened since its last answer, and it returns an `Answer`: items
of speech (G.711 μ-law, 8 kHz, with the words that are said) and function calls, in order.
`DemoPersona` is the agent a visitor meets without a key; `ScriptPersona` says what a test wrote.
A persona belongs to one session.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from server.audio.wav import read_ulaw
from server.errors import AudioFileError, ConfigError
from server.simulator.realtime.prompts import Prompt, Prompts, load_prompts

KEYS_MARK = "[keys]"
"""How the text item begins in which the gateway reports pressed keys: `[keys] 12#`."""
END_CALL_TOOL = "end_call"
_KEY_PROMPTS = {"*": "star", "#": "pound"} | {digit: f"digit_{digit}" for digit in "0123456789"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A caller's utterance."""

    payload: bytes
    """μ-law as it was heard: with the padding before the speech and the silence that ended it."""
    speech_ms: int
    """From the first loud frame to the last."""

    @property
    def transcript(self) -> str:
        """What can honestly be said of words nobody recognised."""
        return f"[speech {self.speech_ms / 1000:.1f} s]"


@dataclass(frozen=True, slots=True)
class Typed:
    """A text item of the user's."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a function call of ours gave back."""

    call_id: str
    output: str


Heard = Spoken | Typed | ToolOutput


@dataclass(frozen=True, slots=True)
class Turn:
    """Why a response is due."""

    heard: tuple[Heard, ...]
    """What came since the last answer, oldest first; empty for a bare request to speak."""
    instructions: str
    language: str | None
    """As the session's input transcription names it, if it does."""
    tools: frozenset[str]
    is_idle: bool = False
    """Nobody has spoken for the session's idle timeout."""


@dataclass(frozen=True, slots=True)
class Speech:
    """One audio item."""

    payload: bytes
    transcript: str
    delta_bytes: tuple[int, ...] = ()
    """Sizes to cut it into, the last one repeating; empty leaves that to the server."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """A JSON object, as text."""


Answer = tuple[Speech | ToolCall, ...]


class Persona(Protocol):
    def answer(self, turn: Turn) -> Answer: ...


class DemoPersona:
    """Greets, repeats what it hears, reads back pressed keys; it understands nothing."""

    def __init__(self, prompts: Prompts, language: str = "he") -> None:
        self._prompts = prompts
        self._language = language
        self._has_switched = False
        self._has_greeted = False

    def answer(self, turn: Turn) -> Answer:
        if not self._has_switched and _wants_english(turn):
            self._language = "en"
        last = turn.heard[-1] if turn.heard else None
        if isinstance(last, ToolOutput):
            return ()
        if isinstance(last, Spoken):
            return (self._say("you_said"), Speech(last.payload, last.transcript))
        if isinstance(last, Typed):
            keys = "".join(_keys(h.text) for h in turn.heard if isinstance(h, Typed))
            return self._pressed(keys, turn.tools) if keys else (self._say("greeting_short"),)
        if self._has_greeted or turn.is_idle:
            return (self._say("still_there"),)
        self._has_greeted = True
        return tuple(
            _speech([self._prompts.get(language, "greeting")])
            for language in (self._language, "en" if self._language == "he" else "he")
        )

    def _pressed(self, keys: str, tools: frozenset[str]) -> Answer:
        if keys == "#":
            goodbye = self._say("goodbye")
            return (goodbye, ToolCall(END_CALL_TOOL, "{}")) if END_CALL_TOOL in tools else (goodbye,)
        if keys.count("*") % 2:
            self._language = "en" if self._language == "he" else "he"
            self._has_switched = True
        read_back = self._say("you_pressed", *(_KEY_PROMPTS[key] for key in keys))
        return (read_back, self._say("connect_agent")) if keys == "0" else (read_back,)

    def _say(self, *names: str) -> Speech:
        return _speech([self._prompts.get(self._language, name) for name in names])


def _speech(prompts: Sequence[Prompt]) -> Speech:
    return Speech(b"".join(p.payload for p in prompts), " ".join(p.text for p in prompts))


def _keys(text: str) -> str:
    """The keys of `[keys] 12#`, and nothing of any other text."""
    if not text.startswith(KEYS_MARK):
        return ""
    return "".join(c for c in text[len(KEYS_MARK) :] if c in _KEY_PROMPTS)


def _wants_english(turn: Turn) -> bool:
    if turn.language:
        return turn.language.lower().startswith("en")
    text = turn.instructions
    return bool(re.search(r"\benglish\b", text, re.I)) and not re.search(r"\bhebrew\b|עברית", text, re.I)


def demo_personas(language: str = "he", folder: Path | None = None) -> Callable[[], DemoPersona]:
    """A factory of demo personas that share one set of prompts. Raises AudioFileError at once."""
    prompts = load_prompts(folder) if folder else load_prompts()
    prompts.get(language, "greeting")
    return lambda: DemoPersona(prompts, language)


_REPLAY = Speech(b"", "")
"""Stands in a script for the caller's own last words."""


class ScriptPersona:
    """Gives the answers of a list in order; after the last, that one again or nothing."""

    def __init__(self, answers: Sequence[Answer], after_last: Literal["repeat", "none"] = "repeat") -> None:
        self._answers = tuple(answers)
        self._repeats = after_last == "repeat"
        self._turns = 0

    def answer(self, turn: Turn) -> Answer:
        index, self._turns = self._turns, self._turns + 1
        if index >= len(self._answers):
            if not (self._repeats and self._answers):
                return ()
            index = -1
        spoken = [h for h in turn.heard if isinstance(h, Spoken)]
        replay = (Speech(spoken[-1].payload, spoken[-1].transcript),) if spoken else ()
        parts: list[Speech | ToolCall] = []
        for part in self._answers[index]:
            parts.extend(replay if part is _REPLAY else (part,))
        return tuple(parts)

    @classmethod
    def from_json(cls, script: Any, folder: Path = Path()) -> ScriptPersona:
        """Read `{"answers": [[part, …], …], "after_last": "repeat"|"none"}`.

        A part is speech: `{"audio": FILE}`, `{"base64": TEXT}`, `{"prompt": "he/greeting"}` or
        `{"replay": true}`, with `transcript` and `delta_bytes` (a number or a list) if wanted; or
        a call: `{"call": NAME, "arguments": {…}}`. Files are relative to `folder`.
        Raises ConfigError or AudioFileError.
        """
        if not isinstance(script, dict) or not isinstance(script.get("answers"), list):
            raise ConfigError('a script is {"answers": [[part, ...], ...]}')
        after_last = script.get("after_last", "repeat")
        if after_last not in ("repeat", "none"):
            raise ConfigError(f'after_last is "repeat" or "none", not {after_last!r}')
        answers = []
        for number, answer in enumerate(script["answers"], 1):
            if not isinstance(answer, list):
                raise ConfigError(f"answer {number}: a list of parts was expected")
            answers.append(tuple(_part(part, folder, f"answer {number}") for part in answer))
        return cls(answers, after_last)


def script_personas(path: Path) -> Callable[[], ScriptPersona]:
    """A factory of personas that each begin the script of a JSON file. Raises like `from_json`."""
    try:
        script = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error
    first = ScriptPersona.from_json(script, path.parent)
    return lambda: ScriptPersona(first._answers, "repeat" if first._repeats else "none")


def _part(part: Any, folder: Path, where: str) -> Speech | ToolCall:
    if not isinstance(part, dict):
        raise ConfigError(f"{where}: a part is an object")
    if "call" in part:
        return ToolCall(str(part["call"]), json.dumps(part.get("arguments", {}), ensure_ascii=False))
    if part.get("replay") is True:
        return _REPLAY
    sizes = part.get("delta_bytes", [])
    sizes = sizes if isinstance(sizes, list) else [sizes]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ConfigError(f"{where}: delta_bytes is a positive number or a list of them")
    payload, words = _audio(part, folder, where)
    return Speech(payload, str(part.get("transcript", words)), tuple(sizes))


def _audio(part: dict[str, Any], folder: Path, where: str) -> tuple[bytes, str]:
    if isinstance(part.get("audio"), str):
        return read_ulaw(folder / part["audio"]), ""
    if isinstance(part.get("base64"), str):
        try:
            return base64.b64decode(part["base64"], validate=True), ""
        except (binascii.Error, ValueError) as error:
            raise AudioFileError(f"{where}: base64 that cannot be decoded") from error
    if isinstance(part.get("prompt"), str):
        language, _, name = part["prompt"].partition("/")
        prompt = load_prompts().get(language, name)
        return prompt.payload, prompt.text
    raise ConfigError(f"{where}: a part needs one of audio, base64, prompt, replay, call")
