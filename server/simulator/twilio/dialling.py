"""Who answers when the call rings another number, and what the caller hears meanwhile.

The other party is a plan: busy, not there, or there for so long. The caller hears a ringing tone, and
while the two talk a tone of another pitch, so that a recording shows which was when.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.audio.g711 import BYTES_PER_MS, SAMPLE_RATE_HZ, SILENCE, from_pcm16
from server.simulator.twilio.live_call import Dialled, LiveCall
from server.simulator.twilio.verbs import E164, Dial

RING_HZ, RING_ON_MS, RING_OFF_MS = 400, 1000, 3000
"""The ringing tone of Israel (ITU-T E.180, supplement 2)."""
TALK_HZ = 700
"""Stands for a conversation that goes on."""
_AMPLITUDE = 6000


@dataclass(frozen=True, slots=True)
class DialOutcome:
    """What becomes of one `<Dial>`. The verb's own `timeout` and `timeLimit` come first."""

    status: Literal["answered", "busy", "no-answer", "failed"] = "no-answer"
    rings_s: float = 0.5
    """Until it is answered, refused or given up; in life a no-answer takes the verb's whole timeout."""
    talks_s: float = 1.0
    """Then the other party hangs up."""


def dial(call: LiveCall, verb: Dial, planned: DialOutcome, own_numbers: Sequence[str]) -> Dialled:
    """Ring, and talk if it is answered; blocks for as long. `own_numbers`: the caller's, the called one."""
    number = verb.numbers[0]
    caller_id = verb.caller_id or own_numbers[0]
    call_sid = "CA" + secrets.token_hex(16)
    if planned.status == "failed" or not all(E164.fullmatch(text) for text in verb.numbers):
        return Dialled(number, caller_id, "failed", 0, call_sid)
    if caller_id not in own_numbers:
        call.tally.notes.append(
            "<Dial callerId> is neither number of this call: Twilio must have verified it"
        )
    is_answered = planned.status == "answered" and planned.rings_s < verb.timeout_s
    ring_ms = round(min(planned.rings_s, verb.timeout_s) * 1000)
    talk_ms = round(min(planned.talks_s, verb.time_limit_s) * 1000) if is_answered else 0
    talk_from_ms = _hear(call, _ringing(ring_ms) + _tone(TALK_HZ, talk_ms)) + ring_ms
    talked_ms = call.now_ms() - talk_from_ms
    if is_answered and talked_ms >= 0:
        return Dialled(number, caller_id, "completed", max(1, round(talked_ms / 1000)), call_sid)
    if call.is_interrupted:
        return Dialled(number, caller_id, "canceled", 0, call_sid)
    status = "no-answer" if planned.status == "answered" else planned.status
    return Dialled(number, caller_id, status, 0, call_sid)


def parameters(dialled: Dialled) -> dict[str, str]:
    """What the `action` of `<Dial>` gets beside a webhook's parameters."""
    is_bridged = dialled.status == "completed"
    found = {
        "DialCallStatus": dialled.status,
        "DialCallSid": dialled.call_sid,
        "DialBridged": "true" if is_bridged else "false",
    }
    return found | ({"DialCallDuration": str(dialled.duration_s)} if is_bridged else {})


def _hear(call: LiveCall, audio: bytes) -> float:
    """Play it to its end, or to the interruption; return when it began, on the call's clock."""
    began_ms = call.now_ms()
    call.line.clear(began_ms)  # a new beginning: the silence before it is no hole in anybody's speech
    call.line.media(audio, began_ms)
    call.wait_until(began_ms + len(audio) / BYTES_PER_MS)
    if call.is_interrupted:
        call.line.clear(call.now_ms())
    return began_ms


def _ringing(ms: int) -> bytes:
    """Begins with the tone: even a short ring is heard."""
    cadence = _tone(RING_HZ, RING_ON_MS) + SILENCE * (RING_OFF_MS * BYTES_PER_MS)
    return (cadence * math.ceil(ms / (RING_ON_MS + RING_OFF_MS)))[: ms * BYTES_PER_MS]


def _tone(hz: int, ms: int) -> bytes:
    """A sine as G.711 μ-law. Its samples repeat after a second, since `hz` is whole."""
    second = (round(_AMPLITUDE * math.sin(math.tau * hz * n / SAMPLE_RATE_HZ)) for n in range(SAMPLE_RATE_HZ))
    wave = from_pcm16(b"".join(sample.to_bytes(2, "little", signed=True) for sample in second))
    return (wave * math.ceil(ms / 1000))[: ms * BYTES_PER_MS]
