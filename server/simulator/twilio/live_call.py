"""What every part of one simulated call shares, and when the caller hangs up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from server.simulator.twilio.caller import Caller
from server.simulator.twilio.findings import Findings
from server.simulator.twilio.virtual_line import VirtualLine


@dataclass(slots=True)
class Tally:
    """Counts of one call, over all its streams. Times are on the call's clock."""

    webhook_ms: float | None = None
    webhook_status: int | None = None
    verbs: list[str] = field(default_factory=list)
    handshake_ms: float | None = None
    subprotocol: str = ""
    streams: int = 0
    start_sent_ms: float | None = None
    """Of the first stream; answers are measured from here."""
    first_audio_ms: float | None = None
    """When the first media message came."""
    frames_sent: int = 0
    frames_received: int = 0
    odd_frames: int = 0
    """Of another size than 160 bytes."""
    bytes_received: int = 0
    marks_received: int = 0
    marks_echoed: int = 0
    clears_ms: list[float] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Worth knowing, and no fault."""
    refused_status: int = 0
    """403, when the gateway gave one to the webhook or to the stream."""
    unreachable: str = ""
    """Why the webhook could not be fetched at all."""
    close_code: int | None = None
    close_reason: str = ""
    closed_by: str = ""
    unplayed_ms: float = 0.0
    """Queued at Twilio when the gateway hung up: never heard."""


@dataclass(frozen=True, slots=True)
class HangupRule:
    """When the caller has had enough."""

    after_s: float | None = None
    """Since the call was answered, whatever goes on."""
    quiet_after_s: float = 1.5
    """Of silence, once everything was said and something was heard after it."""
    timeout_s: float = 15.0
    """Of waiting for a first sound after everything was said."""

    def reason(self, now_ms: float, caller: Caller, line: VirtualLine) -> str:
        """Why to hang up now; empty to stay."""
        if self.after_s is not None and now_ms >= self.after_s * 1000:
            return "time"
        audible_until_ms = line.audible_until_ms
        if audible_until_ms > caller.last_word_ms:
            silent_since_ms = max(audible_until_ms, caller.end_ms)
            return "quiet" if now_ms - silent_since_ms >= self.quiet_after_s * 1000 else ""
        return "no answer" if now_ms - caller.end_ms >= self.timeout_s * 1000 else ""


@dataclass(slots=True)
class LiveCall:
    """One call between its answer and its end."""

    call_sid: str
    account_sid: str
    caller: Caller
    hangup: HangupRule
    line: VirtualLine = field(default_factory=VirtualLine)
    findings: Findings = field(default_factory=Findings)
    tally: Tally = field(default_factory=Tally)
    hung_up: threading.Event = field(default_factory=threading.Event)
    """The caller has gone; may be set from another thread."""
    clock: Callable[[], float] = time.monotonic
    answered_at: float = 0.0

    def answer(self) -> None:
        """The call's clock starts now."""
        self.answered_at = self.clock()

    def now_ms(self) -> float:
        """Since the call was answered."""
        return (self.clock() - self.answered_at) * 1000

    def wait_until(self, until_ms: float) -> None:
        """Let the line play; returns early when the caller hangs up."""
        while (left_ms := until_ms - self.now_ms()) > 0 and not self.hung_up.is_set():
            if self.hangup.after_s is not None and self.now_ms() >= self.hangup.after_s * 1000:
                self.hung_up.set()
            self.hung_up.wait(min(left_ms, 20) / 1000)
