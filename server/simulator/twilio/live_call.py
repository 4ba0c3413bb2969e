"""What every part of one simulated call shares, when the caller hangs up, and what REST tells the call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from server.audio.g711 import BYTES_PER_MS
from server.simulator.twilio.caller import CallerSide
from server.simulator.twilio.findings import Findings
from server.simulator.twilio.virtual_line import VirtualLine


class CallStatus(StrEnum):
    """Twilio's words, as far as an incoming call goes through them."""

    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class NewTwiml:
    """Go on with this document."""

    body: bytes


@dataclass(frozen=True, slots=True)
class NewUrl:
    """Go on with the document that is there."""

    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class EndCall:
    """The caller hears the line end."""


Instruction = NewTwiml | NewUrl | EndCall


@dataclass(frozen=True, slots=True)
class Dialled:
    """One number that a `<Dial>` rang."""

    number: str
    caller_id: str
    status: str
    """Twilio's DialCallStatus: completed, busy, no-answer, failed or canceled."""
    duration_s: int
    """Of the conversation; 0 for none."""
    call_sid: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What the caller said during one `<Record>`."""

    sid: str
    audio: bytes
    """G.711 μ-law from the verb's begin to its end, the silence that ended it included."""
    digits: str = ""
    """The key that ended it; `hangup` when the caller did."""
    is_empty: bool = False
    """Nobody spoke: Twilio keeps no such recording."""

    @property
    def duration_s(self) -> int:
        return round(len(self.audio) / BYTES_PER_MS / 1000)


@dataclass(slots=True)
class Tally:
    """Counts of one call, over all its streams. Times are on the call's clock."""

    webhook_ms: float | None = None
    webhook_status: int | None = None
    verbs: list[str] = field(default_factory=list)
    verbs_ms: list[float] = field(default_factory=list)
    """When each was begun."""
    handshake_ms: float | None = None
    subprotocol: str = ""
    streams: int = 0
    stream_ends_ms: list[float] = field(default_factory=list)
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
    updates: list[Instruction] = field(default_factory=list)
    """What REST told this call, in order."""
    dialled: list[Dialled] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HangupRule:
    """When the caller has had enough."""

    after_s: float | None = None
    """Since the call was answered, whatever goes on."""
    quiet_after_s: float = 1.5
    """Of silence, once everything was said and something was heard after it."""
    timeout_s: float = 15.0
    """Of waiting for a first sound after everything was said."""

    def reason(self, now_ms: float, caller: CallerSide, line: VirtualLine) -> str:
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
    caller: CallerSide
    hangup: HangupRule
    line: VirtualLine = field(default_factory=VirtualLine)
    findings: Findings = field(default_factory=Findings)
    tally: Tally = field(default_factory=Tally)
    hung_up: threading.Event = field(default_factory=threading.Event)
    """The caller has gone; may be set from another thread."""
    clock: Callable[[], float] = time.monotonic
    answered_at: float = 0.0
    status: CallStatus = CallStatus.RINGING
    _instruction: Instruction | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def answer(self) -> None:
        """The call's clock starts now."""
        self.answered_at = self.clock()
        with self._lock:
            if self.status is CallStatus.RINGING:
                self.status = CallStatus.IN_PROGRESS

    def instruct(self, instruction: Instruction) -> bool:
        """From another thread: drop what runs and do this instead. False when the call takes no more.

        New TwiML is for a call in progress; a ringing one can only be ended.
        """
        with self._lock:
            is_end = isinstance(instruction, EndCall)
            if self.status is CallStatus.COMPLETED or self.hung_up.is_set():
                return False
            if self.status is CallStatus.RINGING and not is_end:
                return False
            self._instruction = instruction
            self.tally.updates.append(instruction)
            if is_end:
                self.status = CallStatus.COMPLETED
            return True

    def next_instruction(self) -> NewTwiml | NewUrl | None:
        """The verbs are done or dropped: what did REST tell us? None ends the call, for REST too."""
        with self._lock:
            instruction, self._instruction = self._instruction, None
            if instruction is None or isinstance(instruction, EndCall) or self.hung_up.is_set():
                self.status = CallStatus.COMPLETED
                return None
            return instruction

    @property
    def is_instructed(self) -> bool:
        """REST told the call something: what runs now is to stop."""
        return self._instruction is not None

    @property
    def is_interrupted(self) -> bool:
        """By the caller, who hung up, or by REST."""
        return self.hung_up.is_set() or self.is_instructed

    def now_ms(self) -> float:
        """Since the call was answered."""
        return (self.clock() - self.answered_at) * 1000

    def wait_until(self, until_ms: float) -> None:
        """Let the line play; returns early when the caller hangs up, or within 20 ms when REST interrupts."""
        while (left_ms := until_ms - self.now_ms()) > 0 and not self.is_interrupted:
            self.caller.elsewhere(self.now_ms())
            self.nap(left_ms)

    def nap(self, at_most_ms: float) -> None:
        """20 ms or less; none once the caller has hung up, as is due after a fixed time."""
        if self.hangup.after_s is not None and self.now_ms() >= self.hangup.after_s * 1000:
            self.hung_up.set()
        self.hung_up.wait(min(at_most_ms, 20) / 1000)
