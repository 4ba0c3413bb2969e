"""One check of a gateway: is it ready, and is a caller greeted? What was seen, as a line and as JSON."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from server.cli.canary_call import CanaryCall
from server.cli.canary_verdict import Complaint, Limits, Seen, judge, not_ready, unreachable
from server.cli.gateway_url import VOICE_WEBHOOK
from server.logs import clean
from server.simulator.twilio.addresses import Addresses
from server.simulator.twilio.call_report import Outcome
from server.simulator.twilio.findings import MEANINGS
from server.simulator.twilio.webhooks import WebhookClient, WebhookFailed

READY_PATH = "/readyz"
TIMEOUT_S = 15.0
"""Twilio waits so long for an answer."""

# Which of Twilio's numbers stands for what is wrong with a certificate [1]; the keys are OpenSSL's.
# [1] twilio.com/en-us/blog/security-update-on-ssl-certificate-validation-html
_MISMATCH, _EXPIRED, _NO_PATH = 11235, 11236, 11237
_VERIFY_CODES = {
    62: _MISMATCH,
    64: _MISMATCH,
    10: _EXPIRED,
    18: _NO_PATH,
    19: _NO_PATH,
    20: _NO_PATH,
    21: _NO_PATH,
}
_FIXES = {
    _MISMATCH: "serve a certificate for this very host name",
    _EXPIRED: "renew the certificate, and let whatever serves it load the new one",
    _NO_PATH: "serve the complete chain of a public authority (fullchain.pem, not cert.pem)",
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """Which one, and how it is called."""

    webhook: str
    auth_token: str = field(default="", repr=False)
    """Empty: calls are not signed."""
    public_url: str = ""
    """Its address as Twilio knows it, when `webhook` leads to it by another way."""
    to_number: str = ""

    @property
    def host(self) -> str:
        """Without user and password."""
        return clean(urlsplit(self.webhook).netloc.rpartition("@")[2], 100)

    @property
    def ready_url(self) -> str:
        parts = urlsplit(self.webhook)
        prefix = parts.path.removesuffix(VOICE_WEBHOOK) if parts.path.endswith(VOICE_WEBHOOK) else ""
        return parts._replace(path=prefix + READY_PATH, query="", fragment="").geturl()


@dataclass(frozen=True, slots=True)
class Result:
    host: str
    seen: Seen
    complaint: Complaint | None
    ready_ms: float | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def outcome(self) -> Outcome:
        return Outcome.OK if self.complaint is None else self.complaint.outcome

    def line(self) -> str:
        if self.complaint is not None:
            return f"✗ {self.complaint.line()}"
        seen = self.seen
        greeting = f"✓ greeting after {_ms(seen.greeting_ms)}, {seen.sound_ms / 1000:.1f} s of sound"
        figures = (
            ("answer after", seen.answer_ms),
            ("webhook", seen.webhook_ms),
            ("upgrade", seen.upgrade_ms),
            ("ready", self.ready_ms),
        )
        return "  ".join([greeting, *(f"{name} {_ms(took)}" for name, took in figures if took is not None)])

    def to_json(self) -> dict[str, Any]:
        """Plain values; times in whole milliseconds, null for what was not seen."""
        seen = self.seen
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "host": self.host,
            "ok": self.complaint is None,
            "exit_code": int(self.outcome),
            "greeting_ms": _whole(seen.greeting_ms),
            "sound_ms": _whole(seen.sound_ms),
            "answer_ms": _whole(seen.answer_ms),
            "webhook_ms": _whole(seen.webhook_ms),
            "upgrade_ms": _whole(seen.upgrade_ms),
            "ready_ms": _whole(self.ready_ms),
            "call_sid": seen.call_sid,
            "complaint": None if self.complaint is None else self.complaint.to_json(),
        }


def check(
    gateway: Gateway,
    limits: Limits,
    known: Mapping[bytes, str],
    question: bytes,
    began: Callable[[CanaryCall], None],
) -> Result:
    """Blocks until it is known; raises nothing that a far end causes. `began` gets the call, to end it."""
    http = WebhookClient(Addresses(gateway.webhook, gateway.public_url), gateway.auth_token, TIMEOUT_S)
    try:
        answer = http.send(gateway.ready_url, {}, "GET")
    except WebhookFailed as error:
        return Result(gateway.host, Seen(), _not_reached(error))
    finally:
        http.close()
    if answer.status == 503:
        complaint = not_ready(answer.body[:200].decode("utf-8", "replace"))
        if complaint is not None:
            return Result(gateway.host, Seen(), complaint, answer.took_ms)
    call = CanaryCall(
        gateway.webhook,
        limits,
        known,
        question=question,
        auth_token=gateway.auth_token,
        public_url=gateway.public_url,
        to_number=gateway.to_number,
    )
    began(call)
    seen = call.run()
    return Result(gateway.host, seen, judge(seen, limits), answer.took_ms)


def _not_reached(error: WebhookFailed) -> Complaint:
    """Where TLS is the cause, what is wrong with it decides what Twilio reports."""
    causes = [cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)]
    if not causes:
        return unreachable(str(error), error.code)
    means, fix = MEANINGS[11220]
    refused = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if refused is None:
        what = f"TLS fails: {causes[0].reason or causes[0]}"
        return Complaint(Outcome.UNREACHABLE, "11220", what, means, "give the port on which https is served")
    code = _VERIFY_CODES.get(refused.verify_code, 11220)
    what = f"the certificate is refused: {refused.verify_message.rstrip('.')}"
    return Complaint(Outcome.UNREACHABLE, str(code), what, means, _FIXES.get(code, fix))


def _causes(error: BaseException) -> list[BaseException]:
    """What an error was raised from, and what the HTTP libraries hide in `args` and `reason`."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found


def _ms(took_ms: float | None) -> str:
    return "–" if took_ms is None else f"{took_ms:.0f} ms"


def _whole(took_ms: float | None) -> int | None:
    return None if took_ms is None else round(took_ms)
