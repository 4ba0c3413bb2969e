"""Which calls are live, and how did the recent ones end?

Three requests that know nothing of each other tell the story of one call: the webhook, the stream,
and Twilio's question what shall follow. This is where they meet, by CallSid. In memory, bounded,
for one process.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

MAX_REMEMBERED = 2_000
"""Calls, 0.4 kB each: far more than end between a stream and Twilio's question what follows."""


class EndReason(StrEnum):
    """How a stream ended, as logs, metrics and the follow-up name it."""

    STOP = "stop"
    """Twilio said so: the caller hung up, or the call was sent elsewhere."""
    CLOSED = "closed"
    RESET = "reset"
    SILENT_LEG = "silent_leg"
    NOT_READING = "not_reading"
    NO_START = "no_start"
    REFUSED = "refused"
    PROTOCOL = "protocol"
    AGENT_HANGUP = "agent_hangup"
    MAX_DURATION = "max_duration"
    DRAIN = "drain"
    MODEL_UNREACHABLE = "model_unreachable"
    MODEL_REFUSED = "model_refused"
    MODEL_GONE = "model_gone"
    MODEL_SILENT = "model_silent"
    FAULT = "fault"


class FollowUp(StrEnum):
    """What the caller hears when Twilio asks what comes after the stream."""

    NOTHING = "nothing"
    HANGUP = "hangup"
    APOLOGY = "apology"
    ASK_AGAIN = "ask again"


_FOLLOW_UPS = {
    EndReason.AGENT_HANGUP: FollowUp.HANGUP,
    EndReason.MAX_DURATION: FollowUp.HANGUP,
    EndReason.STOP: FollowUp.HANGUP,
    EndReason.DRAIN: FollowUp.ASK_AGAIN,
}


@dataclass(slots=True)
class CallState:
    """One call, from its webhook on."""

    stream_sid: str = ""
    is_live: bool = False
    end_reason: EndReason | None = None


class LiveCalls:
    """Calls by CallSid; the oldest ended ones are forgotten."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, CallState] = OrderedDict()
        self.live_count = 0

    def answered(self, call_sid: str) -> None:
        """The webhook was answered with a stream, which may or may not come."""
        self._calls.setdefault(call_sid, CallState())
        self._forget()

    def began(self, call_sid: str, stream_sid: str) -> None:
        state = self._calls.setdefault(call_sid, CallState())
        state.stream_sid, state.is_live, state.end_reason = stream_sid, True, None
        self.live_count += 1
        self._forget()

    def ending(self, call_sid: str, stream_sid: str, reason: EndReason) -> None:
        """A stream that began is about to be closed: Twilio may ask what follows before it is."""
        state = self._calls.get(call_sid)
        if state is not None and state.stream_sid == stream_sid and state.end_reason is None:
            state.end_reason = reason

    def ended(self, call_sid: str, stream_sid: str, reason: EndReason) -> None:
        """A stream that began is over. Of two streams of one call the later one tells its end."""
        self.live_count -= 1
        self.ending(call_sid, stream_sid, reason)
        state = self._calls.get(call_sid)
        if state is not None and state.stream_sid == stream_sid:
            state.is_live = False

    def follow_up(self, call_sid: str) -> FollowUp | None:
        """What should follow the call's stream; None for a call that is not known here."""
        state = self._calls.get(call_sid)
        if state is None:
            return None
        if state.end_reason is None:  # it never came up, or broke on Twilio's side before we noticed
            return FollowUp.APOLOGY
        return _FOLLOW_UPS.get(state.end_reason, FollowUp.APOLOGY)

    def _forget(self) -> None:
        while len(self._calls) > MAX_REMEMBERED:
            oldest = next(iter(self._calls))
            if self._calls[oldest].is_live:
                self._calls.move_to_end(oldest)
                return
            del self._calls[oldest]
