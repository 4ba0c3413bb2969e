"""What an operator is told at start of the businesses."""

import pytest

from server.business import Businesses
from server.config import Settings
from server.start_warnings import business_warnings

SID, TOKEN = "AC" + "0" * 32, "0123456789abcdef0123456789abcdef"
NUMBER = "+972501112222"
TWO = """
[[business]]
id = "bakery"
notify_number = ""
[[business]]
id = "clinic"
numbers = ["+97231234567"]
notify_number = "+972503334444"
"""


def warnings(toml_text: str | None = None, **env: str) -> tuple[str, ...]:
    settings = Settings.from_env(env)
    return business_warnings(settings, Businesses.from_settings(settings, toml_text))


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ({"TWILIO_AUTH_TOKEN": TOKEN}, "without TWILIO_ACCOUNT_SID. "),
        ({"TWILIO_ACCOUNT_SID": SID}, "without TWILIO_AUTH_TOKEN. "),
        ({}, "without TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN. "),
    ],
)
def test_text_messages_that_cannot_be_sent_are_told_with_what_is_missing(env, missing):
    (line,) = warnings(NOTIFY_NUMBER=NUMBER, **env)
    assert line.startswith("KAV-107 ")
    assert f"NOTIFY_NUMBER is set {missing}" in line
    assert TOKEN not in line and NUMBER not in line


def test_of_many_businesses_those_are_named_who_asked_for_them():
    (line,) = warnings(TWO, TWILIO_AUTH_TOKEN=TOKEN, BUSINESSES_FILE="businesses.toml", NOTIFY_NUMBER=NUMBER)
    assert "notify_number of clinic is set" in line


@pytest.mark.parametrize(
    "env",
    [
        {"NOTIFY_NUMBER": NUMBER, "TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN},
        {"PERSON_NUMBER": NUMBER, "TWILIO_AUTH_TOKEN": TOKEN},  # rung by TwiML, which needs no account
        {"NOTIFY_URL": "https://shop.example/kav", "TWILIO_AUTH_TOKEN": TOKEN},
        {"NOTIFY_NUMBER": NUMBER, "ECHO_TEST": "1"},  # nobody takes a message there
    ],
)
def test_whoever_needs_no_account_is_told_nothing(env):
    assert warnings(**env) == ()
