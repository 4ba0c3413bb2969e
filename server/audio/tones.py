"""What does a key sound like, and which key was that?

A key is two sine tones at once, one of four low and one of four high frequencies (ITU-T Q.23). They are sent
at -8 and -6 dBm0: the high one louder, for lines lose more of it, and together well below overload. Each tone
rises and falls within 5 ms, so that no click is added to it.

`decode` follows the bounds within which ITU-T Q.24 (table A-1) lets a receiver choose:

| | here | Q.24 |
|---|---|---|
| level of each tone | from -26 dBm0 on | accepted down to -24 or -25 |
| twist (high against low) | -9 to +5 dB | accepted from -8 to +4 (AT&T) |
| frequency | up to 1.8 % off, never 3 % | accepted up to 1.5 or 1.8 % off, refused from 3 or 3.5 % on |
| tone | from 30 ms on, never 23 ms | accepted from 40 ms on, refused up to 23 or 24 ms |
| pause | parts two keys from 16 ms on | from 30 or 40 ms on; a hole of 10 ms parts nothing |

It measures eight frequencies by Goertzel's recurrence in plain Python: half a percent of real time while
there is speech, two while there is a tone. It is meant for tests and for the simulated line, and holds a
thread for as long as it takes: the serving process has no use for it. What that one sends, keys of the
usual length, is made once, when this is imported.

μ-law at 8 kHz, whole frames of 20 ms. A full-scale sine is +3.17 dBm0 (G.711).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from math import cos, pi, sin

from server.audio.g711 import FRAME_BYTES, SAMPLE_RATE_HZ, SILENCE, from_pcm16, to_pcm16

LOW_HZ = (697, 770, 852, 941)
HIGH_HZ = (1209, 1336, 1477, 1633)
KEYS = ("123A", "456B", "789C", "*0#D")
"""A row shares its low frequency, a column its high one."""
LOW_DBM0 = -8.0
HIGH_DBM0 = -6.0
BEEP_DBM0 = -10.0
RAMP_MS = 5
TONE_MS = 100
GAP_MS = 80

FULL_SCALE = 32124
"""The largest sample of μ-law on the 16-bit scale."""
FULL_SCALE_DBM0 = 3.17

_PAIRS = {key: (LOW_HZ[r], HIGH_HZ[c]) for r, row in enumerate(KEYS) for c, key in enumerate(row)}


def dtmf(digits: str, tone_ms: int = TONE_MS, gap_ms: int = GAP_MS) -> bytes:
    """The keys `0` to `9`, `*`, `#`, `A` to `D`, each followed by its gap; padded to a whole frame.

    Nothing is computed for a tone of the usual length, so that a hub may be held: 32 keys take 20 μs.
    Raises ValueError for any other key.
    """
    if unknown := set(digits) - set(_PAIRS):
        raise ValueError(f"no key of a telephone: {' '.join(sorted(unknown))}")
    gap = SILENCE * _samples(gap_ms)
    sounds = _KEY_TONES if tone_ms == TONE_MS else _key_tones(set(digits), tone_ms)
    return _whole_frames(b"".join([sounds[key] + gap for key in digits]))


def beep(hz: float, ms: int) -> bytes:
    """One sine tone at -10 dBm0, padded to a whole frame. Raises ValueError for what 8 kHz cannot carry."""
    if not 0 < hz < SAMPLE_RATE_HZ / 2:
        raise ValueError(f"{hz:g} Hz is not between 0 and {SAMPLE_RATE_HZ // 2}")
    return _whole_frames(_tones([(hz, BEEP_DBM0)], ms))


def _key_tones(keys: Iterable[str], ms: int) -> dict[str, bytes]:
    """The tone of each key. Eight sines serve all sixteen."""
    lows = {hz: _sine(hz, LOW_DBM0, ms) for hz in {_PAIRS[key][0] for key in keys}}
    highs = {hz: _sine(hz, HIGH_DBM0, ms) for hz in {_PAIRS[key][1] for key in keys}}
    return {key: _mixed([lows[_PAIRS[key][0]], highs[_PAIRS[key][1]]]) for key in keys}


def _tones(tones: Sequence[tuple[float, float]], ms: int) -> bytes:
    """Sines of so many Hz and dBm0, with ramps."""
    return _mixed([_sine(hz, dbm0, ms) for hz, dbm0 in tones])


def _sine(hz: float, dbm0: float, ms: int) -> list[float]:
    """One tone on the 16-bit scale."""
    step, peak = 2 * pi * hz / SAMPLE_RATE_HZ, _amplitude(dbm0)
    return [peak * sin(step * n) for n in range(_samples(ms))]


def _mixed(waves: Sequence[Sequence[float]]) -> bytes:
    """The sum of waves of one length, risen and fallen without a click, as μ-law."""
    mixed = [sum(samples) for samples in zip(*waves, strict=True)]
    ramp = min(_samples(RAMP_MS), len(mixed) // 2)
    for n in range(ramp):
        gain = (1 - cos(pi * (n + 0.5) / ramp)) / 2
        mixed[n] *= gain
        mixed[-1 - n] *= gain
    return from_pcm16(array("h", map(round, mixed)).tobytes())


def _amplitude(dbm0: float) -> float:
    """Peak of a sine on the 16-bit scale."""
    return float(FULL_SCALE * 10 ** ((dbm0 - FULL_SCALE_DBM0) / 20))


def _samples(ms: int) -> int:
    return ms * SAMPLE_RATE_HZ // 1000


def _whole_frames(audio: bytes) -> bytes:
    return audio + SILENCE * (-len(audio) % FRAME_BYTES)


_KEY_TONES = _key_tones(_PAIRS, TONE_MS)


BLOCK = 128
"""Samples measured at a time: 16 ms part neighbours of 73 Hz (697 and 770), and fit three times into a tone
of 40 ms wherever it begins."""
HOP = 32
MIN_HITS = 6
MAX_MISSES = 4
"""Blocks in a row that a tone may miss without being over."""
MIN_DBM0 = -27.0
TWIST_DB = (-9.0, 5.0)
MIN_SHARE = 0.5
"""Of a block's energy, in the two tones: what is left is noise, or speech."""
NEIGHBOUR_DB = 6.0
"""How far the strongest of four stands above the others, at least."""
OFF_PITCH = 0.05
"""A tone nearer to this much beside a frequency than to the frequency itself is another tone: 2.5 %."""
CONFIRM_SAMPLES = 192


def decode(ulaw: bytes) -> str:
    """The keys that sound in this audio, in order."""
    samples = array("h", to_pcm16(ulaw))
    keys, key, hits, misses, first, last = "", "", 0, 0, 0, 0
    for at in range(0, len(samples) - BLOCK + 1, HOP):
        heard = _key_of(samples[at : at + BLOCK])
        if heard and heard == key:
            hits, misses, last = hits + 1, 0, at
            continue
        if not heard and key and misses < MAX_MISSES:
            misses += 1
            continue
        keys += _confirmed(key, hits, samples[first : last + BLOCK])
        key, hits, misses, first, last = heard, 1, 0, at, at
    return keys + _confirmed(key, hits, samples[first : last + BLOCK])


def _key_of(block: Sequence[int]) -> str:
    """The key whose two tones make up this block; empty for none."""
    energy = float(sum(sample * sample for sample in block))
    if energy < len(block) * _amplitude(MIN_DBM0) ** 2:  # two tones of A²/2 each
        return ""
    lows = [_energy_at(block, hz) for hz in LOW_HZ]
    highs = [_energy_at(block, hz) for hz in HIGH_HZ]
    low, high = max(lows), max(highs)
    if low + high < MIN_SHARE * energy or not _is_alone(lows) or not _is_alone(highs):
        return ""
    if not _ratio(TWIST_DB[0]) <= high / low <= _ratio(TWIST_DB[1]):
        return ""
    return KEYS[lows.index(low)][highs.index(high)]


def _is_alone(energies: list[float]) -> bool:
    strongest, second = sorted(energies, reverse=True)[:2]
    return strongest > second * _ratio(NEIGHBOUR_DB)


def _confirmed(key: str, hits: int, samples: Sequence[int]) -> str:
    """`key`, if it sounded long enough and at its own pitch. One block is too short to tell
    the pitch: in it 1.5 % and 3.5 % look alike."""
    if hits < MIN_HITS:
        return ""
    middle = samples[max(0, (len(samples) - CONFIRM_SAMPLES) // 2) :][:CONFIRM_SAMPLES]
    for hz in _PAIRS[key]:
        beside = max(_energy_at(middle, hz * (1 - OFF_PITCH)), _energy_at(middle, hz * (1 + OFF_PITCH)))
        if beside > _energy_at(middle, hz):
            return ""
    return key


def _energy_at(samples: Sequence[int], hz: float) -> float:
    """What a sine of this frequency adds to the sum of squares, by Goertzel's recurrence."""
    coefficient = 2 * cos(2 * pi * hz / SAMPLE_RATE_HZ)
    last = before = 0.0
    for sample in samples:
        last, before = sample + coefficient * last - before, last
    power = last * last + before * before - coefficient * last * before
    return 2 * power / len(samples)


def _ratio(db: float) -> float:
    return float(10 ** (db / 10))
