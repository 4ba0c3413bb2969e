"""In which order does one answer go out, and how fast?

A `ResponseRun` turns a persona's answer into the events of one response: created, then each item
from added to done with its deltas between, then response.done with a usage that adds up. It is
told the time and never asks for it; audio is released at a multiple of real time, in pieces of
varying size, as a model does. It can be cut short at any point.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from server.audio.g711 import SAMPLE_RATE_HZ, ms
from server.simulator.realtime.conversation import Conversation, Item
from server.simulator.realtime.formats import Encoder
from server.simulator.realtime.pieces import OpenItem, Words, cut, voice_name
from server.simulator.realtime.turn import Answer, Speech, ToolCall, Wait

Event = dict[str, Any]
MakeId = Callable[[str], str]
BIG_DELTA_BYTES = 786_432
"""1 MiB of base64."""
_LATE_DELTAS = 3
_SERVER_ERROR = "The server had an error while processing your request. Please retry your request."


@dataclass(frozen=True, slots=True)
class Pace:
    """How the audio of a response is cut and timed."""

    speed: float
    """Multiple of real time."""
    delta_bytes: tuple[int, int]
    """Smallest and largest delta, in bytes of μ-law."""
    first_audio_s: float = 0.0
    is_big_delta: bool = False
    has_late_deltas: bool = False
    breaks_with: str | None = None
    """Half-way through the audio: `failed` or `incomplete`; None for never."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the session's configuration and response.create together ask of this response."""

    output_format: dict[str, Any]
    voice: Any
    modality: str
    """`audio` or `text`."""
    max_output_tokens: int | str
    metadata: dict[str, str] | None
    input_text_tokens: int
    input_audio_tokens: int


class ResponseRun:
    """One response on its way out. `conversation` is None for one out of band."""

    def __init__(
        self,
        answer: Answer,
        settings: Settings,
        pace: Pace,
        conversation: Conversation | None,
        make_id: MakeId,
        chance: random.Random,
        now_s: float,
    ) -> None:
        self.id = make_id("resp")
        self.is_over = False
        self.audio_bytes = 0
        """μ-law sent so far, over all items."""
        self._answer = answer
        self._settings = settings
        self._pace = pace
        self._conversation = conversation
        self._make_id = make_id
        self._chance = chance
        self._due_at_s = now_s
        self._out: list[Event] = []
        self._output: list[dict[str, Any]] = []
        self._open: OpenItem | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._text_tokens = 0
        self._break_at = sum(len(p.payload) for p in answer if isinstance(p, Speech)) // 2
        self._script = self._play()

    @property
    def next_at_s(self) -> float | None:
        return None if self.is_over else self._due_at_s

    def begin(self) -> list[Event]:
        """The events that open a response; it stays in progress."""
        limits = [
            {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
            {"name": "tokens", "limit": 100_000, "remaining": 99_000, "reset_seconds": 0.6},
        ]
        self._emit("response.created", response=self._body("in_progress", None))
        self._emit("rate_limits.updated", rate_limits=limits)
        return self._taken()

    def advance(self, now_s: float, max_events: int) -> list[Event]:
        """What is due by now, at most `max_events` or a few more."""
        while not self.is_over and self._due_at_s <= now_s and len(self._out) < max_events:
            try:
                self._due_at_s += next(self._script)
            except StopIteration:
                if not self.is_over:
                    self._finish("completed")
        return self._taken()

    def cancel(self, reason: str) -> list[Event]:
        """End now: `turn_detected` or `client_cancelled`. Done-type events of the open item still come."""
        late, opened = self._chunks, self._open
        self._script.close()
        self._finish("cancelled", {"type": "cancelled", "reason": reason})
        if self._pace.has_late_deltas and opened is not None:
            for _, chunk in zip(range(_LATE_DELTAS), late, strict=False):
                self._emit("response.output_audio.delta", **opened.place, delta=opened.encode(chunk))
        return self._taken()

    def fail(self, code: str, message: str) -> list[Event]:
        """End at once, before anything was said."""
        self._script.close()
        error = {"type": code, "code": code, "message": message}
        self._finish("failed", {"type": "failed", "error": error})
        return self._taken()

    def _play(self) -> Generator[float, None, None]:
        """The whole answer; yields the seconds to wait before going on."""
        yield self._pace.first_audio_s
        index = -1
        for part in self._answer:
            if isinstance(part, Wait):
                yield part.seconds
                continue
            index += 1
            if isinstance(part, ToolCall):
                self._call(index, part)
            elif self._settings.modality == "text":
                self._write(index, part)
            else:
                yield from self._speak(index, part)
                if self.is_over:
                    return
            yield 0.0

    def _speak(self, index: int, part: Speech) -> Generator[float, None, None]:
        opened = self._open_message(index, {"type": "audio", "transcript": ""}, "output_audio")
        payload = part.payload
        if self._pace.is_big_delta and payload:
            payload = (payload * (BIG_DELTA_BYTES // len(payload) + 1))[:BIG_DELTA_BYTES]
        words = Words(part.transcript, len(payload))
        self._chunks = cut(payload, self._sizes(part))
        for chunk in self._chunks:
            self._emit("response.output_audio.delta", **opened.place, delta=opened.encode(chunk))
            opened.add(chunk)
            self.audio_bytes += len(chunk)
            if said := words.due(len(chunk)):
                self._say(opened, said)
            if self._pace.breaks_with is not None and self.audio_bytes >= self._break_at:
                self._break(self._pace.breaks_with)
                return
            yield len(chunk) / (SAMPLE_RATE_HZ * self._pace.speed)
        if rest := words.rest():
            self._say(opened, rest)
        self._close("completed")

    def _say(self, opened: OpenItem, words: str) -> None:
        self._text_tokens += 1
        opened.transcript += words
        self._emit("response.output_audio_transcript.delta", **opened.place, delta=words)

    def _break(self, status: str) -> None:
        if status == "failed":
            error = {"type": "server_error", "code": None, "message": _SERVER_ERROR}
            self._emit("error", error=error | {"param": None, "event_id": None})
            self._finish("failed", {"type": "failed", "error": error})
        else:
            self._finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})

    def _sizes(self, part: Speech) -> Iterator[int]:
        if self._pace.is_big_delta:
            yield BIG_DELTA_BYTES
        yield from part.delta_bytes
        while True:
            yield part.delta_bytes[-1] if part.delta_bytes else self._chance.randint(*self._pace.delta_bytes)

    def _write(self, index: int, part: Speech) -> None:
        """The answer of a session that asked for text."""
        opened = self._open_message(index, {"type": "text", "text": ""}, "output_text")
        for word in part.transcript.split(" "):
            self._text_tokens += 1
            said = f" {word}" if opened.transcript else word
            opened.transcript += said
            self._emit("response.output_text.delta", **opened.place, delta=said)
        self._close("completed")

    def _call(self, index: int, call: ToolCall) -> None:
        call_id = self._make_id("call")
        body = self._item_body("function_call") | {"name": call.name, "call_id": call_id, "arguments": ""}
        self._open_item(index, body)
        place = {"response_id": self.id, "item_id": body["id"], "output_index": index, "call_id": call_id}
        half = len(call.arguments) // 2
        for piece in (call.arguments[:half], call.arguments[half:]):
            if piece:
                self._text_tokens += 1
                self._emit("response.function_call_arguments.delta", **place, delta=piece)
        self._emit("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
        body |= {"arguments": call.arguments, "status": "completed"}
        self._close_item(index, body)

    def _item_body(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._make_id("item"),
            "object": "realtime.item",
            "type": kind,
            "status": "in_progress",
        }

    def _open_message(self, index: int, part: dict[str, str], content_type: str) -> OpenItem:
        body = self._item_body("message") | {"role": "assistant", "content": []}
        item = self._open_item(index, body)
        self._open = OpenItem(self.id, index, item, content_type, Encoder(self._settings.output_format))
        self._emit("response.content_part.added", **self._open.place, part=part)
        return self._open

    def _open_item(self, index: int, body: dict[str, Any]) -> Item:
        item = Item(body)
        self._emit("response.output_item.added", response_id=self.id, output_index=index, item=dict(body))
        if self._conversation is not None:
            previous = self._conversation.add(item)
            self._emit("conversation.item.added", previous_item_id=previous, item=dict(body))
        return item

    def _close(self, status: str) -> None:
        """The done-type events of the open message."""
        opened, self._open = self._open, None
        if opened is None:
            return
        said = {opened.text_field: opened.transcript}
        kind = "output_audio_transcript" if opened.is_audio else "output_text"
        if opened.is_audio:
            self._emit("response.output_audio.done", **opened.place)
        self._emit(f"response.{kind}.done", **opened.place, **said)
        part = {"type": "audio" if opened.is_audio else "text"} | said
        self._emit("response.content_part.done", **opened.place, part=part)
        body = opened.item.body
        body |= {"status": status, "content": [{"type": opened.content_type} | said]}
        opened.keep_audio()
        self._close_item(opened.place["output_index"], body)

    def _close_item(self, index: int, body: dict[str, Any]) -> None:
        self._output.append(dict(body))
        self._emit("response.output_item.done", response_id=self.id, output_index=index, item=dict(body))
        if self._conversation is not None:
            before = self._conversation.before(body["id"])
            self._emit("conversation.item.done", previous_item_id=before, item=dict(body))

    def _finish(self, status: str, details: dict[str, Any] | None = None) -> None:
        self._close("incomplete")
        self.is_over = True
        self._emit("response.done", response=self._body(status, details) | {"usage": self._usage()})

    def _body(self, status: str, details: dict[str, Any] | None) -> dict[str, Any]:
        asked = self._settings
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": list(self._output),
            "conversation_id": self._conversation.id if self._conversation else None,
            "output_modalities": [asked.modality],
            "max_output_tokens": asked.max_output_tokens,
            "audio": {"output": {"format": dict(asked.output_format), "voice": voice_name(asked.voice)}},
            "usage": None,
            "metadata": asked.metadata,
        }

    def _usage(self) -> dict[str, Any]:
        """Tokens at the published rates: 10 a second of audio heard, 20 a second of audio said."""
        said_audio = ms(self.audio_bytes) // 50
        heard, read = self._settings.input_audio_tokens, self._settings.input_text_tokens
        return {
            "total_tokens": heard + read + said_audio + self._text_tokens,
            "input_tokens": heard + read,
            "output_tokens": said_audio + self._text_tokens,
            "input_token_details": {
                "text_tokens": read,
                "audio_tokens": heard,
                "image_tokens": 0,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": self._text_tokens, "audio_tokens": said_audio},
        }

    def _emit(self, kind: str, **fields: Any) -> None:
        self._out.append({"type": kind} | fields)

    def _taken(self) -> list[Event]:
        events, self._out = self._out, []
        return events
