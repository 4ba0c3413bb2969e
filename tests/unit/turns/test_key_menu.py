"""Keys of the menu act at once; all others are an entry. The rows of the table, and their ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.telephony.keys import MAX_KEYS, PAUSE_S
from server.turns.key_menu import Chosen, KeyMenu, Typed

PAUSED_S = PAUSE_S + 0.1


def typed(
    menu: KeyMenu[str], keys: str, at_s: float = 0.0, every_s: float = 0.3
) -> list[Chosen[str] | Typed]:
    """What the keys did, one after the other, without the pause after them."""
    return [done for n, key in enumerate(keys) for done in menu.press(key, at_s + n * every_s)]


def test_a_key_of_the_menu_acts_at_once() -> None:
    menu = KeyMenu({"0": "person", "*": "repeat"})
    assert menu.press("0", 0.0) == [Chosen("0", "person")]
    assert menu.press("*", 0.1) == [Chosen("*", "repeat")]
    assert menu.press("0", 0.2) == [Chosen("0", "person")]
    assert menu.due(99.0) == []


def test_keys_without_an_action_are_text_after_a_pause() -> None:
    menu = KeyMenu({"0": "person"})
    assert typed(menu, "7*4") == []
    assert menu.due(0.6 + PAUSE_S) == []
    assert menu.due(0.6 + PAUSED_S) == [Typed("7*4")]
    assert menu.due(99.0) == []


def test_a_key_inside_an_entry_belongs_to_it() -> None:
    menu = KeyMenu({"0": "person", "#": "end"})
    assert typed(menu, "5402") == []
    assert menu.due(0.9 + PAUSED_S) == [Typed("5402")]
    assert menu.press("0", 10.0) == [Chosen("0", "person")]


def test_the_pound_key_ends_an_entry_at_once_whatever_it_does_alone() -> None:
    menu = KeyMenu({"0": "person", "#": "end"})
    assert typed(menu, "54#") == [Typed("54#")]
    assert menu.press("#", 5.0) == [Chosen("#", "end")]
    assert KeyMenu({"0": "person"}).press("#", 0.0) == [Typed("#")]


def test_a_choice_of_several_keys_acts_with_its_last() -> None:
    menu = KeyMenu({"12": "hours", "*9": "echo"})
    assert typed(menu, "12") == [Chosen("12", "hours")]
    assert typed(menu, "*9", 5.0) == [Chosen("*9", "echo")]
    assert typed(menu, "129", 10.0) == [Chosen("12", "hours")]
    assert menu.due(10.6 + PAUSED_S) == [Typed("9")]


def test_a_choice_that_may_go_on_waits() -> None:
    menu = KeyMenu({"1": "short", "12": "long"})
    assert menu.press("1", 0.0) == []
    assert menu.press("2", 0.3) == [Chosen("12", "long")]
    assert menu.press("1", 10.0) == []
    assert menu.due(10.0 + PAUSED_S) == [Chosen("1", "short")]
    assert typed(menu, "1#", 20.0) == [Chosen("1", "short")]
    assert typed(menu, "13", 30.0) == []
    assert menu.due(30.3 + PAUSED_S) == [Typed("13")]


def test_an_entry_that_nobody_asked_for_ends_with_the_next_key() -> None:
    menu = KeyMenu({"0": "person"})
    assert menu.press("7", 0.0) == []
    assert menu.press("0", 10.0) == [Typed("7"), Chosen("0", "person")]
    assert menu.press("7", 20.0) == []
    assert menu.press("#", 30.0) == [Typed("7"), Typed("#")]


def test_an_entry_has_an_end() -> None:
    menu = KeyMenu({"0": "person"})
    assert typed(menu, "5" * (MAX_KEYS - 1), every_s=0.0) == []
    assert menu.press("5", 0.0) == [Typed("5" * MAX_KEYS)]
    assert menu.press("0", 0.0) == [Chosen("0", "person")]


@pytest.mark.parametrize("actions", [{}, {"": "nothing"}])
def test_without_a_menu_all_keys_are_text(actions: dict[str, str]) -> None:
    menu = KeyMenu(actions)
    assert typed(menu, "0#") == [Typed("0#")]
    assert menu.press("#", 5.0) == [Typed("#")]
    assert menu.press("0", 10.0) == []
    assert menu.due(10.0 + PAUSED_S) == [Typed("0")]


def test_an_action_may_be_of_any_type() -> None:
    action = object()
    (done,) = KeyMenu({"1": action}).press("1", 0.0)
    assert isinstance(done, Chosen) and done.action is action
    assert KeyMenu({"1": None}).press("1", 0.0) == [Chosen("1", None)]


def test_a_menu_is_as_it_was_when_the_call_began() -> None:
    actions = {"1": "a"}
    menu = KeyMenu(actions)
    actions["2"] = "b"
    assert menu.press("2", 0.0) == []


@given(
    st.dictionaries(st.text("0123456789*", min_size=1, max_size=3), st.integers(), max_size=6),
    st.lists(st.tuples(st.sampled_from("0123456789*#ABCD"), st.floats(0, 3)), max_size=60),
)
def test_no_key_is_lost_or_told_twice(actions: dict[str, int], presses: list[tuple[str, float]]) -> None:
    """The `#` that ends a choice is the only key that goes unsaid."""
    menu, now_s, told = KeyMenu(actions), 0.0, ""
    for digit, pause_s in presses:
        now_s += pause_s
        told += "".join(done.keys for done in menu.press(digit, now_s))
    told += "".join(done.keys for done in menu.due(now_s + PAUSED_S))
    pressed = "".join(digit for digit, _ in presses)
    assert told.replace("#", "") == pressed.replace("#", "")
    assert menu.due(now_s + 99) == []
