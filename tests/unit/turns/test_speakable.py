"""What is left of a model's text when only what has a sound is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.turns.speakable import speakable


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**חשוב:** *באמת* _מאוד_ `code` ~~ישן~~", "חשוב: באמת מאוד code ישן"),
        ("## שעות\n- ראשון\n- שני", "שעות. ראשון. שני"),
        ("* one\n+ two\n• three\n> said he", "one. two. three. said he"),
        ("1. first\n2) second", "1. first. 2) second"),
        ("| יום | שעה |\n|---|---|\n| א | 9:00 |", "יום, שעה. א, 9:00"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("see [our site](https://example.com/a_(b)?c=1#d) now", "see our site now"),
        ("see [our site](https://example.com/a?c=1#d) now", "see our site now"),
        ("![logo](logo.png) Kav", "logo Kav"),
        ("go to https://www.example.co.il/path?x=1.", "go to example.co.il."),
        ("www.example.com, or (http://b.example:8080/x)", "example.com, or (b.example)"),
        ("write to info@example.com", "write to info@example.com"),
        ("great 😀👍🏽 1️⃣ ❤️ 🇮🇱 day 👨‍👩‍👧!", "great 1 day!"),
        ("25°C, ₪90, 5%, 3*4, snake_case, ~5, #7", "25°C, ₪90, 5%, 3*4, snake_case, ~5, #7"),
        ("ד\"ר כהן, צה״ל, ג'ירפה, שָׁלוֹם", "ד\"ר כהן, צה״ל, ג'ירפה, שָׁלוֹם"),
        ("a<br>b <b>c</b> 2 < 3 > 1", "a b c 2 < 3 > 1"),
        (r"1\. one, \_this\_ \#2", "1. one, this #2"),
        ("two  spaces\t and \u00a0more \u200f\u202e\u2066", "two spaces and more"),
        ("half \ud83d a character\ufffd", "half a character"),
        ("---\n***\n\n🙂", ""),
        ("?!", ""),
        ("", ""),
    ],
)
def test_what_is_written_and_what_is_spoken(written, spoken):
    assert speakable(written) == spoken


@given(st.text())
def test_it_is_one_line_that_can_be_sent(text):
    spoken = speakable(text)
    spoken.encode()
    assert spoken == spoken.strip()
    assert len(spoken.splitlines()) <= 1


@given(st.text("אבגדabc019 .,:;!?\n'\"()״׳-*_`#|~", max_size=300))
def test_letters_and_digits_stay_in_their_order(text):
    assert "".join(filter(str.isalnum, speakable(text))) == "".join(filter(str.isalnum, text))
