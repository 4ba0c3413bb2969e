import json

import pytest

from server.faults import FAULTS
from server.services.tool_answer import Outcome, ToolAnswer

FAILURES = [outcome for outcome in Outcome if outcome is not Outcome.OK]


def test_an_answer_goes_to_the_model_as_it_came():
    answer = ToolAnswer("stock", Outcome.OK, "HTTP 200", {"מלאי": 3}, 200, 12)
    assert answer.for_model() == {"ok": True, "answer": {"מלאי": 3}}
    assert (answer.is_ok, answer.fault_id) == (True, "")
    assert answer.log_line() == "stock: HTTP 200 after 12 ms"


@pytest.mark.parametrize("outcome", FAILURES)
def test_every_failure_has_a_fault_a_line_and_words_for_the_model(outcome):
    answer = ToolAnswer("stock", outcome, "seen", elapsed_ms=7)
    fault = FAULTS[answer.fault_id]
    assert answer.log_line() == fault.line("stock: seen after 7 ms")
    told = answer.for_model()
    assert (told["ok"], told["error"]) == (False, outcome.value)
    assert told["advice"].endswith(".")
    json.dumps(told)


def test_failures_differ_in_their_faults():
    assert len({ToolAnswer("t", outcome).fault_id for outcome in FAILURES}) == len(FAILURES)


def test_the_model_hears_what_is_wrong_with_its_arguments():
    told = ToolAnswer("stock", Outcome.BAD_ARGUMENTS, "יום must be date").for_model()
    assert told["problem"] == "יום must be date"


def test_the_model_hears_what_the_other_side_said_of_an_error():
    told = ToolAnswer("t", Outcome.HTTP_ERROR, "HTTP 409", {"error": "תפוס"}, 409).for_model()
    assert (told["status"], told["answer"]) == (409, {"error": "תפוס"})
    assert "answer" not in ToolAnswer("t", Outcome.HTTP_ERROR, "HTTP 500", None, 500).for_model()


def test_what_was_seen_on_the_network_is_not_for_the_model():
    told = ToolAnswer("t", Outcome.UNREACHABLE, "crm.internal: Connection refused").for_model()
    assert "crm.internal" not in json.dumps(told)
