"""Where in this recording does somebody speak?

By energy of 20 ms frames, for reports only: a span begins with its first loud frame and ends with
its last one. Pauses shorter than the hang-over belong to the span.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.audio.g711 import FRAME_BYTES, FRAME_MS, rms


@dataclass(frozen=True, slots=True)
class Span:
    start_ms: int
    end_ms: int

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.start_ms


def spans(ulaw: bytes, *, threshold_rms: int, hangover_ms: int, min_loud_ms: int = FRAME_MS) -> list[Span]:
    """Stretches of sound in G.711 μ-law; those with less than `min_loud_ms` of it are left out."""
    found: list[Span] = []
    start = end = loud_ms = 0
    for at in range(0, len(ulaw), FRAME_BYTES):
        if rms(ulaw[at : at + FRAME_BYTES]) <= threshold_rms:
            continue
        frame_ms = at // FRAME_BYTES * FRAME_MS
        if loud_ms and frame_ms - end >= hangover_ms:
            if loud_ms >= min_loud_ms:
                found.append(Span(start, end))
            loud_ms = 0
        if not loud_ms:
            start = frame_ms
        loud_ms += FRAME_MS
        end = frame_ms + FRAME_MS
    if loud_ms >= min_loud_ms > 0:
        found.append(Span(start, end))
    return found
