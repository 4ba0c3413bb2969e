"""What does a Realtime server answer, and when?

One session, without socket, thread or clock: client events go in as JSON text with the time, server
events come out as dicts; `tick` releases what has become due, and `next_at_s` says when to call it.
It is as strict as the real server: what that refuses is refused here with the same code and
`param`, and a refused event has no effect at all. Nothing a client sends makes it raise.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from server.audio.g711 import ms
from server.simulator.realtime.checks import (
    Rejected,
    invalid_type,
    invalid_value,
    missing_parameter,
    unknown_parameter,
)
from server.simulator.realtime.config import SessionConfig
from server.simulator.realtime.conversation import Conversation, Item, heard_in
from server.simulator.realtime.dialects import GA, Dialect
from server.simulator.realtime.faults import Faults
from server.simulator.realtime.floor import Floor, Voice
from server.simulator.realtime.formats import Decoder
from server.simulator.realtime.hearing import Ear, SpeechStarted, SpeechStopped
from server.simulator.realtime.parsing import audio_of, event_id_of, parse_event, sound_of
from server.simulator.realtime.transcription import transcription_events
from server.simulator.realtime.turn import Listener, Persona, Spoken, Transcript

Event = dict[str, Any]

LIFETIME_S = 3600


@dataclass(frozen=True, slots=True)
class Ending:
    """The session is over: close the WebSocket with these."""

    code: int
    reason: str


class RealtimeSession:
    """One session of one client."""

    def __init__(
        self,
        persona: Persona,
        *,
        now_s: float,
        unix_s: float,
        model: str = "gpt-realtime-2.1",
        dialect: Dialect = GA,
        faults: Faults | None = None,
        voice: Voice | None = None,
        seed: int = 0,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.ending: Ending | None = None
        self._dialect = dialect
        self._faults = faults or Faults()
        self._chance = random.Random(seed)
        self._event_count = 0
        self._now_s = now_s
        expired_s = self._faults.session_expired
        lifetime_s = LIFETIME_S if expired_s is None else expired_s
        self._expires_at_s = now_s + lifetime_s
        self._config = SessionConfig(self._make_id("sess"), model, int(unix_s + lifetime_s))
        self._persona = persona
        self._conversation = Conversation(self._make_id("conv"))
        self._floor = Floor(
            persona,
            self._config,
            self._conversation,
            faults=self._faults,
            voice=voice or Voice(),
            make_id=self._make_id,
            chance=self._chance,
        )
        self._ear = Ear(breathe)
        self._decoder = Decoder(self._config.input["format"])
        self._speech_item_id = ""
        self._silent_from_ms = 0
        self._has_rejected_update = False
        self._later: list[tuple[float, Event]] = []  # transcriptions, the first due first
        self._out: list[Event] = []
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.update": self._update_session,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.truncate": self._truncate_item,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }
        self._configure_ear()

    @property
    def next_at_s(self) -> float | None:
        """When `tick` has something to do; None once the session has ended."""
        if self.ending:
            return None
        times = [self._expires_at_s, *(at for at, _ in self._later[:1])]
        if (at := self._floor.next_at_s) is not None:
            times.append(at)
        return min(times)

    def open(self) -> list[Event]:
        """The first event of every session."""
        self._emit("session.created", session=self._dialect.session_out(self._config))
        return self._taken()

    def receive(self, message: str | bytes, now_s: float) -> list[Event]:
        """Answer one text message of the client's."""
        self._now_s = now_s
        event_id: str | None = None
        try:
            event = parse_event(message)
            event_id = event_id_of(event)
            self._dispatch(event)
        except Rejected as refused:
            self._refuse(refused, event_id)
        return self._taken()

    def tick(self, now_s: float) -> list[Event]:
        """What is due by now. More may be: ask `next_at_s` again."""
        self._now_s = now_s
        if self.ending:
            return []
        if now_s >= self._expires_at_s:
            self._expire()
            return self._taken()
        while self._later and self._later[0][0] <= now_s:
            self._out.append(self._later.pop(0)[1])
        was_busy = self._floor.is_busy
        self._out += self._floor.advance(now_s)
        if was_busy and not self._floor.is_busy:
            self._silent_from_ms = self._ear.appended_ms
        if self._floor.idle_at_s is not None and now_s >= self._floor.idle_at_s:
            self._prompt_silent_caller()
        return self._taken()

    def _dispatch(self, event: Event) -> None:
        if "type" not in event:
            raise missing_parameter("type")
        kind = event["type"]
        checks = self._dialect.client_events
        if not isinstance(kind, str):
            raise invalid_type("type", "a string", kind)
        if kind not in checks:
            listed = ", ".join(f"'{known}'" for known in checks)
            message = f"Invalid value: '{kind[:100]}'. Supported values are: {listed}."
            raise Rejected("invalid_value", message, "type")
        checks[kind](event, "")
        self._handlers[kind](event)

    def _update_session(self, event: Event) -> None:
        if self._faults.no_update:
            return
        if self._faults.reject_update and not self._has_rejected_update:
            self._has_rejected_update = True
            raise unknown_parameter(f"session.{next((n for n in event['session'] if n != 'type'), 'audio')}")
        patch = self._dialect.session_in(event["session"])
        if self._faults.refuse_transcription and patch.get("audio", {}).get("input", {}).get("transcription"):
            raise invalid_value(self._dialect.transcription_param, "this model writes nothing down.")
        before = dict(self._config.input)
        self._config.update(patch, has_spoken=self._floor.has_spoken, is_speaking=self._floor.is_busy)
        if self._config.input["format"] != before["format"]:
            self._decoder = Decoder(self._config.input["format"])
        if self._config.input["turn_detection"] != before["turn_detection"]:
            self._configure_ear()
        self._emit("session.updated", session=self._dialect.session_out(self._config))

    def _configure_ear(self) -> None:
        wanted = self._config.turn_detection
        if wanted is None:
            self._ear.stop_detecting()
        else:
            prefix_ms = wanted.get("prefix_padding_ms", 300)
            self._ear.detect(wanted.get("threshold", 0.5), prefix_ms, self._config.silence_ms)

    def _append(self, event: Event) -> None:
        for found in self._ear.append(self._decoder.decode(audio_of(event["audio"], "audio"))):
            if isinstance(found, SpeechStarted):
                self._start_speech(found)
            else:
                self._stop_speech(found)

    def _start_speech(self, found: SpeechStarted) -> None:
        self._floor.idle_at_s = None
        self._speech_item_id = self._make_id("item")
        self._emit(
            "input_audio_buffer.speech_started",
            audio_start_ms=found.audio_start_ms,
            item_id=self._speech_item_id,
        )
        if (self._config.turn_detection or {}).get("interrupt_response"):
            self._out += self._floor.interrupt(self._now_s)
            self._floor.idle_at_s = None

    def _stop_speech(self, found: SpeechStopped) -> None:
        item_id = self._speech_item_id
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=found.audio_end_ms, item_id=item_id)
        self._hear(Spoken(found.payload, found.speech_ms), item_id)
        if (self._config.turn_detection or {}).get("create_response"):
            try:
                self._out += self._floor.respond({}, self._now_s)
            except Rejected as refused:  # no interrupt_response, and an answer still goes on
                self._refuse(refused, None)

    def _commit(self, event: Event) -> None:
        item_id = self._speech_item_id if self._ear.is_speech else self._make_id("item")
        payload = self._ear.commit()
        self._hear(Spoken(payload, ms(len(payload))), item_id)

    def _clear(self, event: Event) -> None:
        self._ear.clear()
        self._emit("input_audio_buffer.cleared")

    def _hear(self, spoken: Spoken, item_id: str, *, is_answered: bool = False) -> None:
        """A stretch of the buffer becomes an item of the user's."""
        body = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        item = Item(body, spoken.payload, len(spoken.payload), spoken, is_answered)
        previous = self._conversation.add(item)
        self._emit("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        self._show(item, previous)
        words = self._words(spoken) if not is_answered else None
        if self._config.input["transcription"] is not None:
            self._transcribe(item_id, spoken, words or Transcript(spoken.transcript))

    def _show(self, item: Item, previous: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._emit(kind, previous_item_id=previous, item=dict(item.body))

    def _words(self, spoken: Spoken) -> Transcript | None:
        """What the persona knows of this utterance: asked whether or not anybody wants it written down,
        so that the next one's words stay the next one's."""
        return self._persona.transcript(spoken) if isinstance(self._persona, Listener) else None

    def _transcribe(self, item_id: str, spoken: Spoken, words: Transcript) -> None:
        """Transcription runs beside the conversation: its events come whenever they are ready."""
        due_s = self._now_s + words.delay_s
        for event in transcription_events(item_id, words, ms(len(spoken.payload)) / 1000):
            insort(self._later, (due_s, event), key=itemgetter(0))

    def _create_item(self, event: Event) -> None:
        body = self._dialect.item_in(event["item"])
        body = {"id": self._make_id("item"), "object": "realtime.item", "status": "completed"} | body
        if body["type"] == "function_call_output" and not self._conversation.has_call(body["call_id"]):
            message = f"Tool call ID '{body['call_id']}' not found in conversation."
            raise Rejected("invalid_tool_call_id", message, "item.call_id")
        if body["type"] == "function_call":
            body.setdefault("call_id", self._make_id("call"))
        sound = sound_of(body, "item")
        payload = None if sound is None else Decoder(self._config.input["format"]).decode(sound)
        if "content" in body:
            body["content"] = [{k: v for k, v in part.items() if k != "audio"} for part in body["content"]]
        item = Item(body, payload, len(payload or b""), heard_in(body, payload))
        self._show(item, self._conversation.add(item, event.get("previous_item_id")))

    def _retrieve_item(self, event: Event) -> None:
        formats = self._config.input["format"], self._config.output["format"]
        self._emit(
            "conversation.item.retrieved", item=self._conversation.retrieve(event["item_id"], *formats)
        )

    def _delete_item(self, event: Event) -> None:
        self._conversation.delete(event["item_id"])
        self._emit("conversation.item.deleted", item_id=event["item_id"])

    def _truncate_item(self, event: Event) -> None:
        fields = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self._conversation.truncate(**fields)
        self._emit("conversation.item.truncated", **fields)

    def _create_response(self, event: Event) -> None:
        asked = self._dialect.response_in(event.get("response") or {})
        self._out += self._floor.respond(asked, self._now_s)

    def _cancel_response(self, event: Event) -> None:
        self._out += self._floor.cancel(event.get("response_id"), self._now_s)

    def _prompt_silent_caller(self) -> None:
        """The idle timeout: commit the silence and answer it."""
        self._floor.idle_at_s = None
        item_id = self._make_id("item")
        self._emit(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=self._silent_from_ms,
            audio_end_ms=self._ear.appended_ms,
            item_id=item_id,
        )
        self._hear(Spoken(self._ear.commit_silence(), 0), item_id, is_answered=True)
        self._out += self._floor.respond({}, self._now_s, is_idle=True)

    def _expire(self) -> None:
        message = "Your session hit the maximum duration of 60 minutes."
        self._refuse(Rejected("session_expired", message), None)
        self.ending = Ending(1001, message)

    def _refuse(self, refused: Rejected, event_id: str | None) -> None:
        error = {"type": "invalid_request_error", "code": refused.code, "message": refused.message}
        self._emit("error", error=error | {"param": refused.param, "event_id": event_id})

    def _emit(self, kind: str, **fields: Any) -> None:
        self._out.append({"type": kind} | fields)

    def _taken(self) -> list[Event]:
        """The collected events in this session's dialect, each with an id."""
        events, self._out = self._out, []
        told = [said for event in events if (said := self._dialect.event_out(event)) is not None]
        return [{"type": event["type"], "event_id": self._next_event_id()} | event for event in told]

    def _next_event_id(self) -> str:
        self._event_count += 1
        return f"event_{self._event_count:06d}"

    def _make_id(self, kind: str) -> str:
        return f"{kind}_{self._chance.getrandbits(80):020x}"
