"""`python -m server simulate realtime`: a Realtime server without a key, on a port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from server.cli.seconds import Number
from server.cli.signals import ended_by_signal
from server.cli.simulate_http import openai_http
from server.cli.simulate_twilio import twilio_rest
from server.errors import GatewayError
from server.simulator.realtime.faults import FAULT_NAMES
from server.simulator.realtime.persona import demo_personas, script_personas
from server.simulator.realtime.server import RealtimeServer
from server.simulator.realtime.turn import Persona

_POLL_S = 0.5


def _delta_bytes(_: click.Context, __: click.Parameter, value: str) -> tuple[int, int]:
    """`160` or `1-4000`."""
    low, dash, high = value.partition("-")
    try:
        sizes = int(low), int(high if dash else low)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a size in bytes nor a range such as 1-4000") from None
    if not 0 < sizes[0] <= sizes[1]:
        raise click.BadParameter(f"{value!r}: sizes are at least 1 and go from small to large")
    return sizes


@click.group()
def simulate() -> None:
    """Be one of the two far ends, strictly and over real sockets."""


simulate.add_command(openai_http)
simulate.add_command(twilio_rest)


@simulate.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option(
    "--dialect",
    default="ga",
    show_default=True,
    type=click.Choice(["ga", "beta"]),
    help="ga as OpenAI serves it; beta as Azure's preview does.",
)
@click.option(
    "--persona",
    default="demo",
    show_default=True,
    type=click.Choice(["demo", "script"]),
    help="demo greets, repeats the caller and reads back keys; script says what FILE says.",
)
@click.option(
    "--script", type=click.Path(dir_okay=False, path_type=Path), help="Answers for --persona script."
)
@click.option(
    "--language",
    default="he",
    show_default=True,
    type=click.Choice(["he", "en"]),
    help="Language of the demo.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=ARG]",
    help=f"Something to go wrong; repeatable. One of {', '.join(FAULT_NAMES)}; with once: before it, on the "
    "first connection only.",
)
@click.option(
    "--speed",
    default=8.0,
    show_default=True,
    type=Number(0, 1000, min_open=True),
    help="Audio goes out at this multiple of real time.",
)
@click.option(
    "--delta-bytes",
    default="1-4000",
    show_default=True,
    metavar="N|MIN-MAX",
    callback=_delta_bytes,
    help="Size of audio deltas, in bytes of μ-law.",
)
@click.option("--seed", default=0, show_default=True, help="Same seed, same ids and delta sizes.")
@click.option(
    "--log",
    "log_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append one JSON line for each event, both ways.",
)
@click.option(
    "--audio-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep all audio as .ulaw files."
)
def realtime(
    host: str,
    port: int,
    dialect: str,
    persona: str,
    script: Path | None,
    language: str,
    faults: tuple[str, ...],
    speed: float,
    delta_bytes: tuple[int, int],
    seed: int,
    log_path: Path | None,
    audio_dir: Path | None,
) -> None:
    """A strict OpenAI Realtime server, until Ctrl-C.

    \b
    A script for --persona script is JSON; answers are given in order:
      {"answers": [[{"audio": "hello.wav", "transcript": "hello", "delta_bytes": [160, 1]},
                    {"call": "end_call", "arguments": {}}],
                   [{"prompt": "he/goodbye"}, {"replay": true}]],
       "after_last": "repeat" or "none",
       "match": [{"when": "goodbye|להתראות", "answer": [{"prompt": "he/goodbye"}], "times": 1}],
       "hears": ["what the caller's utterances are taken for", null, {"fail": true}]}
    An answer may also be {"delay": SECONDS, "parts": [...]}; {"wait": SECONDS} is a part.
    """
    try:
        server = RealtimeServer(
            host,
            port,
            _personas(persona, script, language),
            dialect,
            faults,
            speed,
            log_path,
            seed,
            delta_bytes=delta_bytes,
            audio_dir=audio_dir,
        )
    except GatewayError as error:
        raise click.UsageError(str(error)) from error
    ended = ended_by_signal()
    try:
        server.start()
    except OSError as error:
        raise click.UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    click.echo(f"realtime simulator ready: {server.url}")
    variables = [f"OPENAI_REALTIME_URL={server.url}", "OPENAI_API_KEY=sk-simulator"]
    click.echo("export " + " ".join(variables + (["REALTIME_DIALECT=beta"] if dialect == "beta" else [])))
    while not ended.wait(_POLL_S):
        pass
    server.stop()
    click.echo(f"realtime simulator stopped after {server.sessions_total} session(s)", err=True)


def _personas(persona: str, script: Path | None, language: str) -> Callable[[], Persona]:
    if (persona == "script") != (script is not None):
        raise click.UsageError("--persona script and --script FILE go together")
    return script_personas(script) if script is not None else demo_personas(language)
