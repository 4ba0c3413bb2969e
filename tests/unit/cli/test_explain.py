"""`python -m server explain`: our ids, and the codes of Twilio's that the other commands print."""

import pytest
from click.testing import CliRunner

from server.cli.explain import explain
from server.simulator.twilio.findings import MEANINGS


def told(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(explain, arguments)
    return done.exit_code, done.output


@pytest.mark.parametrize("code", [code for code in MEANINGS if code])
def test_every_code_that_a_call_prints_is_explained(code):
    exit_code, text = told(str(code))
    assert exit_code == 0
    assert text.startswith(f"{code}  ")
    assert all(part in text for part in MEANINGS[code])


def test_a_code_that_our_own_faults_name_leads_to_them_too():
    exit_code, text = told("31920")
    assert exit_code == 0
    assert text.index("31920  ") < text.index("KAV-112  ") < text.index("KAV-113  ")


def test_a_code_that_only_a_fix_names_is_found():
    assert "KAV-122" in told("31903")[1]


@pytest.mark.parametrize("part", ["1", "31", "3192", "319", "0", "319200", "403", "1008"])
def test_a_part_of_a_code_is_no_code(part):
    exit_code, text = told(part)
    assert exit_code == 1
    assert text == f"{part}: no such id here; `python -m server explain` lists all\n"


def test_our_own_ids_are_read_in_either_case():
    assert told("kav-114") == told("KAV-114")
    assert told("KAV-114")[1].startswith("KAV-114  ")
