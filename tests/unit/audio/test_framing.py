from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.framing import Framer
from server.audio.g711 import FRAME_BYTES


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 10_000), max_size=30))
@settings(deadline=None)
def test_however_the_audio_is_cut_the_frames_are_the_same_and_nothing_is_lost(data, cuts):
    framer = Framer()
    frames = [frame for piece in cut(data, cuts) for frame in framer.push(piece)]
    assert framer.waiting_bytes == len(data) % FRAME_BYTES
    last = framer.flush()
    frames += [last] if last is not None else []
    assert {len(frame) for frame in frames} <= {FRAME_BYTES}
    padding = b"\xff" * (-len(data) % FRAME_BYTES)
    assert b"".join(frames) == data + padding


@pytest.mark.parametrize("n", [1, 159, 160, 161, 320, 1600, 1_000_000, 1_048_576])
def test_a_delta_of_any_length_is_taken_whole(n):
    data = (bytes(range(256)) * (n // 256 + 1))[:n]
    framer = Framer()
    frames = framer.push(data)
    assert len(frames) == n // 160
    assert framer.waiting_bytes == n % 160
    assert b"".join(frames) == data[: n - n % 160]


def test_bytes_one_by_one_make_a_frame_at_the_160th():
    framer = Framer()
    made = [len(framer.push(bytes([n]))) for n in range(160)]
    assert made == [0] * 159 + [1]
    assert framer.flush() is None


def test_the_last_part_is_padded_with_silence_not_with_zeros():
    framer = Framer()
    framer.push(b"\x00")
    assert framer.flush() == b"\x00" + b"\xff" * 159
    assert framer.waiting_bytes == 0
    assert framer.flush() is None


def test_an_item_does_not_begin_with_the_rest_of_the_one_before():
    framer = Framer()
    framer.push(b"a" * 100)
    framer.flush()
    assert framer.push(b"b" * 160) == [b"b" * 160]


def test_nothing_in_nothing_out():
    framer = Framer()
    assert framer.push(b"") == []
    assert framer.flush() is None
