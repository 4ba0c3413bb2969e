"""python -m server call: dial the gateway as Twilio would, and hear what a caller hears."""

from __future__ import annotations

import json
import re
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from server.audio.g711 import BYTES_PER_MS, SILENCE, ms
from server.audio.wav import read_ulaw, write_pcm16
from server.cli.gateway_url import public_url_of, webhook_url
from server.cli.seconds import DAY_S, Seconds
from server.cli.terminal import speak_utf8
from server.errors import AudioFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.simulator.twilio.call import TwilioCall
    from server.simulator.twilio.caller import Key

SCENARIO_OPTIONS = ("repeat", "jobs", "keep", "scenario")
"""Without a scenario they mean nothing."""
SHARED_OPTIONS = ("url", "as_json", "auth_token", "unsigned", "public_url", "port")
_DTMF = re.compile(r"([0-9*#A-D]+)@(\d+(?:\.\d+)?)")


def _keys(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, float]]:
    """`12#@3.5`: keys, and when the first is pressed."""
    found = []
    for value in values:
        if (match := _DTMF.fullmatch(value)) is None:
            raise click.BadParameter(f"{value!r} is no KEYS@SECONDS; write for example --dtmf 12#@3.5")
        if float(match[2]) > DAY_S:
            raise click.BadParameter(f"{value!r} is later than a call can last")
        found.append((match[1], float(match[2])))
    return found


@click.command()
@click.argument("url", required=False)
@click.option(
    "--wav", type=click.Path(path_type=Path), help="What the caller says: 8 kHz mono WAV, or .ulaw."
)
@click.option(
    "--seconds", type=Seconds(most=3600), default=3.0, show_default=True, help="Of silence without --wav."
)
@click.option("--out", type=click.Path(path_type=Path), help="Save what the caller heard as WAV.")
@click.option(
    "--stereo", type=click.Path(path_type=Path), help="Save both: left the caller, right the agent."
)
@click.option("--json", "as_json", is_flag=True, help="The whole report on stdout; words on stderr.")
@click.option(
    "--dtmf",
    callback=_keys,
    metavar="KEYS@S",
    multiple=True,
    help="Press keys, 250 ms apart: 12#@3.5. May be repeated.",
)
@click.option(
    "--speak-at",
    type=Seconds(),
    metavar="S",
    help="Begin then, over whatever is said; without it, when the agent has spoken first (or 3 s in vain).",
)
@click.option("--hangup-after", type=Seconds(), metavar="S", help="Hang up then, whatever goes on.")
@click.option(
    "--quiet-after",
    type=Seconds(),
    default=1.5,
    show_default=True,
    metavar="S",
    help="Hang up when everything was said, an answer was heard, and it was quiet so long.",
)
@click.option(
    "--timeout",
    type=Seconds(above=True),
    default=15.0,
    show_default=True,
    metavar="S",
    help="For each HTTP answer, the upgrade, and the first sound after the caller's last word.",
)
@click.option(
    "--expect-first-audio", type=Seconds(), metavar="S", help="Fail if the first sound comes later."
)
@click.option("--no-subprotocol", is_flag=True, help="Do not offer audio.twilio.com.")
@click.option("--path", "stream_path", default="", help="Instead of the path in <Stream url>.")
@click.option(
    "--auth-token", envvar="TWILIO_AUTH_TOKEN", show_envvar=True, default="", help="Signs as Twilio does."
)
@click.option("--unsigned", is_flag=True, help="Do not sign, even with a token.")
@click.option(
    "--public-url",
    envvar="PUBLIC_BASE_URL",
    show_envvar=True,
    default="",
    help="The address Twilio uses, when URL is another way to the same gateway.",
)
@click.option(
    "--from", "from_number", default="+972501234567", show_default=True, help="The caller's number."
)
@click.option("--to", "to_number", default="+97231234567", show_default=True, help="The number called.")
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|DIR",
    help="Play this file, or all of a folder, and judge it (docs/scenarios.md); repeatable.",
)
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, help="Each scenario so many times.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="So many scenarios at once.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep recordings and logs there."
)
@click.option("--port", envvar="PORT", default=5000, hidden=True)
@click.pass_context
def call(
    ctx: click.Context,
    url: str | None,
    wav: Path | None,
    seconds: float,
    out: Path | None,
    stereo: Path | None,
    as_json: bool,
    dtmf: list[tuple[str, float]],
    speak_at: float | None,
    hangup_after: float | None,
    quiet_after: float,
    timeout: float,
    expect_first_audio: float | None,
    no_subprotocol: bool,
    stream_path: str,
    auth_token: str,
    unsigned: bool,
    public_url: str,
    from_number: str,
    to_number: str,
    scenario: tuple[Path, ...],
    repeat: int,
    jobs: int,
    keep: Path | None,
    port: int,
) -> None:
    """Call the gateway at URL as Twilio would: webhook, TwiML, media stream, action.

    URL is the gateway's address (http://127.0.0.1:$PORT when left out) or its voice webhook.
    With --scenario, whole conversations are played from files, without URL each against a gateway and
    a model started for it.
    Exit code: 0 all well, 1 nothing heard or a fault found, 2 usage, 3 unreachable, 4 refused (403).
    """
    _check_options(ctx, has_scenario=bool(scenario))
    if scenario:
        from server.cli.scenarios import play_scenarios
        from server.simulator.scenario.runner import Target

        speak_utf8()
        target = None
        if url:
            webhook = webhook_url(url)
            token = "" if unsigned else auth_token.split(",")[0].strip()
            target = Target(webhook, token, public_url_of(ctx, public_url, webhook))
        ctx.exit(play_scenarios(scenario, target, repeat=repeat, jobs=jobs, keep=keep, as_json=as_json))
    # The HTTP client takes 0.1 s to import; `--help` and the other commands need not wait for it.
    from server.simulator.twilio.call import CallOptions, TwilioCall
    from server.simulator.twilio.call_text import lines
    from server.simulator.twilio.caller import keys

    speak_utf8()
    webhook = webhook_url(url or f"http://127.0.0.1:{port}")
    pressed: list[Key] = [key for digits, at_s in dtmf for key in keys(digits, at_s)]
    options = CallOptions(
        url=webhook,
        audio=_read(wav) if wav else SILENCE * round(seconds * 1000 * BYTES_PER_MS),
        keys=tuple(pressed),
        speak_at_s=speak_at,
        auth_token="" if unsigned else auth_token.split(",")[0].strip(),
        public_url=public_url_of(ctx, public_url, webhook),
        from_number=from_number,
        to_number=to_number,
        offer_subprotocol=not no_subprotocol,
        stream_path=_stream_path(stream_path),
        hangup_after_s=hangup_after,
        quiet_after_s=quiet_after,
        timeout_s=timeout,
        first_audio_limit_s=expect_first_audio,
    )
    for path, name in ((out, "--out"), (stereo, "--stereo")):
        if path and not path.absolute().parent.is_dir():
            raise click.UsageError(f"{name} {path}: the folder does not exist; make it first.")
    twilio_call = TwilioCall(options)
    with _hang_up_on_interrupt(twilio_call):
        report = twilio_call.run()
    talk = lines(report)
    talk[-1:-1] = _save(twilio_call, out, stereo) if report.webhook_status else []
    click.echo("\n".join(talk), err=as_json)
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    ctx.exit(int(report.outcome))


def _check_options(ctx: click.Context, *, has_scenario: bool) -> None:
    """Raises UsageError for an option that the other way of calling has."""
    for param in ctx.command.params:
        name = param.name or ""
        is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and has_scenario and name not in SCENARIO_OPTIONS + SHARED_OPTIONS:
            raise click.UsageError(f"{param.opts[0]} and --scenario do not go together; the file says it")
        if is_given and not has_scenario and name in SCENARIO_OPTIONS:
            raise click.UsageError(f"{param.opts[0]} goes with --scenario")


def _stream_path(path: str) -> str:
    if path and not path.startswith("/"):
        raise click.UsageError(f"--path {path!r} does not begin with /; write for example /ws/twilio-media/")
    return path


def _read(wav: Path) -> bytes:
    try:
        return read_ulaw(wav)
    except AudioFileError as error:
        raise click.UsageError(f"--wav {error}") from error


def _save(twilio_call: TwilioCall, out: Path | None, stereo: Path | None) -> list[str]:
    """Write the recordings; say what was written."""
    heard, said = twilio_call.line.heard(), twilio_call.caller_track()
    saved = []
    try:
        if out:
            write_pcm16(out, [heard])
            saved.append(f"{out} ({ms(len(heard)) / 1000:.1f} s)")
        if stereo:
            write_pcm16(stereo, [said, heard])
            saved.append(f"{stereo} (left you, right agent)")
    except AudioFileError as error:
        return [f"· could not save {error}"]
    return ["saved " + "  ".join(saved)] if saved else []


@contextmanager
def _hang_up_on_interrupt(twilio_call: TwilioCall) -> Iterator[None]:
    """Ctrl-C ends the call, not the program: the report and the recordings are still wanted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hang_up(*_: object) -> None:
        twilio_call.hang_up()
        signal.signal(signal.SIGINT, before)  # the second Ctrl-C means it

    before = signal.signal(signal.SIGINT, hang_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
