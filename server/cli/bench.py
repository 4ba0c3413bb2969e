"""python -m server bench: what does a call cost here, how late is its audio, and is any of it lost?

Starts the gateway as it is deployed and, beside it, relays that do less, one after another, each on one
core with the same load from another. Absolute figures are this machine's at this hour; the ratios are
what to compare.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from server.cli.seconds import Seconds

NAMES = ("gateway", "node", "asyncio", "relay")


def _counts(_ctx: click.Context, _param: click.Parameter, value: str) -> list[int]:
    """`25,100`."""
    try:
        counts = [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers such as 25,100") from None
    if not all(0 < count <= 5000 for count in counts):
        raise click.BadParameter("between 1 and 5000 calls")
    return counts


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[str]:
    names = [] if value is None else value.split(",")
    for name in names:
        if name not in NAMES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(NAMES)}")
    return list(dict.fromkeys(names))


@click.command()
@click.option(
    "--calls", default="100", show_default=True, metavar="N[,N…]", callback=_counts, help="Calls at once."
)
@click.option(
    "--seconds",
    type=Seconds(1, 3600),
    default=20.0,
    show_default=True,
    metavar="S",
    help="How long each is measured, once all calls talk.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 50), default=1, show_default=True, help="Medians of so many."
)
@click.option(
    "--only",
    callback=_names,
    metavar="NAME[,NAME…]",
    help=f"Of {', '.join(NAMES)}. Default: all that run here.",
)
@click.option("--tls", is_flag=True, help="The model's leg over TLS.")
@click.option(
    "--churn",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Instead: N short calls, 20 at a time; what stays behind? The gateway's, unless --only.",
)
@click.option("--json", "as_json", is_flag=True, help="All figures on stdout; words on stderr.")
@click.pass_context
def bench(
    ctx: click.Context,
    calls: list[int],
    seconds: float,
    rounds: int,
    only: list[str],
    tls: bool,
    churn: int | None,
    as_json: bool,
) -> None:
    """Load the gateway with calls and measure what they cost, beside relays that do less.

    Everything stays on 127.0.0.1. Exit code: 0 measured, 2 usage, 3 something did not start.
    """
    if not sys.platform.startswith("linux"):
        click.echo("bench reads /proc and waits with epoll: it needs Linux.", err=True)
        ctx.exit(3)
    from server.simulator.load import certificates, conduct, processes, report
    from server.simulator.load.relays import RELAYS, CannotRun, prepare

    conduct.raise_file_limit()
    cores = conduct.Cores.choose()
    names = only or (["gateway"] if churn else list(NAMES))
    about = report.header(
        sys.argv[1:] if sys.argv[1:2] != ["bench"] else sys.argv[2:], (cores.relay, cores.load)
    )
    click.echo("\n".join(report.header_lines(about)), err=as_json)
    absent: dict[str, str] = {}
    records: list[dict[str, Any]] = []

    def record(name: str, n: int, at: int) -> None:
        what = f"{n} short calls" if churn else f"{n} calls, {seconds:g} s"
        click.echo(f"… {name}, {what}{f', round {at + 1}' if rounds > 1 else ''}", err=True)
        result: dict[str, Any] = {"relay": name, "round": at + 1, "calls": n, "tls": tls}
        try:
            if churn:
                result |= conduct.churn(RELAYS[name], n, cores, papers)
            else:
                result |= conduct.measure(RELAYS[name], n, seconds, cores, papers)
        except CannotRun as error:
            result["failed"] = str(error)
        records.append(result)

    with processes.none_left_behind(), tempfile.TemporaryDirectory(prefix="kav-bench-") as folder:
        try:
            papers = certificates.make(Path(folder)) if tls else None
        except certificates.NoCertificate as error:
            click.echo(f"--tls: {error}", err=True)
            ctx.exit(3)
        for name in names:
            try:
                prepare(RELAYS[name])
            except CannotRun as error:
                absent[name] = str(error)
        present = [name for name in names if name not in absent]
        for at in range(rounds if present else 0):
            turn = at % len(present)
            for n in [churn] if churn else calls:
                for name in present[turn:] + present[:turn]:
                    record(name, n, at)
    _tell(report, about, records, absent, is_churn=bool(churn), as_json=as_json)
    if any("failed" in one for one in records) or any(name in only for name in absent):
        ctx.exit(3)


def _tell(
    report: Any,
    about: dict[str, Any],
    records: list[dict[str, Any]],
    absent: dict[str, str],
    *,
    is_churn: bool,
    as_json: bool,
) -> None:
    if as_json:
        answer = {"about": about, "absent": absent, "churn" if is_churn else "runs": records}
        if not is_churn:
            answer["ratios"] = report.ratios(records)
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    lines = report.churn_lines if is_churn else report.load_lines
    click.echo("\n".join(["", *lines(records, absent)]))
    for one in records:
        if one.get("last_words"):
            click.echo(f"\nwhat {one['relay']} printed last:\n{one['last_words']}", err=True)
