"""What becomes of the call at Twilio: its TwiML, whom it rings, how it ends, and what the log says."""

from __future__ import annotations

from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.evidence import Evidence
from server.simulator.scenario.expectations import (
    Check,
    Kind,
    Need,
    counted,
    difference,
    how_often,
    s,
    shown,
    times,
)
from server.simulator.scenario.yaml_text import Block

VERBS = ("Connect", "Say", "Play", "Pause", "Redirect", "Record", "Hangup", "Reject", "Dial", "Unsupported")
ENDED_BY = {
    "caller": "the caller hung up",
    "gateway": "the gateway closed the stream",
    "network": "the connection broke",
    "twilio": "the gateway broke the WebSocket protocol",
    "update": "REST gave the call something else to do",
    "nobody": "no stream came up",
}
_CLOSED_BY = {"server": "gateway", "": "nobody"}
LOG_LINES_SHOWN = 5


def _verbs(block: Block, _shelf: ClipShelf) -> Check:
    wanted = [item.choice(*VERBS) for item in block.need("verbs").items()]

    def check(evidence: Evidence) -> str:
        came = list(evidence.report.verbs)
        return (
            "" if came == wanted else f"the verbs {_list(wanted)} were expected; there were {_told(evidence)}"
        )

    return check


def _verbs_include(block: Block, _shelf: ClipShelf) -> Check:
    wanted = [item.choice(*VERBS) for item in block.need("verbs_include").items()]

    def check(evidence: Evidence) -> str:
        came = iter(evidence.report.verbs)
        if all(verb in came for verb in wanted):
            return ""
        return f"the verbs {_list(wanted)} were expected, in this order; there were {_told(evidence)}"

    return check


def _told(evidence: Evidence) -> str:
    return ", ".join(f"{verb} at {s(at_ms)}" for at_ms, verb in evidence.verbs) or "none"


def _list(verbs: list[str]) -> str:
    return ", ".join(verbs) or "(none)"


def _said(block: Block, _shelf: ClipShelf) -> Check:
    text = block.need("said").text()

    def check(evidence: Evidence) -> str:
        said = evidence.call.tally.said
        if any(text in words for words in said):
            return ""
        return f"Twilio's voice was to say {shown(text)}; it said {', '.join(map(shown, said)) or 'nothing'}"

    return check


def _not_said(block: Block, _shelf: ClipShelf) -> Check:
    text = block.need("not_said").text()

    def check(evidence: Evidence) -> str:
        said = [words for words in evidence.call.tally.said if text in words]
        return f"Twilio's voice was not to say {shown(text)}; it said {shown(said[0])}" if said else ""

    return check


def _dialled(block: Block, _shelf: ClipShelf) -> Check:
    wanted = [item.text() for item in block.need("dialled").one_or_more()]

    def check(evidence: Evidence) -> str:
        came = [dialled.number for dialled in evidence.call.tally.dialled]
        if came == wanted:
            return ""
        return f"{', '.join(wanted) or 'nobody'} was to be rung; it was {', '.join(came) or 'nobody'}"

    return check


def _recordings(block: Block, _shelf: ClipShelf) -> Check:
    wanted = block.need("recordings").integer()

    def check(evidence: Evidence) -> str:
        made = [recording for recording in evidence.call.tally.recordings if not recording.is_empty]
        told = ", ".join(f"{recording.duration_s} s" for recording in made)
        return (
            "" if len(made) == wanted else f"{wanted} recording(s) were expected; there were {told or 'none'}"
        )

    return check


def _sms(block: Block, _shelf: ClipShelf) -> Check:
    text = block.need("sms").text()
    receiver = block.get("to")
    to = receiver.text() if receiver else None
    wanted = times(block)

    def check(evidence: Evidence) -> str:
        sent = list(evidence.messages or ())
        fits = [message for message in sent if text in message.body and to in (None, message.to)]
        if counted(len(fits), wanted):
            return ""
        told = ", ".join(f"{shown(message.body)} to {message.to}" for message in sent)
        whom = f" to {to}" if to else ""
        return (
            f"a text message{whom} with {shown(text)} was expected{how_often(wanted)}; sent: {told or 'none'}"
        )

    return check


def _received(block: Block, _shelf: ClipShelf) -> Check:
    name = block.need("received").text()
    fields = block.get("with")
    wanted_fields = fields.plain() if fields else None
    wanted = times(block)

    def check(evidence: Evidence) -> str:
        came = [request for request in evidence.requests if request.receiver == name]
        fits = [r for r in came if wanted_fields is None or not difference(wanted_fields, r.said)]
        if counted(len(fits), wanted):
            return ""
        told = ", ".join(shown(request.said) for request in came)
        expected = f" with {shown(wanted_fields)}" if fields else ""
        return f"{name} was to be asked{how_often(wanted)}{expected}; it got {told or 'no request'}"

    return check


def _log(block: Block, _shelf: ClipShelf) -> Check:
    pattern = block.need("log").regex()
    wanted = times(block)

    def check(evidence: Evidence) -> str:
        lines = [line for line in evidence.log or () if pattern.search(line)]
        if counted(len(lines), wanted):
            return ""
        told = f"{len(lines)} did" if lines else f"its last lines: {_last(evidence)}"
        return f"a line of the log was to fit {pattern.pattern!r}{how_often(wanted)}; {told}"

    return check


def _not_log(block: Block, _shelf: ClipShelf) -> Check:
    pattern = block.need("not_log").regex()

    def check(evidence: Evidence) -> str:
        line = next((line for line in evidence.log or () if pattern.search(line)), None)
        return (
            "" if line is None else f"no line of the log was to fit {pattern.pattern!r}; one is {shown(line)}"
        )

    return check


def _last(evidence: Evidence) -> str:
    return " | ".join((evidence.log or ())[-LOG_LINES_SHOWN:]) or "(none)"


def _ended_by(block: Block, _shelf: ClipShelf) -> Check:
    wanted = block.need("ended_by").choice(*ENDED_BY)

    def check(evidence: Evidence) -> str:
        closed_by = _CLOSED_BY.get(evidence.report.closed_by, evidence.report.closed_by)
        if closed_by == wanted:
            return ""
        at = s(evidence.end_ms)
        return f"it was expected that {ENDED_BY[wanted]}; {ENDED_BY[closed_by]}, and the call ended at {at}"

    return check


def _codes(block: Block) -> frozenset[int]:
    return frozenset(item.integer(10000, 99999) for item in block.need("findings").one_or_more())


def _findings(block: Block, _shelf: ClipShelf) -> Check:
    wanted = _codes(block)

    def check(evidence: Evidence) -> str:
        came = {finding.code for finding in evidence.report.findings}
        missing = [str(code) for code in sorted(wanted - came)]
        if not missing:
            return ""
        told = ", ".join(str(finding.code) for finding in evidence.report.findings)
        return f"Twilio's {', '.join(missing)} was expected; there were {told or 'no findings'}"

    return check


KINDS = (
    Kind("verbs", _verbs),
    Kind("verbs_include", _verbs_include),
    Kind("said", _said),
    Kind("not_said", _not_said),
    Kind("dialled", _dialled),
    Kind("recordings", _recordings),
    Kind("sms", _sms, ("to", "times"), Need.GATEWAY),
    Kind("received", _received, ("with", "times"), Need.GATEWAY),
    Kind("log", _log, ("times",), Need.GATEWAY),
    Kind("not_log", _not_log, need=Need.GATEWAY),
    Kind("ended_by", _ended_by),
    Kind("findings", _findings, allows=_codes),
)
