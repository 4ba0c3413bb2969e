"""python -m server canary: is a caller greeted, and in time? For cron, uptime checks and deployments."""

from __future__ import annotations

import itertools
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from server.audio.wav import read_ulaw
from server.cli.gateway_url import public_url_of, webhook_url
from server.cli.seconds import Seconds
from server.cli.terminal import speak_utf8
from server.errors import AudioFileError

if TYPE_CHECKING:
    from server.cli.canary_call import CanaryCall
    from server.cli.canary_check import Result
    from server.prompts import Prompts

_HTTP = {"wss://": "https://", "ws://": "http://"}
QUESTION = Path(__file__).resolve().parents[2] / "tests" / "data" / "hebrew_question.ulaw"
"""“Hello, when are you open today?”"""
POLL_S = 0.1


@click.command()
@click.argument("url")
@click.option(
    "--first-audio-within",
    type=Seconds(most=60, above=True),
    default=2.5,
    show_default=True,
    metavar="S",
    help="The greeting may begin so late, counted from the webhook's answer.",
)
@click.option(
    "--greeting-at-least",
    type=Seconds(most=20, above=True),
    default=0.5,
    show_default=True,
    metavar="S",
    help="So much sound is a greeting.",
)
@click.option("--turn", "is_turn", is_flag=True, help="Ask something in Hebrew, and expect an answer.")
@click.option(
    "--answer-within",
    type=Seconds(most=60, above=True),
    default=4.0,
    show_default=True,
    metavar="S",
    help="With --turn: the answer may begin so late after the question.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check on stdout; words on stderr.")
@click.option("--quiet", is_flag=True, help="Say nothing while all is well.")
@click.option(
    "--every",
    "every_s",
    type=Seconds(1),
    metavar="SECONDS",
    help="Check again and again, until Ctrl-C or --times.",
)
@click.option("--times", type=click.IntRange(1), metavar="N", help="With --every: so many checks.")
@click.option(
    "--auth-token", envvar="TWILIO_AUTH_TOKEN", show_envvar=True, default="", help="Signs as Twilio does."
)
@click.option(
    "--public-url",
    envvar="PUBLIC_BASE_URL",
    show_envvar=True,
    default="",
    help="The address Twilio uses, when URL is another way to the same gateway.",
)
@click.option(
    "--to", "to_number", default="+97231234567", show_default=True, help="The number called: which business."
)
@click.pass_context
def canary(
    ctx: click.Context,
    url: str,
    first_audio_within: float,
    greeting_at_least: float,
    is_turn: bool,
    answer_within: float,
    as_json: bool,
    quiet: bool,
    every_s: float | None,
    times: int | None,
    auth_token: str,
    public_url: str,
    to_number: str,
) -> None:
    """Call a deployed gateway as a caller would, and fail when the greeting is late or silent.

    URL is the gateway's public address (https://… or wss://…) or its voice webhook. The call is hung up as
    soon as the outcome is known; it comes from +15005550006, which is nobody's number. See docs/canary.md.
    Exit code: 0 all well, 1 the check failed, 2 usage, 3 unreachable, 4 refused (403).
    """
    if times is not None and every_s is None:
        raise click.UsageError("--times goes with --every")
    for scheme, http in _HTTP.items():
        if url.lower().startswith(scheme):
            url = http + url[len(scheme) :]
    webhook = webhook_url(url)
    # The HTTP client takes 0.1 s to import; `--help` and the other commands need not wait for it.
    from server.cli.canary_call import stand_ins
    from server.cli.canary_check import Gateway, check
    from server.cli.canary_verdict import Limits
    from server.prompts import load_prompts

    speak_utf8()
    try:
        prompts = load_prompts()
        question = _question(prompts) if is_turn else b""
    except AudioFileError as error:
        raise click.UsageError(str(error)) from error
    token = auth_token.split(",")[0].strip()
    gateway = Gateway(webhook, token, public_url_of(ctx, public_url, webhook), to_number)
    limits = Limits(first_audio_within, greeting_at_least, answer_within if is_turn else None)
    known = stand_ins(prompts)
    results: list[Result] = []
    with interruptible() as ending:
        for _ in _turns(every_s, times, ending):
            result = check(gateway, limits, known, question, ending.watch)
            if ending.has_come:
                break  # a call that was broken off proves nothing
            results.append(result)
            if not (quiet and result.complaint is None):
                _tell(result, as_json=as_json, is_timed=every_s is not None)
    has_failed = any(result.complaint is not None for result in results)
    if every_s is not None and (has_failed or not quiet):
        click.echo(_summary(results), err=as_json)
    elif not results:
        click.echo("· interrupted: nothing was found out", err=True)
    ctx.exit(_exit_code(results))


class Ending:
    """Whether to stop: Ctrl-C and SIGTERM hang up the call under way and begin no other."""

    has_come = False
    _call: CanaryCall | None = None

    def watch(self, call: CanaryCall) -> None:
        """This call is to be hung up, should the end come."""
        self._call = call

    def come(self) -> None:
        """In a signal's handler: takes no lock that its own thread may hold."""
        self.has_come = True
        if self._call is not None:
            self._call.hang_up()

    def wait(self, until_s: float) -> None:
        """Until then (monotonic), or until the end has come."""
        while not self.has_come and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, POLL_S))


@contextmanager
def interruptible() -> Iterator[Ending]:
    """The second signal does what it always does. Outside the main thread nothing is caught."""
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        ending.come()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _turns(every_s: float | None, times: int | None, ending: Ending) -> Iterator[int]:
    """Once for each check, when it is time; what took longer than `every_s` is followed at once."""
    at_s = time.monotonic()
    for number in itertools.count(1):
        yield number
        if every_s is None or number == times:
            return
        at_s = max(at_s + every_s, time.monotonic())
        ending.wait(at_s)
        if ending.has_come:
            return


def _question(prompts: Prompts) -> bytes:
    """What is asked. An installation without the tests' recordings asks with a prompt: “how can I help?”

    Raises AudioFileError.
    """
    return read_ulaw(QUESTION) if QUESTION.is_file() else prompts.get("he", "greeting_short").payload


def _tell(result: Result, *, as_json: bool, is_timed: bool) -> None:
    """A line as soon as it is known: a log that is watched, or a program at the other end of a pipe."""
    time_of_day = f"{result.at.astimezone():%H:%M:%S}  " if is_timed else ""
    click.echo(time_of_day + result.line(), err=as_json)
    if as_json:
        click.echo(json.dumps(result.to_json(), ensure_ascii=False))
        sys.stdout.flush()


def _summary(results: list[Result]) -> str:
    well = [result for result in results if result.complaint is None]
    text = f"· {len(results)} checks: {len(well)} well, {len(results) - len(well)} failed"
    greetings_ms = [ms for result in well if (ms := result.seen.greeting_ms) is not None]
    if greetings_ms:
        text += f"; greeting p50 {statistics.median(greetings_ms):.0f} ms, worst {max(greetings_ms):.0f} ms"
    return text


def _exit_code(results: list[Result]) -> int:
    """What all failures have in common, else 1; 1 as well when nothing was found out."""
    failures = {int(result.outcome) for result in results if result.complaint is not None}
    if len(failures) == 1:
        return failures.pop()
    return 1 if failures or not results else 0
