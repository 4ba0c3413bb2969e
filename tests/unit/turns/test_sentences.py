"""Where a streamed answer is cut into pieces to speak, in Hebrew and English."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.turns.sentences import FIRST_MAX_CHARS, MAX_CHARS, SentenceCutter

LETTERS = "אבגםת" + "aBcDz" + "059"
MARKS = " .,!?…:;-\n'\"״׳’()*\t–"
plain_text = st.text(LETTERS + MARKS + "   ", max_size=900)


def cut(text: str, size: int = 0) -> list[str]:
    """The pieces of `text` when it comes in deltas of `size` characters; 0 is all at once."""
    cutter = SentenceCutter()
    deltas = [text[at : at + size] for at in range(0, len(text), size)] if size else [text]
    pieces = [piece for delta in deltas for piece in cutter.push(delta)]
    return pieces + cutter.flush()


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@pytest.mark.parametrize(
    "pieces",
    [
        ["אנחנו פתוחים מתשע עד חמש.", "מתי נוח לכם?", "נשמח לראותכם!"],
        ["We open at nine.", "When would suit you?", "See you then!"],
        ['ד"ר כהן פנוי מחר.', "הוא מקבל ברח' הרצל 5, ליד ביה\"ס.", "להתראות בקרוב."],
        ['אני גר בארה"ב.', 'אחר כך אעבור לת"א.', "ומה איתכם היום?"],
        ["לחם, חלב, ביצים וכו'.", "זה הכול להיום."],
        ['החברה היא בע"מ, ת.ד. 55 ירושלים.', "ח.פ. 123 רשום שם."],
        ["Mr. Levi and Dr. Katz are in.", "Ask for Mrs. J. Smith, e.g. by phone."],
        ["We ship to the U.S. and the U.K. every week.", "Call before 5 p.m. on Friday."],
        ["See no. 5 and fig. 3 there.", "That is all."],
        ['המחיר הוא 12.5 ש"ח בלבד.', "התור הוא ב-10:30 בבוקר."],
        ["It costs 1,299.90 today.", "Take 2.5 kg.", "The door opens at 10:30 sharp."],
        ["It is 25.5°C outside.", "Dial 03-555.1234 for help."],
        ['He said: "We are closed."', "Then he left (it was late.)", "The end is near."],
        ["הוא אמר: ״אנחנו סגורים.״", "ואז הלך לדרכו."],
        ["Really?!", "I never knew that!!!", "How odd it is…"],
        ["I was wondering... perhaps tomorrow is better.", "What do you think?"],
        ["Version 3.11.2 is out.", "Write to info@example.com soon.", "The file a.txt is there."],
    ],
    ids=lambda pieces: pieces[0][:20],
)
def test_sentences_are_spoken_one_by_one(pieces):
    assert later(" ".join(pieces)) == pieces


def later(text: str) -> list[str]:
    """The pieces of `text` where it is not the beginning of an answer."""
    first, *rest = cut("Well then. " + text)
    assert first == "Well then."
    return rest


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("No. We are closed today.", ["No. We are closed today."]),
        ("כן. בהחלט. אנחנו פתוחים.", ["כן. בהחלט.", "אנחנו פתוחים."]),
        ("אה... רגע אחד. מצאתי את זה.", ["אה... רגע אחד.", "מצאתי את זה."]),
    ],
)
def test_a_word_alone_is_spoken_with_what_follows(text, pieces):
    assert later(text) == pieces


def test_the_first_piece_may_be_a_clause_so_that_the_first_sound_comes_soon():
    text = "בשמחה, אני בודקת מתי יש תור פנוי, וחוזרת אליכם מיד. השבוע יש מקום, ביום שלישי בעשר."
    assert cut(text) == [
        "בשמחה, אני בודקת מתי יש תור פנוי,",
        "וחוזרת אליכם מיד.",
        "השבוע יש מקום, ביום שלישי בעשר.",
    ]


def test_no_clause_ends_in_a_number_or_a_time():
    assert cut("The total today is 1,250 shekels and we open at 10:30 in the morning.") == [
        "The total today is 1,250 shekels and we open at 10:30 in the morning."
    ]


def test_a_piece_comes_as_soon_as_it_is_decided():
    cutter = SentenceCutter()
    assert cutter.push("We open at nine") == []
    assert cutter.push(".") == [], "it may be 9.30"
    assert cutter.push(" ") == [], "a small letter may follow"
    assert cutter.push("A") == ["We open at nine."]
    assert cutter.push("nd close at five.\n") == ["And close at five."]
    assert cutter.flush() == []


def test_after_a_flush_the_next_answer_begins():
    cutter = SentenceCutter()
    text = "That is quite all right, nobody minds. Good bye"
    pieces = cutter.push(text) + cutter.flush()
    assert pieces == ["That is quite all right,", "nobody minds.", "Good bye"]
    assert cutter.push(text) + cutter.flush() == pieces


def test_list_items_are_pieces_and_their_numbers_do_not_end_any():
    text = "יש לנו שלושה טיפולים:\n1. תספורת גברים\n2. תספורת נשים\n3. פן\n- ועוד טיפולי צבע\n"
    assert cut(text) == [
        "יש לנו שלושה טיפולים:",
        "1. תספורת גברים",
        "2. תספורת נשים",
        "3. פן. ועוד טיפולי צבע",
    ]


def test_a_list_s_number_stays_with_its_item():
    assert later("שלום\n12. תספורת\n") == ["שלום. 12. תספורת"]


@pytest.mark.parametrize("length", range(MAX_CHARS - 3, MAX_CHARS + 4))
def test_no_piece_is_longer_than_the_longest(length):
    sentence = ("Word " * 100)[: length - 1].rstrip().ljust(length - 1, "s") + "."
    pieces = later(sentence + " More of it.")
    assert max(map(len, pieces)) <= MAX_CHARS
    assert (pieces[0] == sentence) == (length <= MAX_CHARS)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_an_endless_sentence_is_cut_at_a_clause_else_between_words(size):
    with_commas = "one two three four five six, " * 40
    pieces = cut(with_commas, size)
    assert all(piece.endswith(",") for piece in pieces)
    assert all(len(piece) <= MAX_CHARS for piece in pieces)
    without = "מילה אחת ועוד אחת " * 60
    pieces = cut(without, size)
    assert len(pieces[0]) <= FIRST_MAX_CHARS < max(map(len, pieces)) <= MAX_CHARS
    assert {word for piece in pieces for word in piece.split()} == set(without.split()), "no word is cut"


def test_what_has_no_gap_at_all_is_cut_all_the_same():
    pieces = cut("א" * 1000)
    assert "".join(pieces) == "א" * 1000
    assert max(map(len, pieces)) == MAX_CHARS


def test_nothing_without_a_sound_is_a_piece():
    assert cut("...\n\n---\n***\n😀 👍\n\u200f\n") == []
    assert cut("") == []


def test_an_answer_as_models_write_them():
    text = (
        "**שלום!** 😀 שמחה שהתקשרתם.\n\n## שעות הפתיחה\n\n* א׳–ה׳: 9:00–17:00\n* ו׳: סגור\n\n"
        "אפשר לקבוע תור [באתר שלנו](https://www.example.co.il/book?x=1). מחכים לכם!"
    )
    expected = [
        "שלום! שמחה שהתקשרתם.",
        "שעות הפתיחה",
        "א׳–ה׳: 9:00–17:00",
        "ו׳: סגור. אפשר לקבוע תור באתר שלנו.",
        "מחכים לכם!",
    ]
    assert cut(text) == cut(text, 1) == cut(text, 5) == expected


@given(plain_text)
@example("a.b" * 200)
@settings(max_examples=300, deadline=None)
def test_no_letter_and_no_digit_is_lost(text):
    assert letters("".join(cut(text))) == letters(text)


@given(plain_text, st.lists(st.integers(1, 60), min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_pieces_do_not_depend_on_how_the_text_came(text, sizes):
    cutter = SentenceCutter()
    pieces: list[str] = []
    at = 0
    while at < len(text):
        for size in sizes:
            pieces += cutter.push(text[at : at + size])
            at += size
    assert pieces + cutter.flush() == cut(text)


@given(st.text(max_size=700))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_pieces_are_short_single_lines_with_a_sound(text):
    for piece in cut(text, 3):
        assert any(map(str.isalnum, piece))
        assert len(piece.splitlines()) == 1
        piece.encode()  # half a character would be refused by every service


def test_a_flood_is_cut_in_a_time_that_grows_with_its_length():
    cutter = SentenceCutter()
    flood = "word " * 40_000
    pieces = cutter.push(flood) + cutter.flush()
    assert letters("".join(pieces)) == letters(flood)
