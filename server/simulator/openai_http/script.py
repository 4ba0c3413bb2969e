"""What does the far end hear and answer? What a file says, in the words of the Realtime simulator's scripts.

    {"hears": [WORDS, …],                        of the utterances, in the order they come
     "answers": [[PART, …], …],                  of a conversation, in order
     "after_last": "repeat" | "none",
     "match": [{"when": REGEX, "answer": [PART, …]}, …]}     to what was said last; these come first

A PART is {"text": TEXT}, {"prompt": "he/goodbye"} (its words), {"call": NAME, "arguments": {…}} or
{"wait": SECONDS}. WORDS are a text, or {"text": TEXT, "delay": SECONDS}.

Nobody recognises speech here: without a script an utterance is `[speech 1.2 s]`, which the answer repeats.
A conversation's place in `answers` is read off its own history, so that several run side by side.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ConfigError
from server.prompts import load_prompts
from server.simulator.openai_http.checks import Utterance

_HEBREW = re.compile(r"[א-ת]")
_PARTS = ("text", "prompt", "call", "wait")
_KNOWN = ("hears", "answers", "after_last", "match")


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str
    """A JSON object, as text."""


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Part = Text | Call | Wait
Answer = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Words:
    text: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """Without any field: repeat what was said."""

    hears: tuple[Words, ...] = ()
    answers: tuple[Answer, ...] = ()
    repeats_last: bool = True
    rules: tuple[tuple[re.Pattern[str], Answer], ...] = ()


class Persona:
    """Who hears and answers at one server; asked from several threads."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._heard = 0
        self._lock = threading.Lock()

    def hear(self, utterance: Utterance) -> tuple[str, Words]:
        """Which ear heard it, and what."""
        with self._lock:
            number, self._heard = self._heard, self._heard + 1
        if number < len(self._script.hears):
            return "script", self._script.hears[number]
        return "length", Words(f"[speech {utterance.ms / 1000:.1f} s]")

    def answer(self, messages: Sequence[Mapping[str, Any]]) -> Answer:
        said = _content(messages[-1])
        for pattern, answer in self._script.rules:
            if pattern.search(said):
                return answer
        answers = self._script.answers
        if not answers:
            return (Text(f"אמרתם: {said}" if _HEBREW.search(said) else f"You said: {said}"),)
        round_number = sum(
            message["role"] == "user" or bool(message.get("tool_calls")) for message in messages
        )
        if round_number <= len(answers):
            return answers[max(round_number - 1, 0)]
        return answers[-1] if self._script.repeats_last else ()


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def load_script(path: Path) -> Script:
    """Raises ConfigError."""
    try:
        return read_script(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error


def read_script(script: Any) -> Script:
    """Raises ConfigError for everything unknown, AudioFileError for a prompt that is not there."""
    if not isinstance(script, dict):
        raise ConfigError('a script is {"hears": [...], "answers": [[part, ...], ...]}')
    for name in script:
        if name not in _KNOWN:
            raise ConfigError(f"a script: unknown {name!r}; there are {', '.join(_KNOWN)}")
    after_last = script.get("after_last", "repeat")
    if after_last not in ("repeat", "none"):
        raise ConfigError(f'after_last is "repeat" or "none", not {after_last!r}')
    for name in ("hears", "answers", "match"):
        if not isinstance(script.get(name, []), list):
            raise ConfigError(f"{name}: a list was expected")
    return Script(
        tuple(_words(words, f"hears {n}") for n, words in enumerate(script.get("hears", []), 1)),
        tuple(_answer(answer, f"answer {n}") for n, answer in enumerate(script.get("answers", []), 1)),
        after_last == "repeat",
        tuple(_rule(rule, f"match {n}") for n, rule in enumerate(script.get("match", []), 1)),
    )


def _words(words: Any, where: str) -> Words:
    if isinstance(words, str):
        return Words(words)
    if (
        not isinstance(words, dict)
        or not isinstance(words.get("text"), str)
        or set(words) - {"text", "delay"}
    ):
        raise ConfigError(f'{where}: a text, or {{"text": TEXT, "delay": SECONDS}}, was expected')
    return Words(words["text"], _seconds(words.get("delay", 0), where))


def _rule(rule: Any, where: str) -> tuple[re.Pattern[str], Answer]:
    if not isinstance(rule, dict) or not isinstance(rule.get("when"), str) or set(rule) != {"when", "answer"}:
        raise ConfigError(f'{where}: {{"when": REGEX, "answer": [part, ...]}} was expected')
    try:
        return re.compile(rule["when"]), _answer(rule["answer"], where)
    except re.error as error:
        raise ConfigError(f"{where}: {rule['when']!r} is no regular expression: {error}") from error


def _answer(answer: Any, where: str) -> Answer:
    if not isinstance(answer, list):
        raise ConfigError(f"{where}: a list of parts was expected")
    return tuple(_part(part, where) for part in answer)


def _part(part: Any, where: str) -> Part:
    kind = next((name for name in _PARTS if isinstance(part, dict) and name in part), None)
    if kind is None or set(part) - ({"call", "arguments"} if kind == "call" else {kind}):
        raise ConfigError(f"{where}: a part is one of {', '.join(_PARTS)}")
    if kind == "wait":
        return Wait(_seconds(part["wait"], where))
    if not isinstance(part[kind], str):
        raise ConfigError(f"{where}: {kind} is a text")
    if kind == "call":
        return Call(part["call"], json.dumps(part.get("arguments", {}), ensure_ascii=False))
    if kind == "prompt":
        language, _, name = part["prompt"].partition("/")
        return Text(load_prompts().get(language, name).text)
    return Text(part["text"])


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise ConfigError(f"{where}: {value!r} is no number of seconds")
    return float(value)
