"""Who answers? The simulator speaks the protocol; a persona decides what is said.

`DemoPersona` is the agent a visitor meets without a key; `ScriptPersona` says what a test wrote.
What both are told and may answer stands in `turn`. A persona belongs to one session.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from server.errors import ConfigError
from server.prompts import Prompt, Prompts, load_prompts
from server.simulator.realtime.script import REPLAY, AfterLast, Rule, Script, read_script
from server.simulator.realtime.turn import (
    Answer,
    Listener,
    Part,
    Persona,
    Speech,
    Spoken,
    ToolCall,
    ToolOutput,
    Transcript,
    Turn,
    Typed,
)

KEYS_MARK = "[keys]"
"""How the text item begins in which the gateway reports pressed keys: `[keys] 12#`."""
END_CALL_TOOL = "end_call"
_KEY_PROMPTS = {"*": "star", "#": "pound"} | {digit: f"digit_{digit}" for digit in "0123456789"}


class DemoPersona(Persona):
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


class ScriptPersona(Persona, Listener):
    """Gives the answers of a list in order; after the last, that one again or nothing.

    A rule that fits goes before the list and takes nothing from it. May be shared by the sessions
    of one call, one after another: then the script goes on where it was.
    """

    def __init__(
        self,
        answers: Sequence[Answer],
        after_last: AfterLast = "repeat",
        *,
        rules: Sequence[Rule] = (),
        hears: Sequence[Transcript | None] = (),
    ) -> None:
        self._answers = tuple(answers)
        self._repeats = after_last == "repeat"
        self._turns = 0
        self._rules = tuple(rules)
        self._used = [0] * len(self._rules)
        self._hears = iter(hears)

    @classmethod
    def of(cls, script: Script) -> ScriptPersona:
        """One that begins `script`."""
        return cls(script.answers, script.after_last, rules=script.rules, hears=script.hears)

    def answer(self, turn: Turn) -> Answer:
        spoken = [h for h in turn.heard if isinstance(h, Spoken)]
        replay = (Speech(spoken[-1].payload, spoken[-1].transcript),) if spoken else ()
        parts: list[Part] = []
        for part in self._chosen(turn):
            parts.extend(replay if part is REPLAY else (part,))
        return tuple(parts)

    def transcript(self, spoken: Spoken) -> Transcript | None:
        """What the script says of the caller's next utterance; None past its end."""
        return next(self._hears, None)

    def _chosen(self, turn: Turn) -> Answer:
        for index, rule in enumerate(self._rules):
            if (rule.times is None or self._used[index] < rule.times) and rule.fits(turn):
                self._used[index] += 1
                return rule.answer
        index, self._turns = self._turns, self._turns + 1
        if index < len(self._answers):
            return self._answers[index]
        return self._answers[-1] if self._repeats and self._answers else ()

    @classmethod
    def from_json(cls, script: Any, folder: Path = Path()) -> ScriptPersona:
        """Of a script as `server.simulator.realtime.script` describes it. Files are relative to
        `folder`. Raises ConfigError or AudioFileError."""
        return cls.of(read_script(script, folder))


def script_personas(path: Path) -> Callable[[], ScriptPersona]:
    """A factory of personas that each begin the script of a JSON file. Raises like `from_json`."""
    try:
        script = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error
    read = read_script(script, path.parent)
    return lambda: ScriptPersona.of(read)
