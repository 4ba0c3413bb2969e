"""A call's report in a few lines for people.

Texts that came from the far end are stripped of control characters, which could steer a terminal;
everything else of them, Hebrew included, is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.simulator.twilio.call_report import CallReport, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_DASH = "–"


def lines(report: CallReport) -> list[str]:
    """What happened, in the order it happened, and the verdict last."""
    if report.outcome is Outcome.UNREACHABLE:
        return [_printable(line) for line in _unreachable(report)]
    return [_printable(line) for line in _lines(report)]


def _unreachable(report: CallReport) -> Iterator[str]:
    yield f"✗ {report.failures[0]}"
    yield "  A caller would hear Twilio's application error, or nothing."
    yield "  Start the gateway (./start_all.sh), or give the address it listens on: call http://127.0.0.1:5000"


def _lines(report: CallReport) -> Iterator[str]:
    yield _opening(report)
    yield _greeting(report)
    for number, turn in enumerate(report.turns, start=1):
        if turn.answered_ms is None:
            yield f"turn {number}  you stopped {_s(turn.stopped_ms)} → no answer"
        else:
            gap = f"gap {turn.gap_ms} ms"
            yield f"turn {number}  you stopped {_s(turn.stopped_ms)} → agent {_s(turn.answered_ms)}   {gap}"
    for barge_in in report.barge_ins:
        if barge_in.silent_ms is None:
            yield f"barge-in  speech {_s(barge_in.speech_ms)} → the agent spoke on"
        else:
            cleared = "" if barge_in.clear_ms is None else f"clear {_s(barge_in.clear_ms)} → "
            silent = f"silent {_s(barge_in.silent_ms)}   ({barge_in.took_ms} ms)"
            yield f"barge-in  speech {_s(barge_in.speech_ms)} → {cleared}{silent}"
    if report.own_speech_ms:
        yield f"your own speech came back byte for byte: {report.own_speech_ms / 1000:.1f} s"
    if report.streams:
        yield _figures(report)
        yield _ending(report)
    for text in report.said:
        yield f"Twilio's voice says: {text}"
    for note in report.notes:
        yield f"· {note}"
    for finding in report.findings:
        yield f"✗ {finding.line()}"
    if report.outcome is Outcome.REFUSED:
        yield "✗ 403: the gateway does not take this call for Twilio's – a real caller would hear an error"
        yield "  fix: give the gateway's own token (--auth-token or TWILIO_AUTH_TOKEN), and with"
        yield "  PUBLIC_BASE_URL set there, the same address here (--public-url https://…)"
    why = f" – {'; '.join(report.failures)}" if report.failures else ""
    yield f"verdict {report.verdict}{why}"


def _opening(report: CallReport) -> str:
    parts = [f"webhook {report.webhook_status} in {_ms(report.webhook_ms)} ms"]
    if report.handshake_ms is not None:
        chosen = report.subprotocol or "no subprotocol"
        parts.append(f"upgrade 101 in {_ms(report.handshake_ms)} ms ({chosen})")
    if report.first_audio_ms is not None:
        parts.append(f"first audio {_ms(report.first_audio_ms)} ms after start")
    return "    ".join(parts)


HEARD_MS = 100
"""Less sound than this is no greeting."""


def _greeting(report: CallReport) -> str:
    """What was heard before the caller's first word."""
    if report.first_heard_ms is None or report.greeting_ms < HEARD_MS:
        return "greeting none: nothing was heard before you spoke"
    began = _ms(report.first_heard_ms)
    return f"greeting heard {began} ms after start, {report.greeting_ms / 1000:.1f} s of it"


def _figures(report: CallReport) -> str:
    sizes = f"{report.odd_frames} not 160 B" if report.odd_frames else "all 160 B"
    gap = report.arrival_gap_ms
    holes = f" ({report.underrun_ms:.0f} ms)" if report.underruns else ""
    parts = (
        f"sent {report.frames_sent:,} frames, received {report.frames_received:,}, {sizes}",
        f"gap p50 {_ms(gap.p50)} p99 {_ms(gap.p99)} max {_ms(gap.max)} ms",
        f"underruns {report.underruns}{holes}",
        f"marks {report.marks_echoed}/{report.marks_received}",
        f"clears {report.clears}",
        f"tx late p99 {_ms(report.tx_late_ms.p99)} ms",
    )
    return " · ".join(parts)


def _ending(report: CallReport) -> str:
    closers = {
        "caller": "you hung up",
        "server": "the gateway hung up",
        "network": "the connection broke",
        "twilio": "Twilio ended the stream",
        "update": "Twilio's REST API ended the stream",
    }
    code = f" (close {report.close_code})" if report.close_code is not None else ""
    lost = f", {report.unplayed_ms:.0f} ms unheard" if report.unplayed_ms else ""
    after = f"after {report.duration_ms / 1000:.1f} s"
    ended = f"{closers.get(report.closed_by, report.closed_by)}{code}{lost}"
    return f"{ended} · {after} · heard {_s(report.heard_ms)}"


def _s(ms: float) -> str:
    return f"{ms / 1000:.2f} s"


def _ms(ms: float | None) -> str:
    return _DASH if ms is None else f"{ms:.1f}"


def _printable(line: str) -> str:
    """The line without C0, C1 and DEL, which a terminal obeys."""
    return "".join(c if c >= " " and not "\x7f" <= c <= "\x9f" else "�" for c in line)
