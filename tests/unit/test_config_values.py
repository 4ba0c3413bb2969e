import pytest

from server.config_values import exact_web_url, phone_number, web_url


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+97231234567", "+97231234567"),
        (" +972-3-123.4567 ", "+97231234567"),
        ("+1 (415) 555-0100", "+14155550100"),
        ("", ""),
    ],
)
def test_a_number_is_read_however_it_is_written(text, number):
    assert phone_number(text) == number


@pytest.mark.parametrize(
    "text", ["031234567", "+0123456789", "+972", "+9723123456789012", "sip:a@b", "+97٢31234567"]
)
def test_what_nobody_could_dial_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"such as \+972"):
        phone_number(text)


def test_an_address_loses_its_trailing_slash_and_keeps_its_path():
    assert web_url(" https://a.example/hook/ ") == "https://a.example/hook"
    assert web_url("http://127.0.0.1:9/x?y=1") == "http://127.0.0.1:9/x?y=1"


def test_a_receivers_address_is_kept_to_the_letter():
    assert exact_web_url(" https://crm.example/kav/ ") == "https://crm.example/kav/"
    with pytest.raises(ValueError, match="such as https://"):
        exact_web_url("crm.example")


@pytest.mark.parametrize("text", ["a.example", "ftp://a.example", "https://", "https://a b/"])
def test_what_no_request_could_reach_is_refused(text):
    with pytest.raises(ValueError, match="such as https://"):
        web_url(text)
