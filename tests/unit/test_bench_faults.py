"""`python -m bench.faults`: what it takes, and what it says of itself."""

import re
from pathlib import Path

import pytest

from bench import faults


@pytest.mark.parametrize("option", ["--runs", "--jobs"])
@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "", "²", "1000000"])
def test_fewer_than_one_is_a_usage_error(option, text, capsys):
    with pytest.raises(SystemExit) as ended:
        faults.main([option, text, "--only", "nothing"])
    assert ended.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


def test_it_tells_the_same_time_as_its_page():
    page = (Path(faults.__file__).parents[1] / "docs" / "faults.md").read_text("utf-8")
    about = [
        re.findall(r"every case three times, about (\w+) minutes", text) for text in (page, faults.__doc__)
    ]
    assert about == [["fifteen"], ["fifteen"]]
