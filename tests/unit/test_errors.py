import ast
import re
from pathlib import Path

import pytest

from server import errors
from server.errors import CallRefused, GatewayError, ModelRefused
from server.faults import FAULTS, Fault

SERVER = Path(errors.__file__).parent
CATALOGUE = SERVER / "faults.py"
SOURCES = sorted(SERVER.rglob("*.py"))


def ids_used() -> dict[str, list[str]]:
    used: dict[str, list[str]] = {}
    for path in SOURCES:
        if path == CATALOGUE:
            continue
        for fault_id in re.findall(r"KAV-\d+", path.read_text(encoding="utf-8")):
            used.setdefault(fault_id, []).append(str(path.relative_to(SERVER)))
    return used


def test_every_id_used_anywhere_is_in_the_catalogue():
    assert SOURCES
    assert {fault_id: where for fault_id, where in ids_used().items() if fault_id not in FAULTS} == {}


def test_no_entry_of_the_catalogue_is_without_use():
    assert set(FAULTS) - set(ids_used()) == set()


def test_ids_are_unique_where_they_are_written():
    tree = ast.parse(CATALOGUE.read_text(encoding="utf-8"))
    written = [
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Fault"
    ]
    assert len(written) == len(set(written)) == len(FAULTS) > 20
    assert written == sorted(written), "people look them up by number"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_fault_says_what_it_is_what_it_means_and_what_to_do(fault):
    assert re.fullmatch(r"KAV-[1-9]\d\d", fault.id)
    assert FAULTS[fault.id] is fault
    assert fault.title and not fault.title.endswith(".")
    assert fault.means.endswith(".")
    assert fault.fix and not fault.fix.endswith(".")
    for text in (fault.title, fault.means, fault.fix):
        assert text == text.strip()
        assert "\n" not in text and "  " not in text


def test_a_fault_as_a_log_line():
    fault = Fault("KAV-114", "No token", "The call ends.", "call again")
    assert fault.line() == "KAV-114 No token. Fix: call again"
    assert fault.line("used before") == "KAV-114 No token: used before. Fix: call again"


def test_every_error_of_ours_has_one_root():
    classes = [
        thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Exception)
    ]
    assert len(classes) >= 8
    assert all(issubclass(thing, GatewayError) for thing in classes)
    assert all(thing.__name__ in errors.__doc__ for thing in classes), "the tree in the docstring is whole"


def test_a_refused_call_carries_the_fault_that_explains_it():
    error = CallRefused("KAV-114", "used before")
    assert (error.fault_id, str(error)) == ("KAV-114", "used before")


def test_a_refusal_of_the_model_keeps_its_code_and_its_words():
    error = ModelRefused("later", code="429")
    assert (error.code, str(error)) == ("429", "later")
