"""After our own close, the peer's is recognised whatever its mask and its reason hold."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.websocket import CloseFinder, encode_close, mask_python


def masked_close(code: int, key: bytes) -> bytes:
    return b"\x88\x82" + key + mask_python(struct.pack("!H", code), key)


@given(key=st.binary(min_size=4, max_size=4), before=st.binary(max_size=300), code=st.integers(1000, 4999))
def test_a_close_at_the_end_is_found(key: bytes, before: bytes, code: int) -> None:
    assert CloseFinder(expect_mask=True).feed(before + masked_close(code, key))


@pytest.mark.parametrize("code", [1000, 1002])
def test_a_mask_that_makes_the_last_byte_look_like_a_close_does_not_hide_it(code: int) -> None:
    key = bytes([1, 0x88 ^ (code & 0xFF), 3, 4])
    assert masked_close(code, key)[-1] == 0x88
    assert CloseFinder(expect_mask=True).feed(masked_close(code, key))


@given(cut=st.integers(0, 20))
def test_it_may_come_in_pieces(cut: int) -> None:
    finder, frame = CloseFinder(expect_mask=False), encode_close(1000, "bye, שלום")
    assert finder.feed(frame[:cut]) or finder.feed(frame[cut:])


def test_other_frames_are_no_close() -> None:
    assert not CloseFinder(expect_mask=True).feed(b"\x81\x83" + b"\x01\x02\x03\x04" + b"abc")
    assert not CloseFinder(expect_mask=False).feed(b"")
