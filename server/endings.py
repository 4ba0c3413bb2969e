"""Why did a stream end? The word that logs, metrics and the follow-up share."""

from __future__ import annotations

from enum import StrEnum


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
    TRANSFER = "transfer"
    """The caller is being connected to a person."""
    IDLE = "idle"
    """Nobody answered "are you still there?" any more."""
    MAX_DURATION = "max_duration"
    DRAIN = "drain"
    MODEL_UNREACHABLE = "model_unreachable"
    MODEL_REFUSED = "model_refused"
    MODEL_GONE = "model_gone"
    MODEL_SILENT = "model_silent"
    TAKE_MESSAGE = "take_message"
    """The model is gone: Twilio records what the caller wants to say."""
    APOLOGISED = "apologised"
    """The model is gone, and the caller was told so."""
    FAULT = "fault"


GOES_ON = (
    EndReason.DRAIN,
    EndReason.CLOSED,
    EndReason.RESET,
    EndReason.SILENT_LEG,
    EndReason.NOT_READING,
    EndReason.PROTOCOL,
)
"""The caller is still there, and another stream follows."""
