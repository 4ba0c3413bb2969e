"""A call's conversation with a Realtime model: every decision, and no socket.

The model's events, the caller's voice and keys, the tools' answers and the clock come in as method calls
with the time; what follows goes out through a `Stage` and the caller's `Outbox`. Who has the floor is
`BargeIn`'s judgement, whose audio is still wanted `Responses`', what was heard the ledger's. Here they meet.

The model reports speech and answers when asked, nothing else: it neither interrupts itself nor answers on
its own, so one place decides both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.audio.g711 import BYTES_PER_MS
from server.business import Business, KeyKind
from server.endings import EndReason
from server.realtime import events
from server.realtime.asking import Asking
from server.realtime.call_plan import CallPlan
from server.realtime.clocks import Clocks, Due
from server.realtime.commands import Command, Commands
from server.realtime.events import FunctionCall
from server.realtime.key_actions import NEED_NO_MODEL, act_on_key
from server.realtime.said import Said
from server.realtime.stage import OWN_ITEM, Stage
from server.realtime.tool_desk import ToolDesk
from server.realtime.words import WORDS, greeting_tokens
from server.telephony.outbox import Outbox
from server.telephony.playout import Cut
from server.turns.backchannel import is_backchannel, is_wordless
from server.turns.barge_in import SERVER_SILENCE_MS, BargeIn, Move, Moves, Over, Words
from server.turns.history import History
from server.turns.key_menu import Chosen, KeyMenu, Typed
from server.turns.latency import TurnClock
from server.turns.leaving import HangUp, Leaving, Transfer

MAX_OPENINGS = 2
MAX_EARLY_KEYS = 8
IDLE_GOODBYE = HangUp(EndReason.IDLE)
RETOLD_WITHIN_S = 1.0
"""What was said and not taken in is told to a new session at once; so soon it has noticed a voice in it."""
DRY_AFTER_S = 0.1
"""A model that speaks no faster than it is heard is late with every other frame."""
HOLDS_REMAINING_MS = 60_000.0
"""Said of a response that is still being made: nobody knows how much of it is to come."""


class Conversation:
    """One call, whatever number of sessions with the model it takes."""

    def __init__(self, stage: Stage, tx_q: Outbox, commands: Commands, plan: CallPlan, now_s: float) -> None:
        self.history = History.from_list(list(plan.history))
        self._stage = stage
        self._tx_q = tx_q
        self._plan = plan
        self._business: Business = plan.business
        self._words = WORDS[plan.business.language]
        self._is_ready = False
        self._is_broken_off = False
        """The old session ended in the middle of an answer."""
        self._openings = 0
        self._said_item = self._turn_item = ""
        """What the caller said last, and what of it is being answered."""
        self._ask_owed_at: float | None = None
        """The session is hearing what is to be answered; should it find no voice in it, it is asked then."""
        self._has_stalled = False
        """The model stopped in the middle of an item, and the caller heard the end of what had come."""
        self._said = Said(self.history, was_greeted=plan.was_greeted)
        self._barge_in = BargeIn(plan.barge_in, self._weigh)
        self._barge_in.can_judge = plan.is_transcribed
        self._clocks = Clocks(
            still_there_s=plan.business.still_there_s,
            idle_s=plan.business.idle_s,
            max_call_s=plan.max_call_s,
            now_s=now_s,
        )
        self._leaving = Leaving()
        self._tools = ToolDesk(stage, plan.business.transfers, plan.tool_names, self._leaving, self.history)
        self._keys = KeyMenu(plan.business.keys)
        self._early_keys: list[Chosen[Any] | Typed] = []
        self._latency = TurnClock(now_s)
        self._asking = Asking(stage, commands, self._latency)

    @property
    def has_spoken(self) -> bool:
        """The caller was sent something of the agent's."""
        return self._said.has_spoken

    def is_abandoned(self, response_id: str) -> bool:
        """Audio of this response is not wanted any more."""
        return self._asking.responses.is_abandoned(response_id)

    # The session

    @property
    def is_restful(self) -> bool:
        """Nobody speaks, nothing is owed and nothing runs."""
        return not (self._is_busy or self._barge_in.is_speaking)

    def may_change_session(self, now_s: float) -> bool:
        """Unnoticed: what is still on its way to the caller's ear could be cut, and only the session in
        which it was said can be told how much of it was heard."""
        return self.is_restful and self._tx_q.is_quiet(now_s)

    @property
    def _is_busy(self) -> bool:
        """Something is owed to the caller, or runs."""
        return (
            self._asking.is_active
            or self._asking.watch.is_owed
            or self._tools.is_busy
            or self._leaving.plan is not None
        )

    @property
    def is_leaving(self) -> bool:
        """The call ends, or goes to a person, once the caller has heard so: no session is needed for it."""
        return self._leaving.plan is not None

    def session_lost(self) -> None:
        """Nothing comes of the present session any more: what was on its way in it is owed by the next."""
        if self.is_leaving and (self._asking.is_active or self._asking.watch.is_owed):
            self._say_without_model()
            self._asking.watch.settled()
        elif self._asking.is_active and (self._has_stalled or not self._asking.watch.is_owed):
            self._is_broken_off = True
            self._asking.watch.settled()
        self._ask_owed_at, self._has_stalled = None, False
        self._asking.session_lost()
        self._tools.session_lost()
        self._barge_in.reset()
        self._is_ready = False
        if self._tx_q.is_held:
            self._tx_q.resume()
            self._stage.flush()

    def session_changed(self, commands: Commands, *, is_transcribed: bool) -> None:
        """Another session takes over, and is not ready yet."""
        self.session_lost()
        self._asking.session_changed(commands)
        self._barge_in.can_judge = is_transcribed

    def session_ready(
        self, now_s: float, *, is_retold: bool = False, silence_ms: int = SERVER_SILENCE_MS
    ) -> None:
        """Our settings are in force. `is_retold`: it hears first what the last session did not take in, and
        the end of that is the end of a turn; a session that hears at once has told of it already.
        `silence_ms`: after which it tells the end of speech."""
        if self._is_ready:
            return
        self._is_ready = True
        self._barge_in.silence_ms = silence_ms
        has_turn = self._asking.is_active or self._barge_in.is_undecided(now_s)
        if self.is_leaving:
            self._asking.watch.settled()
        elif not self._openings:
            self._open(now_s)
        elif has_turn:
            pass  # answered if it was words; if not, `tick` goes on with what broke off
        elif self._is_broken_off:
            self._go_on(now_s)
        elif self._tools.is_busy:
            self._asking.owe(now_s)
        elif is_retold:
            self._ask_owed_at = now_s + RETOLD_WITHIN_S
        else:
            self._asking.ask_owed(now_s)
        keys, self._early_keys = self._early_keys, []
        self._do_keys(keys, now_s)

    def transcription_refused(self) -> None:
        """This session goes on without transcripts."""
        self._barge_in.can_judge = False

    # The caller's line

    def told(self, now_s: float) -> list[tuple[str, str]]:
        """(role, text) of what was said so far; of the agent's words those that were heard by now."""
        return self._said.told(self._tx_q, now_s)

    def is_all_heard(self, now_s: float) -> bool:
        return self._tx_q.is_quiet(now_s)

    def is_greeted(self, now_s: float) -> bool:
        """The caller has heard something of the agent's: it is not to be greeted again."""
        return self._said.is_greeted(self._tx_q, now_s)

    def left(self, now_s: float) -> None:
        """The line broke: what was not heard never will be, and nothing is asked for until `back`."""
        self._said.has_spoken = self.is_greeted(now_s)
        self._fall_silent(now_s)
        self._stay(now_s)
        self._asking.is_silenced = True

    def back(self, tx_q: Outbox, now_s: float) -> None:
        """The caller is there again, in another stream: the agent says so, and goes on."""
        self._tx_q = tx_q
        self._asking.is_silenced = False
        self._asking.watch.settled()
        self._barge_in.reset()
        self._clocks.line_is_back(now_s)
        if not self.has_spoken:
            self._open(now_s)
        elif self._tools.is_busy:
            self._asking.owe(now_s)
        elif self._leaving.plan is not None:
            self._asking.instruct(self._words.time_is_up, now_s)
        else:
            self._asking.instruct(self._words.continuing, now_s)

    # The caller

    def voice(self, voiced_ms: int, quiet_ms: int, now_s: float) -> None:
        """Our own detector hears a voice, 50 times a second: so much of the utterance so far, and so much
        silence after its last loud frame, for a pause does not end it."""
        self._clocks.voice(now_s - quiet_ms / 1000)
        if self._barge_in.is_watching:
            self._do(self._barge_in.voiced(voiced_ms, now_s), now_s)

    def key(self, digit: str, now_s: float) -> None:
        self._do_keys(self._keys.press(digit, now_s), now_s)

    def handed(self, item_id: str, now_s: float) -> None:
        """The first frame of an item was written to Twilio."""
        is_agents = self._said.handed(item_id)
        self._latency.handed(now_s, item_id, filler=not is_agents)

    def tool_done(self, call_id: str, output: Mapping[str, Any], now_s: float) -> None:
        """A tool's answer; dropped when the call has had one."""
        if not self._tools.done(call_id, output, self._asking.commands, is_ready=self._is_ready):
            return
        if self._is_ready:
            self._ask_after_tools(now_s)
        else:
            self._asking.owe(now_s)

    def tick(self, now_s: float) -> None:
        """About ten times a second."""
        self._do(self._barge_in.tick(now_s), now_s)
        self._do_keys(self._keys.due(now_s), now_s)
        is_quiet = self._tx_q.is_quiet(now_s)
        if not self._is_ready:
            self._leave_if_due(now_s)
            return
        self._said.watch_opening(self._tx_q, now_s, is_more_to_come=self._asking.is_active)
        self._tell_heard(now_s)
        if self._tools.answer_overdue(now_s, self._asking.commands):
            self._ask_after_tools(now_s)
        if self._ask_owed_at is not None and now_s >= self._ask_owed_at:
            self._ask_owed_at = None
            if not self._asking.is_active:
                self._asking.ask_owed(now_s)
        if self._is_broken_off and not (self._is_busy or self._barge_in.is_undecided(now_s)):
            self._go_on(now_s)
        self._watch_answer(now_s, is_quiet=is_quiet)
        self._watch_clocks(now_s, is_quiet=is_quiet)
        self._leave_if_due(now_s)

    # The model

    def on_event(self, event: events.Event, now_s: float) -> None:
        """Every event but the session's own and those that need no action."""
        match event:
            case events.AudioDelta():
                self._on_audio(event, now_s)
            case events.SpeechStarted():
                self._on_speech_started(event, now_s)
            case events.SpeechStopped():
                self._said_item = event.item_id
                self._do(self._barge_in.speech_stopped(now_s), now_s)
            case events.CallerTranscript():
                self._on_caller_words(event, now_s)
            case events.AgentTranscript():
                self._said.agent(event.item_id, event.text)
            case events.AgentWords():
                self._said.agent_words(event)
            case events.ResponseCreated():
                self._tools.response_began()
                self._asking.created(event.response_id)
            case events.ResponseDone():
                self._on_response_done(event, now_s)
            case events.ServerError():
                self._asking.on_error(event)
            case _:
                pass

    def _on_audio(self, delta: events.AudioDelta, now_s: float) -> None:
        """Before the audio is queued: so that a barge-in names an item of which nothing was sent yet."""
        if self.is_abandoned(delta.response_id):
            self.history.cut_further(delta.item_id, len(delta.payload) / BYTES_PER_MS)
            return
        self._is_broken_off = False
        self._asking.sounds(delta.response_id)
        self._latency.first_audio(now_s)
        self._tools.agent_spoke()
        self._tx_q.ledger.expect(delta.item_id)
        self._said.audio(delta)

    def _on_speech_started(self, started: events.SpeechStarted, now_s: float) -> None:
        self._asking.watch.settled()
        self._ask_owed_at = None
        self._clocks.speech_started(now_s)
        self.history.began(started.item_id)
        remaining_ms = self._tx_q.remaining_ms(now_s)
        if self._asking.is_active:
            remaining_ms += HOLDS_REMAINING_MS
        is_over_agent = self._asking.is_active or not self._tx_q.is_quiet(now_s)
        over = Over.AGENT if is_over_agent else Over.NOBODY
        if self._said.is_opening:
            over = Over.GREETING if self.has_spoken else Over.UNHEARD_GREETING
        self._do(self._barge_in.speech_started(started.item_id, now_s, over, remaining_ms), now_s)

    def _on_caller_words(self, transcript: events.CallerTranscript, now_s: float) -> None:
        text = transcript.text
        has_words = text is None or not is_wordless(text)  # None: words that could not be written down
        if text is not None and has_words:
            self.history.caller(transcript.item_id, text)
        if has_words:
            self._is_broken_off = False
            self._clocks.words(now_s)
        elif transcript.item_id == self._turn_item:
            self._asking.owe_nothing()
        is_audible = self._asking.is_active or not self._tx_q.is_quiet(now_s)
        self._do(self._barge_in.words(transcript.item_id, text, is_audible), now_s)
        if has_words and self._leaving.plan == IDLE_GOODBYE:  # somebody is there after all
            self._yield(now_s)
            if not self._barge_in.is_speaking:
                self._answer_turn(now_s)

    def _on_response_done(self, done: events.ResponseDone, now_s: float) -> None:
        if done.status != "completed" or self.is_abandoned(done.response_id):
            self._tools.refuse(done.function_calls, self._asking.commands, now_s)
        if not self._asking.done(done, now_s):
            return
        if done.status == "completed":
            self._use_tools(done.function_calls, now_s)
        elif done.status == "cancelled" and not self.has_spoken and self._openings < MAX_OPENINGS:
            self._open(now_s)

    # Who has the floor

    def _do(self, moves: Moves, now_s: float) -> None:
        for move in moves:
            match move:
                case Move.HOLD:
                    self._tx_q.hold(now_s)
                    self._stage.flush()
                case Move.RESUME:
                    self._stage.note("[BARGE_IN] false interruption: the agent goes on")
                    self._tx_q.resume()
                    self._stage.flush()
                case Move.YIELD:
                    self._yield(now_s)
                case Move.ANSWER:
                    self._answer_turn(now_s)
                case Move.DISMISS:
                    for item_id in self._barge_in.dismissed:
                        self._stage.send(self._asking.commands.delete_item(item_id))

    def _yield(self, now_s: float) -> None:
        """The caller has the floor."""
        for cut in self._fall_silent(now_s):
            self._stage.was_cut(cut)
        self._stay(now_s)

    def _fall_silent(self, now_s: float) -> list[Cut]:
        """Give up what was not heard, and tell the model which words those are."""
        self._asking.abandon()
        self._latency.cut()
        self._said.cut()
        cuts = self._tx_q.interrupt(now_s)
        self._stage.flush()
        for cut in cuts:
            if cut.item_id.startswith(OWN_ITEM):
                continue
            self.history.cut(cut.item_id, cut.heard_ms, cut.heard_ms + cut.unheard_ms)
            if cut.heard_ms:
                self._stage.send(self._asking.commands.truncate(cut.item_id, cut.heard_ms))
            else:
                self._stage.send(self._asking.commands.delete_item(cut.item_id))
        return cuts

    def _stay(self, now_s: float) -> None:
        """Whatever the call was about to be left for."""
        match self._leaving.interrupt():
            case HangUp(reason):
                if reason is EndReason.IDLE:
                    self._barge_in.needs_words = False
                    self._clocks.words(now_s)  # also where nobody could write them down
                self._stage.send(self._asking.commands.note(self._words.interrupted_goodbye))
            case Transfer():
                self._stage.send(self._asking.commands.note(self._words.interrupted_transfer))

    def _answer_turn(self, now_s: float) -> None:
        self._ask_owed_at = None
        self._latency.caller_voice_ended(self._clocks.last_voice_s)
        if not self._barge_in.can_judge:
            self._clocks.words(now_s)  # without transcripts a turn is all the life there is
        match self._leaving.plan:
            case HangUp(EndReason.IDLE) if self._barge_in.can_judge:
                return  # only words say that somebody is there
            case Transfer():
                return  # a person takes over in a moment
            case HangUp(EndReason.MAX_DURATION):  # whatever else is said
                if not self._asking.watch.is_owed and self._tx_q.is_quiet(now_s):
                    self._asking.instruct(self._words.time_is_up, now_s)
                return
            case HangUp():
                self._stay(now_s)
        self._turn_item = self._said_item
        self._asking.answer(now_s, answers_turn=True, waited_s=self._clocks.waited_s(now_s))

    def _weigh(self, text: str) -> Words:
        if is_wordless(text):
            return Words.NONE
        business = self._business
        if not is_backchannel(text, business.language, business.backchannels):
            return Words.REAL
        return Words.NONE if self._leaving.plan is not None else Words.BACKCHANNEL  # "OK" to a goodbye

    # Asking

    def _open(self, now_s: float) -> None:
        self._openings += 1
        self._said.opens()
        self._asking.ask(self._opening, now_s)

    def _go_on(self, now_s: float) -> None:
        """Say the rest of an answer that its session took with it."""
        self._is_broken_off = False
        self._asking.instruct(self._words.continuing, now_s)

    def _opening(self) -> Command:
        """The greeting word for word; in a call that goes on, what it goes on with."""
        if self._plan.opening:
            return self._asking.commands.create_response(self._plan.opening, may_use_tools=False)
        text = self._business.greeting
        max_tokens = greeting_tokens(text)
        self._stage.note(f"[GREETING] max_tokens={max_tokens} for greeting length={len(text)} chars")
        return self._asking.commands.create_response(
            self._words.exactly.format(text=text), max_tokens, verbatim=text
        )

    # Tools and keys

    def _use_tools(self, calls: tuple[FunctionCall, ...], now_s: float) -> None:
        if not calls:
            return
        self._tools.use(calls, self._asking.commands, now_s)
        line = self._tools.line_to_say(self._words)
        waiting = next((text for call in calls if (text := self._said_while_waiting(call.name))), "")
        if line:
            self._asking.instruct(line, now_s)
        elif waiting:
            self._asking.instruct(self._words.exactly.format(text=waiting), now_s, verbatim=waiting)
        else:
            self._ask_after_tools(now_s)

    def _said_while_waiting(self, name: str) -> str:
        """What the business wants to be said while this tool of its own works."""
        if not self._tools.is_busy:
            return ""
        return next((tool.says_while_waiting for tool in self._business.tools if tool.name == name), "")

    def _ask_after_tools(self, now_s: float) -> None:
        """The model has every answer it waits for: let it speak. A plan to leave needs a goodbye only.
        Over a caller who speaks nothing is said: the end of their turn asks."""
        if self._barge_in.is_callers_turn and not isinstance(self._leaving.plan, Transfer):
            self._asking.watch.settled()
        elif self._tools.is_busy:
            self._asking.watch.owed(now_s)  # so that a filler is heard
        elif self._leaving.plan is None:
            self._asking.answer(now_s)
        elif line := self._tools.line_to_say(self._words):
            self._asking.instruct(line, now_s)
        else:
            self._asking.watch.settled()

    def _do_keys(self, done: list[Chosen[Any] | Typed], now_s: float) -> None:
        for entry in done:
            self._clocks.words(now_s)
            action = entry.action if isinstance(entry, Chosen) else None
            if not self._is_ready and (action is None or action.kind not in NEED_NO_MODEL):
                self._early_keys = [*self._early_keys, entry][-MAX_EARLY_KEYS:]
                continue
            self.history.keys(entry.keys)
            self._asking.responses.forget_waiting()
            text = None
            if action is not None:
                self._yield_if_audible(now_s)
                text = act_on_key(action, self._words, self._leaving, now_s)
            if text is None:
                self._tell_keys(entry.keys, now_s)
            elif self._is_ready:
                says = action.text if action is not None and action.kind is KeyKind.SAY else ""
                self._asking.instruct(text, now_s, verbatim=says)
            else:
                self._say_without_model()

    def _is_all_said(self, now_s: float) -> bool:
        """Neither side has anything under way."""
        is_agent_done = not (self._asking.is_active or self._asking.watch.is_owed or self._tools.is_busy)
        is_noise = self._leaving.plan == IDLE_GOODBYE and self._clocks.is_endless(now_s)
        return is_agent_done and (is_noise or not self._barge_in.is_undecided(now_s))

    def _leave_if_due(self, now_s: float) -> None:
        if self._leaving.plan is None:
            return
        is_heard = self._tx_q.is_quiet(now_s) and (not self._is_ready or self._is_all_said(now_s))
        remaining_ms = self._tx_q.remaining_ms(now_s)
        if (plan := self._leaving.due(now_s, is_heard=is_heard, remaining_ms=remaining_ms)) is not None:
            self._asking.is_silenced = True  # who speaks now speaks to whoever comes next
            self._stage.leave(plan)

    def _say_without_model(self) -> None:
        """A plan to leave was made, and nobody else says so."""
        self._stage.play_prompt("goodbye" if isinstance(self._leaving.plan, HangUp) else "one_moment")

    def _tell_keys(self, keys: str, now_s: float) -> None:
        """Keys pressed are told to the model as text of the caller's."""
        self._yield_if_audible(now_s)
        self._stage.send(self._asking.commands.say_as_caller(f"[keys] {keys}"))
        self._latency.caller_voice_ended(now_s)
        self._asking.answer(now_s)

    def _yield_if_audible(self, now_s: float) -> None:
        """Whoever presses a key has heard enough; the opening is heard all the same."""
        if self.has_spoken and (self._asking.is_active or not self._tx_q.is_quiet(now_s)):
            self._yield(now_s)

    # The clocks

    def _watch_answer(self, now_s: float, *, is_quiet: bool) -> None:
        """A line that has fallen silent while words are owed, in the middle of an item too, is filled, and
        the answer asked for once more."""
        watch, is_under_way = self._asking.watch, self._asking.is_active or self._tools.is_busy
        if not (is_under_way or watch.is_owed or self._has_stalled):
            return
        is_dry = self._tx_q.is_dry(now_s - DRY_AFTER_S)
        if self._has_stalled and not is_dry and not self._said.is_own_audible:
            self._has_stalled = False
            watch.settled()  # the model goes on
        if is_dry and is_under_way and not self._barge_in.is_speaking:
            self._has_stalled = self._has_stalled or not (watch.is_owed or is_quiet)
            watch.owed(now_s)
        is_agent_heard = not is_dry and not self._said.is_own_audible
        self._asking.tick(now_s, is_working=self._tools.is_busy or is_agent_heard, may_fill=is_dry)

    def _watch_clocks(self, now_s: float, *, is_quiet: bool) -> None:
        self._do_due(self._clocks.limit_due(now_s, is_pause=is_quiet and self.is_restful), now_s)
        due = self._clocks.idle_due(
            now_s,
            is_speaking=self._barge_in.is_speaking,
            is_agent_audible=not is_quiet,
            is_busy=self._is_busy,
        )
        self._do_due(due, now_s)

    def _do_due(self, due: Due | None, now_s: float) -> None:
        match due:
            case Due.WARNING:
                self._asking.instruct(self._words.time_is_nearly_up, now_s)
            case Due.TIME_IS_UP:
                self._yield_if_audible(now_s)
                self._leaving.ask(HangUp(EndReason.MAX_DURATION), now_s)
                self._asking.instruct(self._words.time_is_up, now_s)
            case Due.CUT:
                self._stage.leave(HangUp(EndReason.MAX_DURATION))
            case Due.STILL_THERE:
                self._stage.note("[IDLE] asking whether the caller is still there")
                self._asking.instruct(self._words.still_there, now_s)
            case Due.IDLE_GOODBYE:
                self._stage.note("[IDLE] nobody answers: goodbye")
                self._leaving.ask(IDLE_GOODBYE, now_s)
                self._barge_in.needs_words = True
                self._asking.instruct(self._words.idle_goodbye, now_s)

    def _tell_heard(self, now_s: float) -> None:
        """The first sound of an answer has reached the caller's ear."""
        if (heard := self._said.newly_heard(self._tx_q, now_s)) is not None:
            item_id, at_s = heard
            self._latency.heard(at_s, item_id)
        for latency in self._latency.finished():
            self._stage.turn_done(latency)
