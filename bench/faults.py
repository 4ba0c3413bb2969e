"""What does a caller hear when something breaks, and after how long? Prints the tables of docs/faults.md.

    python -m bench.faults                       # every case three times, about fifteen minutes
    python -m bench.faults --only reset --runs 10
    python -m bench.faults --write               # puts the tables into docs/faults.md

Each run has a gateway of its own: real gunicorn, on loopback, between far ends that are broken on purpose.
Nothing leaves the machine and no key of yours is read. Exit code 1 when a promise was not kept.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.detectors import as_text
from bench.fault_cases import CASES, KNOWN, Case
from bench.fault_rig import FaultyCall, Rig, known_clips
from bench.fault_story import Sound, Story, tell
from server.simulator.load import processes
from server.telephony.twiml import SPEECH

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "faults.md"
BEGIN, END = "<!-- python -m bench.faults -->", "<!-- until here -->"
MAX_TOLD = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    """All runs of one case."""

    case: Case
    stories: tuple[Story, ...]

    def failures(self) -> list[str]:
        """Promises that were not kept."""
        return [
            f"{self.case.name}: {told}"
            for story in self.stories
            for told in broken_promises(self.case, story)
        ]


def broken_promises(case: Case, story: Story, slack_ms: float = 0.0) -> list[str]:
    """`slack_ms` is for a busy machine."""
    told = []
    if story.silence_ms > case.silence_ms + slack_ms:
        told.append(f"nobody was heard for {story.silence_ms:.0f} ms, not {case.silence_ms:.0f} at most")
    if story.first_ms is None or story.first_ms > 6000 + slack_ms:
        told.append(f"the first voice came after {story.first_ms} ms")
    if not any(
        sound.name.startswith(case.served_by) for sound in story.heard if sound.end_ms > story.fault_ms
    ):
        told.append(f"nothing of {', '.join(case.served_by)} was heard: {', '.join(map(str, story.heard))}")
    if case.notices and (story.noticed_ms is None or story.noticed_ms > case.noticed_ms + slack_ms):
        told.append(f"noticed after {story.noticed_ms} ms, not {case.noticed_ms:.0f} at most")
    return told


def play(case: Case, run: int, look: Callable[[Rig, FaultyCall], None] = lambda rig, call: None) -> Story:
    """One call through one gateway. The same number breaks it at the same moment. `look` is shown what is
    left when the call has ended."""
    with Rig(case.setting) as rig:
        if case.before is not None:
            case.before(rig)
        call = rig.call(rounds=0 if case.says_nothing else 2).begin()
        if case.deed is not None:
            case.deed(call, random.Random(zlib.crc32(f"{case.name} {run}".encode())))
        call.end()
        look(rig, call)
        return tell(call, known_clips(), KNOWN)


def _words(sound: Sound, fault_ms: float) -> str:
    name = sound.name
    for speech in SPEECH.values():
        for said in ("apology", "thanks", "leave_message", "moment"):
            if name == f"Twilio says: {getattr(speech, said)}":
                name = f"Twilio says {said.replace('_', ' ')}"
    return f"{(sound.start_ms - fault_ms) / 1000:.1f} {name}"


def heard(story: Story) -> str:
    """`0.3 agent: greeting · 4.0 prompt: one_moment`: seconds from the fault, or from the stream's start."""
    told: list[str] = []
    last = ""
    for sound in story.heard:
        if sound.end_ms > story.fault_ms and sound.name != last:
            told.append(_words(sound, story.fault_ms))
        last = sound.name
    return " · ".join(told[:MAX_TOLD]) + (" …" if len(told) > MAX_TOLD else "")


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [["fault", "silence, median", "worst", "promised", "noticed", "the caller heard (worst run; s)"]]
    for outcome in outcomes:
        case, stories = outcome.case, outcome.stories
        silences = [story.silence_ms for story in stories]
        noticed = [story.noticed_ms for story in stories if story.noticed_ms is not None]
        worst = max(stories, key=lambda story: story.silence_ms)
        rows.append(
            [
                f"`{case.name}` {case.fault}",
                f"{statistics.median(silences):.0f} ms",
                f"{max(silences):.0f} ms",
                f"{case.silence_ms:.0f} ms",
                f"{max(noticed):.0f} ms" if case.notices and noticed else "-",
                heard(worst),
            ]
        )
    return as_text(rows)


def write(text: str) -> None:
    """Between the markers. Raises ValueError when the document has none."""
    whole = DOCUMENT.read_text("utf-8")
    before, after = whole.index(BEGIN) + len(BEGIN), whole.index(END)
    DOCUMENT.write_text(f"{whole[:before]}\n\n{text}\n\n{whole[after:]}", "utf-8")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=_count, default=3, help="calls of each case (3)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this case alone; may be repeated")
    parser.add_argument("--jobs", type=_count, default=3, help="calls at a time, each with its gateway (3)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/faults.md")
    options = parser.parse_args(arguments)
    names = [case.name for cases in CASES.values() for case in cases]
    if unknown := set(options.only or ()) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.write and options.only:
        parser.error("--write is for all cases")
    known_clips()
    with processes.none_left_behind(), ThreadPoolExecutor(options.jobs) as pool:
        running = {
            title: [
                (case, [pool.submit(play, case, run) for run in range(options.runs)])
                for case in cases
                if not options.only or case.name in options.only
            ]
            for title, cases in CASES.items()
        }
        parts, failures = [], []
        for title, cases in running.items():
            outcomes = []
            for case, stories in cases:
                outcomes.append(Outcome(case, tuple(story.result() for story in stories)))
                print(f"{case.name}: {heard(outcomes[-1].stories[-1])}", file=sys.stderr, flush=True)
            if outcomes:
                parts.append(f"**{title}**\n\n{table(outcomes)}")
            failures += [told for outcome in outcomes for told in outcome.failures()]
    text = "\n\n".join(parts)
    print(text)
    if options.write:
        write(text)
    for told in failures:
        print(f"not kept: {told}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
