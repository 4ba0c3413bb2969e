"""How a caller's message is shown: masked, without controls, and with Hebrew where it belongs."""

import pytest
from click.testing import CliRunner, Result

from server.cli.messages import as_fields, isolated, lines, messages
from server.store.caller_messages import CallerMessage

FSI, PDI = "\u2068", "\u2069"
HEBREW = CallerMessage(
    "שיחזרו אליי מחר ל-050-1234567", "CA1", "bakery", 1732118400.0, name="דנה", number="+972501234567"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+972501234567", "+••••••••4567"),
        ("03-1234567", "••-•••4567"),
        ("050 123 4567", "••• ••• 4567"),
        ("(03) 123-4567.", "(••) •••-4567."),
        ("ל-050-1234567, תודה", "ל-•••-•••4567, תודה"),
        ("call +1 (415) 555-2671 or 0501234567", "call +• (•••) •••-2671 or ••••••4567"),
        ("21.11.2026 at 14:30", "21.11.2026 at 14:30"),
        ("01.11.2026, 08:15", "01.11.2026, 08:15"),
        ("2026-01-11 10:00", "2026-01-11 10:00"),
        ("order 123456, 100 rolls", "order 123456, 100 rolls"),
        ("", ""),
    ],
)
def test_telephone_numbers_are_masked_and_dates_are_not(text, shown):
    message = CallerMessage(text, "CA1", "bakery", 1.0)
    assert as_fields(message, show_numbers=False)["text"] == shown
    assert as_fields(message, show_numbers=True)["text"] == text


def test_a_message_is_a_heading_and_its_words():
    heading, words = lines(HEBREW, show_numbers=False)
    assert heading.endswith(f"  {FSI}דנה{PDI}  +••••••••4567  [bakery]")
    assert words == f"    {FSI}שיחזרו אליי מחר ל-•••-•••4567{PDI}"


def test_numbers_are_shown_to_who_asks():
    heading, words = lines(HEBREW, show_numbers=True)
    assert "+972501234567" in heading
    assert "050-1234567" in words


def test_latin_words_need_no_isolation():
    assert isolated("Dan, 14:30") == "Dan, 14:30"
    assert isolated("Dan דן") == f"{FSI}Dan דן{PDI}"
    assert isolated("مرحبا") == f"{FSI}مرحبا{PDI}"


def test_what_a_caller_says_cannot_steer_the_terminal_or_leave_its_line():
    hostile = CallerMessage("a\n\x1b[2J\u202eb\u2069c\td", "CA1", "1", 1.0, name="x\r\ny", number="1\x00")
    shown = lines(hostile, show_numbers=True)
    assert len(shown) == 2
    text = "".join(shown)
    assert not set(text) & set("\n\r\t\x00\x1b\u202e\u2066\u2069")
    for value in as_fields(hostile, show_numbers=True).values():
        assert not set(value or "") & set("\n\r\x00\x1b\u202e\u2069")


def test_a_recording_is_told_by_its_address():
    left = CallerMessage("", "CA1", "1", 0.0, recording_url="https://api.twilio.com/RE1")
    assert lines(left, show_numbers=False) == [
        "time unknown      [1]",
        "    recording: https://api.twilio.com/RE1",
    ]
    assert as_fields(left, show_numbers=False)["noted_at"] is None


def test_the_time_is_told_in_utc_to_programs():
    assert as_fields(HEBREW, show_numbers=False)["noted_at"] == "2024-11-20T16:00:00+00:00"


def listed(folder, monkeypatch, **env: str) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(messages, [], env={"DATABASE_URL": "", "REDIS_URL": ""} | env)


@pytest.mark.parametrize("url", ["foo", "redis://:secret-password@redis:port/0"])
def test_a_mistyped_redis_is_no_all_clear(tmp_path, monkeypatch, url):
    done = listed(tmp_path, monkeypatch, REDIS_URL=url)
    assert done.exit_code == 3
    assert done.stderr.startswith("KAV-187 ")
    assert "no messages" not in done.output and "secret-password" not in done.output


@pytest.mark.parametrize("url", ["/var/lib/kav.sqlite3", "postgres://kav:secret-password@db/kav"])
@pytest.mark.parametrize("redis_url", ["", "foo"])
def test_a_database_that_is_none_is_named_before_the_file_that_is_missed(
    tmp_path, monkeypatch, url, redis_url
):
    done = listed(tmp_path, monkeypatch, DATABASE_URL=url, REDIS_URL=redis_url)
    assert done.exit_code == 3
    assert done.stderr.count("KAV-185 ") == 1
    assert redis_url or done.stderr.splitlines()[1].startswith("no kav.sqlite3 here: ")
    assert "no messages" not in done.output and "secret-password" not in done.output
    assert list(tmp_path.iterdir()) == []
