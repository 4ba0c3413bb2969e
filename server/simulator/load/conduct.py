"""One measurement: the load in a process on one core, a relay on the other, both ended whatever happens."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from server.simulator.load import processes
from server.simulator.load.certificates import Certificates
from server.simulator.load.relays import ROOT, CannotRun, Relay, RunningRelay

HELLO_S = 15.0
SLACK_S = 90.0
"""Beyond the window and the ramp: warm-up, settling, tail, and a slow machine."""
CHURN_CALLS_PER_S = 10
"""Slower than this, churn is given up."""
MAX_FILES = 65536


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run; None: there is only one core, and they share it."""

    relay: int | None
    load: int | None

    @classmethod
    def choose(cls) -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[-1]) if len(cores) > 1 else cls(None, None)


def raise_file_limit() -> None:
    """A call takes two descriptors at either end; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def measure(
    relay: Relay, calls: int, seconds: float, cores: Cores, certificates: Certificates | None
) -> dict[str, Any]:
    """A window of `seconds` with so many calls. Raises CannotRun."""
    limit_s = seconds + calls / 50 + SLACK_S
    return _conduct(relay, {"calls": calls, "seconds": seconds}, cores, certificates, limit_s, is_churn=False)


def churn(relay: Relay, calls: int, cores: Cores, certificates: Certificates | None) -> dict[str, Any]:
    """So many short calls. Raises CannotRun."""
    limit_s = calls / CHURN_CALLS_PER_S + SLACK_S
    return _conduct(relay, {"calls": calls, "seconds": 0}, cores, certificates, limit_s, is_churn=True)


def _conduct(
    relay: Relay,
    what: dict[str, Any],
    cores: Cores,
    certificates: Certificates | None,
    limit_s: float,
    *,
    is_churn: bool,
) -> dict[str, Any]:
    with _LoadProcess() as load:
        hello = {
            "core": cores.load,
            "is_churn": is_churn,
            "certificate": str(certificates.certificate) if certificates else None,
            "key": str(certificates.key) if certificates else None,
        }
        model_url = load.ask(hello, HELLO_S)["model_url"]
        with RunningRelay(
            relay, model_url, cores.relay, certificates.ca if certificates else None
        ) as running:
            order = {
                **what,
                "target": dataclasses.asdict(running.target),
                "pid": running.pid,
                "core": cores.relay,
                "metrics_path": relay.metrics_path,
            }
            answer = load.ask(order, limit_s)
            if "failed" in answer:
                answer["last_words"] = running.last_words()
            return answer


class _LoadProcess:
    """`python -m server.simulator.load`, and the lines to and from it."""

    def __enter__(self) -> _LoadProcess:
        command = [sys.executable, "-m", "server.simulator.load"]
        pipe = subprocess.PIPE
        self._process = processes.start(command, None, cwd=ROOT, bufsize=0, stdin=pipe, stdout=pipe)
        return self

    def __exit__(self, *_: object) -> None:
        processes.end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def ask(self, question: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Raises CannotRun when there is no answer in time."""
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None and answers is not None
        try:
            pipe.write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            raise CannotRun("the load ended early") from None
        readable, _, _ = select.select([answers], [], [], limit_s)
        line = answers.readline() if readable else b""  # written in one piece
        if not line:
            raise CannotRun(
                "the load ended early" if readable else f"the load did not end in {limit_s:.0f} s"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
