"""What else is on a caller's line besides speech: noise, a cough, and everything mixed together.

Samples are G.711 μ-law, 8 kHz mono. Levels are RMS on the 16-bit scale, as `server.audio.g711` has them.
The same seed gives the same sound.
"""

from __future__ import annotations

import array
import audioop
import math
import random

from server.audio.g711 import FRAME_BYTES, SAMPLE_RATE_HZ, SILENCE, from_pcm16, rms, to_pcm16

AUDIBLE_RMS = 50
"""Up to this, a frame is silence: a quiet line shows 9 to 50."""
COUGH_RMS = 2000
NOISE_RMS = 800
_PEAK = 32000
_ACTIVE_PART = 0.1
"""Frames within 20 dB of the loudest carry the speech."""


def noise(seconds: float, level_rms: int, seed: int = 0) -> bytes:
    """White noise."""
    chance = random.Random(seed)
    return _at_level([chance.uniform(-1.0, 1.0) for _ in range(round(seconds * SAMPLE_RATE_HZ))], level_rms)


def cough(seconds: float, level_rms: int = COUGH_RMS, seed: int = 0) -> bytes:
    """Two bursts of noise, each loud at once and dying away; the level is that of the whole."""
    chance = random.Random(seed)
    count = round(seconds * SAMPLE_RATE_HZ)
    second = round(count * 0.45)
    samples = []
    for index in range(count):
        since = index if index < second else index - second
        length = second if index < second else count - second
        attack = min(1.0, since / (0.01 * SAMPLE_RATE_HZ))
        samples.append(chance.uniform(-1.0, 1.0) * attack * math.exp(-3.0 * since / max(length, 1)))
    return _at_level(samples, level_rms)


def trimmed(payload: bytes) -> bytes:
    """Without the silence before its first and after its last sound; nothing but silence stays as it is."""
    start, end = sounding(payload)
    return payload[start:end] if end else payload


def sounding(payload: bytes) -> tuple[int, int]:
    """Where its first sound begins and its last one ends, in bytes; (0, 0) for silence."""
    loud = [
        at for at in range(0, len(payload), FRAME_BYTES) if rms(payload[at : at + FRAME_BYTES]) > AUDIBLE_RMS
    ]
    return (loud[0], min(loud[-1] + FRAME_BYTES, len(payload))) if loud else (0, 0)


def at_speech_level(payload: bytes, level_rms: int) -> bytes:
    """Louder or softer: the frames that carry speech get this level, save where it would clip."""
    levels = [rms(payload[at : at + FRAME_BYTES]) for at in range(0, len(payload), FRAME_BYTES)]
    floor = max(levels, default=0) * _ACTIVE_PART
    active = [level for level in levels if level >= floor and level]
    if not active:
        return payload
    now_rms = math.sqrt(sum(level * level for level in active) / len(active))
    return from_pcm16(audioop.mul(to_pcm16(payload), 2, level_rms / now_rms))


def mixed(first: bytes, second: bytes) -> bytes:
    """Two sounds at once, as long as the longer."""
    longest = max(len(first), len(second))
    pair = [to_pcm16(payload.ljust(longest, SILENCE)) for payload in (first, second)]
    return from_pcm16(audioop.add(pair[0], pair[1], 2))


def _at_level(samples: list[float], level_rms: int) -> bytes:
    if not samples:
        return b""
    gain = level_rms / math.sqrt(sum(s * s for s in samples) / len(samples))
    limited = array.array("h", (max(-_PEAK, min(_PEAK, round(s * gain))) for s in samples))
    return from_pcm16(limited.tobytes())
