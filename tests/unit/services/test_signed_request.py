"""The signature under requests to businesses, and the receiver's code that the docs show."""

import re
import time
from pathlib import Path

import pytest

from server.services.signed_request import MAX_AGE_S, sign, verify

DOCS = Path(__file__).resolve().parents[3] / "docs"
KEY, NOW = "k" * 32, 1732118400
BODY = '{"tool": "check_stock", "arguments": {"product": "חלה"}}'.encode()


def in_the_docs():
    """The function `is_from_kav` as docs/tools.md shows it."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "tools.md").read_text("utf-8"), re.DOTALL)
    names: dict = {}
    exec(code, names)
    return names["is_from_kav"]


def test_a_signature_as_openssl_computes_it():
    # printf '1732118400.{}' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    assert (
        sign(KEY, "1732118400", b"{}")
        == "v1=93176bbd691bafad2ad29aeb1326f4fbf68b4094cc27ea7eca4562c23ba2d1c8"
    )


@pytest.mark.parametrize("late_s", [0, MAX_AGE_S, -MAX_AGE_S])
def test_what_was_signed_just_now_is_ours(late_s):
    assert verify(KEY, str(NOW), BODY, sign(KEY, str(NOW), BODY), NOW + late_s)


@pytest.mark.parametrize("late_s", [MAX_AGE_S + 1, -MAX_AGE_S - 1, 10**9])
def test_what_was_signed_long_ago_is_not_taken(late_s):
    assert not verify(KEY, str(NOW), BODY, sign(KEY, str(NOW), BODY), NOW + late_s)


@pytest.mark.parametrize(
    ("key", "timestamp", "body", "signature"),
    [
        ("x" * 32, str(NOW), BODY, sign(KEY, str(NOW), BODY)),
        (KEY, str(NOW + 1), BODY, sign(KEY, str(NOW), BODY)),
        (KEY, str(NOW), BODY + b" ", sign(KEY, str(NOW), BODY)),
        (KEY, str(NOW), b"", sign(KEY, str(NOW), BODY)),
        (KEY, str(NOW), BODY, sign(KEY, str(NOW), BODY)[3:]),
        (KEY, str(NOW), BODY, sign(KEY, str(NOW), BODY).upper()),
        (KEY, str(NOW), BODY, ""),
        (KEY, str(NOW), BODY, "v1=חתימה\ud800"),
        (KEY, "", BODY, sign(KEY, "", BODY)),
        (KEY, "-1", BODY, sign(KEY, "-1", BODY)),
        (KEY, "١٧", BODY, "v1="),
        (KEY, "9" * 5000, BODY, "v1="),
        ("", str(NOW), BODY, sign("", str(NOW), BODY)),
    ],
)
def test_anything_else_is_not_ours(key, timestamp, body, signature):
    assert not verify(key, timestamp, body, signature, NOW)


def test_the_receivers_code_in_the_docs_says_the_same():
    is_from_kav = in_the_docs()
    now = str(int(time.time()))
    assert is_from_kav(KEY, now, BODY, sign(KEY, now, BODY))
    assert not is_from_kav(KEY, now, BODY + b" ", sign(KEY, now, BODY))
    assert not is_from_kav("x" * 32, now, BODY, sign(KEY, now, BODY))
    assert not is_from_kav(KEY, str(NOW), BODY, sign(KEY, str(NOW), BODY))
    assert not is_from_kav(KEY, "soon", BODY, "v1=חתימה")
