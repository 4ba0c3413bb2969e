"""Makes the sound in tests/data/: what a caller's telephone would send.

Recorded speech comes from tests/data/originals/, Hebrew from the phonemes of tools/prompts.toml, line
noise from arithmetic. Each clip is written as 16-bit WAV and as bare μ-law, and labels.json says where
in it somebody speaks. The detector's test set in noise/ (detector_clips.py) is μ-law only. Deterministic;
`--check` proves that what is committed is what this makes.

Silence around speech is digital silence, so that a test adds exactly the noise it wants.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector_clips import make_detector_clips
from render_prompts import (
    FRAME_SAMPLES,
    RATE_HZ,
    SAMPLES_PER_MS,
    SPEECH_RMS,
    RenderError,
    active_rms,
    differences,
    fade,
    load_table,
    render_entry,
    require_programs,
    rms,
    set_level,
    to_8khz,
    ulaw_encode,
    versions,
    wav_pcm16,
    window_rms,
    write,
)

DATA_DIR = Path(__file__).resolve().parent.parent / "tests" / "data"
ORIGINALS_DIR = DATA_DIR / "originals"

FRAME_MS = 20
BEFORE_MS, AFTER_MS = 300, 900
"""Silence around an utterance; the latter is longer than any end-of-turn wait under test."""
BETWEEN_TURNS_MS = 2500

LOUD_RMS, SPEECH_EDGE_RMS = 250, 50
"""At SPEECH_RMS: a frame over the first is certainly speech, and so is what adjoins it over the second.
The recordings' own background lies at 10-25 (10th percentile of frames)."""
JOIN_SPEECH_MS = 100
"""Shorter gaps are closures within words (p, t, k)."""
JOIN_TURN_MS = 600
"""Shorter gaps are pauses within one turn."""

QUIET_RMS = 300
NOISE_RMS, HUM_RMS, HUM_HZ = 50.0, 33.2, 50
"""Together 60: a poor analogue line at -48 dBm0."""

RAW_16KHZ = ["-t", "raw", "-r", "16000", "-e", "signed-integer", "-b", "16", "-c", "1", "-L"]

Span = tuple[int, int]
"""Start and end in frames of 20 ms, end excluded."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One file for the tests."""

    samples: list[int]
    labelled: list[int]
    """The same speech at SPEECH_RMS, in which the spans are measured."""
    text: str


def speech_spans(samples: Sequence[int], join_ms: int) -> list[Span]:
    """Where somebody speaks: loud frames, grown while the sound goes on, joined over short gaps."""
    levels = window_rms(samples, FRAME_SAMPLES)
    spans: list[Span] = []
    at = 0
    while at < len(levels):
        if levels[at] < SPEECH_EDGE_RMS:
            at += 1
            continue
        start = at
        while at < len(levels) and levels[at] >= SPEECH_EDGE_RMS:
            at += 1
        if max(levels[start:at]) < LOUD_RMS and not _adjoins(spans, start):
            continue  # a click
        if spans and (start - spans[-1][1]) * FRAME_MS < join_ms:
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((start, at))
    return spans


def _adjoins(spans: Sequence[Span], start: int) -> bool:
    """Whether a soft sound follows speech closely enough to be a released consonant."""
    return bool(spans) and (start - spans[-1][1]) * FRAME_MS <= 60


def silence(ms: int) -> list[int]:
    return [0] * (ms * SAMPLES_PER_MS)


def whole_frames(samples: Sequence[int]) -> list[int]:
    return [*samples, *[0] * (-len(samples) % FRAME_SAMPLES)]


def recorded(path: Path, source: Sequence[str]) -> list[int]:
    """A recording at SPEECH_RMS, its own silence replaced by BEFORE_MS and AFTER_MS of ours."""
    samples = set_level(to_8khz(path.read_bytes(), source), SPEECH_RMS)
    spans = speech_spans(samples, JOIN_TURN_MS)
    lead, tail = 3, 6  # frames kept around the speech for the fades, so that neither eats a consonant
    first, last = spans[0][0] - lead, spans[-1][1] + tail
    speech = fade(samples[max(first, 0) * FRAME_SAMPLES : last * FRAME_SAMPLES], in_ms=20, out_ms=60)
    before = BEFORE_MS - min(lead, spans[0][0]) * FRAME_MS
    return whole_frames([*silence(before), *speech, *silence(AFTER_MS - tail * FRAME_MS)])


def line_noise(ms: int) -> list[int]:
    """Hiss of the telephone band over 50 Hz hum with its third harmonic.

    Only random() is drawn: the one source whose sequence Python promises to keep.
    """
    source = random.Random(1876)
    smooth, hiss = 0.0, []
    for _ in range(ms * SAMPLES_PER_MS):
        white = sum(source.random() for _ in range(12)) - 6
        smooth += 0.6 * (white - smooth)
        hiss.append(smooth)
    gain = NOISE_RMS / math.sqrt(sum(h * h for h in hiss) / len(hiss))
    turn = 2 * math.pi * HUM_HZ / RATE_HZ
    third = 0.3
    peak = HUM_RMS * math.sqrt(2 / (1 + third**2))
    return [
        round(gain * h + peak * (math.sin(turn * i) + third * math.sin(3 * turn * i)))
        for i, h in enumerate(hiss)
    ]


def make_clips(table: Mapping[str, Any]) -> dict[str, Clip]:
    def hebrew(name: str) -> list[int]:
        return whole_frames(render_entry(table["clip"][name], table["voice"]["he"]))

    def text(name: str) -> str:
        return str(table["clip"][name]["text"])

    before, after = silence(BEFORE_MS), silence(AFTER_MS)
    austen = "sense_and_sensibility_01_austen_64kb"
    spoken = {
        "human_command": (recorded(ORIGINALS_DIR / "goforward.raw", RAW_16KHZ), "Go forward ten meters."),
        "human_sentence": (
            recorded(ORIGINALS_DIR / f"{austen}-0880.wav", ["-t", "wav"]),
            "He was not an ill-disposed young man,",
        ),
        "human_long": (
            recorded(ORIGINALS_DIR / f"{austen}-0890.wav", ["-t", "wav"]),
            "unless to be rather cold hearted and rather selfish is to be ill-disposed:",
        ),
        "hebrew_question": ([*before, *hebrew("hebrew_question"), *after], text("hebrew_question")),
        "hebrew_two_turns": (
            [
                *before,
                *hebrew("hebrew_first_turn"),
                *silence(BETWEEN_TURNS_MS),
                *hebrew("hebrew_second_turn"),
                *after,
            ],
            f"{text('hebrew_first_turn')} {text('hebrew_second_turn')}",
        ),
        "hebrew_barge_in": (
            [*silence(1200), *hebrew("hebrew_barge_in"), *silence(1500)],
            text("hebrew_barge_in"),
        ),
    }
    clips = {name: Clip(samples, samples, words) for name, (samples, words) in spoken.items()}
    clear = clips["human_command"]
    clear_rms = active_rms(clear.samples)
    quiet = [round(s * QUIET_RMS / clear_rms) for s in clear.samples]
    clips["quiet_caller"] = Clip(quiet, clear.samples, clear.text)
    clips["line_noise"] = Clip(line_noise(5000), [], "")
    return clips


def label(clip: Clip) -> dict[str, Any]:
    """What labels.json says of one clip."""

    def in_ms(spans: Sequence[Span]) -> list[dict[str, int]]:
        return [{"start_ms": a * FRAME_MS, "end_ms": b * FRAME_MS} for a, b in spans]

    speech = speech_spans(clip.labelled, JOIN_SPEECH_MS)
    return {
        "text": clip.text,
        "duration_ms": len(clip.samples) // SAMPLES_PER_MS,
        "rms": round(active_rms(clip.samples) if speech else rms(clip.samples)),
        "turns": in_ms(speech_spans(clip.labelled, JOIN_TURN_MS)),
        "speech": in_ms(speech),
    }


def make_all(table: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file of tests/data/ that this script owns, by name."""
    clips = make_clips(table)
    files: dict[str, bytes] = {}
    for name, clip in clips.items():
        files[f"{name}.wav"] = wav_pcm16(clip.samples)
        files[f"{name}.ulaw"] = ulaw_encode(clip.samples)
    labels = {name: label(clip) for name, clip in clips.items()}
    files["labels.json"] = (json.dumps(labels, ensure_ascii=False, indent=2) + "\n").encode()
    spoken = {name: clip.samples for name, clip in clips.items()}
    return files | make_detector_clips(table, spoken, labels, spoken["line_noise"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the sound in tests/data/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    options = parser.parse_args(arguments)
    try:
        require_programs()
        table = load_table()
        files = make_all(table)
        used, expected = versions(), table["rendered_with"]
    except (RenderError, OSError) as error:
        print(f"make_test_audio: {error}", file=sys.stderr)
        return 1
    if used != expected:
        print(f"note: rendering with {used}; prompts.toml says {expected}", file=sys.stderr)
    there = {name: (DATA_DIR / name).read_bytes() for name in files if (DATA_DIR / name).exists()}
    changes = differences(files, there)
    if options.check:
        print("\n".join(changes) or f"{len(files)} files are as made")
        return 1 if changes else 0
    write(DATA_DIR, files)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes, {len(changes)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
