"""What did the caller hear of a fault, and how long did they sit in silence?

Read off the line, the TwiML that was acted out, and the gateway's log. Times are milliseconds since the
stream's `start`, unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.audio.g711 import BYTES_PER_MS, SILENCE
from server.simulator.scenario.clips import Clip
from server.simulator.scenario.hearing import Played, told_apart
from server.simulator.twilio.speech_spans import spans
from server.simulator.twilio.virtual_line import AUDIBLE_RMS

if TYPE_CHECKING:
    from bench.fault_rig import FaultyCall

READS_MS_A_CHAR = 70.0
"""Twilio's own voice: so long a `<Say>` lasts, which is not acted out here."""
SERVED_BY = ("agent: ", "pipeline: ", "ringing", "recording", "Twilio says: ")
"""Prompts only lead there."""


@dataclass(frozen=True, slots=True)
class Sound:
    start_ms: float
    end_ms: float
    name: str

    def __str__(self) -> str:
        return f"{self.start_ms / 1000:.2f} s {self.name}"


@dataclass(frozen=True, slots=True)
class Story:
    """One call."""

    heard: tuple[Sound, ...]
    fault_ms: float
    """0: it was there from the start."""
    noticed_ms: float | None
    """From the fault to the line in the log."""
    first_ms: float | None
    """The first sound of all."""
    silence_ms: float
    """The longest that nobody was heard, neither side, from the fault on to the last sound."""
    served_ms: float | None
    """From the fault until the caller was served anew: by an agent, a person, a recording."""
    served_by: str

    def names(self) -> list[str]:
        """What was heard from the fault on; what repeats at once is told once."""
        names = [sound.name for sound in self.heard if sound.end_ms > self.fault_ms]
        return [name for before, name in zip(["", *names], names, strict=False) if name != before]


def tell(call: FaultyCall, clips: Sequence[Clip], noticed: str = "") -> Story:
    """After the call's end. `noticed`: pattern of the line in which the gateway says that it knows."""
    heard = sorted(_sounds(call, clips), key=lambda sound: sound.start_ms)
    fault_ms = 0.0 if call.fault_ms is None else call.fault_ms - call.start_ms
    noticed_ms = call.logged_ms(noticed) if noticed else None
    anew = [sound for sound in heard if sound.start_ms >= fault_ms and sound.name.startswith(SERVED_BY)]
    return Story(
        heard=tuple(heard),
        fault_ms=fault_ms,
        noticed_ms=None if noticed_ms is None else max(0.0, noticed_ms - call.start_ms - fault_ms),
        first_ms=heard[0].start_ms if heard else None,
        silence_ms=_longest_silence(call, heard, fault_ms),
        served_ms=anew[0].start_ms - fault_ms if anew else None,
        served_by=anew[0].name if anew else "",
    )


def _sounds(call: FaultyCall, clips: Sequence[Clip]) -> Iterator[Sound]:
    twilio, start_ms, end_ms = call.twilio.call, call.start_ms, call.ended_ms
    unknown = bytearray(twilio.line.heard(end_ms))
    for hearing in told_apart(Played(twilio.line, end_ms), list(clips)):
        for piece in hearing.pieces:
            begin, end = round(piece.start_ms * BYTES_PER_MS), round(piece.end_ms * BYTES_PER_MS)
            unknown[begin:end] = SILENCE * (end - begin)
            yield Sound(piece.start_ms - start_ms, piece.end_ms - start_ms, hearing.name)
    ends_ms = [*twilio.tally.verbs_ms[1:], end_ms]
    verbs = list(zip(twilio.tally.verbs, twilio.tally.verbs_ms, ends_ms, strict=True))
    dials = [(at_ms, to_ms) for verb, at_ms, to_ms in verbs if verb == "Dial"]
    for span in spans(bytes(unknown), threshold_rms=AUDIBLE_RMS, hangover_ms=200, min_loud_ms=60):
        if not any(at_ms <= span.end_ms and span.start_ms <= to_ms for at_ms, to_ms in dials):
            yield Sound(span.start_ms - start_ms, span.end_ms - start_ms, "a sound not known here")
    texts = iter(twilio.tally.said)
    for verb, at_ms, to_ms in verbs:
        if verb in ("Dial", "Record"):
            yield Sound(at_ms - start_ms, to_ms - start_ms, "ringing" if verb == "Dial" else "recording")
        elif verb == "Say":
            text = next(texts)
            lasts_ms = len(text) * READS_MS_A_CHAR
            yield Sound(at_ms - start_ms, at_ms - start_ms + lasts_ms, f"Twilio says: {text}")


def _longest_silence(call: FaultyCall, heard: Sequence[Sound], from_ms: float) -> float:
    """Up to the last sound; if there is none after `from_ms`, up to the call's end."""
    both = [(sound.start_ms, sound.end_ms) for sound in heard]
    last_ms = max((begin for begin, _ in both), default=0.0)
    if max((end for _, end in both), default=0.0) <= from_ms:
        last_ms = call.ended_ms - call.start_ms
        both.append((last_ms, last_ms))
    both += [(span.start_ms - call.start_ms, span.end_ms - call.start_ms) for span in call.caller.spoken()]
    longest_ms, quiet_from_ms = 0.0, from_ms
    for begin, end in sorted(both):
        if begin > last_ms:
            break
        if end > from_ms:
            longest_ms = max(longest_ms, begin - quiet_from_ms)
            quiet_from_ms = max(quiet_from_ms, end)
    return longest_ms
