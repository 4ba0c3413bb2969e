"""Which calls are live, and how did the recent ones end?

Three requests that know nothing of each other tell the story of one call: the webhook, the stream,
and Twilio's question what shall follow. This is where they meet, by CallSid. In memory, bounded,
for one process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field
from enum import StrEnum

from server.endings import GOES_ON, EndReason

MAX_REMEMBERED = 2_000
"""Calls, 0.4 kB each: far more than end between a stream and Twilio's question what follows."""
MAX_NUMBER_CHARS = 64


class FollowUp(StrEnum):
    """What the caller hears when Twilio asks what comes after the stream."""

    NOTHING = "nothing"
    HANGUP = "hangup"
    APOLOGY = "apology"
    TRANSFER = "transfer"
    """The person is rung whom the caller was promised."""
    ASK_AGAIN = "ask again"
    """This process ends: the next one is asked."""
    RESUME = "resume"
    """The stream broke; the call goes on in another."""
    RECORD = "record"
    """What the caller wants to say is recorded."""


_FOLLOW_UPS = {
    EndReason.AGENT_HANGUP: FollowUp.HANGUP,
    EndReason.MAX_DURATION: FollowUp.HANGUP,
    EndReason.STOP: FollowUp.HANGUP,
    EndReason.IDLE: FollowUp.HANGUP,
    EndReason.APOLOGISED: FollowUp.HANGUP,
    EndReason.DRAIN: FollowUp.ASK_AGAIN,
    EndReason.REFUSED: FollowUp.APOLOGY,
    EndReason.CLOSED: FollowUp.RESUME,
    EndReason.RESET: FollowUp.RESUME,
    EndReason.SILENT_LEG: FollowUp.RESUME,
    EndReason.NOT_READING: FollowUp.RESUME,
    EndReason.PROTOCOL: FollowUp.RESUME,
}
"""Whatever else ends a call leaves the caller with something to say."""

MAX_RESUMES = 3
"""Streams of one call that break one after the other: after the third the caller may leave a message."""
STEADY_S = 60.0
"""A stream that lasted so long was a good one: what breaks after it is counted anew."""
STREAM_WITHIN_S = 15.0
"""Of a call that was answered with one. It comes within a second, or after a recorded greeting."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What the webhook told of a call; empty where it told nothing."""

    caller: str = field(default="", repr=False)
    """E.164 where Twilio knows it."""
    called: str = ""
    base_url: str = ""
    """How Twilio reached us."""


@dataclass(slots=True)
class CallState:
    """One call, from its webhook on."""

    facts: CallFacts = CallFacts()
    resumes: int = 0
    """Streams that followed a broken one."""
    transfer: str = ""
    """The TwiML that rings a person, until that is over."""
    stream_sid: str = ""
    has_begun: bool = False
    """There was a stream, here or in a process before. False: none that this process knows of."""
    is_live: bool = False
    was_asked: bool = False
    """Twilio asked what follows the latest stream."""
    end_reason: EndReason | None = None


class LiveCalls:
    """Calls by CallSid; the oldest ended ones are forgotten."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, CallState] = OrderedDict()
        self._expected: OrderedDict[str, float] = OrderedDict()
        """Calls whose stream was ordered and has not begun here, in the order of when (monotonic)."""
        self.live_count = 0

    def answered(self, call_sid: str, facts: CallFacts = CallFacts()) -> None:
        """What a webhook told of the call; its stream may or may not come."""
        self._calls.setdefault(call_sid, CallState()).facts = facts
        self._forget()

    def told(self, call_sid: str, facts: CallFacts) -> None:
        """What the stream brings of a webhook that another process answered; our own knows better."""
        if self.facts(call_sid) == CallFacts():
            self.answered(call_sid, facts)

    def expected(self, call_sid: str, now_s: float) -> None:
        """The call was answered with a stream: it holds a place until that begins, or for a while."""
        self._expected.pop(call_sid, None)
        self._expected[call_sid] = now_s

    def is_expected(self, call_sid: str, now_s: float) -> bool:
        since_s = self._expected.get(call_sid)
        return since_s is not None and now_s - since_s < STREAM_WITHIN_S

    def expected_count(self, now_s: float, *besides: Container[str]) -> int:
        """How many calls are expected, those besides that hold a place for another reason."""
        while self._expected and now_s - next(iter(self._expected.values())) >= STREAM_WITHIN_S:
            self._expected.popitem(last=False)
        return sum(not any(call_sid in known for known in besides) for call_sid in self._expected)

    def facts(self, call_sid: str) -> CallFacts:
        state = self._calls.get(call_sid)
        return CallFacts() if state is None else state.facts

    def transferring(self, call_sid: str, document: str) -> None:
        """The caller is to be connected to a person by this TwiML, whoever asks for it first."""
        self._calls.setdefault(call_sid, CallState()).transfer = document

    def transfer_of(self, call_sid: str) -> str:
        """The TwiML that rings the person; empty when there is nobody to ring."""
        state = self._calls.get(call_sid)
        return "" if state is None else state.transfer

    def transfer_over(self, call_sid: str) -> None:
        """The person was rung, with whatever success. Should no stream bring the caller back, as when this
        process begins to end just now, they are asked for a message."""
        if (state := self._calls.get(call_sid)) is not None:
            state.transfer, state.end_reason = "", EndReason.TRANSFER

    def began(self, call_sid: str, stream_sid: str) -> None:
        self._expected.pop(call_sid, None)
        state = self._calls.setdefault(call_sid, CallState())
        state.stream_sid, state.is_live, state.end_reason = stream_sid, True, None
        state.was_asked = False
        state.has_begun = True
        self.live_count += 1
        self._forget()

    def refused(self, call_sid: str) -> None:
        """A stream of the call was refused before it began, and so would be the next one."""
        self._expected.pop(call_sid, None)
        state = self._calls.setdefault(call_sid, CallState())
        is_latest = state.was_asked or not (state.is_live or state.end_reason)
        if is_latest and (state.end_reason is None or state.end_reason in GOES_ON):
            state.end_reason = EndReason.REFUSED
        self._forget()

    def ending(self, call_sid: str, stream_sid: str, reason: EndReason, lasted_s: float = 0.0) -> None:
        """A stream that began is about to be closed: Twilio may ask what follows before it is."""
        state = self._calls.get(call_sid)
        if state is not None and state.stream_sid == stream_sid and state.end_reason is None:
            state.end_reason = reason
            if lasted_s >= STEADY_S:
                state.resumes = 0

    def ended(self, call_sid: str, stream_sid: str, reason: EndReason) -> None:
        """A stream that began is over. Of two streams of one call the later one tells its end."""
        self.live_count -= 1
        self.ending(call_sid, stream_sid, reason)
        state = self._calls.get(call_sid)
        if state is not None and state.stream_sid == stream_sid:
            state.is_live = False

    def asked(self, call_sid: str) -> None:
        """Twilio asks what follows the call's stream, or says that nothing can."""
        self._expected.pop(call_sid, None)
        if (state := self._calls.get(call_sid)) is not None:
            state.was_asked = True

    def is_held(self, call_sid: str) -> bool:
        """We hung up and Twilio has not asked what follows: its caller may still be on the line."""
        state = self._calls.get(call_sid)
        if state is None or state.was_asked or state.end_reason in (None, EndReason.STOP):
            return False
        return self.follow_up(call_sid) is FollowUp.HANGUP

    def follow_up(self, call_sid: str) -> FollowUp | None:
        """What should follow the call's stream; None for a call that is not known here."""
        state = self._calls.get(call_sid)
        if state is None:
            return None
        if state.transfer:
            return FollowUp.TRANSFER
        if state.end_reason is None:  # it never came up, or broke on Twilio's side before we noticed
            follow_up = FollowUp.RESUME
        else:
            follow_up = _FOLLOW_UPS.get(state.end_reason, FollowUp.RECORD)
        return FollowUp.RECORD if follow_up is FollowUp.RESUME and state.resumes >= MAX_RESUMES else follow_up

    def end_reason(self, call_sid: str) -> EndReason | None:
        """How the call's latest stream ended, if it has."""
        state = self._calls.get(call_sid)
        return None if state is None else state.end_reason

    def inherited(self, call_sid: str, resumes: int = 0, *, has_begun: bool = True) -> None:
        """Twilio asks about a call that may have gone on in other processes: its streams broke as often as
        that, and `has_begun` is what they know of it. Of a call whose latest stream was here that says
        nothing new. To be told before `asked`."""
        state = self._calls.setdefault(call_sid, CallState(has_begun=has_begun, was_asked=True))
        if state.was_asked or not state.has_begun:
            state.resumes = max(state.resumes, resumes)
        self._forget()

    def has_begun(self, call_sid: str) -> bool:
        """The call had a stream: its caller may have heard something. False: here nothing is known of one;
        another process may have had it."""
        state = self._calls.get(call_sid)
        return state is not None and state.has_begun

    def resumes(self, call_sid: str) -> int:
        """How many streams have followed a broken one."""
        state = self._calls.get(call_sid)
        return 0 if state is None else state.resumes

    def resumed(self, call_sid: str) -> int:
        """Another stream follows a broken one; how many have by now."""
        if (state := self._calls.get(call_sid)) is None:
            return 0
        state.resumes += 1
        return state.resumes

    def _forget(self) -> None:
        while len(self._calls) > MAX_REMEMBERED:
            oldest = next(iter(self._calls))
            if self._calls[oldest].is_live:
                self._calls.move_to_end(oldest)
                return
            del self._calls[oldest]
