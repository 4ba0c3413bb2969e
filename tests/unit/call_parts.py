"""What stands around one call, without a socket: the real parts that have none, and for those that have,
recorders of their ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server import green
from server.business import Business, Businesses
from server.call_services import CallServices
from server.channel import Channel, ChannelClosed
from server.config import Dialect, Settings
from server.endings import EndReason
from server.gateway import Mode
from server.metrics import Counters
from server.parked_sessions import ParkedSessions
from server.prompts import load_prompts
from server.realtime.commands import Commands, SessionSettings
from server.realtime.events import Event
from server.services.model_dial import Endpoint
from server.services.tool_answer import Outcome, ToolAnswer
from server.services.twilio_rest import Update
from server.services.warm_sessions import WarmSessions
from server.store.live_calls import CallFacts, LiveCalls
from server.store.memory_store import MemoryStore
from server.telephony.outbox import Outbox

CALL_SID = "CA" + "1" * 32
CALLER, CALLED, PERSON = "+972501234567", "+97231234567", "+972509998888"
BASE_URL = "https://kav.example"
PROMPTS = load_prompts()


class Leg:
    """A `CallerLeg` that writes down what it is asked."""

    def __init__(self) -> None:
        self.call_tag = CALL_SID[:8]
        self.tx_q = Outbox("MZ1")
        self.items: dict[str, bytes] = {}
        self.done: list[str] = []
        self.flushes = 0
        self.ended: list[tuple[EndReason, str]] = []

    def play(self, item_id: str, frame: bytes) -> None:
        self.items[item_id] = self.items.get(item_id, b"") + frame
        self.tx_q.put_frame(item_id, frame)

    def end_item(self, item_id: str) -> None:
        self.done.append(item_id)
        self.tx_q.end_item(item_id)

    def wake(self) -> None:
        self.flush()

    def flush(self) -> None:
        self.flushes += 1

    def play_now(self, item_id: str, frame: bytes) -> None:
        self.play(item_id, frame)

    def end(self, reason: EndReason, detail: str = "") -> None:
        self.ended.append((reason, detail))


class Client:
    """A `ModelClient` without a model: the test speaks for it."""

    def __init__(self, listener: Callable[[str, Event], None]) -> None:
        self.say = listener
        self.commands = Commands(Dialect.GA)
        self.on_audio_queued: Callable[[], None] = lambda: None
        self.plain_audio: Callable[[str, str, bytes], bool] | None = None
        self.configured: list[SessionSettings] = []
        self.sent: list[str] = []
        self.connects = 0
        self.is_closed = False
        self._ended = green.Signal()

    def connect(self, channel: Channel | None = None) -> float:
        self.connects += 1
        return 1.0

    def configure(self, settings: SessionSettings) -> None:
        self.configured.append(settings)

    def read_events(self) -> ChannelClosed:
        self._ended.wait(5.0)
        return ChannelClosed(1006, "gone", by_peer=True)

    def append_audio(self, payload: bytes) -> None:
        pass

    def append_audio_b64(self, payload_b64: bytes) -> None:
        pass

    def send(self, text: str | bytes) -> None:
        self.sent.append(text if isinstance(text, str) else text.decode())

    def take_audio(self) -> None:
        return None

    def close(self) -> None:
        self.is_closed = True
        self._ended.set()

    def breaks(self) -> None:
        """The model goes away."""
        self._ended.set()


@dataclass
class Rest:
    """Twilio's REST, which does what is asked or raises `error`; what concerns a call takes `takes_s`."""

    error: Exception | None = None
    takes_s: float = 0.0
    is_gone: bool = False
    """The call that is to be hung up has ended before."""
    hung_up: list[str] = field(default_factory=list)
    updated: list[tuple[str, str]] = field(default_factory=list)
    texts: list[tuple[str, str, str]] = field(default_factory=list)

    def update_call(self, call_sid: str, document: str) -> None:
        self.updated.append((call_sid, document))
        green.sleep(self.takes_s)
        if self.error is not None:
            raise self.error

    def hang_up(self, call_sid: str) -> Update:
        self.hung_up.append(call_sid)
        green.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return Update(call_sid, "completed", is_already_gone=self.is_gone)

    def send_sms(self, to: str, sender: str, text: str) -> None:
        self.texts.append((to, sender, text))
        if self.error is not None:
            raise self.error


@dataclass
class Receivers:
    """The businesses' own computers; `answer` is what all of them say."""

    answer: ToolAnswer = field(
        default_factory=lambda: ToolAnswer("check_stock", Outcome.OK, answer={"in_stock": True})
    )
    error: Exception | None = None
    asked: list[tuple[str, Mapping[str, Any], Any]] = field(default_factory=list)
    notified: list[tuple[str, Mapping[str, Any], str]] = field(default_factory=list)

    def run(self, tool: Any, arguments: Mapping[str, Any], context: Any) -> ToolAnswer:
        self.asked.append((tool.name, arguments, context))
        if self.error is not None:
            raise self.error
        return self.answer

    def notify(self, business: Business, message: Mapping[str, Any], message_id: str) -> ToolAnswer:
        self.notified.append((business.id, message, message_id))
        if self.error is not None:
            raise self.error
        return self.answer


def businesses(toml_text: str | None = None, **variables: str) -> Businesses:
    return Businesses.from_settings(Settings.from_env(variables), toml_text)


def services(
    toml_text: str | None = None,
    *,
    rest: Rest | None = None,
    receivers: Receivers | None = None,
    pipeline: Callable[[Callable[[str, Event], None], str], Client] | None = None,
    **variables: str,
) -> CallServices:
    """As the application makes them, with what has sockets replaced; the call is known to the webhook."""
    settings = Settings.from_env(variables)
    endpoint = Endpoint("ws://127.0.0.1:9/v1/realtime", "none", "none", Dialect.GA)
    counters = Counters()
    parked: ParkedSessions[Mode] = ParkedSessions(1)
    made = CallServices(
        settings=settings,
        businesses=Businesses.from_settings(settings, toml_text),
        calls=LiveCalls(),
        counters=counters,
        prompts=PROMPTS,
        store=MemoryStore(),
        parked=parked,
        endpoint=endpoint,
        warm=WarmSessions(endpoint, 0, counters),
        http_tools=receivers or Receivers(),  # type: ignore[arg-type]
        rest=rest,  # type: ignore[arg-type]
        pipeline=pipeline,  # type: ignore[arg-type]
    )
    made.calls.answered(CALL_SID, CallFacts(CALLER, CALLED, BASE_URL))
    return made


def eventually(holds: Callable[[], bool], within_s: float = 2.0) -> None:
    """Let green threads have their turn until it is so."""
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s, f"not so within {within_s} s"
        green.sleep(0.002)


def turns() -> None:
    """Green threads that are ready run until they wait."""
    for _ in range(5):
        green.sleep(0)
