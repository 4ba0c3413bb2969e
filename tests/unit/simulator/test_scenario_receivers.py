"""The business's own computers in a scenario: how they are written down, and what they do with a request."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from server.simulator.scenario.receivers import Receivers, Reply, Request, read_receivers, with_addresses
from server.simulator.scenario.scenario import parse_scenario
from server.simulator.scenario.yaml_text import ScenarioError, read_yaml

PATH = Path("talks/talk.yaml")


def read(text: str) -> dict[str, tuple[Reply, ...]]:
    return read_receivers(read_yaml(text, PATH))


def ask(url: str, method: str = "POST", path: str = "/kav", body: object = None) -> tuple[int, str, str]:
    """Status, content type and body of the answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        connection.request(method, path, data)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def test_an_answer_may_be_json_text_an_error_late_or_none() -> None:
    found = read("""
stock:
  - json: {מחיר: 28, "yes": true}
  - {status: 503, text: סגור}
  - {delay: 1.5}
  - hang_up: true
hours: {text: 8 to 7}
""")
    assert found == {
        "stock": (
            Reply('{"מחיר": 28, "yes": true}'.encode()),
            Reply("סגור".encode(), "text/plain; charset=utf-8", 503),
            Reply(delay_s=1.5),
            Reply(hangs_up=True),
        ),
        "hours": (Reply(b"8 to 7", "text/plain; charset=utf-8"),),
    }
    assert read_receivers(None) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Stock: {json: {}}", "'Stock' is no name"),
        ("stock: []", "stock has nothing to answer"),
        ("stock: {jsn: {}}", "unknown key 'jsn' of a receiver's answer; did you mean json?"),
        ("stock: {json: {}, text: a}", "json and text exclude each other"),
        ("stock: {status: 99}", "99 is not from 200 to 599"),
        ("stock: {delay: soon}", "a number was expected"),
    ],
)
def test_what_cannot_be_answered_is_named(text: str, told: str) -> None:
    with pytest.raises(ScenarioError, match=r"talk\.yaml:1: ") as error:
        read(text)
    assert told in str(error.value)


def test_an_expectation_about_a_receiver_that_is_not_there() -> None:
    text = "caller: [hang_up]\nreceivers: {stock: {json: {}}}\nexpect:\n  - received: stok\n"
    with pytest.raises(ScenarioError, match=r"talk\.yaml:4: no receiver 'stok'; there are stock"):
        parse_scenario(text, PATH)


def test_only_known_names_in_braces_are_addresses() -> None:
    text = 'url = "{stock}/kav"\ncount = { type = "integer" }\nother = "{shop}/x"'
    assert with_addresses(text, {"stock": "http://127.0.0.1:4"}) == (
        'url = "http://127.0.0.1:4/kav"\ncount = { type = "integer" }\nother = "{shop}/x"'
    )


def test_requests_are_answered_in_order_and_kept() -> None:
    got: list[Request] = []
    replies = {"stock": (Reply(b'{"n": 1}'), Reply("שתיים".encode(), "text/plain", 503)), "hours": (Reply(),)}
    with Receivers(replies, got.append) as receivers:
        url = receivers.urls["stock"]
        assert ask(url, body={"arguments": {"product": "חלה"}}) == (200, "application/json", '{"n": 1}')
        assert ask(url, body=[1]) == (503, "text/plain", "שתיים")
        assert ask(url, "GET", f"/h?day={quote('שבת')}&x=")[0] == 503, "the last answer is given for ever"
        assert ask(receivers.urls["hours"], body=None)[2] == "{}"
    assert [(each.receiver, each.path, each.said) for each in got] == [
        ("stock", "/kav", {"arguments": {"product": "חלה"}}),
        ("stock", "/kav", [1]),
        ("stock", "/h", {"day": "שבת", "x": ""}),
        ("hours", "/kav", ""),
    ]


def test_a_late_answer_comes_late_and_a_missing_one_never() -> None:
    replies = {"stock": (Reply(delay_s=0.2), Reply(hangs_up=True))}
    with Receivers(replies, lambda request: None) as receivers:
        began_at = time.monotonic()
        ask(receivers.urls["stock"])
        assert time.monotonic() - began_at >= 0.2
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(receivers.urls["stock"])


def test_whoever_waits_at_the_end_gets_no_answer_and_keeps_nobody() -> None:
    arrived, outcome = threading.Event(), []

    def wait_for_it(url: str) -> None:
        try:
            outcome.append(ask(url))
        except (http.client.HTTPException, OSError) as error:
            outcome.append(error)

    began_at = time.monotonic()
    with Receivers({"stock": (Reply(delay_s=30),)}, lambda request: arrived.set()) as receivers:
        client = threading.Thread(target=wait_for_it, args=(receivers.urls["stock"],))
        client.start()
        assert arrived.wait(5)
    client.join(5)
    assert isinstance(outcome[0], Exception)
    assert time.monotonic() - began_at < 5
