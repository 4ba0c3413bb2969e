"""Keys that follow each other are one entry."""

from __future__ import annotations

from server.telephony.keys import MAX_KEYS, PAUSE_S, KeyBuffer


def test_keys_are_one_entry_until_a_pause() -> None:
    keys = KeyBuffer()
    assert [keys.press(digit, n * 0.5) for n, digit in enumerate("12*")] == ["", "", ""]
    assert keys.due(1.0 + PAUSE_S) == ""
    assert keys.due(1.1 + PAUSE_S) == "12*"
    assert keys.due(99.0) == ""


def test_the_pound_key_ends_an_entry_at_once() -> None:
    keys = KeyBuffer()
    keys.press("7", 0.0)
    assert keys.press("#", 0.1) == "7#"
    assert keys.press("#", 0.2) == "#"


def test_a_key_after_a_pause_that_nobody_looked_at_joins_the_entry() -> None:
    keys = KeyBuffer()
    keys.press("1", 0.0)
    assert keys.press("2", 60.0) == ""
    assert keys.due(62.0) == "12"


def test_an_entry_has_an_end() -> None:
    keys = KeyBuffer()
    entries = [keys.press("5", 0.0) for _ in range(MAX_KEYS)]
    assert entries[-1] == "5" * MAX_KEYS
