import audioop
import base64
import math
import struct

import pytest

from server.audio import g711


def samples(pcm16: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(pcm16) // 2}h", pcm16)


def test_a_frame_is_20_ms_160_bytes_and_216_characters_of_base64():
    assert (g711.FRAME_MS, g711.FRAME_BYTES, g711.SAMPLE_RATE_HZ) == (20, 160, 8000)
    text = base64.b64encode(g711.SILENT_FRAME).decode()
    assert len(text) == 216
    assert text.endswith("==")


def test_silence_is_ff_and_not_zero():
    assert g711.SILENCE == b"\xff"
    assert g711.rms(g711.SILENT_FRAME) == 0
    assert g711.rms(b"\x7f" * 160) == 0
    assert g711.rms(b"\x7e\xfe" * 80) == 8
    assert g711.rms(bytes(160)) == 32124


def test_nothing_has_no_level():
    assert g711.rms(b"") == 0


@pytest.mark.parametrize(
    ("sample", "code"),
    [(0, 0xFF), (-1, 0x7E), (100, 0xF2), (1000, 0xCE), (-1000, 0x4E), (32124, 0x80), (-32768, 0x00)],
)
def test_samples_encode_as_the_standard_says(sample, code):
    assert g711.from_pcm16(struct.pack("<h", sample)) == bytes([code])


def expanded(code: int) -> int:
    """G.711's table by its formula: a sign, three bits of segment, four of step."""
    bits = ~code & 0xFF
    magnitude = (((bits & 0x0F) << 3) + 0x84 << ((bits & 0x70) >> 4)) - 0x84
    return -magnitude if bits & 0x80 else magnitude


def test_every_code_decodes_as_the_standards_formula():
    assert samples(g711.to_pcm16(bytes(range(256)))) == tuple(expanded(code) for code in range(256))


def test_every_code_survives_a_round_trip_save_the_second_zero():
    codes = bytes(range(256))
    assert g711.from_pcm16(g711.to_pcm16(codes)) == codes.replace(b"\x7f", b"\xff")


def test_all_16_bit_samples_encode_within_half_a_step():
    pcm16 = struct.pack("<65536h", *range(-32768, 32768))
    decoded = samples(g711.to_pcm16(g711.from_pcm16(pcm16)))
    for sample, back in zip(range(-32768, 32768), decoded, strict=True):
        step = max(8, 2 ** (max(abs(back), 1).bit_length() - 4))
        assert abs(sample - back) <= step or abs(sample) > 32124


@pytest.mark.parametrize("n", [1, 3, 161])
def test_half_a_sample_is_refused(n):
    with pytest.raises(ValueError, match="half a sample"):
        g711.from_pcm16(bytes(n))


def test_a_full_scale_sine_has_its_textbook_level():
    sine = struct.pack("<800h", *(round(32124 * math.sin(2 * math.pi * n / 80)) for n in range(800)))
    assert g711.rms(audioop.lin2ulaw(sine, 2)) == pytest.approx(22715, rel=0.02)


@pytest.mark.parametrize(("n_bytes", "ms"), [(0, 0), (7, 0), (8, 1), (160, 20), (161, 20), (480_000, 60_000)])
def test_eight_bytes_are_a_millisecond(n_bytes, ms):
    assert g711.ms(n_bytes) == ms
