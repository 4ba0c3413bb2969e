"""Is a caller of this gateway greeted, and in time? The judgement of one canary call, without the call.

A complaint names what was seen, what it means for callers and what to do, in one line. Its id is one of
ours, for `explain`, or Twilio's own number for what its debugger would show; some things have neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.faults import FAULTS
from server.logs import clean, mask
from server.simulator.twilio.call_report import Outcome
from server.simulator.twilio.findings import MEANINGS, Finding

MAX_PART_CHARS = 300
ECHO_SHARE = 0.8
"""Of the frames sent: when so many come back, and all are silence, the line is an echo."""
MIN_FRAMES = 50
ANSWER_MIN_MS = 100
"""Less sound than this is no answer."""
_AFTERWARDS = {
    "Dial": "the call was passed on to a person",
    "Record": "a message was to be recorded",
    "Redirect": "the gateway ended the stream, to go on in another",
    "Connect": "the gateway ended the stream, to go on in another",
    "Hangup": "the gateway hung up",
}
LOG_FIX = "look for a KAV number beside call=CA000000 in the gateway's log, and ask `explain` about it"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a caller may expect."""

    first_audio_s: float = 2.5
    """From the answer of the webhook, when a caller hears the ringing end, to the first word."""
    greeting_s: float = 0.5
    """Of sound."""
    answer_s: float | None = None
    """From the caller's last word to the agent's first; None: nothing is asked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one call showed. Times count from the webhook's answer."""

    call_sid: str = ""
    webhook_status: int | None = None
    webhook_ms: float | None = None
    upgrade_ms: float | None = None
    greeting_ms: float | None = None
    """When the agent's first sound was heard."""
    sound_ms: float = 0.0
    """How much of the agent was heard before the caller's first word."""
    stand_in: str = ""
    """The recorded prompt that was heard instead of an agent who does not speak, such as `apology`."""
    stand_in_ms: float = 0.0
    has_asked: bool = False
    """The caller said something."""
    answer_ms: float | None = None
    """From the caller's last word; 0 when the answer had begun before."""
    frames_sent: int = 0
    frames_received: int = 0
    said: Sequence[str] = ()
    """What Twilio's own voice read to the caller."""
    followed: Sequence[str] = ()
    """TwiML verbs after the stream, or all of them when there was none."""
    refused_at: str = ""
    """`webhook` or `stream`, when one of them answered 403."""
    is_signed: bool = False
    unreachable: str = ""
    """Why the webhook gave no answer, with Twilio's number at the end in brackets."""
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class Complaint:
    outcome: Outcome
    id: str
    what: str
    means: str = ""
    """For callers."""
    fix: str = ""

    def line(self) -> str:
        """`KAV-141 what – means – fix: …`, without control characters and whole telephone numbers."""
        parts = [self.what, self.means.rstrip("."), self.fix and f"fix: {self.fix}"]
        text = " – ".join(mask(clean(part, MAX_PART_CHARS)) for part in parts if part)
        return f"{self.id} {text}" if self.id else text

    def to_json(self) -> dict[str, Any]:
        fields = {name: value for name, value in asdict(self).items() if name != "outcome"}
        return {name: mask(clean(value, MAX_PART_CHARS)) for name, value in fields.items()}


def judge(seen: Seen, limits: Limits) -> Complaint | None:
    """The weightiest complaint; None when all is well."""
    if seen.unreachable:
        return unreachable(seen.unreachable)
    if seen.refused_at:
        return _refused(seen)
    if "Reject" in seen.followed:
        return Complaint(
            Outcome.FAILED, "KAV-141", "the call was rejected", FAULTS["KAV-141"].means, FAULTS["KAV-141"].fix
        )
    return _greeting(seen, limits) or _answer(seen, limits) or _first_finding(seen)


def not_ready(body: str) -> Complaint | None:
    """What `/readyz` answered with 503; None when no gateway of ours wrote it."""
    state = clean(body.strip(), 80)
    if state.startswith("draining"):
        return Complaint(
            Outcome.FAILED,
            "",
            f"the gateway is ending: {state}",
            "who rings now is asked for a moment until the next process answers",
            "none while a new version is put up; otherwise see what ends the process",
        )
    for start, fault_id in (("full", "KAV-141"), ("too slow", "KAV-143")):
        if state.startswith(start):
            fault = FAULTS[fault_id]
            return Complaint(
                Outcome.FAILED, fault_id, f"the gateway takes no more calls: {state}", fault.means, fault.fix
            )
    return None


def unreachable(text: str, code: int = 0) -> Complaint:
    """`code`: Twilio's; 0: it stands at the end of `text` in brackets."""
    if found := re.search(r" \((\d{5})\)$", text):
        text, code = text[: found.start()], code or int(found[1])
    means, fix = MEANINGS.get(code) or MEANINGS[11205]
    return Complaint(Outcome.UNREACHABLE, str(code or ""), text, means, fix)


def _refused(seen: Seen) -> Complaint:
    fault = FAULTS["KAV-111" if seen.refused_at == "webhook" else "KAV-112"]
    how = "" if seen.is_signed else ", and this call was not signed"
    return Complaint(
        Outcome.REFUSED,
        fault.id,
        f"the {seen.refused_at} answered 403{how}",
        "nothing is known of real callers: this gateway answers who signs with its token",
        "give TWILIO_AUTH_TOKEN as the gateway has it, and call the very address in its PUBLIC_BASE_URL",
    )


def _greeting(seen: Seen, limits: Limits) -> Complaint | None:
    wanted_s = f"expected within {limits.first_audio_s:g} s"
    if seen.greeting_ms is None:
        return _first_finding(seen) or _silence(seen)
    if seen.greeting_ms > limits.first_audio_s * 1000:
        return _of_model(
            f"the greeting came after {_s(seen.greeting_ms)}, {wanted_s}",
            "callers sit in silence meanwhile, and hang up",
        )
    if seen.sound_ms < limits.greeting_s * 1000:
        return _first_finding(seen) or Complaint(
            Outcome.FAILED,
            "",
            f"the greeting broke off after {_s(seen.sound_ms)} of sound, "
            f"expected {limits.greeting_s:g} s at least",
            "callers hear half a word, then silence or the apology",
            LOG_FIX,
        )
    return None


def _silence(seen: Seen) -> Complaint:
    """Nothing of an agent was heard: what was there instead?"""
    instead = []
    if seen.stand_in:
        instead.append(f"the recorded prompt “{seen.stand_in}” was heard after {_s(seen.stand_in_ms)}")
    if seen.said:
        instead.append(f"Twilio's voice said “{seen.said[0]}”")
    instead += [became for verb, became in _AFTERWARDS.items() if verb in seen.followed][:1]
    if instead:
        return _of_model(f"no greeting: {', and '.join(instead)}", "callers reach no agent", LOG_FIX)
    if seen.frames_sent >= MIN_FRAMES and seen.frames_received >= seen.frames_sent * ECHO_SHARE:
        return Complaint(
            Outcome.FAILED,
            "",
            "no greeting: the gateway is in echo mode, every frame came back as it was",
            "callers hear nobody but themselves",
            "unset ECHO_TEST, or CALL_MODE=echo, and restart",
        )
    return _of_model("no greeting: nothing was heard at all", "callers sit in silence", LOG_FIX)


def _answer(seen: Seen, limits: Limits) -> Complaint | None:
    if limits.answer_s is None:
        return None
    wanted_s = f"expected within {limits.answer_s:g} s"
    if seen.answer_ms is None and seen.stand_in:
        what = f"no answer: the recorded prompt “{seen.stand_in}” was heard after the greeting"
        return _of_model(what, "callers reach no agent", LOG_FIX)
    if not seen.has_asked:
        what = "the agent never paused, so that nothing could be asked"
        return Complaint(
            Outcome.FAILED, "", what, "callers listen to a speech", "shorten GREETING, or call without --turn"
        )
    if seen.answer_ms is None:
        return _first_finding(seen) or _of_model(
            f"no answer to what the caller said, {wanted_s}", "callers talk to nobody", LOG_FIX
        )
    if seen.answer_ms > limits.answer_s * 1000:
        return _of_model(
            f"the answer came after {_s(seen.answer_ms)}, {wanted_s}", "callers ask whether anybody is there"
        )
    return None


def _of_model(what: str, means: str, fix: str = "") -> Complaint:
    return Complaint(Outcome.FAILED, "KAV-137", what, means, fix or FAULTS["KAV-137"].fix)


def _first_finding(seen: Seen) -> Complaint | None:
    """What Twilio's debugger would show."""
    if not seen.findings:
        return None
    first = seen.findings[0]
    means, fix = MEANINGS.get(first.code, ("", ""))
    more = f" (and {len(seen.findings) - 1} more)" if len(seen.findings) > 1 else ""
    return Complaint(Outcome.FAILED, str(first.code or ""), f"{first.text}{more}", means, fix)


def _s(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 100 else f"{ms:.0f} ms"
