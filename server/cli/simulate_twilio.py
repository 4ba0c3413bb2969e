"""`python -m server simulate twilio-rest`: Twilio's REST API without an account, on a port."""

from __future__ import annotations

import re

import click

from server.cli.signals import ended_by_signal
from server.errors import GatewayError
from server.simulator.twilio.rest_faults import FAULTS
from server.simulator.twilio.rest_server import RestServer

_POLL_S = 0.5
ACCOUNT_SID, AUTH_TOKEN = "AC" + "51" * 16, "51" * 16
"""Nobody's, and the same each time: what is exported once stays right."""
_CALL_SID = re.compile(r"CA[0-9A-Za-z]{1,64}")


def _call_sids(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _CALL_SID.fullmatch(value):
            raise click.BadParameter(f"{value!r} is no call's SID; write for example CA{'0' * 32}")
    return values


@click.command("twilio-rest")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option(
    "--call",
    "call_sids",
    multiple=True,
    metavar="CA…",
    callback=_call_sids,
    help="A call in progress that the account knows; repeatable. It does nothing of what it is told.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="[once:]NAME[=ARG]",
    help="Something to go wrong; repeatable. "
    + "; ".join(f"{name}: {what}" for name, what in FAULTS.items()),
)
def twilio_rest(host: str, port: int, call_sids: tuple[str, ...], faults: tuple[str, ...]) -> None:
    """A strict REST API of Twilio's, until Ctrl-C: changes calls, takes text messages.

    \b
    POST and GET /2010-04-01/Accounts/AC…/Calls/CA….json
    POST         /2010-04-01/Accounts/AC…/Messages.json
    """
    try:
        server = RestServer(
            host, port, account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, faults=faults, on_change=click.echo
        )
    except GatewayError as error:
        raise click.UsageError(str(error)) from error
    for call_sid in call_sids:
        server.calls.declare(call_sid)
    ended = ended_by_signal()
    try:
        server.start()
    except OSError as error:
        raise click.UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    click.echo(f"twilio-rest simulator ready: {server.url}")
    click.echo(
        f"export TWILIO_API_URL={server.url} TWILIO_ACCOUNT_SID={ACCOUNT_SID} TWILIO_AUTH_TOKEN={AUTH_TOKEN}"
    )
    while not ended.wait(_POLL_S):
        pass
    asked, messages = len(server.requests), len(server.messages)
    server.stop()
    click.echo(f"twilio-rest simulator stopped after {asked} request(s), {messages} message(s)", err=True)
