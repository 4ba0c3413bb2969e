"""A listener's noise is told from a word that wants the floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.turns.backchannel import MAX_WORDS, is_backchannel, is_wordless

NOISES_HE = """
    אהה | אה | אה-הה | כן | כן כן | נכון | בסדר | אוקיי | או קיי | אוקי | טוב | ממ | מממ | הממ | יופי
    סבבה | רגע | הבנתי | ברור | מעולה | וואו | נו | אה הא | אהא | כן, כן, כן. | אוקיי, הבנתי | בסדר גמור
    אני שומעת | אני מבין | איזה יופי | מצוין | מצויין | בדיוק | וואלה | אהה... כן | או.קיי. | מעולה!
    מממ-הממ | ואו | בוודאי | יס | נכון מאוד
"""
NOISES_EN = """
    uh-huh | Uh huh. | mm-hmm | Mm hmm | mhm | mmhmm | yeah | Yeah, yeah. | yes | right | Right, right
    ok | O.K. | OK! | okay | sure | I see | I see. | got it | hm | hmm | oh | cool | great | that's right
    That’s right. | all right | alright | of course | makes sense | wow | mm-hmm, yeah, I see | go on
    uh | um
"""
FLOOR = """
    לא | לא לא | לא, טוב | רגע רגע | רגע, כן | רגע אחד | נו נו | די | תעצור | חכי רגע | סליחה | תודה
    הלו | ביי | אבל | כן? | אה? | אוקיי? | מה | מה כן | למה | כן אבל לא היום | כן, ומה עם מחר | טוב אז תקבעי
    הם | אם | או | אמ | מ | קול | אה-אה | ממ-ממ | בסדר לא | כן כן כן כן כן כן | שבע | אני רוצה תור | ואלה
    no | nope | No, yeah | stop | wait | hold on | ok wait | ok but | yeah no | uh-uh | uh uh | nuh-uh
    mm-mm | Mm - mm | really | huh | what | yeah? | I see a problem | right away please | thank you
    hello | bye | sorry | god | i | o | sure, book it | great, and how much | yes I want that | okay so
    ok ok ok ok ok ok | k | see | got | 5 | 12 | כן 5 | yes 2 | ٣ | 050-1234567 | אחת שתיים
"""


def phrases(table: str) -> list[str]:
    return [phrase.strip() for line in table.splitlines() for phrase in line.split("|") if phrase.strip()]


@pytest.mark.parametrize("language", ["he", "en", "he-IL", "en-US"])
@pytest.mark.parametrize("text", phrases(NOISES_HE) + phrases(NOISES_EN))
def test_a_listeners_noise_is_one_in_a_call_of_either_language(text: str, language: str) -> None:
    assert is_backchannel(text, language)


@pytest.mark.parametrize("language", ["he", "en"])
@pytest.mark.parametrize("text", phrases(FLOOR))
def test_a_word_that_wants_the_floor_is_none(text: str, language: str) -> None:
    assert not is_backchannel(text, language)


@pytest.mark.parametrize("text", ["כן yeah", "אוקיי, cool", "mm-hmm כן", "Yes, סבבה"])
def test_languages_mix(text: str) -> None:
    assert is_backchannel(text, "he") and is_backchannel(text, "en")


@pytest.mark.parametrize(
    "text",
    [
        "אההה",
        "אהההההה",
        "ממממ",
        "ממממם",
        "הממממ",
        "כןן",
        "כןןן",
        "סבבההה",
        "yeahhh",
        "Yeeeah",
        "hmmmmm",
        "ohhh",
        "okaaay",
    ],
)
def test_letters_may_be_held(text: str) -> None:
    assert is_backchannel(text, "he")


@pytest.mark.parametrize(
    "text",
    [
        "כֵּן",
        "נָכוֹן",
        "בְּסֵדֶר",
        "טוֹב",
        "\u200fכן\u200e",
        "\u202bכן\u202c.",
        "אה\u05beהה",
        "uh\u2011huh",
        "uh \u2013 huh",
        "ＯＫ",
        "„כן”",
        "  כן \n",
        "…yeah…",
        "\ufb3bן",
        "יוׄפי",
    ],
)
def test_niqqud_punctuation_and_invisible_characters_do_not_count(text: str) -> None:
    assert is_backchannel(text, "he")


@pytest.mark.parametrize("text", ["[noise] כן", "כן (צחוק)", "<unk> yeah", "*coughs* ok", "♪ la la ♪ mm-hmm"])
def test_a_transcribers_remark_beside_a_noise_does_not_count(text: str) -> None:
    assert is_backchannel(text, "he")
    assert not is_wordless(text)


def test_hebrew_in_latin_letters_counts_in_hebrew_calls_only() -> None:
    for text in ("ken", "Nachon.", "beseder", "sababa, tov", "nu"):
        assert is_backchannel(text, "he") and is_backchannel(text, "iw-IL")
        assert not is_backchannel(text, "en")
    assert not is_backchannel("nu nu", "he")


def test_a_business_may_add_words() -> None:
    assert not is_backchannel("שמעתי, כן", "he")
    assert is_backchannel("שמעתי, כן", "he", ("שמעתי",))
    assert is_backchannel("Roger that", "en", ["roger that"])
    assert is_backchannel("ROGERRR that.", "en", ["Roger-that"])
    assert is_backchannel("כן, אני מבין, שמעתי", "he", ("שמעתי", "מבין"))
    assert not is_backchannel("שמעתיו", "he", ("שמעתי",))


@pytest.mark.parametrize("extra", ["לא", "לאאא", "no", "no problem", "wait", "רגע לא", "מה קורה", "don't"])
def test_no_addition_makes_a_negation_or_a_question_a_noise(extra: str) -> None:
    assert not is_backchannel(extra, "he", (extra,))
    assert not is_backchannel("כן?", "he", ("כן?", "כן"))


@pytest.mark.parametrize("extra", ["", "  ", "!!", "|", "a|", "(", "[a-z]+", ".*"])
def test_an_addition_without_words_adds_nothing(extra: str) -> None:
    assert not is_backchannel("", "he", (extra,))
    assert not is_backchannel("hello there", "he", (extra,))
    assert is_backchannel("כן", "he", (extra,))


def test_a_row_of_noises_is_one_up_to_its_limit() -> None:
    assert is_backchannel(" ".join(["כן"] * MAX_WORDS), "he")
    assert not is_backchannel(" ".join(["כן"] * (MAX_WORDS + 1)), "he")


@pytest.mark.parametrize("text", ["", "   ", "...", "[noise]", "(cough)", "<unk>", "♪♪", "\u200f", "?"])
def test_what_is_wordless_is_no_noise_of_a_listener(text: str) -> None:
    assert is_wordless(text)
    assert not is_backchannel(text, "he")


@pytest.mark.parametrize(
    "text",
    [
        "[noise] (cough)",
        "<|nospeech|>",
        "{laughter}...",
        "*sighs*",
        "♪ שיר ♪",
        "(מוזיקה)",
        "תודה שצפיתם!",
        "Thank you for watching.",
        "Subtitles by the Amara.org community",
        "--- … ,",
    ],
)
def test_remarks_and_ghosts_are_wordless(text: str) -> None:
    assert is_wordless(text)


@pytest.mark.parametrize("text", ["כן", "7", "ממ", "תודה", "Thank you", "[noise] שלום", "א", "(" * 3 + "hi"])
def test_words_sounds_and_digits_are_not_wordless(text: str) -> None:
    assert not is_wordless(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "(" * 100_000, "*" * 100_000, "אה" * 50_000, "א" + "ה" * 399, "כן " * 50_000, "h" * 400],
)
def test_hostile_text_costs_little(text: str) -> None:
    assert not is_backchannel(text, "he")
    is_wordless(text)


@given(st.text(max_size=300), st.sampled_from(["he", "en", ""]))
def test_any_text_is_judged(text: str, language: str) -> None:
    if is_backchannel(text, language):
        assert not is_wordless(text)
        assert "?" not in text
