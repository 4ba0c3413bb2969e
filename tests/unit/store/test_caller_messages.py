import json

import pytest

from server.store.caller_messages import MAX_FIELD_CHARS, MAX_TEXT_CHARS, CallerMessage

MESSAGE = CallerMessage(
    "תתקשרו אליי", "CA1", "flowers", 1_700_000_000.5, "דנה", "+972501234567", "https://x/RE1"
)


def test_what_is_packed_is_unpacked():
    assert CallerMessage.from_json(MESSAGE.to_json()) == MESSAGE
    assert "דנה" in MESSAGE.to_json()


def test_words_name_and_number_are_not_shown_by_accident():
    for secret in (MESSAGE.text, MESSAGE.name, MESSAGE.number):
        assert secret not in repr(MESSAGE)


def test_a_message_is_bounded():
    long = CallerMessage(
        "א" * 10**6, "C" * 10**6, "b" * 10**6, float("inf"), "n" * 10**6, "5" * 10**6, "u" * 10**6
    )
    bounded = long.bounded()
    assert len(bounded.text) == MAX_TEXT_CHARS
    others = (bounded.call_sid, bounded.business_id, bounded.name, bounded.number, bounded.recording_url)
    assert {len(other) for other in others} == {MAX_FIELD_CHARS}
    assert bounded.noted_at == 0
    assert MESSAGE.bounded() == MESSAGE


def test_half_a_character_is_replaced():
    assert CallerMessage("\ud83d", "CA1", "", 1.0).bounded().text == "?"


WHOLE = json.loads(MESSAGE.to_json())


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "text",
        {},
        {"text": "x"},
        WHOLE | {"more": 1},
        WHOLE | {"noted_at": "x"},
        WHOLE | {"text": 5},
    ],
)
def test_what_is_no_message_is_refused(record):
    with pytest.raises(ValueError, match="no message"):
        CallerMessage.from_json(json.dumps(record))


def test_what_is_no_json_is_refused():
    for text in ("", "{", "[" * 100_000):
        with pytest.raises(ValueError):
            CallerMessage.from_json(text)
