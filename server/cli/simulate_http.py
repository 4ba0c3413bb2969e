"""`python -m server simulate openai-http`: OpenAI's HTTP API for speech and chat without a key, on a port."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from server.cli.seconds import Number
from server.errors import GatewayError
from server.simulator.openai_http.faults import ENDPOINTS, FAULTS
from server.simulator.openai_http.script import load_script
from server.simulator.openai_http.server import OpenAIHttpServer

_POLL_S = 0.5


@click.command("openai-http")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option(
    "--script",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What is heard and answered. Without: an utterance is its length, and an answer repeats it.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="[ENDPOINT:]NAME[=ARG][@FIRST][xTIMES]",
    help=f"Something to go wrong; repeatable. One of {', '.join(FAULTS)}, at one of {', '.join(ENDPOINTS)}.",
)
@click.option(
    "--speed",
    default=8.0,
    show_default=True,
    type=Number(0, 1000, min_open=True),
    help="Speech and text go out at this multiple of real time.",
)
@click.option("--no-espeak", is_flag=True, help="Speak English in tones although espeak-ng is installed.")
def openai_http(
    host: str, port: int, script: Path | None, faults: tuple[str, ...], speed: float, no_espeak: bool
) -> None:
    """A strict /v1/audio/transcriptions, /v1/chat/completions and /v1/audio/speech, until Ctrl-C.

    \b
    A script is JSON:
      {"hears": ["מתי אתם פתוחים?"],
       "answers": [[{"text": "מתשע עד חמש."}, {"call": "end_call", "arguments": {}}]],
       "after_last": "repeat" or "none",
       "match": [{"when": "תור", "answer": [{"wait": 1}, {"prompt": "he/one_moment"}]}]}
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    try:
        server = OpenAIHttpServer(
            host, port, load_script(script) if script else None, faults, speed, use_espeak=not no_espeak
        )
    except GatewayError as error:
        raise click.UsageError(str(error)) from error
    ended = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second one does what it always does
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "posix" or number == signal.SIGINT:
            signal.signal(number, end)
    try:
        server.start()
    except OSError as error:
        raise click.UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    click.echo(f"openai-http simulator ready: {server.base_url}")
    click.echo(f"export OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY=sk-simulator")
    while not ended.wait(_POLL_S):
        pass
    server.stop()
    click.echo(f"openai-http simulator stopped after {len(server.served)} request(s)", err=True)
