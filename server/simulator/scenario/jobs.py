"""Plays many scenarios, one after another or several at once, each in a process of its own then.

A call keeps a schedule of 20 ms: as threads of one process the calls would hold each other up.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from server.simulator.load.processes import none_left_behind
from server.simulator.scenario.runner import Result, Target, play
from server.simulator.scenario.scenario import read_scenario


@dataclass(frozen=True, slots=True)
class Job:
    """One scenario, once."""

    path: Path
    label: str
    """Under which its files are kept."""
    target: Target | None = None
    keep: Path | None = None


def plan(paths: Sequence[Path], repeat: int, target: Target | None, keep: Path | None) -> list[Job]:
    """Each scenario so many times, with a label that no other has."""
    jobs: list[Job] = []
    taken: set[str] = set()
    for path in paths:
        stem, number = path.stem, 2
        while stem in taken:
            stem, number = f"{path.stem}-{number}", number + 1
        taken.add(stem)
        labels = [stem] if repeat == 1 else [f"{stem}.{turn}" for turn in range(1, repeat + 1)]
        jobs += [Job(path, label, target, keep) for label in labels]
    return jobs


def play_all(jobs: Sequence[Job], at_once: int = 1) -> Iterator[Result]:
    """The results, in the order of the jobs. Leaving early ends what runs."""
    with none_left_behind():
        yield from map(_play, jobs) if at_once == 1 else _play_apart(jobs, at_once)


def _play_apart(jobs: Sequence[Job], at_once: int) -> Iterator[Result]:
    # Spawned and not forked: this process has threads, and a fork of it could wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        try:
            yield from pool.map(_play_in_child, jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _play(job: Job) -> Result:
    return play(read_scenario(job.path), job.target, job.keep, job.label)


def _play_in_child(job: Job) -> Result:
    """In a process of its own; a Ctrl-C or SIGTERM ends the gateway it has started."""
    with none_left_behind():
        try:
            return _play(job)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
