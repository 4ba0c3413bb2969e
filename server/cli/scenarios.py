"""`python -m server call --scenario`: play scenario files and say which passed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from server.errors import ConfigError
from server.simulator.scenario.jobs import plan, play_all
from server.simulator.scenario.runner import Result, Status, Target
from server.simulator.scenario.scenario import find_files, read_scenario
from server.simulator.scenario.words import lines, summary
from server.simulator.scenario.yaml_text import ScenarioError


def play_scenarios(
    paths: Sequence[Path],
    target: Target | None,
    *,
    repeat: int,
    jobs: int,
    keep: Path | None,
    as_json: bool,
) -> int:
    """Exit code: 0 all passed, 1 one failed, 3 the gateway at URL could not be reached, 4 it answered 403.

    Raises UsageError for a file that cannot be played as it is written; then nothing is played.
    """
    files = _readable(paths, is_own_gateway=target is None)
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"--keep {keep}: {error.strerror or error}") from error
    planned = plan(files, repeat, target, keep)
    results: list[Result] = []
    for job, result in zip(planned, play_all(planned, min(jobs, len(planned))), strict=True):
        results.append(result)
        click.echo("\n".join(lines(result, job.label)), err=as_json)
    click.echo(summary(results), err=as_json)
    if keep is None and any(result.failures for result in results):
        click.echo("· --keep DIR leaves the recordings and logs there", err=as_json)
    if as_json:
        told = {"scenarios": [result.to_json() for result in results], "summary": summary(results)}
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    return _exit_code(results)


def _exit_code(results: Iterable[Result]) -> int:
    statuses = {result.status for result in results}
    if Status.UNREACHABLE in statuses:
        return 3
    if Status.REFUSED in statuses:
        return 4
    return 1 if Status.FAILED in statuses else 0


def _readable(paths: Sequence[Path], *, is_own_gateway: bool) -> list[Path]:
    """Every file, once each has been read without a mistake. Raises UsageError naming all mistakes."""
    try:
        files = find_files(list(paths))
    except ConfigError as error:
        raise click.UsageError(f"--scenario {error}") from error
    mistakes = []
    for path in files:
        try:
            scenario = read_scenario(path)
        except ScenarioError as error:
            mistakes.append(str(error))
            continue
        if not is_own_gateway and scenario.own_gateway_lines:
            line, what = scenario.own_gateway_lines[0]
            mistakes.append(f"{path}:{line}: {what} needs a gateway started here; leave URL or this out")
    if mistakes:
        raise click.UsageError("\n".join(mistakes))
    return files
