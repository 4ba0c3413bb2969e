"""Which calls does the account have, and what does a request change about one?

Twilio's rules for `POST …/Calls/{CallSid}.json` [1], applied strictly: a document that cannot be read
is refused here, while Twilio itself may take it and complain when it is too late (12100).

[1] twilio.com/docs/voice/api/call-resource#update-a-call-resource
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from server.errors import GatewayError
from server.simulator.twilio import twiml
from server.simulator.twilio.caller import Caller
from server.simulator.twilio.live_call import (
    CallStatus,
    EndCall,
    HangupRule,
    Instruction,
    LiveCall,
    NewTwiml,
    NewUrl,
)

MAX_TWIML_CHARS = 4000


class Refused(GatewayError):
    """The request is answered with an error of Twilio's."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class KnownCall:
    call: LiveCall
    from_number: str
    to_number: str
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class CallRegistry:
    """The account's calls by CallSid, ended ones included. Any thread may use it."""

    def __init__(self, account_sid: str) -> None:
        self._account_sid = account_sid
        self._lock = threading.Lock()
        self._calls: dict[str, KnownCall] = {}

    def register(self, call: LiveCall, from_number: str, to_number: str) -> None:
        with self._lock:
            self._calls[call.call_sid] = KnownCall(call, from_number, to_number)

    def declare(self, call_sid: str, from_number: str = "", to_number: str = "") -> None:
        """A call in progress that nobody makes: it can be told things, and does none of them."""
        call = LiveCall(call_sid, self._account_sid, Caller(b"", []), HangupRule())
        call.answer()
        self.register(call, from_number, to_number)

    def get(self, call_sid: str) -> KnownCall | None:
        with self._lock:
            return self._calls.get(call_sid)

    def update(self, call_sid: str, form: Mapping[str, str]) -> KnownCall:
        """Do what the form asks. Raises Refused; LookupError for a call that is not known."""
        known = self.get(call_sid)
        if known is None:
            raise LookupError(call_sid)
        instruction = asked(form)
        if instruction is None:  # canceled: means only calls that still ring
            is_ringing = known.call.status is CallStatus.RINGING
            instruction = EndCall() if is_ringing else None
        if instruction is not None and not known.call.instruct(instruction):
            raise Refused(400, 21220, "Call is not in-progress. Cannot redirect.")
        return known


def asked(form: Mapping[str, str]) -> Instruction | None:
    """What a form asks of a call; None for `Status=canceled`. Raises Refused."""
    given = [name for name in ("Twiml", "Url", "Status") if form.get(name)]
    if not given:
        raise Refused(400, 21200, "None of Twiml, Url and Status was given.")
    if "Twiml" in given and "Url" in given:
        raise Refused(400, 21200, "Twiml and Url exclude each other.")
    status = form.get("Status", "")
    if status:
        if status not in ("completed", "canceled"):
            raise Refused(400, 21200, f"Status {status[:20]!r} is neither completed nor canceled.")
        return EndCall() if status == "completed" else None
    method = (form.get("Method") or "POST").upper()
    if method not in ("GET", "POST"):
        raise Refused(400, 21200, f"Method {method[:20]!r} is neither GET nor POST.")
    return _document(form["Twiml"]) if "Twiml" in given else _address(form["Url"], method)


def _document(text: str) -> NewTwiml:
    if len(text) > MAX_TWIML_CHARS:
        raise Refused(
            400, 32018, f"Twiml size exceeded maximum allowed value of {MAX_TWIML_CHARS} characters"
        )
    body = text.encode("utf-8")
    document = twiml.parse(body, "text/xml", "")
    if not document.is_valid:
        [finding] = document.findings
        raise Refused(400, finding.code or 12100, f"Twiml cannot be read: {finding.text}")
    return NewTwiml(body)


def _address(url: str, method: str) -> NewUrl:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise Refused(400, 21205, "Url is not a valid URL.")
    return NewUrl(url, method)
