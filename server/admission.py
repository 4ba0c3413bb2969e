"""May this call come in? By what its webhook or its stream shows, and by what the house has room for."""

from __future__ import annotations

import time

from server.errors import CallRefused
from server.gateway import Gateway
from server.logs import clean
from server.store.live_calls import MAX_NUMBER_CHARS, CallFacts
from server.telephony import twiml
from server.telephony.call_token import TokenVerdict
from server.telephony.messages import Start

MAX_HUB_LAG_S = 0.05
"""At the 95th percentile: frames are paced 200 ms ahead, so that much is not heard yet."""


def why_full(gateway: Gateway) -> tuple[str, str] | None:
    """(fault id, what was seen) when no further call may be taken; live ones keep their quality."""
    if gateway.places_taken >= gateway.settings.max_calls:
        return "KAV-141", f"{gateway.settings.max_calls} calls"
    if (lag_s := gateway.lag()) > MAX_HUB_LAG_S:
        return "KAV-143", f"{lag_s * 1000:.0f} ms late"
    return None


def is_expected(gateway: Gateway, call_sid: str) -> bool:
    """The call was answered with a stream a moment ago: it has its place."""
    return gateway.calls.is_expected(call_sid, time.monotonic())


def check_stream(gateway: Gateway, start: Start) -> None:
    """Is it a telephone's audio, of a call that we were asked for? Raises CallRefused.

    Before anything is paid for. Without a Twilio token nothing here is, unless the operator allowed it: then
    a bare diagnostic stream may do without a call token; a wrong one is wrong everywhere.
    """
    if (start.encoding, start.sample_rate_hz, start.channels) != ("audio/x-mulaw", 8000, 1):
        seen = f"{start.encoding} {start.sample_rate_hz} Hz, {start.channels} channel(s)"
        raise CallRefused("KAV-115", seen[:80])
    settings, token = gateway.settings, start.parameters.get("token")
    if token is None and not settings.twilio_auth_tokens and not settings.allow_unsigned_ai:
        return
    verdict = gateway.tokens.take(token, start.call_sid, time.time())
    if verdict is not TokenVerdict.GOOD:
        raise CallRefused("KAV-114", str(verdict))


def check_place(gateway: Gateway, call_sid: str) -> None:
    """Is there room for the stream of this call? Raises CallRefused.

    A call that was answered a moment ago holds a place, and a conversation that goes on is not refused for
    new ones. Where nothing is signed anybody may say so: there only a call that is waited for is believed.
    """
    max_calls = gateway.settings.max_calls
    if gateway.places_taken < max_calls:
        return
    has_begun = gateway.signature.is_on and gateway.calls.has_begun(call_sid)
    if not (has_begun or call_sid in gateway.parked or is_expected(gateway, call_sid)):
        raise CallRefused("KAV-141", f"{max_calls} calls")


def facts_of(start: Start) -> CallFacts:
    """What the call's webhook told, as the stream brings it: another process may have answered that."""
    caller, called = (
        clean(start.parameters.get(name, ""), MAX_NUMBER_CHARS) for name in (twiml.CALLER, twiml.CALLED)
    )
    return CallFacts(caller, called)
