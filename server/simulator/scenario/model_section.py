"""What does the model of a scenario say, hear, and do wrong?

The section becomes the JSON that `server.simulator.realtime.script` reads, with clips for files, and
the options of a Realtime server. Answers go on from session to session: a call may need several.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from server.errors import AudioFileError, ConfigError
from server.simulator.realtime.dialects import DIALECTS
from server.simulator.realtime.faults import first_and_later
from server.simulator.realtime.script import Script, read_script
from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.yaml_text import Block, ScenarioError, Value

_KEYS = ("dialect", "faults", "speed", "delta_bytes", "answers", "after_last", "match", "hears")
_PART_KEYS = ("say", "speech", "voice", "transcript", "delta_bytes", "call", "arguments", "wait", "replay")


@dataclass(frozen=True, slots=True)
class ModelSection:
    """The Realtime server of one scenario."""

    script: Script
    dialect: str = "ga"
    faults: tuple[str, ...] = ()
    speed: float = 8.0
    """Multiple of real time at which audio goes out."""
    delta_bytes: tuple[int, int] = (1, 4000)
    """Smallest and largest, of μ-law."""


def read_model(value: Value, shelf: ClipShelf) -> ModelSection:
    """The `model:` section. Raises ScenarioError."""
    block = value.block(_KEYS, "of the model")
    reader = _Reader(shelf)
    dialect = block.get("dialect")
    speed = block.get("speed")
    return ModelSection(
        script=reader.script(value, block),
        dialect=dialect.choice(*DIALECTS) if dialect else "ga",
        faults=_faults(block),
        speed=speed.number(0.1, 1000) if speed else 8.0,
        delta_bytes=_delta_range(block),
    )


def _faults(block: Block) -> tuple[str, ...]:
    value = block.get("faults")
    if value is None:
        return ()
    words = []
    for item in value.one_or_more():
        words.append(item.text())
        try:
            first_and_later(words)
        except ConfigError as error:
            raise item.error(str(error)) from error
    return tuple(words)


def _delta_range(block: Block) -> tuple[int, int]:
    value = block.get("delta_bytes")
    if value is None:
        return 1, 4000
    sizes = [item.integer(1, 1 << 20) for item in value.one_or_more()]
    if len(sizes) > 2 or sizes != sorted(sizes):
        raise value.error("one size was expected, or [smallest, largest]")
    return sizes[0], sizes[-1]


class _Reader:
    """From YAML to the JSON of a script, clip by clip."""

    def __init__(self, shelf: ClipShelf) -> None:
        self._shelf = shelf

    def script(self, value: Value, block: Block) -> Script:
        script: dict[str, Any] = {"answers": []}
        if (answers := block.get("answers")) is not None:
            script["answers"] = [self._answer(item) for item in answers.items()]
        after_last = block.get("after_last")
        script["after_last"] = after_last.choice("repeat", "none") if after_last else "none"
        if (rules := block.get("match")) is not None:
            script["match"] = [self._rule(item) for item in rules.items()]
        if (hears := block.get("hears")) is not None:
            script["hears"] = [_words(item) for item in hears.items()]
        return self._read(script, value)

    def _rule(self, item: Value) -> dict[str, Any]:
        block = item.block(("when", "answer", "times"), "of a match")
        block.need("when").regex()
        rule = {"when": block.need("when").text(), "answer": self._answer(block.need("answer"))}
        return rule | ({"times": times.integer(1)} if (times := block.get("times")) else {})

    def _answer(self, item: Value) -> Any:
        """A clip's name, a part, a list of both, or `parts` with a `delay`."""
        if item.is_block and (block := item.block()) and ("parts" in block or "delay" in block):
            block.only(("parts", "delay"), "of an answer")
            parts = [self._part(part) for part in block.need("parts").one_or_more()]
            delay = block.get("delay")
            return {"parts": parts, "delay": delay.number(0, 3600) if delay else 0.0}
        if item.is_empty:
            return []
        return [self._part(part) for part in item.one_or_more()]

    def _part(self, item: Value) -> dict[str, Any]:
        if not item.is_block:
            return self._speech(item, item.text(), {})
        block = item.block(_PART_KEYS, "of an answer's part")
        if "call" in block:
            block.only(("call", "arguments"), "of a call")
            arguments = block.get("arguments")
            return {
                "call": block.need("call").text(),
                "arguments": arguments.plain() if arguments else {},  # a text stays as it is, broken or not
            }
        if "wait" in block:
            block.only(("wait",), "of a wait")
            return {"wait": block.need("wait").number(0, 3600)}
        if "replay" in block:
            block.only(("replay",), "of a replay")
            return {"replay": block.need("replay").flag()}
        block.only(("say", "speech", "voice", "transcript", "delta_bytes"), "of speech")
        more: dict[str, Any] = {}
        if (transcript := block.get("transcript")) is not None:
            more["transcript"] = transcript.text()
        if (sizes := block.get("delta_bytes")) is not None:
            more["delta_bytes"] = [size.integer(1) for size in sizes.one_or_more()]
        if "speech" in block:
            voice = block.get("voice")
            try:
                clip = self._shelf.speech(block.need("speech").text(), voice.text() if voice else "")
            except AudioFileError as error:
                raise block.need("speech").error(str(error)) from error
            return _audio(clip.payload, clip.words) | more
        return self._speech(block.need("say"), block.need("say").text(), more)

    def _speech(self, place: Value, name: str, more: dict[str, Any]) -> dict[str, Any]:
        try:
            clip = self._shelf.get(name)
        except AudioFileError as error:
            raise place.error(str(error)) from error
        return _audio(clip.payload, clip.words) | more

    @staticmethod
    def _read(script: dict[str, Any], value: Value) -> Script:
        try:
            return read_script(script, value.path.parent)
        except ConfigError as error:
            raise value.error(str(error)) from error


def _audio(payload: bytes, words: str) -> dict[str, Any]:
    return {"base64": base64.b64encode(payload).decode("ascii"), "transcript": words}


def _words(item: Value) -> Any:
    """What one utterance of the caller's is taken for."""
    if item.is_empty:
        return None
    if not item.is_block:
        return item.text()
    block = item.block(("text", "delay", "fail"), "of what is heard")
    words: dict[str, Any] = {}
    if (text := block.get("text")) is not None:
        words["text"] = text.text()
    if (delay := block.get("delay")) is not None:
        words["delay"] = delay.number(0, 3600)
    if (fail := block.get("fail")) is not None:
        words["fail"] = fail.flag()
    if not words:
        raise ScenarioError(item.path, item.line, "text, delay or fail was expected")
    return words
