"""The load's quick framing says and reads the same as the careful one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.simulator.load.frames import Masker, quoted, split, text
from server.wire.websocket import CLOSE, PING, TEXT, Receiver, Text, encode, encode_close

SIZES = [0, 1, 125, 126, 300, 65535, 65536, 70000]


@pytest.mark.parametrize("n", SIZES)
def test_a_servers_text_frame(n: int) -> None:
    assert text(b"x" * n) == encode(TEXT, b"x" * n)


@pytest.mark.parametrize("n", SIZES)
def test_a_clients_text_frame_is_masked_for_real(n: int) -> None:
    payload = b"x" * n
    data = Masker().text(payload)
    assert Receiver(expect_mask=True, max_message_bytes=1 << 20).feed(data) == [Text(payload)]
    assert len(payload) < 4 or payload not in data


@given(
    st.lists(st.tuples(st.sampled_from([TEXT, PING, CLOSE]), st.binary(max_size=300), st.booleans())),
    st.integers(1, 500),
)
def test_frames_survive_any_slicing(frames: list[tuple[int, bytes, bool]], slice_bytes: int) -> None:
    data = b"".join(encode(opcode, payload, masked=masked) for opcode, payload, masked in frames)
    found: list[tuple[int, bytes]] = []
    rest = b""
    for at in range(0, len(data), slice_bytes):
        more, rest = split(rest + data[at : at + slice_bytes])
        found += more
    assert rest == b""
    assert found == [(opcode, payload) for opcode, payload, _ in frames]


def test_long_frames_and_a_mask_of_zeros() -> None:
    masked = b"\x81\xff" + (70000).to_bytes(8, "big") + bytes(4) + b"y" * 70000
    assert split(masked + encode_close(1000)[:1]) == ([(TEXT, b"y" * 70000)], encode_close(1000)[:1])


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (b'{"media":{"payload":"AAAA"}}', b"AAAA"),
        (b'{"media": {"payload": "AAAA"}}', b"AAAA"),
        (b'{"payload":""}', b""),
        (b'{"mark":{"name":"g1:7"}}', None),
        (b'{"payload":7}', None),
        (b'{"payload":"cut', None),
    ],
)
def test_a_value_is_found_by_its_name(message: bytes, value: bytes | None) -> None:
    assert quoted(message, b'"payload"') == value
