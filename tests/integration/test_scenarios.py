"""Every scenario of tests/scenarios, played as its users would play it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.gunicorn_process import ROOT

FILES = sorted((ROOT / "tests" / "scenarios").glob("*.yaml"))
AT_ONCE = min(os.cpu_count() or 1, 4) + 1
"""They mostly wait."""
LONGEST_S = 90.0
"""Of one scenario, its gateway's start included."""


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the files that this run asks for, several played at once, by path."""
    wanted = [
        item.callspec.params["path"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_scenario
    ]
    keep = tmp_path_factory.mktemp("scenarios")
    found = played(wanted, AT_ONCE, keep / "together")
    # Calls are in real time, and several at once meet each other's pauses: who fails is heard again alone.
    again = [path for path in wanted if found[str(path)]["status"] != "passed"]
    return found | (played(again, 1, keep / "alone") if again else {})


def played(paths: list[Path], at_once: int, keep: Path) -> dict[str, Any]:
    options = [word for path in paths for word in ("--scenario", str(path))]
    options += ["--json", "--jobs", str(at_once), "--keep", str(keep)]
    done = subprocess.run(
        [sys.executable, "-m", "server", "call", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST_S * len(paths),
        check=False,
    )
    assert done.stdout.startswith("{"), done.stderr
    return {result["path"]: result for result in json.loads(done.stdout)["scenarios"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(
    path: Path, results: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What was played with the others is judged once: who is asked for again is played again, alone."""
    is_again = getattr(request.node, "execution_count", 1) > 1
    result = (played([path], 1, tmp_path / "again") if is_again else results)[str(path)]
    assert result["status"] == "passed", "\n".join([*result["failures"], result["heard"]])


def test_there_are_scenarios_in_both_languages() -> None:
    texts = [path.read_text("utf-8") for path in FILES]
    assert sum("language: he" in text for text in texts) >= len(texts) / 3 > 2
    assert any("language: en" in text for text in texts)


def test_what_a_played_caller_leaves_is_not_among_the_messages_of_real_ones(tmp_path: Path) -> None:
    words = f"call me about {uuid4().hex}"
    talk = tmp_path / "talk.yaml"
    talk.write_text(
        f"""
language: en
gateway: {{NOTIFY_NUMBER: +972541234567}}
model:
  answers: [{{call: take_message, arguments: {{message: {words}}}}}]
caller: [{{after: 1.5, hang_up: }}]
expect: [{{sms: {words}}}]
""",
        "utf-8",
    )
    command = [sys.executable, "-m", "server", "call", "--scenario", str(talk)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [file for file in ROOT.glob("kav.sqlite3*") if words.encode() in file.read_bytes()] == []
