"""The detector's test set, tests/data/noise/: noise in which nobody speaks, and speech over noise.

Built for make_test_audio.py from the speech it has made and labelled; what a label says of the speech is
measured on the clean clip and moved by the lead-in, so noise never changes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import noises
from render_prompts import (
    FRAME_SAMPLES,
    SAMPLES_PER_MS,
    ULAW_SILENCE,
    active_rms,
    rms,
    ulaw_encode,
)

LEAD_IN_MS = 2000
"""Noise alone before the speech: a detector that takes it for voice is then already open."""
SWITCHED_ON_MS = 1000
"""What is switched on in the call comes after so much line noise."""
QUIET_RMS, FAINT_RMS = 300, 150
"""Active speech at -34 and -40 dBm0; networks carry -20 on the middle, and -34 is a far handset."""
FAINT_LINE_RMS = 30
"""A usual line. Over the 60 of `line_noise` faint speech would be no test but a lottery."""

SPEECH_OVER = (
    # clip, of, at speech RMS (None: as it is), over, at RMS, whether it is one of the hard ones
    ("hebrew_quiet", "hebrew_barge_in", QUIET_RMS, "line", 60, False),
    ("hebrew_faint", "hebrew_question", FAINT_RMS, "line", FAINT_LINE_RMS, True),
    ("human_faint", "human_sentence", FAINT_RMS, "line", FAINT_LINE_RMS, True),
    ("hebrew_over_vacuum", "hebrew_two_turns", None, "vacuum", 350, True),
    ("human_over_vacuum", "human_sentence", None, "switched on", 350, True),
    ("hebrew_over_music", "hebrew_two_turns", None, "music", 200, True),
    ("hebrew_over_babble", "hebrew_barge_in", None, "babble", 200, True),
    ("human_over_babble", "human_command", None, "babble", 200, True),
)


def make_detector_clips(
    table: Mapping[str, Any],
    spoken: Mapping[str, Sequence[int]],
    labels: Mapping[str, Mapping[str, Any]],
    line_noise: Sequence[int],
) -> dict[str, bytes]:
    """Every file of tests/data/noise/, by its path below tests/data/.

    `spoken` and `labels` are the clean clips of tests/data/ and what its labels.json says of them.
    """
    music, vacuum, babble = noises.music(5760), noises.vacuum_cleaner(6000), noises.babble(table, 8000)
    beds = {"line": line_noise, "music": music, "vacuum": vacuum, "babble": babble, "switched on": vacuum}
    quiet = line_noise[: SWITCHED_ON_MS * SAMPLES_PER_MS]
    alone = {
        "poor_line": ("line", noises.poor_line(4000, 110)),
        "hum": ("hum", noises.hum(3000, 150)),
        "loud_hum": ("loud hum", noises.hum(3000, 320)),
        "vacuum_cleaner": ("vacuum", noises.at_level(vacuum, 500)),
        "hum_switched_on": ("switched on", [*quiet, *noises.hum(4000, 320)]),
        "vacuum_switched_on": (
            "switched on",
            [*quiet, *noises.at_level(vacuum, 500)[: 4000 * SAMPLES_PER_MS]],
        ),
        "comfort_noise": ("comfort", noises.comfort_noise(4200)),
        "hold_music": ("music", noises.at_level(music, 900)),
        "room_music": ("music", noises.at_level(music, 220)),
        "babble": ("babble", noises.at_level(babble, 260)),
        "coughs": ("cough", noises.coughs((600, 2400, 2800, 4600), 6000, 1800)),
        "clicks": ("click", noises.clicks(6000)),
    }
    codes = {
        "idle_line": ("idle", noises.idle_line(3000), noises.IDLE_RMS),
        "digital_silence": ("silence", bytes([ULAW_SILENCE]) * 1000 * SAMPLES_PER_MS, 0),
    }
    files: dict[str, bytes] = {}
    told: dict[str, dict[str, Any]] = {}
    for name, (kind, samples) in alone.items():
        files[name] = ulaw_encode(samples)
        told[name] = _noise_label(kind, files[name], rms(samples))
    for name, (kind, payload, level) in codes.items():
        files[name] = payload
        told[name] = _noise_label(kind, payload, level)
    for name, clean, speech_rms, kind, noise_rms, is_hard in SPEECH_OVER:
        speech = spoken[clean]
        if speech_rms is not None:
            gain = speech_rms / active_rms(speech)
            speech = [round(s * gain) for s in speech]
        bed = noises.at_level(beds[kind], noise_rms)
        if kind == "switched on":
            bed[: len(quiet)] = quiet
        samples = _over(speech, bed)
        files[name] = ulaw_encode(samples)
        told[name] = {
            "text": labels[clean]["text"],
            "noise": kind,
            "noise_rms": noise_rms,
            "is_hard": is_hard,
            "duration_ms": len(samples) // SAMPLES_PER_MS,
            "rms": round(active_rms(speech)),
            "turns": _later(labels[clean]["turns"]),
            "speech": _later(labels[clean]["speech"]),
        }
    there = {f"noise/{name}.ulaw": payload for name, payload in files.items()}
    there["noise/labels.json"] = (json.dumps(told, ensure_ascii=False, indent=2) + "\n").encode()
    return there


def _noise_label(kind: str, payload: bytes, level_rms: float) -> dict[str, Any]:
    if len(payload) % FRAME_SAMPLES:
        raise ValueError(f"{kind}: {len(payload)} samples are not whole frames")
    return {
        "text": "",
        "noise": kind,
        "duration_ms": len(payload) // SAMPLES_PER_MS,
        "rms": round(level_rms),
        "turns": [],
        "speech": [],
    }


def _over(speech: Sequence[int], bed: Sequence[int]) -> list[int]:
    """The bed alone for LEAD_IN_MS, then the speech over it; the bed is repeated as long as that lasts."""
    lead = LEAD_IN_MS * SAMPLES_PER_MS
    whole = [bed[i % len(bed)] for i in range(lead + len(speech))]
    for i, s in enumerate(speech, lead):
        whole[i] += s
    return whole


def _later(spans: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    return [{edge: ms + LEAD_IN_MS for edge, ms in span.items()} for span in spans]
