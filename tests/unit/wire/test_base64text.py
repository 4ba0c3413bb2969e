"""The same texts are base64 on every Python."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.base64text import decode


@given(st.binary(max_size=400))
def test_what_was_encoded_is_read(data: bytes) -> None:
    text = base64.b64encode(data)
    assert decode(text) == decode(text.decode()) == data


@pytest.mark.parametrize(
    "text",
    [
        "QUJD=",
        "QUJD==",
        "QUJD====",
        "QQ=",
        "QQ",
        "=QQ=",
        "Q=Q=",
        "QU JD",
        "QUJ\n",
        "-_-_",
        "שלום",
        "QQ==QUJD",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)
