"""How is a script written down? JSON in, what a `ScriptPersona` needs out.

    {"answers": [ANSWER, …],              given in order
     "after_last": "repeat" | "none",
     "match": [{"when": REGEX, "answer": ANSWER, "times": N}, …],
     "hears": [WORDS, …]}                 of the caller's utterances, in order

An ANSWER is a list of parts, or {"parts": [PART, …], "delay": SECONDS}. A PART is speech:
{"audio": FILE}, {"base64": TEXT}, {"prompt": "he/greeting"} or {"replay": true}, with `transcript`
and `delta_bytes` (a number or a list) if wanted; a call: {"call": NAME, "arguments": {…}}, where a
text goes out as it is, broken or not; or {"wait": SECONDS}. WORDS are a text, null, or {"text": TEXT,
"delay": SECONDS, "fail": true}. Files are relative to a folder the caller names. Everything unknown is
refused with ConfigError.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from server.audio.wav import read_ulaw
from server.errors import AudioFileError, ConfigError
from server.prompts import load_prompts
from server.simulator.realtime.turn import (
    TRANSCRIPTION_S,
    Answer,
    Part,
    Speech,
    ToolCall,
    ToolOutput,
    Transcript,
    Turn,
    Typed,
    Wait,
)

REPLAY = Speech(b"", "")
"""Stands in a script for the caller's own last words; known by identity."""

AfterLast = Literal["repeat", "none"]
_SOURCES = ("audio", "base64", "prompt")
_MAX_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rule:
    """An answer that has its cause, and not its place in a list."""

    pattern: re.Pattern[str]
    answer: Answer
    times: int | None = None
    """How often it may be given; None: always."""

    def fits(self, turn: Turn) -> bool:
        """Whether the pattern is found in what the client wrote: instructions of this very request,
        typed text, outputs of tools. The session's own instructions never count."""
        written = [turn.own_instructions]
        for heard in turn.heard:
            if isinstance(heard, Typed):
                written.append(heard.text)
            elif isinstance(heard, ToolOutput):
                written.append(heard.output)
        return any(self.pattern.search(text) for text in written)


@dataclass(frozen=True, slots=True)
class Script:
    answers: tuple[Answer, ...]
    after_last: AfterLast = "repeat"
    rules: tuple[Rule, ...] = ()
    hears: tuple[Transcript | None, ...] = ()


def read_script(script: Any, folder: Path) -> Script:
    """Raises ConfigError, or AudioFileError for a recording that cannot be read."""
    if not isinstance(script, dict) or not isinstance(script.get("answers"), list):
        raise ConfigError('a script is {"answers": [[part, ...], ...]}')
    _only(script, ("answers", "after_last", "match", "hears"), "a script")
    after_last = script.get("after_last", "repeat")
    if after_last not in ("repeat", "none"):
        raise ConfigError(f'after_last is "repeat" or "none", not {after_last!r}')
    for name in ("match", "hears"):
        if not isinstance(script.get(name, []), list):
            raise ConfigError(f"{name}: a list was expected")
    answers = [_answer(answer, folder, f"answer {n}") for n, answer in enumerate(script["answers"], 1)]
    rules = [_rule(rule, folder, f"match {n}") for n, rule in enumerate(script.get("match", []), 1)]
    hears = [_words(words, f"hears {n}") for n, words in enumerate(script.get("hears", []), 1)]
    return Script(tuple(answers), after_last, tuple(rules), tuple(hears))


def _answer(answer: Any, folder: Path, where: str) -> Answer:
    before: tuple[Part, ...] = ()
    if isinstance(answer, dict):
        _only(answer, ("parts", "delay"), where)
        before = (Wait(_seconds(answer["delay"], f"{where}: delay")),) if "delay" in answer else ()
        answer = answer.get("parts")
    if not isinstance(answer, list):
        raise ConfigError(f"{where}: a list of parts was expected")
    return before + tuple(_part(part, folder, where) for part in answer)


def _rule(rule: Any, folder: Path, where: str) -> Rule:
    if not isinstance(rule, dict) or not isinstance(rule.get("when"), str):
        raise ConfigError(f'{where}: {{"when": REGEX, "answer": [part, ...]}} was expected')
    _only(rule, ("when", "answer", "times"), where)
    times = rule.get("times")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise ConfigError(f"{where}: times is a whole number above 0")
    try:
        pattern = re.compile(rule["when"])
    except re.error as error:
        raise ConfigError(f"{where}: {rule['when']!r} is no regular expression: {error}") from error
    return Rule(pattern, _answer(rule.get("answer"), folder, where), times)


def _words(words: Any, where: str) -> Transcript | None:
    if words is None or isinstance(words, str):
        return None if words is None else Transcript(words)
    if not isinstance(words, dict):
        raise ConfigError(f"{where}: a text, null, or an object was expected")
    _only(words, ("text", "delay", "fail"), where)
    delay_s = _seconds(words.get("delay", TRANSCRIPTION_S), f"{where}: delay")
    text, fails = words.get("text", ""), words.get("fail", False)
    if not isinstance(text, str) or not isinstance(fails, bool):
        raise ConfigError(f"{where}: text is a text, fail is true or false")
    return Transcript(text, delay_s, fails)


def _part(part: Any, folder: Path, where: str) -> Part:
    if not isinstance(part, dict):
        raise ConfigError(f"{where}: a part is an object")
    if "call" in part:
        _only(part, ("call", "arguments"), where)
        arguments = part.get("arguments", {})
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        return ToolCall(str(part["call"]), arguments)
    if "wait" in part:
        _only(part, ("wait",), where)
        return Wait(_seconds(part["wait"], f"{where}: wait"))
    if part.get("replay") is True:
        _only(part, ("replay",), where)
        return REPLAY
    if not any(isinstance(part.get(source), str) for source in _SOURCES):
        raise ConfigError(f"{where}: a part needs one of {', '.join(_SOURCES)}, replay, call, wait")
    _only(part, (*_SOURCES, "transcript", "delta_bytes"), where)
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
    language, _, name = part["prompt"].partition("/")
    prompt = load_prompts().get(language, name)
    return prompt.payload, prompt.text


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_WAIT_S:
        raise ConfigError(f"{where}: {value!r} is no number of seconds")
    return float(value)


def _only(given: dict[str, Any], known: Iterable[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"{where}: unknown {name!r}; there are {', '.join(known)}")
