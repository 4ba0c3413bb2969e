import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import logs
from server.logs import call_tag, clean, mask, mask_numbers


@pytest.mark.parametrize(
    ("call_sid", "tag"),
    [(None, "unknown"), ("", "unknown"), ("CA12", "CA12"), ("CA0123456789abcdef", "CA012345")],
)
def test_a_call_is_named_by_eight_characters(call_sid, tag):
    assert call_tag(call_sid) == tag


SECRETS = [
    ("key sk-proj-Zq81mvT0bLkW3nRy7Hd5 refused", "Zq81mvT0"),
    ("sk-abcdefgh", "abcdefgh"),
    ("rk-live_abcdefgh12", "live_abc"),
    ("Authorization: Bearer eyJhbGciOi.J9", "eyJ"),
    ("{'authorization': 'bearer abc.def'}", "abc.def"),
    ("X-Twilio-Signature: RSOYDt4T1cUTdK1PDd93/VVr8B8=", "RSOY"),
    ("{'X-Twilio-Signature': 'RSOYDt4T1cUTdK1PDd93/VVr8B8='}", "RSOY"),
    ("api-key=3f9a8b7c6d5e", "3f9a"),
    ('"api-key": "3f9a8b7c6d5e"', "3f9a"),
    ("call from +972501234567", "50123"),
    ("from=+14158675309 to=+18005551212.", "8675"),
    ("from=+14158675309 to=+18005551212.", "0055"),
    ("+442071838750", "207183"),
]


@pytest.mark.parametrize(("line", "secret"), SECRETS)
def test_no_secret_and_no_whole_number_is_in_a_line(line, secret):
    assert secret in line
    assert secret not in mask(line)
    assert "•••" in mask(line)


@pytest.mark.parametrize(
    "line",
    [
        "WS_STOP sid=MZ12345678 rx=1500 tx=1490",
        "response.create sent! OpenAI=640ms, T0→speak=667ms call_sid=CA012345",
        "got audio chunk from OpenAI: bytes=4000, call_sid=CA012345",
        "ask-me-anything task-12345678",
        "KAV-114 The stream brought no call token",
        "expires_at=1800000000",
        "שלום",
    ],
)
def test_a_harmless_line_stays_as_it_is(line):
    assert mask(line) == line


def test_masking_keeps_what_helps():
    assert mask("call from +972501234567 ended") == "call from +972•••4567 ended"
    assert mask("key sk-proj-Zq81mvT0bLkW refused") == "key sk-••• refused"


@given(st.text())
@settings(deadline=None)
def test_masking_twice_changes_nothing_more(line):
    assert mask(mask(line)) == mask(line)


NUMBERS = [
    ("הטלפון הוא 0501234567, להתראות", "הטלפון הוא ••••••4567, להתראות"),
    ("חייגו 050-123-4567.", "חייגו •••-•••-4567."),
    ("המספר +972 50-123-4567 שלנו", "המספר +••• ••-•••-4567 שלנו"),
    ("ל-050.123.4567 בבקשה", "ל-•••.•••.4567 בבקשה"),
    ("(03) 123-4567 או *2345", "(••) •••-4567 או *2345"),
    ("+972 (0) 50 1234567", "+••• (•) •• •••4567"),
    ("050\u2011123\u20114567 ו-052–7654321", "•••\u2011•••\u20114567 ו-•••–•••4321"),
    ("050־123־4567", "•••־•••־4567"),
    ("0 5 0 1 2 3 4 5 6 7", "• • • • • • 4 5 6 7"),
    ("050\n123\u200e4567", "•••\n•••\u200e4567"),
    ("972501234567 או 1800123123?", "••••••••4567 או ••••••3123?"),
    ("ב-12:30 ל-0501234567 עד 14:00", "ב-12:30 ל-••••••4567 עד 14:00"),
    ("050-1234567 12:30", "•••-•••4567 12:30"),
    ("12.10.2026 0501234567", "12.10.2026 ••••••4567"),
    ("תעודת זהות 123456782", "תעודת זהות •••••6782"),
    ("٠٥٠١٢٣٤٥٦٧", "••••••٤٥٦٧"),
]


@pytest.mark.parametrize(("words", "told"), NUMBERS)
def test_of_a_number_in_words_only_the_last_four_digits_are_told(words, told):
    assert mask_numbers(words) == told


@pytest.mark.parametrize(
    "words",
    [
        "השעה 12:30 או 12:30:45",
        'המחיר 1,250 ש"ח, או 1,250,000.50',
        "המחיר 12500.50 שקלים; 12.90 13.90 24.50",
        "בין 9:00-17:00, קומה 3, דירה 12",
        "ביום 21.11.2026 בשעה 14:30",
        "ביום 21.11.26 14:30 או 1/12/2026",
        "2026-01-11 10:00",
        "12.10.2026-15.10.2026",
        "רחוב הרצל 123456",
        "שלוחה 1234",
        "",
    ],
)
def test_prices_dates_and_times_stay_as_they_were_said(words):
    assert mask_numbers(words) == words


@given(st.text("0123456789 -.()+,:/א", max_size=60))
@settings(deadline=None)
def test_masking_numbers_changes_digits_alone_and_nothing_twice(words):
    told = mask_numbers(words)
    assert all(was == now or (was.isdigit() and now == "•") for was, now in zip(words, told, strict=True))
    assert mask_numbers(told) == told


@pytest.mark.parametrize(
    "words",
    ["0" + "-" * 20_000, "0 " * 10_000, "1" * 20_000 + ":1", "1," * 10_000, "1.1-" * 5_000, "12" * 9_000],
)
def test_no_words_keep_the_masking_busy(words):
    began_at = time.process_time()
    mask_numbers(words)
    assert time.process_time() - began_at < 0.1


BIDI_CONTROLS = [
    "\u061c",
    "\u200e",
    "\u200f",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]
LINE_ENDS = ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("control", BIDI_CONTROLS, ids=lambda c: f"U+{ord(c):04X}")
def test_no_bidi_control_turns_a_line_around(control):
    assert control not in clean(f"abc{control}def")


@pytest.mark.parametrize("end", LINE_ENDS, ids=lambda c: f"U+{ord(c):04X}")
def test_a_callers_words_stay_on_one_line(end):
    assert len(clean(f"hello{end}ERROR forged line").splitlines()) == 1


@pytest.mark.parametrize(
    ("block", "codes"),
    [("C0", [*range(9), *range(0x0B, 0x20)]), ("delete and C1", range(0x7F, 0xA0))],
)
def test_no_control_character_reaches_a_terminal(block, codes):
    """U+009B, for one, begins an escape sequence just as ESC [ does."""
    assert [f"U+{code:04X}" for code in codes if chr(code) in clean(f"a{chr(code)}b")] == []


@pytest.mark.parametrize("text", ["שלום, מה שלומך?", "hello there", "a\tb", "🙂 é ß", ""])
def test_words_stay_as_they_are(text):
    assert clean(text) == text


def test_words_are_bounded():
    assert len(clean("x" * 100_000)) == 200
    assert len(clean("x" * 100_000, 64)) == 64


@given(st.text())
@settings(deadline=None)
def test_whatever_is_cleaned_is_one_bounded_line(text):
    cleaned = clean(text)
    assert len(cleaned) <= 200
    assert "\n" not in cleaned and "\r" not in cleaned and "\x1b" not in cleaned


def test_a_formatted_line_is_masked_with_its_arguments_and_its_traceback():
    try:
        raise ValueError("sk-proj-Zq81mvT0bLkW3nRy7Hd5")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("kav", logging.ERROR, __file__, 1, "from %s", ("+972501234567",), info)
    line = logs._Masked(logs.FORMAT, "%H:%M:%S").format(record)
    assert "from +972•••4567" in line
    assert "ValueError: sk-•••" in line
    assert "Zq81" not in line
    assert "01234" not in line.split("from", 1)[1]
