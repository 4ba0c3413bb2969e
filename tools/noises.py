"""What a telephone carries when nobody speaks to it, computed for the detector's test set.

Hiss, hum, a vacuum cleaner, comfort noise, an idle digital line, music, a room full of talk, coughs and
clicks. Everything is arithmetic over a seeded random() (the one source whose sequence Python promises to
keep), save the talk, which is espeak-ng's. Samples are lists of int on the 16-bit scale, 8 kHz mono, as in
`render_prompts`; a sound that is wanted at several levels comes as a list of float for `at_level`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from render_prompts import (
    RATE_HZ,
    SAMPLES_PER_MS,
    render_entry,
    rms,
)

IDLE_BYTES = (0x7E, 0xFE, 0x7F, 0xFF)
"""The codes next to zero on either side: what a digital line without sound toggles between."""
IDLE_RMS = 6
"""Of 8, -8, and two zeros, in equal parts."""
CRACKS_A_SECOND = 6

MAINS_HZ = 50
HUM_HARMONICS = (0.25, 0.5, 0.8, 0.5, 0.45, 0.3, 0.3, 0.2, 0.15, 0.1)
"""50 to 500 Hz: a telephone's high-pass leaves little of the fundamental and much of the third."""

COMFORT_RMS = (24, 12, 18, 0, 20, 8)
COMFORT_SPELL_MS = 700
"""A far network sends comfort noise in spells, each at the level it last measured."""

NOTE_MS = 240
MELODY = (76, 79, 84, 83, 79, 76, 72, 74, 77, 81, 84, 81, 79, 74, 71, 67, 72, 76, 79, 84, 83, 81, 79, 77)
CHORDS = ((60, 64, 67), (57, 60, 64), (53, 57, 60), (55, 59, 62))
"""MIDI note numbers: C major, A minor, F major, G major; six notes of the melody to each."""

TALKERS = (("he+m3", 175, 35), ("he+f2", 195, 60), ("he+m7", 190, 45), ("he+f4", 185, 55), ("he+m1", 205, 30))
"""espeak-ng voice, words a minute, pitch."""

Wave = Iterator[float]


def at_level(wave: Sequence[float], level_rms: float) -> list[int]:
    """Scaled to `level_rms` over all of it."""
    gain = level_rms / rms(wave)
    return [round(gain * x) for x in wave]


def _white(seed: int) -> Wave:
    """Bell-shaped noise of unit variance, enough of it."""
    source = random.Random(seed)
    while True:
        yield sum(source.random() for _ in range(12)) - 6


def _low_pass(wave: Wave, share: float) -> Wave:
    """One pole: `share` of each step is taken."""
    smooth = 0.0
    for x in wave:
        smooth += share * (x - smooth)
        yield smooth


def _resonance(wave: Wave, hz: float, width_hz: float) -> Wave:
    """Two poles: a mouth, a tube, a casing."""
    radius = math.exp(-math.pi * width_hz / RATE_HZ)
    a, b = 2 * radius * math.cos(2 * math.pi * hz / RATE_HZ), radius * radius
    last, before = 0.0, 0.0
    for x in wave:
        last, before = x * (1 - radius) + a * last - b * before, last
        yield last


def _take(wave: Wave, ms: int) -> list[float]:
    return [next(wave) for _ in range(ms * SAMPLES_PER_MS)]


def poor_line(ms: int, level_rms: float) -> list[int]:
    """Hiss of a bad analogue line with crackle: cracks of a few milliseconds, now and then."""
    source = random.Random(1877)
    wave = _take(_low_pass(_white(1878), 0.6), ms)
    for _ in range(ms * CRACKS_A_SECOND // 1000):
        start, sign = int(source.random() * (len(wave) - 40)), 1 - 2 * (source.random() < 0.5)
        for i in range(40):
            wave[start + i] += sign * 4 * math.exp(-i / 8) * math.cos(i)
    return at_level(wave, level_rms)


def hum(ms: int, level_rms: float) -> list[int]:
    """A ground loop: the mains and its harmonics, perfectly steady."""
    turn = 2 * math.pi * MAINS_HZ / RATE_HZ
    return at_level(
        [
            sum(part * math.sin(turn * k * i + k * k) for k, part in enumerate(HUM_HARMONICS, 1))
            for i in range(ms * SAMPLES_PER_MS)
        ],
        level_rms,
    )


def vacuum_cleaner(ms: int) -> list[float]:
    """Rushing air in a tube, a motor that hunts a little, and its whine."""
    air = _take(_low_pass(_white(1879), 0.35), ms)
    tube = _take(_resonance(_white(1880), 620, 180), ms)
    wave, phase = [], 0.0
    for i, (a, t) in enumerate(zip(air, tube, strict=True)):
        phase += 2 * math.pi * (310 + 6 * math.sin(2 * math.pi * 0.7 * i / RATE_HZ)) / RATE_HZ
        motor = math.sin(phase) + 0.5 * math.sin(2 * phase) + 0.35 * math.sin(5 * phase)
        wave.append(a + 2.5 * t + 0.25 * motor)
    return wave


def comfort_noise(ms: int) -> list[int]:
    """Spells of faint smooth noise at changing levels, one of them without any."""
    hiss = at_level(_take(_low_pass(_white(1881), 0.45), ms), 1000)
    spell = COMFORT_SPELL_MS * SAMPLES_PER_MS
    return [round(x * COMFORT_RMS[i // spell % len(COMFORT_RMS)] / 1000) for i, x in enumerate(hiss)]


def idle_line(ms: int) -> bytes:
    """μ-law of a digital line that carries nothing: runs of the codes next to zero."""
    source = random.Random(1882)
    line = bytearray()
    while len(line) < ms * SAMPLES_PER_MS:
        code = IDLE_BYTES[int(source.random() * len(IDLE_BYTES))]
        line += bytes([code]) * (1 + int(source.random() * 400))
    return bytes(line[: ms * SAMPLES_PER_MS])


def music(ms: int) -> list[float]:
    """A plucked melody over held chords, by additive synthesis, with a brush on the beat."""
    wave = [0.0] * (ms * SAMPLES_PER_MS)
    note = NOTE_MS * SAMPLES_PER_MS
    brush = _white(1883)
    for n in range(len(wave) // note + 1):
        chord = CHORDS[n // 6 % len(CHORDS)]
        _pluck(wave, n * note, MELODY[n % len(MELODY)], loud=1.0, half_life_ms=220)
        if n % 6 == 0:
            for midi in chord:
                _pluck(wave, n * note, midi, loud=0.45, half_life_ms=900)
        if n % 2 == 0:
            for i in range(min(40 * SAMPLES_PER_MS, len(wave) - n * note)):
                wave[n * note + i] += 0.12 * next(brush) * math.exp(-i / 90)
    return wave


def _pluck(wave: list[float], at: int, midi: int, *, loud: float, half_life_ms: int) -> None:
    """Add one note with six harmonics, the higher ones fading sooner."""
    hz = 440 * 2 ** ((midi - 69) / 12)
    turn, fading = 2 * math.pi * hz / RATE_HZ, math.log(2) / (half_life_ms * SAMPLES_PER_MS)
    for i in range(min(len(wave) - at, 6 * half_life_ms * SAMPLES_PER_MS)):
        attack = min(1.0, i / (8 * SAMPLES_PER_MS))
        sound = sum(
            math.sin(turn * k * i) * math.exp(-fading * k * i) / k for k in range(1, 7) if hz * k < 3400
        )
        wave[at + i] += loud * attack * sound


def coughs(starts_ms: Sequence[int], ms: int, level_rms: float) -> list[int]:
    """A cough at each of `starts_ms`: 50 ms of burst, 170 ms of breath, 90 ms of voice, as coughs go."""
    wave = [0.0] * (ms * SAMPLES_PER_MS)
    for n, start_ms in enumerate(starts_ms):
        burst = _take(_resonance(_white(1884 + n), 900, 500), 310)
        throat = _take(_resonance(_pulses(115 + 10 * n), 550, 200), 310)
        for i, (air, voice) in enumerate(zip(burst, throat, strict=True)):
            at_ms = i / SAMPLES_PER_MS
            breath = math.exp(-at_ms / 25) + 0.22 * math.exp(-at_ms / 120)
            buzz = 2.2 * math.sin(math.pi * (at_ms - 200) / 110) if at_ms > 200 else 0.0
            wave[start_ms * SAMPLES_PER_MS + i] += min(1.0, at_ms / 4) * (air * breath + max(buzz, 0) * voice)
    gain = level_rms / rms([x for x in wave if x])
    return [round(gain * x) for x in wave]


def _pulses(hz: float) -> Wave:
    """A glottis: one pulse each period."""
    phase = 0.0
    while True:
        phase += hz / RATE_HZ
        yield 12.0 if phase >= 1 else 0.0
        phase %= 1


def clicks(ms: int) -> list[int]:
    """One each 400 ms: clicks of 2 to 8 ms, alone or 55 ms apart, and each fourth a handset put down, a
    knock of 60 ms. Loud, and each too short to be a word."""
    source = random.Random(1890)
    wave = [0.0] * (ms * SAMPLES_PER_MS)
    for n, start_ms in enumerate(range(400, ms - 200, 400)):
        is_knock = n % 4 == 3
        lasting_ms, hz = (
            (60.0, 340.0) if is_knock else (2 + 6 * source.random(), 900 + 1500 * source.random())
        )
        loud = 9000 if is_knock else 4000 + 9000 * source.random()
        turn = 2 * math.pi * hz / RATE_HZ
        for at_ms in (start_ms, start_ms + 55) if n % 4 == 1 else (start_ms,):
            for i in range(round(lasting_ms * SAMPLES_PER_MS)):
                wave[at_ms * SAMPLES_PER_MS + i] += (
                    loud * math.sin(turn * i) * math.exp(-i / (lasting_ms * 2))
                )
    return [round(x) for x in wave]


def babble(table: Mapping[str, Any], ms: int) -> list[float]:
    """Five people who talk to each other in a shop, nobody to the telephone."""
    wave = [0.0] * (ms * SAMPLES_PER_MS)
    lines = [entry["he"] for entry in table["prompt"].values() if len(entry["he"]["text"]) > 15]
    for n, (name, speed, pitch) in enumerate(TALKERS):
        at, voice = 0, {"name": name, "speed": speed, "pitch": pitch}
        for entry in lines[n:] + lines[:n]:
            if at >= len(wave):
                break
            said = render_entry(entry, voice)
            for i, x in enumerate(said[: len(wave) - at]):
                wave[at + i] += x
            at += len(said) + 150 * SAMPLES_PER_MS
    return wave
