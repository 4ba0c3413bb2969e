import re
from pathlib import Path

import pytest

from server.turns.tools import ANSWERED_WITHIN_S, MAX_ARGUMENTS_CHARS, ToolCalls, built_in, parse_arguments


def test_nobody_is_transferred_where_there_is_nobody_to_transfer_to():
    assert [tool.name for tool in built_in(())] == ["end_call", "take_message", "send_dtmf"]


def test_the_model_may_choose_among_the_businesss_own_destinations_only():
    transfer = built_in(["מזכירות", "משרד"])[-1]
    assert transfer.name == "transfer_call"
    assert transfer.parameters["properties"]["destination"]["enum"] == ["מזכירות", "משרד"]


def test_arguments_are_read_and_none_are_an_empty_object():
    assert parse_arguments('{"name": "דנה"}') == {"name": "דנה"}
    assert parse_arguments("") == {}


@pytest.mark.parametrize(
    "text", ["{", "null", "[]", '"x"', "NaN5", "[" * 100_000, "{" + " " * MAX_ARGUMENTS_CHARS + "}"]
)
def test_broken_arguments_are_explained_to_the_model(text):
    with pytest.raises(ValueError, match="the arguments are"):
        parse_arguments(text)


def test_a_call_is_answered_once():
    calls = ToolCalls()
    assert calls.began("call_1", "take_message", 1.0)
    assert not calls.began("call_1", "take_message", 1.1)
    assert calls.is_busy
    assert calls.answered("call_1")
    assert not calls.answered("call_1")
    assert not calls.is_busy
    assert not calls.began("call_1", "take_message", 2.0), "a repeated event runs no tool again"


def test_a_tool_that_never_answers_is_answered_for():
    calls = ToolCalls()
    calls.began("call_1", "slow", 1.0)
    calls.began("call_2", "slower", 2.0)
    assert calls.overdue(0.9 + ANSWERED_WITHIN_S) == []
    assert calls.overdue(1.0 + ANSWERED_WITHIN_S) == [("call_1", "slow")]
    assert calls.answered("call_1")
    assert calls.overdue(1.0 + ANSWERED_WITHIN_S) == []
    assert not calls.answered("call_1"), "its own answer comes too late"


def test_an_answer_to_a_call_nobody_made_is_dropped():
    assert not ToolCalls().answered("call_9")


def test_the_page_about_tools_has_each_of_ours_with_all_its_arguments():
    page = (Path(__file__).resolve().parents[3] / "docs" / "tools.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", page, re.MULTILINE))
    for tool in built_in(["משרד"]):
        arguments = rows[tool.name].split(" | ")[0]
        names = set(tool.parameters["properties"])
        assert {name for name in re.findall(r"`(\w+)`", arguments) if name in names} == names
        assert names or arguments == "none"
