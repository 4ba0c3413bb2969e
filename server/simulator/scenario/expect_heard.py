"""What must be heard on the line, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from server.audio import tones
from server.simulator.scenario.clips import Clip, ClipShelf
from server.simulator.scenario.evidence import Evidence
from server.simulator.scenario.expectations import Check, Kind, counted, how_often, s, times
from server.simulator.scenario.hearing import Hearing
from server.simulator.scenario.yaml_text import Block, Value

MAX_HOLE_MS = 200
"""A longer one inside a clip is heard as a stop."""
NOT_HEARD_MS = 200
"""Of a clip that is not to be heard: less may be chance."""


def _heard(block: Block, shelf: ClipShelf) -> Check:
    value = block.need("heard")
    clips = [_clip(item, shelf) for item in value.one_or_more()]
    if not value.is_list:
        return _one(block, clips[0])
    for name in ("times", "at_least_ms", "at_most_ms", "resumed_within_ms", "stops"):
        if name in block:
            raise block.key(name).error(f"{name!r} goes with one clip, not with a list")
    return _in_order(block, clips)


def _one(block: Block, clip: Clip) -> Check:
    wanted = times(block)
    least = block.get("at_least_ms")
    most = block.get("at_most_ms")
    resumed = block.get("resumed_within_ms")
    least_ms = least.integer() if least else None
    most_ms = most.integer() if most else None
    resumed_ms = resumed.integer() if resumed else None
    if resumed is not None and (least is not None or most is not None):
        raise resumed.error("`resumed_within_ms` means the whole clip, without at_least_ms and at_most_ms")
    if resumed is None and "stops" in block:
        raise block.key("stops").error("`stops` goes with `resumed_within_ms`")
    stops = counted_stops.integer(1) if (counted_stops := block.get("stops")) else 1
    is_in_time, when = _window(block)

    def fits(hearing: Hearing) -> bool:
        if not is_in_time(hearing):
            return False
        holes = [hole_ms for _, hole_ms in hearing.holes if hole_ms > MAX_HOLE_MS]
        if resumed_ms is not None:
            return hearing.is_whole and len(holes) == stops and max(holes) <= resumed_ms
        if least_ms is None and most_ms is None:
            return hearing.is_whole and not holes
        return (least_ms or 0) <= hearing.heard_ms <= (most_ms if most_ms is not None else 1e9)

    if resumed_ms is not None:
        how = f"whole, with {'one stop' if stops == 1 else f'{stops} stops'} of at most {resumed_ms} ms"
    elif least_ms is None and most_ms is None:
        how = "whole"
    else:
        bounds = [f"at least {least_ms}" if least_ms is not None else ""]
        bounds.append(f"at most {most_ms}" if most_ms is not None else "")
        how = "its first " + " and ".join(bound for bound in bounds if bound) + " ms"

    def check(evidence: Evidence) -> str:
        found = [hearing for hearing in evidence.played.hearings(clip) if fits(hearing)]
        if counted(len(found), wanted):
            return ""
        return f"{clip.name} was expected{how_often(wanted)}, {how}{when}; {_instead(evidence, clip)}"

    return check


def _in_order(block: Block, clips: list[Clip]) -> Check:
    is_in_time, when = _window(block)

    def check(evidence: Evidence) -> str:
        after_ms = 0.0
        for clip in clips:
            later = [
                hearing
                for hearing in evidence.played.hearings(clip)
                if hearing.is_whole and hearing.start_ms >= after_ms and is_in_time(hearing)
            ]
            if not later:
                names = ", then ".join(clip.name for clip in clips)
                return f"{names} were expected, whole and in this order{when}; {_instead(evidence, clip)}"
            after_ms = later[0].end_ms
        return ""

    return check


def _clip(item: Value, shelf: ClipShelf) -> Clip:
    """A name, or `speech: "text"` as the model says it."""
    if not item.is_block:
        return shelf.get(item.text())
    block = item.block(("speech", "voice"), "of a clip")
    voice = block.get("voice")
    return shelf.speech(block.need("speech").text(), voice.text() if voice else "")


def _instead(evidence: Evidence, clip: Clip) -> str:
    hearings = evidence.played.hearings(clip)
    return f"heard: {', '.join(map(str, hearings))}" if hearings else f"{clip.name} was not heard"


def _window(block: Block) -> tuple[Callable[[Hearing], bool], str]:
    """Whether a clip began in time, and in words when that is."""
    start, end = block.get("from_s"), block.get("by_s")
    from_s = start.number() if start else 0.0
    by_s = end.number(from_s) if end else inf
    words = (f" from {from_s:g} s on" if start else "") + (f" by {by_s:g} s" if end else "")
    return lambda hearing: from_s <= hearing.start_ms / 1000 <= by_s, words


def _not_heard(block: Block, shelf: ClipShelf) -> Check:
    clips = [_clip(item, shelf) for item in block.need("not_heard").one_or_more()]

    def check(evidence: Evidence) -> str:
        for clip in clips:
            at_ms = evidence.played.any_of(clip, NOT_HEARD_MS)
            if at_ms is not None:
                return f"{clip.name} was not to be heard, and was at {s(at_ms)}"
        return ""

    return check


def _nothing_heard(block: Block, _shelf: ClipShelf) -> Check:
    if not (value := block.need("nothing_heard")).flag():
        raise value.error("leave it out instead")

    def check(evidence: Evidence) -> str:
        if not evidence.agent:
            return ""
        return f"nothing was to be heard; there was sound at {s(evidence.agent[0].start_ms)}"

    return check


def _keys_heard(block: Block, _shelf: ClipShelf) -> Check:
    wanted = block.need("keys_heard").text()
    if unknown := set(wanted) - set("".join(tones.KEYS)):
        raise block.need("keys_heard").error(f"no key of a telephone: {' '.join(sorted(unknown))}")

    def check(evidence: Evidence) -> str:
        heard = tones.decode(evidence.call.line.heard(evidence.end_ms))
        if heard == wanted:
            return ""
        return f"the tones of the keys {wanted} were expected on the line; heard: {heard or 'none'}"

    return check


KINDS = (
    Kind(
        "heard",
        _heard,
        ("at_least_ms", "at_most_ms", "resumed_within_ms", "stops", "times", "from_s", "by_s"),
    ),
    Kind("not_heard", _not_heard),
    Kind("nothing_heard", _nothing_heard),
    Kind("keys_heard", _keys_heard),
)
