"""From a speech model's rate to a telephone's: what passes, what must not, and at what cost."""

from __future__ import annotations

import audioop
import math
import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.resample import MAX_PUSH_BYTES, TelephoneDownsampler

RATES = (24000, 22050, 16000)
AMPLITUDE = 16000
FULL_TONE_RMS = AMPLITUDE / math.sqrt(2)


def tone(rate_hz: int, frequency_hz: float, seconds: float = 1.0, amplitude: int = AMPLITUDE) -> bytes:
    step = 2 * math.pi * frequency_hz / rate_hz
    samples = [round(amplitude * math.sin(step * n)) for n in range(int(rate_hz * seconds))]
    return struct.pack(f"<{len(samples)}h", *samples)


def noise(rate_hz: int, seconds: float) -> bytes:
    return random.Random(7).randbytes(int(rate_hz * seconds) * 2)


def in_pieces(rate_hz: int, pcm: bytes, sizes: list[int]) -> bytes:
    """As it comes off the wire: cut anywhere, also within a sample."""
    down = TelephoneDownsampler(rate_hz)
    out, at = b"", 0
    for size in sizes:
        out += down.push(pcm[at : at + size])
        at += size
    rest = [pcm[i : i + MAX_PUSH_BYTES] for i in range(at, len(pcm), MAX_PUSH_BYTES)]
    return out + b"".join(down.push(piece) for piece in rest) + down.flush()


def at_once(rate_hz: int, pcm: bytes) -> bytes:
    return in_pieces(rate_hz, pcm, [])


def level_db(pcm_8k: bytes, frequency_hz: float) -> float:
    """Of one frequency, by a windowed DFT at just that frequency; 0 dB is the tone that went in."""
    samples = struct.unpack(f"<{len(pcm_8k) // 2}h", pcm_8k)[800:-800]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / (len(samples) - 1)) for n in range(len(samples))]
    step = 2 * math.pi * frequency_hz / 8000
    real = sum(w * s * math.cos(step * n) for n, (w, s) in enumerate(zip(window, samples, strict=True)))
    imaginary = sum(w * s * math.sin(step * n) for n, (w, s) in enumerate(zip(window, samples, strict=True)))
    return 20 * math.log10(max(2 * math.hypot(real, imaginary) / sum(window), 1e-3) / AMPLITUDE)


def rest_db(pcm_8k: bytes) -> float:
    """Of everything that is left, wherever it folded to."""
    return 20 * math.log10(max(audioop.rms(pcm_8k[1600:-1600], 2), 1e-3) / FULL_TONE_RMS)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("frequency_hz", [300, 1000, 2000, 3000, 3200])
def test_the_telephone_band_passes_within_one_db(rate_hz, frequency_hz):
    out = at_once(rate_hz, tone(rate_hz, frequency_hz))
    assert abs(level_db(out, frequency_hz)) < 0.1
    assert abs(rest_db(out)) < 0.1, "and nothing is added"


@pytest.mark.parametrize(
    ("rate_hz", "frequency_hz"),
    [(rate, f) for rate in RATES for f in (5000, 6000, 7000, 9000) if f < rate / 2],
)
def test_what_lies_above_does_not_fold_back(rate_hz, frequency_hz):
    out = at_once(rate_hz, tone(rate_hz, frequency_hz))
    assert rest_db(out) < -60
    assert level_db(out, abs(8000 - frequency_hz)) < -60


def test_the_measure_sees_folding_where_it_happens():
    """`audioop.ratecv` keeps every third sample: 5 kHz comes out at 3 kHz, as loud as it went in."""
    folded, _ = audioop.ratecv(tone(24000, 5000), 2, 1, 24000, 8000, None)
    assert level_db(folded, 3000) > -1


@pytest.mark.parametrize("rate_hz", RATES)
@given(sizes=st.lists(st.integers(0, 3000), max_size=40))
@settings(max_examples=25, deadline=None)
def test_however_it_is_cut_the_same_comes_out(rate_hz, sizes):
    pcm = noise(rate_hz, 0.7)
    assert in_pieces(rate_hz, pcm, sizes) == at_once(rate_hz, pcm)


def test_byte_by_byte_is_the_same_too():
    pcm = noise(24000, 0.1)
    assert in_pieces(24000, pcm, [1] * len(pcm)) == at_once(24000, pcm)


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_second_stays_a_second(rate_hz):
    assert len(at_once(rate_hz, noise(rate_hz, 1.0))) == 16000


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_flush_gives_what_was_held_back_and_begins_anew(rate_hz):
    down = TelephoneDownsampler(rate_hz)
    pcm = noise(rate_hz, 0.5)
    early = down.push(pcm)
    first = early + down.flush()
    assert len(early) < len(first) == 8000
    assert down.flush() == b"", "nothing of an utterance is left for the next"
    assert down.push(pcm) + down.flush() == first


def test_half_a_sample_at_the_end_is_dropped():
    down = TelephoneDownsampler(24000)
    pcm = noise(24000, 0.3)
    whole = down.push(pcm) + down.flush()
    assert down.push(pcm + b"\x7f") + down.flush() == whole
    assert down.push(pcm) + down.flush() == whole


def test_silence_stays_silence_and_loud_stays_whole():
    assert set(at_once(24000, bytes(48000))) == {0}
    square = struct.pack("<48h", *([32767] * 24 + [-32768] * 24)) * 500  # 500 Hz: the filter overshoots
    out = struct.unpack("<8000h", at_once(24000, square))
    assert max(out) == 32767 and min(out) == -32768
    assert all((sample > 0) == (n % 16 < 8) for n, sample in enumerate(out) if n % 8 not in (0, 7)), "no wrap"


def test_the_first_sound_waits_for_no_more_than_a_tenth_of_a_second():
    down = TelephoneDownsampler(24000)
    assert down.push(noise(24000, 0.1))


def test_too_much_at_once_is_refused():
    with pytest.raises(ValueError, match="would hold up every call"):
        TelephoneDownsampler(24000).push(bytes(MAX_PUSH_BYTES + 1))


def test_the_largest_piece_holds_nobody_up():
    down = TelephoneDownsampler(24000)
    piece = noise(24000, 1.0)[: MAX_PUSH_BYTES // 8] * 8
    taken_s = []
    for _ in range(9):
        began_at = time.perf_counter()
        down.push(piece)
        taken_s.append(time.perf_counter() - began_at)
    assert min(taken_s) < 0.005


def test_a_rate_below_a_telephone_s_is_refused():
    with pytest.raises(ValueError, match="4000 Hz"):
        TelephoneDownsampler(4000)
