"""Keys are sent as ITU-T Q.23 says, and told apart within the bounds of Q.24."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio import tones
from server.audio.g711 import FRAME_BYTES, SILENCE, from_pcm16, rms, to_pcm16
from server.audio.tones import HIGH_HZ, KEYS, LOW_HZ, beep, decode, dtmf
from tests.unit.audio.conftest import SPOKEN, over_noise, read_clip

ALL_KEYS = "0123456789*#ABCD"
ONE_MS = SILENCE * 8


def pair(key: str) -> tuple[int, int]:
    row = next(n for n, keys in enumerate(KEYS) if key in keys)
    return LOW_HZ[row], HIGH_HZ[KEYS[row].index(key)]


def tone(low_hz: float, high_hz: float, ms: int = 60, low_dbm0: float = -8, high_dbm0: float = -6) -> bytes:
    return tones._tones([(low_hz, low_dbm0), (high_hz, high_dbm0)], ms)


def key_tone(key: str, ms: int = 60, low_dbm0: float = -8, high_dbm0: float = -6) -> bytes:
    return tone(*pair(key), ms, low_dbm0, high_dbm0)


def wherever(sound: bytes) -> list[str]:
    """What is decoded with the sound at seven places against the decoder's hops of 32 samples."""
    return [decode(SILENCE * (400 + 5 * place) + sound + SILENCE * 400) for place in range(7)]


def is_always(key: str, sound: bytes) -> bool:
    return set(wherever(sound)) == {key}


# Sending


def test_the_frequencies_are_those_of_q23() -> None:
    assert pair("1") == (697, 1209)
    assert pair("5") == (770, 1336)
    assert pair("9") == (852, 1477)
    assert pair("#") == (941, 1477)
    assert pair("*") == (941, 1209)
    assert pair("D") == (941, 1633)


def test_a_key_is_its_tone_its_gap_and_whole_frames() -> None:
    assert len(dtmf("1")) == 180 * 8
    assert dtmf("1")[100 * 8 :] == SILENCE * 80 * 8
    assert len(dtmf("12", tone_ms=45, gap_ms=40)) == 180 * 8
    assert dtmf("12", tone_ms=45, gap_ms=40)[-50 * 8 :] == ONE_MS * 50
    assert dtmf("") == b""


def test_the_tones_are_as_loud_as_said() -> None:
    """A full-scale sine, +3.17 dBm0, has an RMS of 22,715: -8 and -6 dBm0 together have one of 10,103."""
    middle = key_tone("1", 100)[20 * 8 : 80 * 8]
    assert rms(middle) == pytest.approx(10103, rel=0.02)
    assert rms(beep(440, 100)[20 * 8 : 80 * 8]) == pytest.approx(4986, rel=0.02)
    pcm = array("h", to_pcm16(dtmf(ALL_KEYS)))
    assert max(map(abs, pcm)) < 0.7 * tones.FULL_SCALE


@pytest.mark.parametrize("sound", [dtmf("5"), beep(1000, 100)], ids=["dtmf", "beep"])
def test_a_tone_rises_and_falls_without_a_click(sound: bytes) -> None:
    pcm = array("h", to_pcm16(sound[: 100 * 8]))
    for edge in (pcm[:40], pcm[:-41:-1]):
        peaks = [max(map(abs, edge[ms * 8 : ms * 8 + 8])) for ms in range(5)]
        assert peaks[0] < 0.1 * max(map(abs, pcm))
        assert peaks[0] < peaks[2] < peaks[4]
        assert max(abs(edge[n + 1] - edge[n]) for n in range(8)) < 0.1 * max(map(abs, pcm))


def test_a_beep_is_whole_frames_of_one_tone() -> None:
    sound = beep(1000, 50)
    assert len(sound) == 60 * 8
    pcm = array("h", to_pcm16(sound[:400]))
    crossings = sum(1 for n in range(len(pcm) - 1) if pcm[n] <= 0 < pcm[n + 1])
    assert crossings == pytest.approx(50, abs=1)
    assert decode(beep(770, 200)) == ""


def sine_by_sine(digits: str, tone_ms: int, gap_ms: int) -> bytes:
    """As Q.23 has it, each sample for itself: nothing is shared with what is tested but the levels."""
    n_samples = tone_ms * 8
    ramp = min(tones.RAMP_MS * 8, n_samples // 2)
    audio = b""
    for key in digits:
        low_hz, high_hz = pair(key)
        pcm = array("h")
        for n in range(n_samples):
            edge = min(n, n_samples - 1 - n)
            gain = (1 - math.cos(math.pi * (edge + 0.5) / ramp)) / 2 if edge < ramp else 1.0
            low, high = (
                32124 * 10 ** ((dbm0 - 3.17) / 20) * math.sin(2 * math.pi * hz / 8000 * n)
                for hz, dbm0 in ((low_hz, -8.0), (high_hz, -6.0))
            )
            pcm.append(round(gain * (low + high)))
        audio += from_pcm16(pcm.tobytes()) + ONE_MS * gap_ms
    return audio + SILENCE * (-len(audio) % FRAME_BYTES)


@pytest.mark.parametrize(("tone_ms", "gap_ms"), [(100, 80), (45, 40), (3, 0)])
def test_all_keys_sound_as_if_computed_sample_by_sample(tone_ms: int, gap_ms: int) -> None:
    assert dtmf(ALL_KEYS, tone_ms, gap_ms) == sine_by_sine(ALL_KEYS, tone_ms, gap_ms)


def test_sending_keys_computes_no_sine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's green thread sends them: 32 keys, computed one by one, held every call for 112 ms."""
    before = dict(tones._KEY_TONES)

    def refuse(angle: float) -> float:
        raise AssertionError("trigonometry while a call waits")

    monkeypatch.setattr(tones, "sin", refuse)
    monkeypatch.setattr(tones, "cos", refuse)
    assert cut_out(dtmf(ALL_KEYS * 2)) == [before[key] for key in ALL_KEYS * 2]
    assert all(tones._KEY_TONES[key] is tone for key, tone in before.items())


def cut_out(audio: bytes) -> list[bytes]:
    """The tones of 100 ms in it, as they stand, without the gaps of 80."""
    return [audio[at : at + 100 * 8] for at in range(0, len(audio), 180 * 8)]


def test_what_is_no_key_or_no_tone_is_refused() -> None:
    with pytest.raises(ValueError, match="no key of a telephone: x"):
        dtmf("12x")
    for hz in (0, -5, 4000, float("nan")):
        with pytest.raises(ValueError, match="is not between"):
            beep(hz, 20)


# Decoding


def test_all_keys_are_decoded_in_order() -> None:
    assert decode(dtmf(ALL_KEYS)) == ALL_KEYS
    assert decode(dtmf(ALL_KEYS, tone_ms=50, gap_ms=45)) == ALL_KEYS
    assert decode(dtmf("5555")) == "5555"


@settings(max_examples=40, deadline=None)
@given(
    st.text(ALL_KEYS, min_size=1, max_size=6),
    st.integers(40, 200),
    st.integers(40, 200),
    st.integers(0, 400),
)
def test_what_is_sent_is_decoded(digits: str, tone_ms: int, gap_ms: int, before: int) -> None:
    assert decode(SILENCE * before + dtmf(digits, tone_ms, gap_ms)) == digits


@pytest.mark.parametrize("key", ALL_KEYS)
def test_a_tone_of_40_ms_is_a_key_and_one_of_23_ms_is_none(key: str) -> None:
    assert is_always(key, key_tone(key, 40))
    assert is_always("", key_tone(key, 23))


@pytest.mark.parametrize("key", "17D#")
def test_keys_are_parted_by_30_ms_and_not_by_a_hole_of_10(key: str) -> None:
    assert is_always(key * 2, key_tone(key, 60) + ONE_MS * 30 + key_tone(key, 60))
    whole = key_tone(key, 140)
    assert is_always(key, whole[:500] + ONE_MS * 10 + whole[580:])


@pytest.mark.parametrize("key", "17D#")
def test_a_key_may_be_off_pitch_by_as_much_as_q24_accepts(key: str) -> None:
    low_hz, high_hz = pair(key)
    for low, high in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        for ms in (40, 100):
            accepted = tone(low_hz * (1 + 0.018 * low), high_hz * (1 + 0.018 * high), ms)
            assert is_always(key, accepted)
            assert is_always("", tone(low_hz * (1 + 0.03 * low), high_hz, ms))
            assert is_always("", tone(low_hz, high_hz * (1 + 0.03 * high), ms))


@pytest.mark.parametrize("key", "17D#")
def test_a_key_may_be_faint_or_twisted_by_as_much_as_q24_accepts(key: str) -> None:
    assert is_always(key, key_tone(key, 60, -25, -25))
    assert is_always(key, key_tone(key, 60, -4, -4))
    assert is_always("", key_tone(key, 60, -29, -29))
    assert is_always(key, key_tone(key, 60, -10, -18))
    assert is_always(key, key_tone(key, 60, -10, -6))
    assert is_always("", key_tone(key, 60, -10, -21))
    assert is_always("", key_tone(key, 60, -16, -9))


def test_one_tone_or_two_of_one_group_are_no_key() -> None:
    assert is_always("", tone(697, 852, 100))
    assert is_always("", tone(1209, 1477, 100))
    assert is_always("", beep(697, 100))
    assert is_always("", tones._tones([(350, -13), (440, -13)], 400)), "a dial tone"


def test_a_third_tone_spoils_a_key() -> None:
    assert is_always("", tones._tones([(697, -8), (770, -10), (1209, -6)], 100))


def test_keys_are_decoded_over_a_noisy_line() -> None:
    noise = array("h", to_pcm16(read_clip("line_noise").audio))
    faint = array("h", to_pcm16(b"".join(key_tone(key, 60, -22, -20) + ONE_MS * 60 for key in ALL_KEYS)))
    mixed = array("h", (sample + noise[n % len(noise)] for n, sample in enumerate(faint)))
    assert decode(from_pcm16(mixed.tobytes())) == ALL_KEYS


@pytest.mark.parametrize("name", [*SPOKEN, "line_noise"])
def test_no_key_is_heard_in_speech(name: str) -> None:
    clip = read_clip(name)
    assert decode(clip.audio) == ""
    assert decode(over_noise(clip).audio) == ""


@pytest.mark.parametrize("name", SPOKEN)
def test_keys_are_heard_between_words(name: str) -> None:
    clip = read_clip(name)
    assert decode(clip.audio + dtmf("30#") + clip.audio) == "30#"


def test_neither_silence_nor_rubbish_nor_half_a_block_is_a_key() -> None:
    assert decode(b"") == ""
    assert decode(SILENCE * 100) == ""
    assert decode(SILENCE * 8000) == ""
    assert decode(b"\x00" * 8000) == ""
    assert decode(random.Random(7).randbytes(80 * FRAME_BYTES)) == ""
