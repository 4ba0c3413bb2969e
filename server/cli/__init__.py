"""`python -m server …`: one module per command, loaded only when it is asked for.

Exit codes: 0 ok, 1 the check failed, 2 usage, 3 unreachable, 4 refused.
"""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "bench": "How many calls one core carries, beside relays of other make.",
    "call": "Call a gateway as Twilio would; judge what the caller hears.",
    "canary": "Fail when callers are greeted late or not at all; for cron.",
    "config": "Every variable: its value, source, unit and meaning.",
    "explain": "What an error id such as KAV-114 means, and what to do.",
    "messages": "What callers left to be called back about, newest first.",
    "simulate": "Be a far end: a model without a key, Twilio's REST API.",
}
"""Each text fits one line of 80 columns."""


class _Lazy(click.Group):
    """Finds a command in the module of its own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"server.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Kav answers a business's phone with a realtime voice AI."""


def main() -> None:
    cli(prog_name="python -m server")
