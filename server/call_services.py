"""What the calls of one process share besides the sockets: the outside parties, each made once at start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from server.business import Businesses
from server.config import Settings
from server.gateway import Mode
from server.metrics import Counters
from server.notifications import Notifications
from server.parked_sessions import ParkedSessions
from server.prompts import Prompts
from server.realtime.events import Event
from server.services.http_tools import HttpToolClient
from server.services.model_dial import Endpoint
from server.services.twilio_rest import TwilioRest
from server.services.warm_sessions import WarmSessions
from server.store.call_store import CallStore
from server.store.live_calls import LiveCalls
from server.turns.ladder import Breaker

if TYPE_CHECKING:
    from server.services.pipeline_client import PipelineClient


LAST_FLUSH_S = 0.5

MakePipeline = Callable[[Callable[[str, Event], None], str], "PipelineClient"]
"""From the listener of its events, and the call's name in logs."""


@dataclass(frozen=True, slots=True)
class CallServices:
    settings: Settings
    businesses: Businesses
    calls: LiveCalls
    counters: Counters
    prompts: Prompts
    store: CallStore
    """Where a conversation survives its stream, and messages are kept."""
    parked: ParkedSessions[Mode]
    """Where a whole call survives it, for a moment and in this process."""
    endpoint: Endpoint
    warm: WarmSessions
    http_tools: HttpToolClient
    rest: TwilioRest | None
    """None without an account of Twilio's."""
    pipeline: MakePipeline | None
    """The pipelined mode's leg of a call; None where nobody pays for its services."""
    breaker: Breaker = field(default_factory=Breaker)
    """Whether the model is worth asking, for all calls."""
    notifications: Notifications = field(default_factory=Notifications)
    """What businesses are being told of messages."""

    def settle(self, until_s: float) -> None:
        """After the last call, whose caller may still leave a message. Blocks two and a half seconds, or
        until then (monotonic) while a business is being told of a message."""
        self.warm.close()
        self.store.flush()
        self.notifications.wait(until_s)

    def close(self) -> None:
        """After the last request. Blocks one and a half seconds at most."""
        self.notifications.say_cut()
        self.store.flush(LAST_FLUSH_S)
        self.store.close()
