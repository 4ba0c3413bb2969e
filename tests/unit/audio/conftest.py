"""The labelled clips of tests/data, as μ-law bytes with their spans of speech."""

import audioop
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.audio.g711 import FRAME_BYTES, FRAME_MS, from_pcm16, to_pcm16

DATA = Path(__file__).parents[2] / "data"
LABELS = json.loads((DATA / "labels.json").read_text(encoding="utf-8"))
SPOKEN = [name for name, label in LABELS.items() if label["speech"]]
LABELS |= {
    f"noise/{name}": label
    for name, label in json.loads((DATA / "noise" / "labels.json").read_text(encoding="utf-8")).items()
}


@dataclass(frozen=True)
class Clip:
    name: str
    audio: bytes
    turn_starts_ms: tuple[int, ...]
    speech_ms: tuple[tuple[int, int], ...]

    def frames(self) -> list[bytes]:
        return [self.audio[at : at + FRAME_BYTES] for at in range(0, len(self.audio), FRAME_BYTES)]

    def speech_frames(self) -> list[int]:
        """Numbers of the frames that carry labelled speech."""
        return [ms // FRAME_MS for start, end in self.speech_ms for ms in range(start, end, FRAME_MS)]


def read_clip(name: str) -> Clip:
    label = LABELS[name]
    return Clip(
        name,
        (DATA / f"{name}.ulaw").read_bytes(),
        tuple(turn["start_ms"] for turn in label["turns"]),
        tuple((span["start_ms"], span["end_ms"]) for span in label["speech"]),
    )


def over_noise(clip: Clip, lead_in_ms: int = 0) -> Clip:
    """The clip as a noisy line carries it, after `lead_in_ms` of the line alone."""
    noise = (DATA / "line_noise.ulaw").read_bytes()
    lead_in = noise[: lead_in_ms * 8]
    bed = (noise * (len(clip.audio) // len(noise) + 1))[: len(clip.audio)]
    mixed = from_pcm16(audioop.add(to_pcm16(clip.audio), to_pcm16(bed), 2))
    return Clip(
        clip.name,
        lead_in + mixed,
        tuple(start + lead_in_ms for start in clip.turn_starts_ms),
        tuple((start + lead_in_ms, end + lead_in_ms) for start, end in clip.speech_ms),
    )


def without_first_ms(clip: Clip, ms: int) -> Clip:
    """The clip as heard by one who picks up late."""
    spans = ((max(start - ms, 0), end - ms) for start, end in clip.speech_ms if end > ms)
    return Clip(clip.name, clip.audio[ms * 8 :], (0,), tuple(spans))


LINES = {
    "clean": lambda clip: clip,
    "noisy": over_noise,
    "noisy from before": lambda clip: over_noise(clip, 5000),
}


@pytest.fixture
def clip_named() -> Callable[[str], Clip]:
    """Any clip: "human_command", "noise/hum"."""
    return read_clip


@pytest.fixture
def line_noise() -> Clip:
    return read_clip("line_noise")


@pytest.fixture(params=SPOKEN)
def spoken(request) -> Clip:
    return read_clip(request.param)


@pytest.fixture(params=LINES)
def heard_clip(request, spoken) -> Clip:
    """Every spoken clip over every kind of line."""
    return LINES[request.param](spoken)


@pytest.fixture(params=[0, 200])
def clip_begun_in_speech(request, spoken) -> Clip:
    """The caller already speaks when the stream begins."""
    return without_first_ms(spoken, spoken.speech_ms[0][0] + request.param)
