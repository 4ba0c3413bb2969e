"""How soon, how long, how quiet: what a caller would hold against the agent with a watch in hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from server.simulator.scenario.clips import ClipShelf
from server.simulator.scenario.evidence import Evidence
from server.simulator.scenario.expectations import Check, Kind, Need, s
from server.simulator.scenario.steps import Press, describe
from server.simulator.scenario.yaml_text import Block

TRUNCATE = "conversation.item.truncate"


def _first_voice(block: Block, _shelf: ClipShelf) -> Check:
    limit_ms = block.need("first_voice_within_ms").integer()

    def check(evidence: Evidence) -> str:
        first_ms = next((at_ms for at_ms, _ in _sounds(evidence)), None)
        if first_ms is not None and first_ms <= limit_ms:
            return ""
        came = "nothing was ever heard" if first_ms is None else f"it came after {first_ms:.0f} ms"
        return f"a first voice was expected within {limit_ms} ms of the answer; {came}"

    return check


def _answer(block: Block, _shelf: ClipShelf) -> Check:
    number = block.need("answer").integer(1)
    limit_ms = block.need("within_ms").integer()

    def check(evidence: Evidence) -> str:
        if len(evidence.report.turns) < number:
            said = len(evidence.report.turns)
            return f"an answer to the caller's words {number} was expected; words were spoken {said} time(s)"
        turn = evidence.report.turns[number - 1]
        if turn.gap_ms is not None and turn.gap_ms <= limit_ms:
            return ""
        came = (
            "never came"
            if turn.gap_ms is None
            else f"began {turn.gap_ms} ms later, at {s(turn.answered_ms or 0)}"
        )
        return (
            f"answer {number} was expected within {limit_ms} ms of the caller's stop at "
            f"{s(turn.stopped_ms)}, it {came}"
        )

    return check


def _barge_in(block: Block, _shelf: ClipShelf) -> Check:
    number = block.need("barge_in").integer(1)
    limit_ms = block.need("silent_within_ms").integer()

    def check(evidence: Evidence) -> str:
        found = evidence.report.barge_ins
        if len(found) < number:
            spoke = f"the caller spoke over the agent {len(found)} time(s)"
            return f"barge-in {number} was expected; {spoke}"
        cut = found[number - 1]
        if cut.took_ms is not None and cut.took_ms <= limit_ms:
            return ""
        was = "the agent spoke on" if cut.took_ms is None else f"it took {cut.took_ms} ms"
        return f"silence was expected within {limit_ms} ms of the caller's words at {s(cut.speech_ms)}; {was}"

    return check


@dataclass(frozen=True, slots=True)
class _Owed:
    """Somebody waits for the agent."""

    since: str
    from_ms: float
    until_ms: float


def _silence(block: Block, _shelf: ClipShelf) -> Check:
    limit_ms = block.need("silence_at_most_ms").integer()
    start, end = block.get("from_s"), block.get("until_s")
    is_window = bool(start or end)
    from_ms = start.number() * 1000 if start else 0.0
    until_ms = end.number(from_ms / 1000) * 1000 if end else inf

    def check(evidence: Evidence) -> str:
        owed = _between(evidence, from_ms, until_ms) if is_window else _answers_owed(evidence)
        for waiting in owed:
            silent_until_ms = next(
                (
                    max(at_ms, waiting.from_ms)
                    for at_ms, to_ms in _sounds(evidence)
                    if to_ms > waiting.from_ms
                ),
                inf,
            )
            silent_ms = min(silent_until_ms, waiting.until_ms) - waiting.from_ms
            if silent_ms > limit_ms:
                return (
                    f"silence of at most {limit_ms} ms was expected; after {waiting.since} it lasted "
                    f"{silent_ms:.0f} ms, from {s(waiting.from_ms)}"
                )
        return ""

    return check


def _answers_owed(evidence: Evidence) -> Iterator[_Owed]:
    """From the answering of the call, and from the end of the caller's words and keys, until the
    caller acts again."""
    asked = [did for did in evidence.caller.done if did in evidence.said or isinstance(did.step.deed, Press)]
    first_ms = asked[0].start_ms if asked else evidence.end_ms
    yield _Owed("the call was answered", 0.0, min(first_ms, evidence.end_ms))
    for index, did in enumerate(asked):
        next_ms = asked[index + 1].start_ms if index + 1 < len(asked) else evidence.end_ms
        if did.end_ms < evidence.end_ms:
            yield _Owed(f"“{describe(did.step.deed)}”", did.end_ms, next_ms)


def _between(evidence: Evidence, from_ms: float, until_ms: float) -> Iterator[_Owed]:
    """All silence of the agent's in that time, but not while the caller speaks."""
    until_ms = min(until_ms, evidence.end_ms)
    ends = [to_ms for _, to_ms in _sounds(evidence)] + [did.end_ms for did in evidence.said]
    for at_ms in [from_ms, *sorted(end_ms for end_ms in ends if from_ms < end_ms < until_ms)]:
        begins = [did.start_ms for did in evidence.said if did.end_ms > at_ms]
        yield _Owed(s(at_ms), at_ms, max(at_ms, min(until_ms, *begins, inf)))


def _sounds(evidence: Evidence) -> list[tuple[float, float]]:
    """When the agent was heard; a `<Say>`, which takes no time here, in the moment of its turn."""
    found = [(utterance.start_ms, utterance.end_ms) for utterance in evidence.agent]
    found += [(at_ms, at_ms + 1) for at_ms, verb in evidence.verbs if verb == "Say"]
    return sorted(found)


def _clears(block: Block, _shelf: ClipShelf) -> Check:
    wanted = block.need("clears").integer()

    def check(evidence: Evidence) -> str:
        came = [s(at_ms) for at_ms in evidence.call.tally.clears_ms]
        if len(came) == wanted:
            return ""
        return f"{wanted} clear(s) were expected, {len(came)} came" + (
            f": at {', '.join(came)}" if came else ""
        )

    return check


def _truncated(block: Block, _shelf: ClipShelf) -> Check:
    limit_ms = block.need("truncated_within_ms").integer()

    def check(evidence: Evidence) -> str:
        truncates = evidence.events("in", TRUNCATE)
        if not truncates:
            return f"a {TRUNCATE} was expected, and none came"
        for seen in truncates:
            item = evidence.spoken_items.get(str(seen.event.get("item_id")))
            heard_ms = evidence.played.heard_from(bytes(item.payload)) if item else None
            said_ms = seen.event.get("audio_end_ms")
            if heard_ms is None or not isinstance(said_ms, int) or abs(said_ms - heard_ms) > limit_ms:
                was = "none of it was heard" if heard_ms is None else f"{heard_ms:.0f} ms of it were played"
                return (
                    f"a truncate within ±{limit_ms} ms of what was played was expected; at "
                    f"{s(evidence.call_ms(seen))} the model was told {said_ms} ms, and {was}"
                )
        return ""

    return check


def _underruns(block: Block, _shelf: ClipShelf) -> Check:
    limit = block.need("underruns_at_most").integer()

    def check(evidence: Evidence) -> str:
        holes = evidence.call.line.underruns
        if len(holes) <= limit:
            return ""
        told = ", ".join(f"{hole.duration_ms:.0f} ms at {s(hole.at_ms)}" for hole in holes[:5])
        return f"at most {limit} hole(s) inside speech were expected, there were {len(holes)}: {told}"

    return check


def _duration(block: Block, _shelf: ClipShelf) -> Check:
    value = block.need("duration_s")
    bounds = value.items()
    if len(bounds) != 2:
        raise value.error("two numbers were expected: [at least, at most]")
    low_s = bounds[0].number()
    high_s = bounds[1].number(low_s)

    def check(evidence: Evidence) -> str:
        took_s = evidence.end_ms / 1000
        if low_s <= took_s <= high_s:
            return ""
        expected = f"a call of {low_s:g} to {high_s:g} s was expected"
        return f"{expected}, it took {took_s:.2f} s"

    return check


KINDS = (
    Kind("first_voice_within_ms", _first_voice),
    Kind("answer", _answer, ("within_ms",)),
    Kind("barge_in", _barge_in, ("silent_within_ms",)),
    Kind("silence_at_most_ms", _silence, ("from_s", "until_s")),
    Kind("clears", _clears),
    Kind("truncated_within_ms", _truncated, need=Need.MODEL),
    Kind("underruns_at_most", _underruns),
    Kind("duration_s", _duration),
)
