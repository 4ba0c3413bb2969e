"""Times on the command line: finite, and no longer than somebody waits."""

import importlib

import click
import pytest
from click.testing import CliRunner

from server.cli import COMMANDS
from server.cli.bench import bench
from server.cli.call import call
from server.cli.canary import canary
from server.cli.seconds import Number, Seconds

CALL_OPTIONS = (
    "--seconds",
    "--speak-at",
    "--hangup-after",
    "--quiet-after",
    "--timeout",
    "--expect-first-audio",
)
CANARY_OPTIONS = ("--first-audio-within", "--greeting-at-least", "--answer-within", "--every")
NOBODY = "http://127.0.0.1:1"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "Infinity", "1e12", "1e400", "-1"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((call, option) for option in CALL_OPTIONS),
        *((canary, option) for option in CANARY_OPTIONS),
        (bench, "--seconds"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_no_time_is_a_usage_error(command, option, text):
    arguments = [option, text] if command is bench else [NOBODY, option, text]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2, done.output
    assert option in done.output


def test_keys_are_pressed_within_a_day():
    done = CliRunner().invoke(call, [NOBODY, "--dtmf", "1@" + "9" * 400])
    assert done.exit_code == 2


def test_the_bounds_themselves_are_times():
    assert Seconds().convert("86400", None, None) == 86_400.0
    assert Seconds().convert("0", None, None) == 0.0
    with pytest.raises(click.BadParameter):
        Seconds(above=True).convert("0", None, None)


def options_of(command: click.Command) -> list[click.Parameter]:
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return [*command.params, *(param for each in inner for param in each.params)]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_takes_numbers_without_end(name):
    for param in options_of(getattr(importlib.import_module(f"server.cli.{name}"), name)):
        if isinstance(param.type, click.types.FloatParamType):
            assert isinstance(param.type, Number) and param.type.max is not None, param.opts


@pytest.mark.parametrize("text", ["", ",", "gateway,", ",node"])
def test_a_bench_of_nobody_is_refused(text):
    done = CliRunner().invoke(bench, ["--only", text])
    assert done.exit_code == 2
    assert "'' is none of gateway, node, asyncio, relay" in done.output
