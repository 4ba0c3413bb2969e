"""The model's leg of the pipelined mode: three HTTP services that behave as one Realtime session.

    append_audio ─▶ UtteranceCutter ─▶ transcribe ─▶ ChatLog
    create_response ─▶ chat ─▶ SentenceCutter ─▶ speak ─▶ 8 kHz ─▶ audio_out_queue

It has the methods of `OpenAIRealtimeClient`, takes the same commands and tells of the same events, so
that one conversation decides for both: barge-in, tools, idle clocks, what was heard. A response runs in
two green threads: one reads the answer as it is written, the other has it spoken, sentence by sentence,
so that the next is made while the last is played. Each sentence is an item of its own, and its words are
told as they are spoken, not as they are written: an interruption cuts both alike. An answer that breaks
after its first sound is gone on with when it is asked for again.
"""

from __future__ import annotations

import base64
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from server import green
from server.audio.framing import Framer
from server.audio.g711 import from_pcm16, ms, to_pcm16
from server.audio.resample import TelephoneDownsampler
from server.channel import ChannelClosed
from server.config import Dialect
from server.errors import SpeechError, SpeechUnreachable, SpeechUnusable
from server.faults import FAULTS
from server.realtime import events
from server.realtime.commands import Command, Commands, SessionSettings, function_of
from server.realtime.events import Event, FunctionCall, ServerError
from server.realtime.words import WORDS
from server.services.chat_deltas import CUT_SHORT, ChatDelta, Done, TextDelta, ToolCall
from server.services.openai_realtime_client import AudioChunk
from server.services.openai_speech import TTS_RATE_HZ, Chat, OpenAISpeech, Speech
from server.turns.chat_log import ChatLog, as_chat_tools
from server.turns.sentences import SentenceCutter
from server.turns.utterance import Began, Ended, UtteranceCutter

log = logging.getLogger("server.media_ws_ai")

TRANSCRIBED_WITHIN_S = 8.0
MAX_TOKENS = 4096
"""Of one answer, with what a reasoning model thinks before it speaks."""
MAX_ANSWER_CHARS = 4000
"""Spoken, of one answer: five minutes of it."""
MAX_SENTENCE_MS = 120_000
"""A voice that speaks longer than this at one sentence does not end."""
INAUDIBLE = "[inaudible]"
"""In place of words that the service would not write down: whoever reads it asks for them again."""
MAX_INAUDIBLE = 1
"""In a row: a service that refuses one utterance after another is no service."""
FATAL = {"KAV-172": "invalid_api_key", "KAV-173": "insufficient_quota", "KAV-174": "model_not_found"}
"""Refusals by fault, in the words of the Realtime protocol."""
NOT_THIS_ONE = "KAV-176"
"""A refusal for what a request says: the next one may be taken."""


@dataclass(slots=True)
class _Response:
    """One answer being made."""

    id: str
    instructions: str = ""
    verbatim: str = ""
    may_use_tools: bool = True
    is_cancelled: bool = False
    sentences: deque[str] = field(default_factory=deque)
    n_chars: int = 0
    """Written so far."""
    is_written: bool = False
    ended_for: str = ""
    """Why the model stopped before its end."""
    asked: int = 0
    """What it knows of, as `ChatLog.asked` counts."""
    changed: green.Signal = field(default_factory=green.Signal)
    calls: list[FunctionCall] = field(default_factory=list)
    has_sound: bool = False
    failure: SpeechError | None = None
    chat: Chat | None = None
    speech: Speech | None = None


class PipelineClient:
    """One call's. `listener` hears every event, in whatever green thread causes it."""

    def __init__(
        self,
        speech: OpenAISpeech,
        listener: Callable[[str, Event], None],
        call_tag: str,
        *,
        voice_threshold: int,
        min_voice_frames: int,
        voice_detector: str = "rms",
    ) -> None:
        self.audio_out_queue: deque[AudioChunk] = deque()
        self.on_audio_queued: Callable[[], None] = lambda: None
        self.plain_audio: Callable[[str, str, bytes], bool] | None = None
        self.commands = Commands(Dialect.GA)
        self._speech = speech
        self._listener = listener
        self._tag = call_tag
        self._cutter = UtteranceCutter(voice_threshold, min_voice_frames, voice_detector)
        self._framer = Framer()
        self._settings = SessionSettings(voice="", instructions="")
        self._log = ChatLog()
        self._ids: Iterator[int] = itertools.count(1)
        self._utterance_id = ""
        self._unwritten: dict[str, bytes] = {}  # item id -> PCM16 that is not written down yet
        self._writing: dict[str, green.Signal] = {}
        self._unwritten_for: SpeechError | None = None
        self._inaudible = 0
        """Utterances in a row that were refused."""
        self._call_ids: set[str] = set()
        self._is_broken_off = False
        """The last answer failed after its first sound: the caller heard half of it."""
        self._response: _Response | None = None
        self._threads: set[green.Thread] = set()
        self._is_closed = False
        self._ended = green.Signal()

    # As a session

    def connect(self, channel: object = None) -> float:
        """Nothing to open: each request is its own. The first finds its connection as the last left it."""
        return 0.0

    def configure(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._listener("session.updated", events.SessionUpdated())

    def read_events(self) -> ChannelClosed:
        """Block until `close`."""
        while not self._is_closed:
            self._ended.wait()
        return ChannelClosed(1000, "closed", by_peer=False)

    def close(self) -> None:
        self._is_closed = True
        self._cancel()
        for thread in list(self._threads):
            thread.kill()
        self._ended.set()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def take_audio(self) -> AudioChunk | None:
        return self.audio_out_queue.popleft() if self.audio_out_queue else None

    # What the caller says

    def append_audio_b64(self, payload_b64: bytes) -> None:
        self.append_audio(base64.b64decode(payload_b64))

    def append_audio(self, payload: bytes) -> None:
        """μ-law of any length. Does not block: comes in the hub's own callback."""
        for frame in self._framer.push(payload):
            match self._cutter.push(frame):
                case Began():
                    self._utterance_id = self._new_id("caller")
                    self._log.began(self._utterance_id)
                    self._tell(
                        "input_audio_buffer.speech_started", events.SpeechStarted(self._utterance_id, 0)
                    )
                case Ended(utterance):
                    item_id = self._utterance_id
                    self._unwritten[item_id] = to_pcm16(utterance)
                    self._writing[item_id] = green.Signal()
                    self._spawn(self._write_down, item_id)
                    self._tell("input_audio_buffer.speech_stopped", events.SpeechStopped(item_id, 0))

    def _write_down(self, item_id: str) -> None:
        """Have an utterance transcribed. Its audio is kept until that has succeeded."""
        text: str | None = None
        try:
            pcm16 = self._unwritten.get(item_id, b"")  # none: it was dismissed meanwhile
            text = self._speech.transcribe(pcm16, self._settings.language or "")
            self._inaudible = 0
            self._settle(item_id, text.strip())
        except SpeechError as error:
            self._failed(error)
            if error.fault_id == NOT_THIS_ONE and self._inaudible < MAX_INAUDIBLE:
                self._inaudible += 1
                self._settle(item_id, INAUDIBLE)
            else:
                self._unwritten_for = error
        finally:
            if (signal := self._writing.pop(item_id, None)) is not None:
                signal.set()
        self._tell("conversation.item.input_audio_transcription", events.CallerTranscript(item_id, text))

    def _settle(self, item_id: str, words: str) -> None:
        """Nobody needs the utterance's audio any more."""
        if self._unwritten.pop(item_id, None) is not None:
            self._log.say("user", words, item_id)

    # What we are told

    def send(self, command: str | bytes) -> None:
        """One client event. Never blocks."""
        if not isinstance(command, Command) or self._is_closed:
            return
        event = command.event
        match event["type"]:
            case "response.create":
                self._begin_response(event.get("response", {}), command)
            case "response.cancel":
                self._cancel()
            case "conversation.item.create":
                self._add_item(event["item"])
            case "conversation.item.truncate":
                self._log.truncate(event["item_id"], event["audio_end_ms"])
            case "conversation.item.delete":
                self._unwritten.pop(event["item_id"], None)
                self._log.delete(event["item_id"])

    def _add_item(self, item: dict[str, Any]) -> None:
        if item["type"] == "function_call_output":
            self._log.answered(item["call_id"], item["output"])
        else:
            self._log.recall(item["role"], item["content"][0]["text"])

    def _begin_response(self, wanted: dict[str, Any], command: Command) -> None:
        if self._response is not None:
            message = "Conversation already has an active response in progress."
            code = "conversation_already_has_active_response"
            self._tell("error", ServerError("invalid_request_error", code, message, "", command.event_id))
            return
        self._response = response = _Response(
            self._new_id("resp"),
            wanted.get("instructions", ""),
            command.verbatim,
            wanted.get("tool_choice") != "none",
        )
        self._spawn(self._write_answer, response)
        self._spawn(self._speak_answer, response)

    def _cancel(self) -> None:
        """Stop all three stages at once."""
        if self._response is None or self._response.is_cancelled:
            return
        response = self._response
        response.is_cancelled = True
        for stage in (response.chat, response.speech):
            if stage is not None:
                stage.close()
        response.changed.set()

    # One response

    def _write_answer(self, response: _Response) -> None:
        """Words to write down first, then the answer as it is written."""
        cutter = SentenceCutter()
        try:
            if response.verbatim:
                response.sentences.extend([*cutter.push(response.verbatim), *cutter.flush()])
                return
            self._wait_for_words()
            if response.is_cancelled:
                return
            if not (response.instructions or self._is_unanswered()):
                if not self._is_broken_off:
                    return  # a noise that had no words: nobody waits for an answer
                response.instructions = WORDS[self._settings.language or "en"].continuing
            response.asked = self._log.asked
            messages = self._log.messages(self._settings.instructions, response.instructions)
            tools = as_chat_tools([function_of(tool) for tool in self._settings.tools])
            with self._speech.chat(
                messages, tools if response.may_use_tools else (), max_output_tokens=MAX_TOKENS
            ) as response.chat:
                for delta in response.chat:
                    self._take_delta(response, cutter, delta)
                    if response.n_chars >= MAX_ANSWER_CHARS:
                        response.ended_for = "max_answer_chars"
                        break
            response.sentences.extend(cutter.flush())
        except SpeechError as error:
            response.failure = error
        finally:
            response.is_written = True
            response.changed.set()

    def _is_unanswered(self) -> bool:
        """Raises SpeechError while nobody knows what was said."""
        if self._unwritten:
            raise self._unwritten_for or SpeechUnreachable("KAV-178", "no transcript", code="timeout")
        return self._log.is_unanswered

    def _take_delta(self, response: _Response, cutter: SentenceCutter, delta: ChatDelta) -> None:
        match delta:
            case TextDelta(text):
                text = text[: MAX_ANSWER_CHARS - response.n_chars]
                response.n_chars += len(text)
                if pieces := cutter.push(text):
                    response.sentences.extend(pieces)
                    response.changed.set()
            case ToolCall(call_id, name, arguments):
                if not call_id or call_id in self._call_ids:  # some services count anew in each answer
                    call_id = self._new_id("tool")
                self._call_ids.add(call_id)
                response.calls.append(FunctionCall(name, call_id, arguments))
                self._log.called(call_id, name, arguments)
            case Done(reason) if reason in CUT_SHORT:
                response.ended_for = reason

    def _wait_for_words(self) -> None:
        """Every utterance so far is written down, those included that failed before."""
        for item_id in [item_id for item_id in self._unwritten if item_id not in self._writing]:
            self._writing[item_id] = green.Signal()
            self._write_down(item_id)
        until_s = time.monotonic() + TRANSCRIBED_WITHIN_S
        while self._writing and (left_s := until_s - time.monotonic()) > 0:
            green.sleep(min(left_s, 0.02))

    def _speak_answer(self, response: _Response) -> None:
        """Each sentence as soon as it is written; then the response is done."""
        try:
            self._tell("response.created", events.ResponseCreated(response.id))
            while not response.is_cancelled:
                if response.sentences:
                    self._speak(response, response.sentences.popleft())
                elif response.is_written:
                    break
                else:
                    response.changed.wait()
        except SpeechError as error:
            response.failure = response.failure or error
            if response.chat is not None:
                response.chat.close()  # nobody would speak the rest
        finally:
            self._response = None
        if not self._is_closed:
            self._finish(response)

    def _speak(self, response: _Response, sentence: str) -> None:
        """One sentence as one item of audio, its words in step with it."""
        item_id, said = self._new_id("item"), ""
        settings, downsampler = self._settings, TelephoneDownsampler(TTS_RATE_HZ)
        n_ms = 0
        response.speech = self._speech.speak(sentence, settings.voice, settings.language or "")
        try:
            with response.speech:
                for pcm in itertools.chain(response.speech, (None,)):
                    payload = from_pcm16(downsampler.flush() if pcm is None else downsampler.push(pcm))
                    if not payload or response.is_cancelled:
                        continue
                    response.has_sound = True
                    if (n_ms := n_ms + ms(len(payload))) > MAX_SENTENCE_MS:
                        raise SpeechUnusable("KAV-177", "a voice that does not end", code="endless")
                    delta = events.AudioDelta(response.id, item_id, payload)
                    self._tell("response.output_audio.delta", delta)
                    words = self._log.speaks(item_id, sentence, ms(len(payload)))
                    if words != said:
                        more, said = events.AgentWords(item_id, words[len(said) :]), words
                        self._tell("response.output_audio_transcript.delta", more)
                    self._queue(AudioChunk(response.id, item_id, payload))
            if said and not response.is_cancelled:
                self._log.say("assistant", said := sentence, item_id)
        finally:
            if said:
                text = events.AgentTranscript(item_id, said)
                self._tell("response.output_audio_transcript.done", text)
            if not response.is_cancelled:
                self._queue(AudioChunk(response.id, item_id, b""))

    def _finish(self, response: _Response) -> None:
        failure = response.failure
        if failure is not None and failure is not self._unwritten_for:  # else it was told of already
            self._failed(failure)
        status, error = "completed" if not response.ended_for else "incomplete", None
        if response.is_cancelled:
            status = "cancelled"
        elif failure is not None:
            status = "failed"
            error = ServerError("server_error", failure.code, str(failure), "", "")
        self._is_broken_off = status == "failed" and (response.has_sound or self._is_broken_off)
        if not response.is_cancelled and (response.has_sound or response.calls):
            self._log.has_answered(response.asked)
        done = events.ResponseDone(response.id, status, response.ended_for, tuple(response.calls), error, 0)
        self._queue(AudioChunk(response.id, "", b""))
        self._tell("response.done", done)

    def _failed(self, error: SpeechError) -> None:
        """Say so in the log. What a second try would not change ends the session; the code says so to the
        conversation."""
        log.warning("%s call=%s", FAULTS[error.fault_id].line(str(error)), self._tag)
        if (code := FATAL.get(error.fault_id)) is not None:
            refused = ServerError("invalid_request_error", code, str(error), "", "", error.fault_id)
            self._tell("error", refused)

    # Small parts

    def _queue(self, chunk: AudioChunk) -> None:
        self.audio_out_queue.append(chunk)
        self.on_audio_queued()

    def _tell(self, kind: str, event: Event) -> None:
        if not self._is_closed:
            self._listener(kind, event)

    def _spawn(self, run: Callable[..., None], *args: Any) -> None:
        thread: list[green.Thread] = []

        def guarded() -> None:
            try:
                run(*args)
            except Exception:
                log.exception("%s call=%s", FAULTS["KAV-199"].line("pipeline"), self._tag)
                self._tell("error", ServerError("server_error", "", "pipeline", "", ""))
            finally:
                self._threads.discard(thread[0])

        thread.append(green.spawn(guarded))
        self._threads.add(thread[0])

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{next(self._ids)}"
