"""What a conversation asks for, done: events to the model, prompts, tools, transfers, log lines.

The `Stage` of one call. What blocks runs in green threads of its own, which end with the call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from server import green
from server.audio.framing import frames_of
from server.business import Business
from server.call_record import CallRecord
from server.call_services import CallServices
from server.call_tools import CallTools
from server.endings import EndReason
from server.errors import CallIsGone, TwilioRestError
from server.faults import FAULTS
from server.gateway import CallerLeg
from server.logs import call_tag, clean
from server.model_session import ModelClient
from server.realtime.commands import Command
from server.realtime.conversation import Conversation
from server.realtime.stage import OWN_ITEM
from server.services.twilio_rest import TwilioRest
from server.telephony.playout import Cut
from server.telephony.twiml import DIAL_ENDED_PATH
from server.telephony.twiml_transfer import dial, is_e164
from server.turns.latency import TurnLatency
from server.turns.leaving import HangUp, Plan

log = logging.getLogger("server.media_ws_ai")

OnFail = Callable[[EndReason, str, str], None]
"""Reason, fault id, what was seen."""

TRANSFER_PROMPT_AFTER_S = 1.5
"""Twilio takes longer than this to connect the caller: something is said meanwhile."""
BRIDGE_AFTER_S = 1.0
"""With the time that the caller was away that is as much silence as callers bear."""
STOPS_WITHIN_S = 2.0
"""After Twilio took the new TwiML it stops the stream itself."""
ASKS_WITHIN_S = 5.0
"""Twilio asks what follows a moment after its stream was closed; a call of which it never does goes on, in
silence and at somebody's cost."""


class CallStage:
    """See `realtime.stage.Stage`. `client` is that of the session in use."""

    def __init__(
        self,
        caller: CallerLeg,
        services: CallServices,
        business: Business,
        tools: CallTools,
        call_sid: str,
    ) -> None:
        self.client: ModelClient | None = None
        self._conversation: Conversation | None = None
        self._record: CallRecord | None = None
        self._forget: Callable[[str], None] = lambda item_id: None
        self._on_fail: OnFail = lambda reason, fault_id, seen: None
        self._caller = caller
        self._services = services
        self._business = business
        self._tools = tools
        self._call_sid = call_sid
        self._tag = caller.call_tag
        self._own_items = 0
        self._is_over = False
        self._prompt_at: float | None = None
        self.is_left = False
        """The call ends, or a person is being rung: nothing else is done for it."""

    def attach(
        self,
        conversation: Conversation,
        record: CallRecord,
        forget: Callable[[str], None],
        on_fail: OnFail,
    ) -> None:
        """`forget`: is told of items that nobody will hear to their end."""
        self._conversation, self._record = conversation, record
        self._forget, self._on_fail = forget, on_fail

    def close(self) -> None:
        """The call is over. A tool under way goes on, for what it does is done for the caller; its answer
        is logged and dropped."""
        self._is_over = True

    def bridge(self, now_s: float) -> None:
        """The caller is back and hears nothing: they shall before long, whoever speaks."""
        self._prompt_at = now_s + BRIDGE_AFTER_S

    def bridged(self) -> None:
        """Something is on its way to the caller."""
        self._prompt_at = None

    def tick(self, now_s: float) -> None:
        if self._prompt_at is not None and now_s >= self._prompt_at:
            self._prompt_at = None
            self.play_prompt("one_moment")

    # Stage

    def send(self, command: Command) -> None:
        if self.client is not None:
            self.client.send(command)

    def flush(self) -> None:
        self._caller.flush()

    def play_prompt(self, name: str) -> None:
        prompt = self._services.prompts.get(self._business.language, name)
        log.info("[PROMPT] %s call_sid=%s", name, self._tag)
        self.play(name, prompt.payload)

    def play(self, name: str, payload: bytes) -> None:
        self._own_items += 1
        item_id = f"{OWN_ITEM}{name}_{self._own_items}"
        for frame in frames_of(payload):
            self._caller.play(item_id, frame)
        self._caller.end_item(item_id)
        self._caller.flush()

    def run_tool(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        green.spawn(self._run_tool, call_id, name, arguments)

    def leave(self, plan: Plan) -> None:
        self.is_left = True
        if isinstance(plan, HangUp):
            self._caller.end(plan.reason)
        else:
            green.spawn(self._transfer, plan.destination)

    def fail(self, reason: EndReason, fault_id: str, seen: str) -> None:
        if not self._is_over:
            self._on_fail(reason, fault_id, seen)

    def was_cut(self, cut: Cut) -> None:
        self._services.counters.barge_ins += 1
        self._forget(cut.item_id)
        log.info(
            "[BARGE_IN] item=%s heard_ms=%d sent_ms=%d call_sid=%s",
            *(clean(cut.item_id, 40), cut.heard_ms, cut.sent_ms, self._tag),
        )

    def turn_done(self, latency: TurnLatency) -> None:
        counters = self._services.counters
        if latency.gap_ms is not None:
            (counters.turn_gaps if latency.turn else counters.first_audio).note(latency.gap_ms / 1000)
        log.info("%s call_sid=%s", latency.text(), self._tag)
        if self._record is not None:
            self._record.save()

    def note(self, text: str) -> None:
        log.info("%s call_sid=%s", clean(text), self._tag)

    def warn(self, fault_id: str, seen: str) -> None:
        self._services.counters.model_errors[fault_id] += 1
        log.warning("%s call=%s", FAULTS[fault_id].line(clean(seen)), self._tag)

    # What blocks

    def _run_tool(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        try:
            output = self._tools.run(call_id, name, arguments)
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line(f"tool {name}"), self._tag)
            output = {"error": "the tool failed"}
        try:
            if self._is_over:
                log.info("[TOOL] %s answered after the call had ended, call_sid=%s", name, self._tag)
            elif self._conversation is not None:
                self._conversation.tool_done(call_id, output, time.monotonic())
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line(f"the answer of tool {name}"), self._tag)

    def _transfer(self, destination: str) -> None:
        """Ring the person: by Twilio's REST where there is an account, else by ending the stream, after
        which Twilio asks what follows. The way back is in the document's `action`."""
        try:
            self._ring(destination)
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("transfer"), self._tag)
            self._caller.end(EndReason.FAULT)

    def _ring(self, destination: str) -> None:
        services, facts = self._services, self._services.calls.facts(self._call_sid)
        base_url = facts.base_url or services.settings.public_base_url
        document = dial(
            self._business.transfers[destination],
            base_url + DIAL_ENDED_PATH,
            facts.called if is_e164(facts.called) else "",
            self._business.language,
        )
        if self._record is not None:
            self._record.save("transfer", destination=destination)
        services.calls.transferring(self._call_sid, document)
        log.info("[TRANSFER] to=%s call_sid=%s", clean(destination, 60), self._tag)
        if services.rest is not None and base_url:
            self._prompt_at = time.monotonic() + TRANSFER_PROMPT_AFTER_S
            try:
                services.rest.update_call(self._call_sid, document)
                self._prompt_at = None
                green.sleep(STOPS_WITHIN_S)
            except CallIsGone:
                self._caller.end(EndReason.STOP)
                return
            except TwilioRestError as error:  # the other way leads there as well
                log.warning("%s call=%s", FAULTS[error.fault_id].line(clean(str(error))), self._tag)
        self._caller.end(EndReason.TRANSFER)


def see_off(services: CallServices, is_draining: Callable[[], bool], call_sid: str) -> None:
    """A stream of this call was ended by us. If that was to hang up, and Twilio does not ask what follows,
    the call is ended by its REST. Returns at once; a process that ends leaves it to Twilio."""
    if (rest := services.rest) is None or not services.calls.is_held(call_sid):
        return

    def look() -> None:
        if services.calls.is_held(call_sid) and not is_draining():
            green.spawn(_hang_up, rest, call_sid)

    green.call_later(ASKS_WITHIN_S, look)


def _hang_up(rest: TwilioRest, call_sid: str) -> None:
    """Blocks as long as REST may, and never raises."""
    tag = call_tag(call_sid)
    try:
        is_gone = rest.hang_up(call_sid).is_already_gone
    except TwilioRestError as error:
        log.warning("%s call=%s", FAULTS[error.fault_id].line(clean(str(error))), tag)
    except Exception:
        log.exception("%s call=%s", FAULTS["KAV-199"].line("hang-up"), tag)
    else:
        how = "was gone already" if is_gone else "ended by REST"
        log.info("[HANG_UP] %s: nobody asked in %.0f s what follows, call_sid=%s", how, ASKS_WITHIN_S, tag)
