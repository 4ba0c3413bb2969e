"""One session with a model: connected, configured, read until it ends.

A call takes one after the other: a session lives an hour at most. The next is made ready beside the
one in use, and knows nothing of the call until it is told (`seed`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from server import green
from server.channel import ChannelClosed
from server.endings import EndReason
from server.errors import ModelRefused, ModelUnreachable
from server.faults import FAULTS
from server.logs import clean
from server.realtime import events
from server.realtime.commands import Commands, SessionSettings
from server.realtime.events import ErrorKind, Event, ServerError, classify, fault_of
from server.realtime.session_clock import SessionClock
from server.services.model_dial import VANISHED, ModelChannel
from server.services.openai_realtime_client import AudioChunk
from server.services.warm_sessions import WarmSessions

log = logging.getLogger(__name__)

DIAL_WAIT_S = 5.0
"""For the connection that is being dialled since the webhook was answered."""


class ModelClient(Protocol):
    """The model's leg of a call, of whatever kind: see OpenAIRealtimeClient."""

    commands: Commands
    on_audio_queued: Callable[[], None]
    plain_audio: Callable[[str, str, bytes], bool] | None

    def connect(self, channel: ModelChannel | None = None) -> float: ...

    def configure(self, settings: SessionSettings) -> None: ...

    def read_events(self) -> ChannelClosed: ...

    def append_audio(self, payload: bytes) -> None: ...

    def append_audio_b64(self, payload_b64: bytes) -> None: ...

    def send(self, text: str | bytes) -> None: ...

    def take_audio(self) -> AudioChunk | None: ...

    def close(self) -> None: ...

    @property
    def is_closed(self) -> bool: ...


MakeClient = Callable[[Callable[[str, Event], None]], ModelClient]
"""From the listener of its events to a client that is not connected."""


class SessionListener(Protocol):
    """Hears of a session, in its green thread."""

    def session_ready(self, session: ModelSession) -> None:
        """Our settings are in force."""

    def session_event(self, session: ModelSession, event: Event) -> None:
        """Every event after that."""

    def session_lost(self, session: ModelSession, reason: EndReason, fault_id: str, seen: str) -> None:
        """It ended, or never began; not by our own `close`."""


class ModelSession:
    """`start` once, `close` once."""

    def __init__(
        self,
        make_client: MakeClient,
        warm: WarmSessions | None,
        settings: SessionSettings,
        listener: SessionListener,
        call_tag: str,
    ) -> None:
        """`warm`: where connections are open already, for clients that have one."""
        self.client = make_client(self._on_event)
        self.is_ready = False
        self.is_transcribed = settings.transcription_model is not None
        self.silence_ms = settings.silence_duration_ms
        self.clock = SessionClock(time.monotonic())
        self.began_at = time.monotonic()
        self._warm = warm
        self._settings = settings
        self._listener = listener
        self._tag = call_tag
        self._is_over = False
        self._thread: green.Thread | None = None

    def start(self) -> None:
        self._thread = green.spawn(self._run)

    def seed(self, history: Sequence[tuple[str, str]]) -> None:
        """Tell the model what was said before, as text: (role, text), the oldest first."""
        commands = self.client.commands
        for role, text in history:
            self.client.send(commands.say_as_caller(text) if role == "user" else commands.say_as_agent(text))

    def close(self) -> None:
        """End the session. Blocks half a second at most."""
        self._is_over = True
        self.client.close()
        if self._thread is not None:
            self._thread.kill()

    def _run(self) -> None:
        try:
            if self._warm is not None:
                connected_ms = self.client.connect(self._warm.take_or_wait(DIAL_WAIT_S))
                log.info("[REALTIME] connected to model in %d ms, call_sid=%s", connected_ms, self._tag)
            self.client.configure(self._settings)
            closed = self.client.read_events()
            fault_id = "KAV-147" if closed.reason.startswith(VANISHED) else "KAV-135"
            self._lost(EndReason.MODEL_GONE, fault_id, str(closed))
        except ModelRefused as error:
            self._lost(EndReason.MODEL_REFUSED, fault_of(error.code), str(error))
        except ModelUnreachable as error:
            self._lost(EndReason.MODEL_UNREACHABLE, "KAV-131", str(error))
        except Exception:
            log.exception("%s call=%s", FAULTS["KAV-199"].line("model session"), self._tag)
            self._lost(EndReason.FAULT, "KAV-199", "model session")

    def _on_event(self, kind: str, event: Event) -> None:
        if self._is_over:
            return
        match event:
            case events.SessionCreated():
                self.clock = SessionClock.announced(time.monotonic(), event.expires_at, time.time())
            case events.SessionUpdated() if not self.is_ready:
                self.is_ready = True
                self._listener.session_ready(self)
            case ServerError() if not self.is_ready:
                self._on_refusal(event)
            case _:
                self._listener.session_event(self, event)

    def _on_refusal(self, error: ServerError) -> None:
        """Before the settings are in force: without transcription they may be taken."""
        seen = clean(f"{error.code or error.type} {error.param} {error.message}".strip())
        kind = classify(error)
        if kind is ErrorKind.REFUSED and self.is_transcribed and "transcription" in f"{error.param} {seen}":
            log.warning("%s call=%s", FAULTS["KAV-106"].line(seen), self._tag)
            self.is_transcribed = False
            self.client.configure(self._settings.without_transcription())
        elif kind is ErrorKind.FATAL:
            self._lost(EndReason.MODEL_REFUSED, fault_of(error.code), seen)
        else:
            self._lost(EndReason.MODEL_REFUSED, "KAV-134" if kind is ErrorKind.REFUSED else "KAV-131", seen)

    def _lost(self, reason: EndReason, fault_id: str, seen: str) -> None:
        if not self._is_over and not self.client.is_closed:
            self._is_over = True
            self._listener.session_lost(self, reason, fault_id, seen)
