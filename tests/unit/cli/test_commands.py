"""`python -m server`: what there is, told in no time."""

import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import server
from server.cli import COMMANDS, cli

ROOT = Path(server.__file__).parents[1]
HEAVY = "eventlet flask requests numpy redis twilio urllib3 sqlite3 server.store server.simulator".split()
HELP_S = 0.3


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def test_every_command_has_one_line():
    result = CliRunner().invoke(cli, ["--help"], terminal_width=80)
    assert result.exit_code == 0
    _, _, listed = result.output.partition("Commands:\n")
    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)
    for (name, text), line in zip(COMMANDS.items(), listed.splitlines(), strict=True):
        assert line.split(maxsplit=1) == [name, text]


def test_the_list_is_complete_and_in_order():
    modules = {path.stem: path.read_text("utf-8") for path in (ROOT / "server" / "cli").glob("*.py")}
    commands = [name for name, text in modules.items() if f"\ndef {name}(" in text and "@click." in text]
    assert sorted(commands) == list(COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_is_found_in_the_module_of_its_name(name):
    command = getattr(importlib.import_module(f"server.cli.{name}"), name)
    assert isinstance(command, click.Command)
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_an_unknown_command_is_a_usage_error():
    result = CliRunner().invoke(cli, ["canery"])
    assert result.exit_code == 2
    assert "No such command" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["canary", "--help"], ["messages", "--help"]], ids=str)
def test_help_imports_nothing_heavy(arguments):
    loaded = run(
        "import sys; from server.cli import cli; cli("
        f"{arguments!r}, standalone_mode=False); print(*sorted(sys.modules), sep='\\n')"
    ).splitlines()
    assert {name for name in HEAVY if name in loaded} == set()


def test_help_comes_at_once():
    """The best of three: the machine may be busy with something else."""
    took_s = []
    for _ in range(3):
        began_at = time.monotonic()
        run("import sys; sys.argv = ['x', '--help']; from server.cli import cli; cli(standalone_mode=False)")
        took_s.append(time.monotonic() - began_at)
    assert min(took_s) < HELP_S


def test_the_page_about_the_canary_names_only_options_there_are():
    page = (ROOT / "docs" / "canary.md").read_text("utf-8")
    canary = importlib.import_module("server.cli.canary").canary
    options = {name for param in canary.params for name in param.opts}
    named = set(re.findall(r"--[a-z][a-z-]+", page.replace("heroku logs --ps", "")))
    assert named <= options
    assert "+15005550006" in page and "CA000000" in page
