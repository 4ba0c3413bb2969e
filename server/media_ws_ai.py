"""Realtime mode: the caller talks with a model over two sockets.

    caller ─▶ on_media ─▶ Ear ─▶ client.append_audio ─▶ model
    caller ◀─ tx_q ◀─ _realtime_audio_out_loop ◀─ audio_out_queue ◀─ ModelSession ◀─ model

Audio stays G.711 μ-law from end to end. Two green threads beside the stream's own: the session's (it
connects, configures, then reads events), and while there is audio to cut into frames the audio-out loop;
deltas that continue an item under way take the short way of `_on_plain_audio` instead. Here is the audio;
every decision is `Conversation`'s, and what it asks for is done by `CallStage`.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from server import green
from server.agent_voice import AgentVoice
from server.audio.ear import Ear
from server.audio.g711 import BYTES_PER_MS, SILENCE, SILENT_FRAME_B64
from server.audio_trail import AudioTrail
from server.call_record import CallRecord, ended_as
from server.call_services import CallServices
from server.call_sessions import CallSessions
from server.call_stage import CallStage
from server.call_tools import CallTools
from server.caller_seat import CallerSeat
from server.config import CallMode
from server.endings import GOES_ON, EndReason
from server.fallback import SESSION_WITHIN_S, Fallback
from server.faults import FAULTS
from server.gateway import CallerLeg
from server.logs import clean, mask_numbers
from server.metrics import count_unknown
from server.model_session import ModelClient, ModelSession
from server.realtime import events
from server.realtime.conversation import Conversation
from server.realtime.unheard import Unheard
from server.services.openai_realtime_client import AudioChunk
from server.session_keeper import SessionKeeper
from server.store.parked_calls import ParkedCall
from server.telephony.messages import Start
from server.telephony.outbox import Frame
from server.telephony.twiml import MAY_BE_NEW, RESUME
from server.turns.ladder import Ladder, Rung
from server.turns.leaving import Transfer

log = logging.getLogger(__name__)

CHUNKS_A_TURN = 16
SHOWN_CHARS = 400
OVERTIME_S = 20.0
END_OF_TURN = SILENCE * (1000 * BYTES_PER_MS)
"""What a caller whose line broke was saying ends here, for the model too."""


class RealtimeMode:
    """One call with a model."""

    overtime_s = OVERTIME_S
    first_rung = Rung.REALTIME

    def __init__(self, caller: CallerLeg, start: Start, services: CallServices, name: CallMode) -> None:
        self.name = name
        self._caller = CallerSeat(caller)
        self._services = services
        self._call_sid = start.call_sid
        self._resume = clean(start.parameters.get("resume", ""), 40)
        self._tag = caller.call_tag
        self._business = services.businesses.by_id(start.parameters.get("business", ""))
        may_be_new = bool(start.parameters.get(MAY_BE_NEW))
        self._record = CallRecord(services.store, self._business, start.call_sid, may_be_new=may_be_new)
        self._tools = CallTools(services, self._business, start.call_sid, self._tag)
        self._sessions = CallSessions(services, self._business, self._tools.offered, self._tag, name)
        self._stage = CallStage(self._caller, services, self._business, self._tools, start.call_sid)
        settings = services.settings
        self._trail = AudioTrail(self._tag, traces_all=settings.call_trace)
        self._ear = Ear(
            settings.voice_threshold,
            settings.min_consecutive_voice_frames,
            gate=settings.noise_gate,
            detector=settings.voice_detector,
        )
        self._began_at = time.monotonic()
        self._ended: EndReason | None = None
        self._keeper: SessionKeeper | None = None
        self._fallback: Fallback | None = None
        self._conversation: Conversation | None = None
        self._session: ModelSession | None = None
        """The one in use, as soon as it is ready and as long as it lives."""
        self._speaker: ModelClient | None = None
        """Whose audio is on its way: that of the session in use, or of the one that is gone."""
        self._unheard = Unheard()
        self._voice = AgentVoice(self._caller, self._trail)
        self._out_loop: green.Thread | None = None
        self._handed_item = ""

    # From the stream

    def start(self) -> None:
        if self._conversation is not None:
            self._go_on(self._conversation)
        elif self._resume:
            self._stage.bridge(self._began_at)
            green.spawn(self._come_back)
        else:
            self._begin(None)

    def on_media(self, payload: bytes, chunk: int | None, payload_b64: bytes | None = None) -> None:
        """Every frame counts on the model's clock: one that is not worth hearing goes as silence."""
        ear, session = self._ear, self._session
        if payload_b64 is not None and session is not None and ear.is_between_frames:
            is_gated = ear.is_gated(payload)
            if ear.detector.is_voice:
                self._on_voice()
            self._unheard.heard(payload, is_voice=ear.detector.is_voice)
            session.client.append_audio_b64(SILENT_FRAME_B64 if is_gated else payload_b64)
            return
        for heard in ear.hear(payload):
            if heard.voice.is_voice:
                self._on_voice()
            self._unheard.heard(heard.payload, is_voice=heard.voice.is_voice)
            if session is not None:
                session.client.append_audio(heard.payload)

    def _on_voice(self) -> None:
        ear, now_s = self._ear, time.monotonic()
        if ear.has_started:
            self._trail.voice(ear.rms, ear.detector.threshold, now_s)
        if self._conversation is not None:
            self._conversation.voice(ear.voiced_ms, ear.detector.quiet_ms, now_s)

    def on_dtmf(self, digit: str) -> None:
        """Keys are collected while they follow each other, then chosen from the menu or told to the model."""
        if self._conversation is not None:
            self._conversation.key(digit, time.monotonic())

    def on_mark(self, name: str) -> None:
        pass  # the ledger knows

    def tick(self, now_s: float) -> None:
        self._stage.tick(now_s)
        if self._conversation is None or self._keeper is None or self._fallback is None:
            return
        if self._stage.is_left:
            return
        self._record.tick(now_s)
        if self._session is None and self._conversation.is_leaving:
            self._conversation.tick(now_s)
            return
        has_voice, is_speech = self._conversation.has_spoken, self._ear.detector.is_voice
        self._fallback.tick(now_s, has_voice=has_voice, is_caller_speaking=is_speech)
        if self._fallback.is_over:
            return
        self._conversation.tick(now_s)
        if self._session is None:
            if self._fallback.is_opening and now_s - self._keeper.current.began_at > SESSION_WITHIN_S:
                seen = f"no session within {SESSION_WITHIN_S:.0f} s"
                self._on_lost(EndReason.MODEL_UNREACHABLE, "KAV-131", seen)
        else:
            self._keeper.tick(self._conversation, now_s)

    def frames_sent(self, frames: list[Frame], ended: list[str]) -> None:
        self._trail.sent(frames, ended)
        for frame in frames:
            if frame.item_id != self._handed_item:
                self._on_first_frame(frame.item_id)

    def frame_passed(self, item_id: str, payload: bytes) -> None:
        self._trail.passed(item_id, payload)
        if item_id != self._handed_item:
            self._on_first_frame(item_id)

    @property
    def is_restful(self) -> bool:
        return self._conversation is None or self._conversation.is_restful

    def ending(self, reason: EndReason) -> bool:
        """A call that goes on in another stream is kept: its record, and where that is of use, itself with
        its session. Of one that ended on purpose the reason is left, for another process may be asked what
        follows; of one whose caller hung up, nothing."""
        self._ended = reason
        is_kept = False
        if self._services.calls.transfer_of(self._call_sid):
            self._record.save(str(EndReason.TRANSFER))  # to ring the person, and for the way back
        elif reason is EndReason.STOP:
            self._record.erase()
        elif reason not in GOES_ON:
            self._record.conclude(reason)
        elif self._conversation is not None:
            is_kept = self._is_of_use(reason) and self._services.parked.park(self._call_sid, self)
            if is_kept:
                self._leave(self._conversation)
            self._record.save(str(reason))
        if not is_kept:
            self._record.close()
        return is_kept

    def settle(self) -> None:
        self._record.settle()

    def sit_down(self, caller: CallerLeg) -> None:
        """The caller is back by another stream, while this was parked; `start` follows."""
        self._caller.sit_down(caller)

    def close(self) -> None:
        self._stage.close()
        if self._keeper is not None:
            self._keeper.close()
        self._trail.say_totals()
        if self._out_loop is not None:
            self._out_loop.kill()

    # The conversation

    def _is_of_use(self, reason: EndReason) -> bool:
        """The session would serve the caller who comes back to this process."""
        is_served = self._session is not None and self._fallback is not None and not self._fallback.is_over
        return is_served and reason is not EndReason.DRAIN

    def _leave(self, conversation: Conversation) -> None:
        """The line broke; the session waits for the caller."""
        self._voice.cut()
        self._handed_item = ""
        conversation.left(time.monotonic())
        self._caller.leave()
        if self._session is not None:
            self._session.client.append_audio(END_OF_TURN)

    def _go_on(self, conversation: Conversation) -> None:
        """The caller is back, and so is the session that heard everything."""
        now_s = time.monotonic()
        log.info("[RESUME] with the same session, call_sid=%s", self._tag)
        self._ended = None
        self._stage.bridge(now_s)
        if self._fallback is not None:
            self._fallback.line_is_back(now_s)
        conversation.back(self._caller.tx_q, now_s)

    def _come_back(self) -> None:
        """The call returns from a transfer, or from another process; which may have ended it on purpose."""
        try:
            parked = self._record.take()
            if parked is None:
                log.warning("%s call=%s", FAULTS["KAV-145"].line(), self._tag)
            ended = ended_as(parked) if parked is not None and self._resume == RESUME else None
            if self._ended is None and parked is not None and ended is not None:
                self._go_where_it_ended(parked, ended)
            elif self._ended is None:
                self._begin(parked)
            elif self._ended in GOES_ON and parked is not None:
                self._record.put_back(parked, ended or self._ended)
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("resume"), self._tag)
            self._caller.end(EndReason.FAULT)

    def _go_where_it_ended(self, parked: ParkedCall, ended: EndReason) -> None:
        """The process that knew what follows could not be asked: this stream ends as that one did."""
        log.info("[RESUME] it had ended: reason=%s call_sid=%s", ended, self._tag)
        destination = str(parked.extra.get("destination", ""))
        if ended is not EndReason.TRANSFER:
            self._caller.end(ended)
        elif destination in self._business.transfers:
            self._record.put_back(parked, ended)  # for the way back
            self._stage.leave(Transfer(destination))
        else:
            self._begin(parked)

    def _begin(self, parked: ParkedCall | None) -> None:
        plan = self._sessions.plan(self._tools.names, self._resume, parked)
        voice, business_id = self._record.voice, self._business.id
        log.info("[VOICE] Using voice=%s for entire call (business=%s)", voice, business_id)
        self._keeper = keeper = SessionKeeper(
            partial(self._make_session, self.first_rung), self._use, self._tag
        )
        self._stage.client = keeper.current.client
        conversation = Conversation(
            *(self._stage, self._caller.tx_q, keeper.current.client.commands),
            *(plan, self._began_at),
        )
        self._conversation = conversation
        self._stage.attach(conversation, self._record, self._trail.forget, self._on_lost)
        self._record.attach(conversation)
        services = self._services
        self._fallback = Fallback(
            Ladder(self._sessions.rungs(self.first_rung, self._resume)),
            services.breaker,
            self._stage,
            self._caller,
            services.counters,
            next(iter(self._business.transfers), ""),
            self._open_session,
            self._end_session,
        )
        if self._fallback.may_begin():
            keeper.current.start()

    def _on_first_frame(self, item_id: str) -> None:
        self._handed_item = item_id
        self._stage.bridged()
        if self._conversation is not None:
            self._conversation.handed(item_id, time.monotonic())

    # The sessions (model_session.SessionListener)

    def _make_session(self, rung: Rung) -> ModelSession:
        session = self._sessions.make(rung, self._record.voice, self)
        if not self._services.settings.call_trace and not log.isEnabledFor(logging.DEBUG):
            session.client.plain_audio = self._on_plain_audio  # the short way says nothing
        session.client.on_audio_queued = self._on_audio_queued
        return session

    def _open_session(self, rung: Rung) -> None:
        """Another session in place of one that is gone."""
        if self._keeper is None or self._conversation is None:
            return
        session = self._keeper.replace(partial(self._make_session, rung))
        self._stage.client = session.client
        self._conversation.session_changed(session.client.commands, is_transcribed=session.is_transcribed)

    def _end_session(self) -> None:
        """The present session serves this call no more. What it said so far is heard to its end."""
        if self._keeper is None or self._conversation is None:
            return
        session, self._session = self._keeper.current, None
        session.client.plain_audio, session.client.on_audio_queued = None, lambda: None
        is_all_taken = self._voice.take_rest(self._next_chunk, CHUNKS_A_TURN)
        self._conversation.session_lost()
        if not is_all_taken:
            self._on_audio_queued()
        green.spawn(session.close)

    def session_ready(self, session: ModelSession) -> None:
        """What was said before goes first, then the sound of what nobody took in; then the agent speaks."""
        if self._keeper is None or self._conversation is None or session is not self._keeper.current:
            return
        if not session.is_transcribed:
            self._conversation.transcription_refused()
        session.seed(self._conversation.history.entries())
        is_retold = self._use(session)
        if self._fallback is not None:
            self._fallback.works(time.monotonic())
        self._trail.asked()
        self._conversation.session_ready(time.monotonic(), is_retold=is_retold, silence_ms=session.silence_ms)

    def _use(self, session: ModelSession) -> bool:
        """From now on; the sound of what nobody took in goes to it first, and true if there was any."""
        self._session, self._stage.client, self._speaker = session, session.client, session.client
        is_retold = self._unheard.is_waiting
        for chunk in self._unheard.retold():
            session.client.append_audio(chunk)
        return is_retold

    def session_event(self, session: ModelSession, event: events.Event) -> None:
        if session is not self._session or self._conversation is None or self._fallback is None:
            return
        match event:
            case events.AudioDelta():
                self._fallback.spoke()
                if not self._conversation.is_abandoned(event.response_id):
                    self._trail.came(event.item_id, len(event.payload))
            case events.AgentTranscript():
                log.info("[REALTIME] AI said: %s call_sid=%s", _shown(event.text), self._tag)
            case events.CallerTranscript():
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("[REALTIME] caller said: %s call_sid=%s", _shown(event.text or ""), self._tag)
            case events.Unknown():
                if count_unknown(self._services.counters, event.type):
                    log.warning("[REALTIME] unknown event type: %s call_sid=%s", clean(event.type), self._tag)
        self._unheard.note(event)
        self._conversation.on_event(event, time.monotonic())
        if isinstance(event, events.CallerTranscript):
            self._record.save()

    def session_lost(self, session: ModelSession, reason: EndReason, fault_id: str, seen: str) -> None:
        if self._keeper is None or not self._keeper.lost(session, fault_id, seen):
            return
        if self._caller.is_empty:
            self._services.parked.end(self._call_sid)  # the record is all that is left to go on with
        else:
            self._on_lost(reason, fault_id, seen)

    def _on_lost(self, reason: EndReason, fault_id: str, seen: str) -> None:
        """The session in use serves this call no more."""
        if self._fallback is None or self._conversation is None:
            return
        conversation = self._conversation
        self._fallback.lost(
            *(reason, fault_id, seen),
            has_voice=conversation.has_spoken,
            is_owed=not conversation.is_restful
            or self._unheard.is_waiting
            or not self._caller.tx_q.is_quiet(time.monotonic()),
            is_leaving=conversation.is_leaving,
        )

    # The way out

    def _on_audio_queued(self) -> None:
        if self._out_loop is None:
            self._out_loop = green.spawn(self._realtime_audio_out_loop)

    def _realtime_audio_out_loop(self) -> None:
        """Cut the model's audio into frames and queue them for the caller, in order, until
        `audio_out_queue` is empty; the next audio starts it anew."""
        try:
            taken = 0
            while (chunk := self._next_chunk()) is not None:
                self._voice.take(chunk)
                taken += 1
                if taken % CHUNKS_A_TURN == 0:
                    green.sleep(0)  # minutes of audio may come at once; the other calls go on meanwhile
            if self._session is None:
                self._voice.end_item()
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("audio out loop"), self._tag)
            self._caller.end(EndReason.FAULT)
        finally:
            self._out_loop = None

    def _next_chunk(self) -> AudioChunk | None:
        """Of those that wait the first that is wanted."""
        while self._speaker is not None and (chunk := self._speaker.take_audio()) is not None:
            if self._conversation is not None and not self._conversation.is_abandoned(chunk.response_id):
                return chunk
        return None

    def _on_plain_audio(self, response_id: str, item_id: str, payload: bytes) -> bool:
        """The short way out, in the hub: true when it was taken."""
        if self._conversation is None or self._conversation.is_abandoned(response_id):
            return False
        return self._voice.take_plain(item_id, payload)


def _shown(words: str) -> str:
    """What somebody said, as a log line may show it: its beginning, and no telephone number."""
    return clean(mask_numbers(words[:SHOWN_CHARS]))
