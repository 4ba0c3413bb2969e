"""What does a streamed chat completion say, piece by piece?

Server-sent events, as of /v1/chat/completions with `stream`: each `data:` line is a chunk whose first
choice carries a `delta`; then `data: [DONE]`. A chunk may have no choice at all: the one with the
usage. A function call's arguments come in fragments and count only when all of them are there. Bytes
in, typed deltas out; no I/O.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from server.errors import SpeechError, SpeechUnreachable, SpeechUnusable
from server.logs import clean, mask
from server.services.http_refusals import refusal_of

MAX_LINE_BYTES = 1 << 16
MAX_TOOL_CALLS = 32
CUT_SHORT = ("length", "content_filter")
"""Ends at which a function call has not come whole."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call, whole."""

    call_id: str
    """Empty where the service gives none."""
    name: str
    arguments: str
    """As the model wrote them: JSON of an object, as a rule."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete."""

    finish_reason: str
    """stop, tool_calls, length (the limit of tokens was met), content_filter, …"""
    input_tokens: int = 0
    output_tokens: int = 0
    """Zero where the service does not count."""


ChatDelta = TextDelta | ToolCall | Done


class ChatDecoder:
    """One answer's. `is_done` after `Done` was given."""

    def __init__(self) -> None:
        self.is_done = False
        self._line = b""
        self._calls: dict[int, dict[str, str]] = {}
        self._finish_reason = ""
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes) -> list[ChatDelta]:
        """What `data`, cut anywhere, completes. Raises SpeechUnusable, or what an error event means."""
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > MAX_LINE_BYTES:
            raise _unusable(f"a line of more than {MAX_LINE_BYTES} bytes")
        deltas: list[ChatDelta] = []
        for line in lines:
            if not self.is_done:
                deltas += self._read(line)
        return deltas

    def finish(self) -> list[ChatDelta]:
        """The stream is over: some services forget to say so. Raises SpeechUnreachable when it broke off."""
        deltas = self.feed(b"\n")
        if self.is_done:
            return deltas
        if not self._finish_reason:
            raise SpeechUnreachable("KAV-177", "the answer broke off", code="broken_off")
        return [*deltas, self._done()]

    def _read(self, line: bytes) -> list[ChatDelta]:
        name, _, value = line.partition(b":")
        if name != b"data":  # a comment, the event's name, or the blank line after it
            return []
        value = value.strip()
        if value == b"[DONE]":
            return [self._done()]
        try:
            chunk = json.loads(value)
        except (ValueError, RecursionError):
            raise _unusable("an event that is no JSON") from None
        if not isinstance(chunk, dict):
            raise _unusable("an event that is no JSON object")
        if chunk.get("error"):
            raise _error_event(value)
        return self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> list[ChatDelta]:
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            return []
        deltas: list[ChatDelta] = []
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for text in (delta.get("content"), delta.get("refusal")):
                if isinstance(text, str) and text:
                    deltas.append(TextDelta(text))
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                self._collect(call)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self._finish_reason = reason
            deltas += self._whole_calls()
        return deltas

    def _collect(self, fragment: Any) -> None:
        function = fragment.get("function") if isinstance(fragment, dict) else None
        index = fragment.get("index", 0) if isinstance(fragment, dict) else None
        if not isinstance(function, dict) or not isinstance(index, int):
            raise _unusable("a function call of an unknown shape")
        if index not in self._calls and len(self._calls) >= MAX_TOOL_CALLS:
            raise _unusable(f"more than {MAX_TOOL_CALLS} function calls")
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or str(fragment.get("id") or "")
        call["name"] = call["name"] or str(function.get("name") or "")
        call["arguments"] += str(function.get("arguments") or "")

    def _whole_calls(self) -> list[ToolCall]:
        calls, self._calls = self._calls, {}
        if self._finish_reason in CUT_SHORT:
            return []
        return [
            ToolCall(call["id"], call["name"], call["arguments"] or "{}") for _, call in sorted(calls.items())
        ]

    def _done(self) -> Done:
        self.is_done = True
        return Done(
            self._finish_reason or "stop",
            _count(self._usage.get("prompt_tokens")),
            _count(self._usage.get("completion_tokens")),
        )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _error_event(body: bytes) -> SpeechError:
    """Trouble that came after the status line: status 500 says of it that it may pass."""
    return refusal_of(500, {}, body).error


def _unusable(what: str) -> SpeechUnusable:
    return SpeechUnusable("KAV-177", clean(mask(what)), code="not_understood")
