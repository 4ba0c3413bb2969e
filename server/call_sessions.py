"""The sessions that one call may have with a model: what each is told, and by which client."""

from __future__ import annotations

from collections.abc import Callable

from server.business import Business
from server.call_services import CallServices
from server.config import CallMode
from server.model_session import ModelClient, ModelSession, SessionListener
from server.realtime.call_plan import CallPlan, barge_in_limits, continued
from server.realtime.commands import SessionSettings
from server.realtime.events import Event
from server.services.openai_realtime_client import OpenAIRealtimeClient
from server.store.parked_calls import ParkedCall
from server.turns.barge_in import SERVER_SILENCE_MS
from server.turns.ladder import Rung
from server.turns.tools import Tool
from server.turns.utterance import ENDS_AFTER_MS

NO_TIME_S = 1.0
"""Of a call whose time was up when it was handed over: it is told so. 0 would be no limit at all."""


class CallSessions:
    """One call's. `make` builds sessions that are not started."""

    def __init__(
        self,
        services: CallServices,
        business: Business,
        tools: tuple[Tool, ...],
        call_tag: str,
        mode: CallMode,
    ) -> None:
        self.is_transcribed = services.settings.transcribes and mode is not CallMode.DEMO
        """In realtime; the demo's model knows no words."""
        self._services = services
        self._business = business
        self._tools = tools
        self._tag = call_tag

    def rungs(self, first: Rung, resume: str) -> tuple[Rung, ...]:
        """What this call has when the model is gone, from the top. `resume`: how it came back to us."""
        rungs = [Rung.REALTIME] if first is Rung.REALTIME else []
        if self._services.pipeline is not None:
            rungs.append(Rung.PIPELINE)
        if self._business.transfers and not resume.startswith("transfer:"):  # they were rung just now
            rungs.append(Rung.PERSON)
        return (*rungs, Rung.MESSAGE, Rung.APOLOGY)

    def plan(self, tool_names: frozenset[str], resume: str, parked: ParkedCall | None) -> CallPlan:
        """What is known before the first word. `resume`: how the call came back to us, empty for a new one;
        `parked`: what was kept of it."""
        opening = ""
        if resume:
            destination = str(parked.extra.get("destination", "")) if parked is not None else ""
            was_greeted = parked.greeting_done if parked is not None else None
            opening = continued(self._business, resume, destination, was_greeted=was_greeted)
        left_s = self._services.settings.max_call_seconds - (parked.spent_s if parked is not None else 0)
        return CallPlan(
            business=self._business,
            barge_in=barge_in_limits(self._business),
            tool_names=tool_names,
            max_call_s=max(NO_TIME_S, left_s),
            is_transcribed=self.is_transcribed,
            opening=opening,
            history=parked.history if parked is not None else (),
            was_greeted=bool(opening),
        )

    def make(self, rung: Rung, voice: str, listener: SessionListener) -> ModelSession:
        is_realtime = rung is Rung.REALTIME
        model = self._services.settings.transcription_model if self.is_transcribed else None
        return ModelSession(
            self._realtime_client if is_realtime else self._pipeline_client,
            self._services.warm if is_realtime else None,
            SessionSettings(
                voice=voice,
                instructions=self._business.instructions,
                language=self._business.language,
                transcription_model=model if is_realtime else "pipeline",
                tools=self._tools,
                silence_duration_ms=SERVER_SILENCE_MS if is_realtime else ENDS_AFTER_MS,
            ),
            listener,
            self._tag,
        )

    def _realtime_client(self, listener: Callable[[str, Event], None]) -> ModelClient:
        return OpenAIRealtimeClient(self._services.endpoint, listener, self._tag)

    def _pipeline_client(self, listener: Callable[[str, Event], None]) -> ModelClient:
        assert self._services.pipeline is not None, "the ladder has no such rung without it"
        return self._services.pipeline(listener, self._tag)
