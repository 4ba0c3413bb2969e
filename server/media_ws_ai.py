"""Realtime mode: the caller talks with a model over two sockets.

    caller ─▶ on_media ─▶ Ear ─▶ client.append_audio ─▶ model
    caller ◀─ tx_q ◀─ _realtime_audio_out_loop ◀─ audio_out_queue ◀─ _model_loop ◀─ model

Audio stays G.711 μ-law from end to end. Two green threads beside the stream's own: the model's loop
(connects, configures, then reads events, which decide), and while there is audio to cut into frames the
audio-out loop; deltas that continue an item under way take the short way of `_on_plain_audio` instead.
What has been heard is the ledger's business, whose audio is still wanted that of `Responses`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import assert_never

from server import green
from server.audio.ear import Ear
from server.audio.framing import Framer
from server.audio.g711 import FRAME_BYTES, SILENT_FRAME_B64
from server.audio_trail import AudioTrail
from server.config import CallMode, Settings
from server.errors import FAULTS, ModelRefused, ModelUnreachable
from server.gateway import CallerLeg
from server.logs import clean
from server.metrics import Counters, count_unknown
from server.realtime import events
from server.realtime.answer_watch import AnswerWatch, Due
from server.realtime.commands import END_CALL_TOOL, Command, greeting_instructions, greeting_tokens
from server.realtime.events import ErrorKind, Event, FunctionCall, ServerError, classify, fault_of
from server.realtime.responses import Request, Responses
from server.services.openai_realtime_client import AudioChunk, Endpoint, OpenAIRealtimeClient
from server.store.live_calls import EndReason
from server.telephony.keys import KeyBuffer
from server.telephony.messages import Start
from server.telephony.outbox import Frame

log = logging.getLogger(__name__)

READY_WITHIN_S = 5.0
FIRST_AUDIO_WITHIN_S = 6.0
"""The longest a caller waits for the first voice before the call ends with words instead."""
CHUNKS_A_TURN = 16
MAX_RETRIES = 2
RETRY_AFTER_S = 0.5
MAX_EARLY_FRAMES = 500
"""The caller's audio kept while the session is not ready: 10 s."""


class RealtimeMode:
    """One call with a model."""

    def __init__(
        self,
        caller: CallerLeg,
        start: Start,
        settings: Settings,
        endpoint: Endpoint,
        counters: Counters,
        name: CallMode,
    ) -> None:
        self.name = name
        self._caller = caller
        self._settings = settings
        self._counters = counters
        self._business = clean(start.parameters.get("business", "1"), 40)
        self._tag = caller.call_tag
        self._trail = AudioTrail(self._tag, traces_all=settings.call_trace)
        self._client = OpenAIRealtimeClient(endpoint, self._on_event, self._tag)
        if not settings.call_trace and not log.isEnabledFor(logging.DEBUG):  # the short way says nothing
            self._client.plain_audio = self._on_plain_audio
        self._client.on_audio_queued = self._on_audio_queued
        self._responses = Responses()
        self._out_item = ""
        """The item whose audio is on its way; empty between items."""
        self._out_response = ""
        self._has_out_loop = False
        self._out_framer = Framer()
        self._ear = Ear(
            settings.voice_threshold, settings.min_consecutive_voice_frames, gate=settings.noise_gate
        )
        self._began_at = time.monotonic()
        self._is_ready = False
        self._early: deque[bytes] = deque(maxlen=MAX_EARLY_FRAMES)
        self._threads: list[green.Thread] = []
        self._keys = KeyBuffer()
        self._early_keys = ""
        self._answer = AnswerWatch()
        self._greetings_asked = 0
        self._hangs_up = False
        self._retries = 0
        self._retry_at: float | None = None

    # From the stream

    def start(self) -> None:
        self._threads = [green.spawn(self._model_loop)]

    def on_media(self, payload: bytes, chunk: int | None, payload_b64: bytes | None = None) -> None:
        """Every frame counts on the model's clock: one that is not worth hearing goes as silence."""
        ear = self._ear
        if payload_b64 is not None and self._is_ready and ear.is_between_frames:
            is_gated = ear.is_gated(payload)
            if ear.has_started:
                self._trail.voice(ear.rms, ear.detector.threshold)
            self._client.append_audio_b64(SILENT_FRAME_B64 if is_gated else payload_b64)
            return
        for heard in ear.hear(payload):
            if heard.voice.started:
                self._trail.voice(heard.voice.rms, heard.voice.threshold)
            if self._is_ready:
                self._client.append_audio(heard.payload)
            else:
                self._early.append(heard.payload)

    def on_dtmf(self, digit: str) -> None:
        """Keys are collected while they follow each other, then told to the model as text."""
        self._tell_keys(self._keys.press(digit, time.monotonic()))

    def on_mark(self, name: str) -> None:
        pass  # the ledger knows

    def tick(self, now_s: float) -> None:
        waited_s = now_s - self._began_at
        self._tell_keys(self._keys.due(now_s))
        self._watch_for_silence(now_s)
        if self._retry_at is not None and now_s >= self._retry_at:
            self._retry_at = None
            self._ask(self._client.commands.create_response if self._trail.has_spoken else self._greeting)
        if not self._is_ready and waited_s > READY_WITHIN_S:
            self._fail(EndReason.MODEL_UNREACHABLE, "KAV-131", f"no session within {READY_WITHIN_S:.0f} s")
        elif self._trail.first_audio_at is None and waited_s > FIRST_AUDIO_WITHIN_S:
            self._fail(EndReason.MODEL_SILENT, "KAV-137", f"nothing within {FIRST_AUDIO_WITHIN_S:.0f} s")
        elif self._hangs_up and not self._responses.is_active and self._caller.tx_q.is_quiet(now_s):
            self._caller.end(EndReason.AGENT_HANGUP)

    def frames_sent(self, frames: list[Frame], ended: list[str]) -> None:
        self._trail.sent(frames, ended)

    def frame_passed(self, item_id: str, payload: bytes) -> None:
        self._trail.passed(item_id, payload)

    def close(self) -> None:
        self._client.close()
        self._trail.say_totals()
        for thread in list(self._threads):
            thread.kill()

    # The model's leg

    def _model_loop(self) -> None:
        """Connect, configure, read events until either side ends the session."""
        try:
            connected_ms = self._client.connect()
            log.info("[REALTIME] connected to model in %d ms, call_sid=%s", connected_ms, self._tag)
            log.info(
                "[VOICE] Using voice=%s for entire call (business=%s)", self._settings.voice, self._business
            )
            self._client.configure_session(
                voice=self._settings.voice,
                instructions=self._settings.instructions_text,
                language=self._settings.call_language,
                tools=(END_CALL_TOOL,),
            )
            closed = self._client.read_events()
            self._fail(EndReason.MODEL_GONE, "KAV-135", str(closed))
        except ModelRefused as error:
            self._fail(EndReason.MODEL_REFUSED, fault_of(error.code), str(error))
        except ModelUnreachable as error:
            self._fail(EndReason.MODEL_UNREACHABLE, "KAV-131", str(error))
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("model loop"), self._tag)
            self._caller.end(EndReason.FAULT)

    def _on_event(self, kind: str, event: Event) -> None:
        match event:
            case events.AudioDelta():
                self._on_audio(event)
            case events.SpeechStarted():
                self._answer.settled()
                self._barge_in()
            case events.SpeechStopped():
                self._answer.owed(time.monotonic())
            case events.SessionUpdated():
                self._on_ready()
            case events.ResponseCreated():
                self._responses.created(event.response_id)
            case events.ResponseDone():
                self._on_response_done(event)
            case events.AgentTranscript():
                log.info("[REALTIME] AI said: %s call_sid=%s", clean(event.text), self._tag)
            case events.CallerTranscript():
                log.debug("[REALTIME] caller said: %s call_sid=%s", clean(event.text), self._tag)
            case events.ServerError():
                self._on_error(event)
            case events.Unknown():
                if count_unknown(self._counters, event.type):
                    log.warning("[REALTIME] unknown event type: %s call_sid=%s", clean(event.type), self._tag)
            case events.SessionCreated() | events.AudioDone() | events.Other():
                pass
            case _:
                assert_never(event)

    def _on_ready(self) -> None:
        """The settings are in force: what the caller said meanwhile, then the greeting."""
        if self._is_ready:
            return
        self._is_ready = True
        while self._early:
            self._client.append_audio(self._early.popleft())
        self._trail.asked()
        self._ask(self._greeting)
        self._tell_keys(self._early_keys)

    def _greeting(self) -> Command:
        self._greetings_asked += 1
        text = self._settings.greeting_text
        max_tokens = greeting_tokens(text)
        log.info(
            "[GREETING] max_tokens=%d for greeting length=%d chars call_sid=%s",
            max_tokens,
            len(text),
            self._tag,
        )
        words = greeting_instructions(text, self._settings.call_language)
        return self._client.commands.create_response(words, max_tokens)

    def _ask(self, request: Request) -> None:
        self._answer.owed(time.monotonic())
        self._send(self._responses.ask(request))

    def _send(self, text: str | None) -> None:
        if text is not None:
            self._client.send(text)

    def _on_audio(self, delta: events.AudioDelta) -> None:
        """Before the chunk is queued: so that a barge-in names an item of which nothing was sent yet."""
        if self._responses.is_abandoned(delta.response_id):
            return
        self._answer.settled()
        if self._trail.came(delta.item_id, len(delta.payload)):
            self._caller.tx_q.ledger.expect(delta.item_id)

    def _on_response_done(self, done: events.ResponseDone) -> None:
        self._send(self._responses.done(done.response_id))
        if done.status == "completed":
            self._retries = 0
            self._answer.settled()
            for call in done.function_calls:
                self._on_function_call(call)
        elif done.status == "failed":
            self._on_failed(done.error or ServerError("server_error", "", "no reason given", "", ""))
        elif (
            done.status == "cancelled" and not self._trail.has_spoken and self._greetings_asked < MAX_RETRIES
        ):
            self._ask(self._greeting)  # the caller spoke while we connected: greet them all the same
        elif done.status == "incomplete":
            log.warning("[REALTIME] response incomplete: %s call_sid=%s", clean(done.reason), self._tag)

    def _on_failed(self, error: ServerError) -> None:
        """A response came to nothing, and the caller waits for it: ask again, twice at most."""
        if classify(error) is not ErrorKind.TRANSIENT:
            self._on_error(error)
        elif self._retries >= MAX_RETRIES:
            self._fail(EndReason.MODEL_SILENT, "KAV-137", clean(error.message))
        else:
            self._counters.model_errors["transient"] += 1
            self._retries += 1
            self._retry_at = time.monotonic() + RETRY_AFTER_S * self._retries
            log.warning(
                "%s call=%s", FAULTS["KAV-136"].line(clean(f"{error.code} {error.message}")), self._tag
            )

    def _on_function_call(self, call: FunctionCall) -> None:
        if call.name == "end_call":
            self._hangs_up = True
            self._client.send(self._client.commands.function_output(call.call_id, {"ok": True}))
            return
        log.warning("[REALTIME] unknown tool %s call_sid=%s", clean(call.name, 60), self._tag)
        self._client.send(
            self._client.commands.function_output(call.call_id, {"error": "there is no such tool"})
        )
        self._ask(self._client.commands.create_response)

    def _on_error(self, error: ServerError) -> None:
        kind = classify(error)
        self._counters.model_errors[kind.name.lower()] += 1
        seen = clean(f"{error.code or error.type} {error.param} {error.message}".strip())
        match kind:
            case ErrorKind.ACTIVE_RESPONSE:
                self._send(self._responses.lost_race(error.event_id))
            case ErrorKind.BENIGN:
                log.info("[REALTIME] harmless error: %s call_sid=%s", seen, self._tag)
            case ErrorKind.FATAL:
                self._fail(EndReason.MODEL_REFUSED, fault_of(error.code), seen)
            case ErrorKind.SESSION_OVER:
                self._fail(EndReason.MODEL_GONE, "KAV-135", seen)
            case ErrorKind.REFUSED | ErrorKind.TRANSIENT:
                if error.event_id == self._client.settings_event_id or not self._is_ready:
                    fault_id = "KAV-134" if kind is ErrorKind.REFUSED else "KAV-131"
                    self._fail(EndReason.MODEL_REFUSED, fault_id, seen)
                    return
                self._send(self._responses.refused(error.event_id))
                log.warning("%s call=%s", FAULTS["KAV-136"].line(seen), self._tag)
            case _:
                assert_never(kind)

    def _barge_in(self) -> None:
        """The caller speaks. Fall silent first; then tell the model which words were never heard."""
        now_s = time.monotonic()
        self._hangs_up = False  # whoever interrupts a goodbye wants to go on
        is_playing = not self._caller.tx_q.is_quiet(now_s)
        self._responses.abandon()
        if not is_playing:
            return
        cuts = self._caller.tx_q.interrupt(now_s)
        self._caller.wake()
        self._counters.barge_ins += 1
        for cut in cuts:
            self._trail.forget(cut.item_id)
            commands = self._client.commands
            if cut.heard_ms:
                self._client.send(commands.truncate(cut.item_id, cut.heard_ms))
            else:
                self._client.send(commands.delete_item(cut.item_id))
            log.info(
                "[BARGE_IN] item=%s heard_ms=%d sent_ms=%d call_sid=%s",
                clean(cut.item_id, 40),
                cut.heard_ms,
                cut.sent_ms,
                self._tag,
            )

    def _tell_keys(self, keys: str) -> None:
        if not self._is_ready:
            self._early_keys += keys
        elif keys:
            self._client.send(self._client.commands.say_as_caller(f"[keys] {keys}"))
            self._ask(self._client.commands.create_response)

    def _watch_for_silence(self, now_s: float) -> None:
        match self._answer.due(now_s):
            case Due.ASK_AGAIN:
                log.warning("%s call=%s", FAULTS["KAV-137"].line("asking once more"), self._tag)
                self._ask(self._client.commands.create_response)
            case Due.GIVE_UP:
                self._fail(EndReason.MODEL_SILENT, "KAV-137", "no answer, though asked twice")

    # The way out

    def _on_audio_queued(self) -> None:
        if not self._has_out_loop:
            self._has_out_loop = True
            self._threads.append(green.spawn(self._realtime_audio_out_loop))

    def _realtime_audio_out_loop(self) -> None:
        """Cut the model's audio into frames and queue them for the caller, in order, until
        `audio_out_queue` is empty; the next audio starts it anew."""
        try:
            taken = 0
            while (chunk := self._client.take_audio()) is not None:
                if not self._responses.is_abandoned(chunk.response_id):
                    self._take_chunk(chunk)
                taken += 1
                if taken % CHUNKS_A_TURN == 0:
                    green.sleep(0)  # minutes of audio may come at once; the other calls go on meanwhile
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("audio out loop"), self._tag)
            self._caller.end(EndReason.FAULT)
        finally:
            self._has_out_loop = False
            self._threads = self._threads[:1]

    def _take_chunk(self, chunk: AudioChunk) -> None:
        if not chunk.item_id:
            if chunk.response_id == self._out_response:
                self._end_item()
                self._caller.wake()
            return
        self._out_response = chunk.response_id
        if chunk.item_id != self._out_item:
            self._end_item()  # a cancelled item never says that it is done
            self._out_item, self._out_framer = chunk.item_id, Framer()
        if chunk.payload:
            self._play(self._out_framer.push(chunk.payload))
        else:
            self._end_item()
        self._caller.wake()

    def _on_plain_audio(self, response_id: str, item_id: str, payload: bytes) -> bool:
        """The short way out, in the hub: true when `payload` continued the item under way and is on
        its way to the caller. The loop above would have done the same, two green threads later."""
        if item_id != self._out_item or self._responses.is_abandoned(response_id):
            return False
        frames = self._out_framer.push(payload)
        self._trail.queued(item_id, len(frames), FRAME_BYTES * len(frames))
        for frame in frames:
            self._caller.play_now(item_id, frame)
        return True

    def _play(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._caller.play(self._out_item, frame)
        self._trail.queued(self._out_item, len(frames), sum(map(len, frames)))

    def _end_item(self) -> None:
        """Pad the last partial frame and mark the item's end, unless it was interrupted meanwhile."""
        last = self._out_framer.flush()
        if self._trail.knows(self._out_item):
            if last is not None:
                self._play([last])
            self._caller.end_item(self._out_item)
            self._trail.item_queued(self._out_item)
        self._out_item = ""

    # Words

    def _fail(self, reason: EndReason, fault_id: str, seen: str) -> None:
        """End the call because of the model: `stream_ended` then answers with the apology."""
        if not self._client.is_closed:
            log.error("%s call=%s", FAULTS[fault_id].line(seen), self._tag)
            self._counters.refused[fault_id] += 1
        self._caller.end(reason, fault_id)
