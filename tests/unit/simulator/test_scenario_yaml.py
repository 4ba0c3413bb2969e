"""YAML as scenarios have it: what a scalar means, and where a mistake stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.simulator.scenario.yaml_text import Block, ScenarioError, Value, read_yaml

PATH = Path("talk.yaml")


def top(text: str) -> Value:
    return read_yaml(text, PATH)


def block(text: str) -> Block:
    return top(text).block()


def complaint(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        block(text).need("a").plain()
    return str(caught.value)


@pytest.mark.parametrize(
    "word", ["off", "no", "yes", "on", "+97231234567", "0123", "1e3", "12:30", "2026-11-20"]
)
def test_where_a_text_is_expected_every_word_is_itself(word: str) -> None:
    assert block(f"a: {word}").need("a").text() == word


def test_hebrew_is_a_text_like_any_other() -> None:
    assert block("a: שלום, הגעתם\n").need("a").text() == "שלום, הגעתם"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("false", False),
        ("off", "off"),
        ("no", "no"),
        ("3", 3),
        ("-2.5", -2.5),
        ("+972", "+972"),
        ("0123", "0123"),
        ("'3'", "3"),
        ("~", None),
        ("null", None),
        ("", None),
        ("[1, x]", [1, "x"]),
        ("{b: {c: 1}}", {"b": {"c": 1}}),
    ],
)
def test_what_json_would_make_of_it(word: str, value: Any) -> None:
    found = block(f"a: {word}").need("a").plain()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "ask", "words"),
    [
        ("a: no", lambda v: v.flag(), "true or false was expected, not 'no', which is a mere word here"),
        ("a: '3'", lambda v: v.number(), "a number was expected, not '3' in quotes"),
        ("a: three", lambda v: v.integer(), "a whole number was expected, not 'three'"),
        ("a: 2.5", lambda v: v.integer(), "a whole number was expected"),
        ("a: 11", lambda v: v.integer(0, 10), "11 is not from 0 to 10"),
        ("a: -1", lambda v: v.number(), "-1 is not from 0"),
        ("a: 01", lambda v: v.integer(), "a whole number was expected"),
        ("a:", lambda v: v.text(), "a text was expected, not nothing"),
        ("a: [x]", lambda v: v.text(), "a text was expected, not a list"),
        ("a: x", lambda v: v.items(), "a list was expected, not 'x'"),
        ("a: x", lambda v: v.block(), "`key: value` lines were expected"),
        ("a: (", lambda v: v.regex(), "no regular expression"),
        ("a: gatway", lambda v: v.choice("caller", "gateway"), "did you mean gateway?"),
    ],
)
def test_what_was_expected_is_said_with_the_line(text: str, ask: Any, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        ask(block(f"# a comment\n\n{text}").need("a"))
    assert str(caught.value).startswith("talk.yaml:3: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "talk.yaml:3: 'a' stands here twice, first in line 1"),
        ("a: &x 1\nb: *x", "talk.yaml:1: not YAML: anchors (&) and aliases (*) are not taken"),
        ("a: *", "talk.yaml:1: not YAML:"),
        ("a: !!python/name:os.system x", "the tag"),
        ("a: !mine x", "the tag !mine is not taken"),
        ("a: [1", "talk.yaml:1: not YAML"),
        ("a: 1\n\tb: 2", "talk.yaml:2: not YAML"),
        ("", "talk.yaml:1: an empty file"),
        ("---\na: 1\n---\nb: 2", "talk.yaml:3: not YAML"),
        ("- x", "`key: value` lines were expected"),
        ("b: 1", "'a' is missing"),
    ],
)
def test_what_is_no_scenario_at_all(text: str, words: str) -> None:
    assert words in complaint(text)


def test_an_unknown_key_is_told_with_its_line_and_the_nearest() -> None:
    with pytest.raises(
        ScenarioError, match=r"talk\.yaml:2: unknown key 'cal1er' of it; did you mean caller\?"
    ):
        top("name: x\ncal1er: []").block(("name", "caller"), "of it")
    with pytest.raises(ScenarioError, match="there are name, caller"):
        top("zzz: x").block(("name", "caller"))


def test_deep_nesting_is_refused_and_ends() -> None:
    with pytest.raises(ScenarioError, match="not YAML"):
        top("a: " + "[" * 3000)
