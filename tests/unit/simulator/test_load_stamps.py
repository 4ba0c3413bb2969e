"""Stamps survive the way as audio, and nothing else passes for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audio.ear import Ear
from server.audio.g711 import FRAME_BYTES, SILENT_FRAME, rms
from server.simulator.load import stamps

stamp = st.tuples(
    st.sampled_from([stamps.FROM_CALLER, stamps.FROM_MODEL]),
    st.integers(0, stamps.MAX_FLOWS - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)


@given(stamp)
def test_what_is_stamped_is_read_again(one: stamps.Stamp) -> None:
    assert stamps.read(stamps.stamp_b64(*one) + stamps.REST_B64) == [one]


@given(stamp)
def test_the_spliced_text_is_the_base64_of_the_frame(one: stamps.Stamp) -> None:
    whole = stamps.frame(*one)
    assert len(whole) == FRAME_BYTES
    assert base64.b64encode(whole) == stamps.stamp_b64(*one) + stamps.REST_B64


def test_several_frames_in_one_payload_are_all_read() -> None:
    first, second = (stamps.FROM_MODEL, 7, 0, 111), (stamps.FROM_MODEL, 7, 1, 222)
    payload = base64.b64encode(stamps.frame(*first) + stamps.frame(*second))
    assert stamps.read(payload) == [first, second]


@pytest.mark.parametrize("at", [15, 100, 159])
def test_a_changed_sample_is_noticed(at: int) -> None:
    changed = bytearray(stamps.frame(stamps.FROM_CALLER, 1, 2, 3))
    changed[at] ^= 1
    assert stamps.read(base64.b64encode(changed)) is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"AAAA", b"not base64 at all", base64.b64encode(SILENT_FRAME), b"=" * stamps.PAYLOAD_CHARS],
)
def test_what_is_no_stamped_frame_is_refused(payload: bytes) -> None:
    assert stamps.read(payload) is None


def test_a_stamped_frame_is_louder_than_any_noise_gate() -> None:
    one = stamps.frame(stamps.FROM_CALLER, 1, 2, 3)
    assert rms(one) > 20_000
    ear = Ear(threshold=200, min_frames=5, gate=True)
    heard = [ear.hear(stamps.frame(stamps.FROM_CALLER, 1, n, n)) for n in range(20)]
    assert all(not frame.is_gated for frames in heard[10:] for frame in frames)
