"""What was this call like for the caller?

Made from what was sent, what was heard and when, after the call. Times in `_ms` of turns and
barge-ins are on the call's clock, which starts when the webhook's answer is there, so they point
into the recordings as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Any

from server.audio.g711 import BYTES_PER_MS, FRAME_MS
from server.simulator.twilio.caller import SPEECH_RMS
from server.simulator.twilio.findings import Finding
from server.simulator.twilio.speech_spans import Span, spans
from server.simulator.twilio.virtual_line import AUDIBLE_RMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.simulator.twilio.live_call import Dialled, LiveCall, Recording

ONSET_AFTER_MS = 200
"""Sound after this much silence is a new beginning."""
ALREADY_SPEAKING_MS = 100
"""What began later was no agent speaking: an echo begins within frames of the caller's own voice."""
OVERHANG_MS = 300
"""An agent that ends by itself so soon after the caller begins was not interrupted."""


class Outcome(IntEnum):
    """The exit code of `python -m server call`."""

    OK = 0
    FAILED = 1
    UNREACHABLE = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """The caller stopped speaking; when did the answer begin?"""

    stopped_ms: int
    answered_ms: int | None
    gap_ms: int | None
    """0 when the answer had begun before the caller stopped, as an echo does; None for no answer."""


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The caller spoke over the agent; when did the agent fall silent?"""

    speech_ms: int
    clear_ms: int | None
    silent_ms: int | None
    took_ms: int | None
    """From the caller's first sound to silence; None when the agent spoke on."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the values seen; None when there were none."""

    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    sid: str
    duration_s: int
    speech_ms: int
    """Of sound that is not silence."""
    digits: str
    """The key that ended it; `hangup` when the caller did."""


@dataclass(frozen=True, slots=True)
class CallReport:
    url: str
    call_sid: str
    verdict: str
    """PASS or FAIL."""
    outcome: Outcome
    failures: tuple[str, ...]
    """Why the verdict is FAIL."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    webhook_status: int | None
    webhook_ms: float | None
    verbs: tuple[str, ...]
    """Of every TwiML document, in the order they were acted out."""
    streams: int
    handshake_ms: float | None
    subprotocol: str
    first_audio_ms: float | None
    """From the `start` message to the first media message."""
    first_heard_ms: float | None
    """From the `start` message to the first sound that is not silence."""
    greeting_ms: int
    """Of sound heard before the caller's first word; all of it when the caller says nothing."""
    own_speech_ms: int
    """Of the caller's own speech that came back byte for byte, as from an echo or a replay."""
    turns: tuple[Turn, ...]
    barge_ins: tuple[BargeIn, ...]
    frames_sent: int
    frames_received: int
    odd_frames: int
    """Of another size than 160 bytes."""
    bytes_received: int
    arrival_gap_ms: Spread
    tx_late_ms: Spread
    marks_received: int
    marks_echoed: int
    clears: int
    underruns: int
    underrun_ms: float
    said: tuple[str, ...]
    """Texts that Twilio's own voice would have read."""
    updates: int
    """How often REST told the call something else."""
    dialled: tuple[Dialled, ...]
    """Every number that was rung, and what became of it."""
    recordings: tuple[RecordingFacts, ...]
    """Of every `<Record>`; the audio is in the call's tally."""
    closed_by: str
    """server, caller, network, twilio or update (by REST); empty when no stream came up."""
    close_code: int | None
    close_reason: str
    unplayed_ms: float
    """Still queued when the gateway hung up, so never heard."""
    heard_ms: int
    """Of sound that is not silence."""
    duration_ms: float

    def to_json(self) -> dict[str, Any]:
        """Plain values only; times rounded to a tenth of a millisecond."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded


def report(call: LiveCall, url: str, duration_ms: float, first_audio_limit_s: float | None) -> CallReport:
    """Judge a call that has ended."""
    tally, line = call.tally, call.line
    if line.discarded_bytes:
        call.findings.add(31931, f"{line.discarded_bytes:,} bytes over the ten minutes that Twilio buffers")
    heard = line.heard()
    heard_frames = spans(heard, threshold_rms=AUDIBLE_RMS, hangover_ms=0)
    heard_spans = _joined(heard_frames, ONSET_AFTER_MS)
    started_ms = tally.start_sent_ms
    first_audio_ms = _since(tally.first_audio_ms, started_ms)
    first_heard_ms = _since(line.first_audible_ms, started_ms or 0.0)
    findings = call.findings.all()
    failures = _failures(call, findings, first_heard_ms, first_audio_limit_s)
    return CallReport(
        url=url,
        call_sid=call.call_sid,
        verdict="FAIL" if failures else "PASS",
        outcome=_outcome(call, failures),
        failures=tuple(failures),
        findings=findings,
        notes=tuple(tally.notes),
        webhook_status=tally.webhook_status,
        webhook_ms=tally.webhook_ms,
        verbs=tuple(tally.verbs),
        streams=tally.streams,
        handshake_ms=tally.handshake_ms,
        subprotocol=tally.subprotocol,
        first_audio_ms=first_audio_ms,
        first_heard_ms=first_heard_ms,
        greeting_ms=_greeting_ms(call.caller.spoken(), heard_frames),
        own_speech_ms=_own_speech_ms(call),
        turns=turns(call.caller.spoken(), heard_spans),
        barge_ins=barge_ins(call.caller.spoken(), heard_spans, tally.clears_ms),
        frames_sent=tally.frames_sent,
        frames_received=tally.frames_received,
        odd_frames=tally.odd_frames,
        bytes_received=tally.bytes_received,
        arrival_gap_ms=_spread(line.arrival_gaps_ms),
        tx_late_ms=_spread(tally.lateness_ms),
        marks_received=tally.marks_received,
        marks_echoed=tally.marks_echoed,
        clears=len(tally.clears_ms),
        underruns=len(line.underruns),
        underrun_ms=sum(hole.duration_ms for hole in line.underruns),
        said=tuple(tally.said),
        updates=len(tally.updates),
        dialled=tuple(tally.dialled),
        recordings=tuple(_facts(recording) for recording in tally.recordings),
        closed_by=tally.closed_by,
        close_code=tally.close_code,
        close_reason=tally.close_reason,
        unplayed_ms=tally.unplayed_ms,
        heard_ms=sum(span.duration_ms for span in heard_frames),
        duration_ms=duration_ms,
    )


def _facts(recording: Recording) -> RecordingFacts:
    speech = spans(recording.audio, threshold_rms=SPEECH_RMS, hangover_ms=0)
    speech_ms = sum(span.duration_ms for span in speech)
    return RecordingFacts(recording.sid, recording.duration_s, speech_ms, recording.digits)


def _greeting_ms(spoken: Sequence[Span], heard: Sequence[Span]) -> int:
    first_word_ms = spoken[0].start_ms if spoken else inf
    return round(
        sum(
            min(span.end_ms, first_word_ms) - span.start_ms for span in heard if span.start_ms < first_word_ms
        )
    )


def _own_speech_ms(call: LiveCall) -> int:
    said, played = call.caller.audio, call.line.played(call.now_ms())
    own = [
        span
        for span in call.caller.speech
        if said[span.start_ms * BYTES_PER_MS : span.end_ms * BYTES_PER_MS] in played
    ]
    return sum(span.duration_ms for span in own)


def turns(spoken: Sequence[Span], heard: Sequence[Span]) -> tuple[Turn, ...]:
    """One turn for each stretch of the caller's speech. Spans are exact to a frame, no better."""
    found = []
    for index, speech in enumerate(spoken):
        next_ms = spoken[index + 1].start_ms if index + 1 < len(spoken) else None
        stop_ms = speech.end_ms
        answered_ms = None
        for span in heard:
            began_in_speech = (
                speech.start_ms - FRAME_MS <= span.start_ms < stop_ms <= span.end_ms + 2 * FRAME_MS
            )
            if began_in_speech or (span.start_ms >= stop_ms and (next_ms is None or span.start_ms < next_ms)):
                answered_ms = span.start_ms
                break
        gap_ms = None if answered_ms is None else max(0, answered_ms - stop_ms)
        found.append(Turn(stop_ms, answered_ms, gap_ms))
    return tuple(found)


def barge_ins(
    spoken: Sequence[Span], heard: Sequence[Span], clears_ms: Sequence[float]
) -> tuple[BargeIn, ...]:
    """One for each stretch of speech that began while the agent was to be heard."""
    found = []
    for speech in spoken:
        before_ms = speech.start_ms - ALREADY_SPEAKING_MS
        over = next(
            (span for span in heard if span.start_ms <= before_ms < speech.start_ms < span.end_ms), None
        )
        if over is None:
            continue
        clear_ms = next((round(at) for at in clears_ms if speech.start_ms <= at <= over.end_ms + 500), None)
        if clear_ms is None and over.end_ms - speech.start_ms <= OVERHANG_MS:
            continue
        is_cut = clear_ms is not None and over.end_ms <= clear_ms + ONSET_AFTER_MS
        silent_ms = over.end_ms if is_cut else None
        took_ms = None if silent_ms is None else silent_ms - speech.start_ms
        found.append(BargeIn(speech.start_ms, clear_ms, silent_ms, took_ms))
    return tuple(found)


def _failures(
    call: LiveCall,
    findings: Sequence[Finding],
    first_heard_ms: float | None,
    first_audio_limit_s: float | None,
) -> list[str]:
    """What must not happen to a caller, one sentence each."""
    tally = call.tally
    if tally.unreachable:
        return [tally.unreachable]
    failures = []
    if tally.refused_status:
        failures.append(f"the gateway refused the call with {tally.refused_status}")
    if findings:
        failures.append(f"{len(findings)} finding(s) that Twilio or the caller would notice")
    if first_heard_ms is None and not tally.said:
        failures.append("the caller heard nothing")
    limit_s = first_audio_limit_s
    if limit_s is not None and (first_heard_ms is None or first_heard_ms > limit_s * 1000):
        came = "never came" if first_heard_ms is None else f"came after {first_heard_ms / 1000:.2f} s"
        failures.append(f"the first sound {came}, expected within {limit_s:g} s")
    return failures


def _outcome(call: LiveCall, failures: Sequence[str]) -> Outcome:
    if call.tally.unreachable:
        return Outcome.UNREACHABLE
    if call.tally.refused_status:
        return Outcome.REFUSED
    return Outcome.FAILED if failures else Outcome.OK


def _joined(pieces: Sequence[Span], gap_ms: int) -> list[Span]:
    """Spans that lie closer together than `gap_ms` as one."""
    joined: list[Span] = []
    for piece in pieces:
        if joined and piece.start_ms - joined[-1].end_ms < gap_ms:
            joined[-1] = Span(joined[-1].start_ms, piece.end_ms)
        else:
            joined.append(piece)
    return joined


def _since(at_ms: float | None, start_ms: float | None) -> float | None:
    """Never negative: the line counts in samples, and rounds."""
    return None if at_ms is None or start_ms is None else max(0.0, at_ms - start_ms)


def _spread(values: Sequence[float]) -> Spread:
    if not values:
        return Spread(None, None, None)
    ordered = sorted(values)
    last = len(ordered) - 1
    return Spread(ordered[round(last * 0.5)], ordered[round(last * 0.99)], ordered[last])


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 1)
        case dict():
            return {key: _rounded(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_rounded(inner) for inner in value]
    return value
