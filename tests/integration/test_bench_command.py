"""`bench` as a user runs it: a real gunicorn, a real load, every frame accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.cli.bench import bench
from tests.integration.gunicorn_process import ROOT, descendants_of, is_running

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and epoll")
RUN = "from server.cli.bench import bench; bench()"
LONGEST_S = 120.0


def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OPENAI_API_KEY": "an operator's own key, not to be spent"}
    if path is not None:
        env["PATH"] = path
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )


def answer_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_three_calls_through_the_gateway_lose_nothing() -> None:
    answer = answer_of(run("--calls", "3", "--seconds", "2", "--only", "gateway", "--json"))
    (record,) = answer["runs"]
    for way in (record["to_model"], record["to_caller"]):
        assert 270 <= way["sent"] <= 330  # 3 calls, 2 s, 50 a second
        assert way["received"] == way["sent"]
        troubles = ("lost", "reordered", "duplicated", "altered", "misrouted")
        assert [way[name] for name in troubles] == [0] * 5
        assert 0 < way["p50_ms"] <= way["p99_ms"] <= way["max_ms"]
    assert (record["relay"], record["calls"]) == ("gateway", 3)
    assert 0 < record["cpu_s_per_call_minute"] < 20
    assert record["hub_lag_ms"] is not None
    assert (record["calls_cut_off"], record["sessions_left"]) == (0, 0)
    assert answer["about"]["python"] == sys.version.split()[0]


def test_the_floor_over_tls_as_a_table() -> None:
    done = run("--calls", "2", "--seconds", "1", "--only", "relay", "--tls")
    assert done.returncode == 0, done.stdout + done.stderr
    names, row = (line.split() for line in done.stdout.splitlines()[3:5])
    assert names[:2] == ["relay", "calls"]
    assert row[:2] == ["relay", "2"]


def test_short_calls_leave_nothing_behind() -> None:
    (record,) = answer_of(run("--churn", "60", "--json"))["churn"]
    assert record["sessions_opened"] == 61  # and one to warm up
    assert record["sessions_end"] == 0
    assert abs(record["fds_end"] - record["fds_start"]) <= 2


def test_without_node_its_row_says_so(tmp_path: Path) -> None:
    done = run("--calls", "1", "--seconds", "1", "--only", "node", path=str(tmp_path))
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].split() == ["node", "-", "node", "not", "found"]


@pytest.mark.parametrize(
    "arguments", [["--calls", "some"], ["--calls", "0"], ["--only", "nobody"], ["--seconds", "0"]]
)
def test_usage(arguments: list[str]) -> None:
    from click.testing import CliRunner

    assert CliRunner().invoke(bench, arguments).exit_code == 2


def test_ended_early_it_leaves_no_process_behind() -> None:
    command = [sys.executable, "-c", RUN, "--calls", "2", "--seconds", "60", "--only", "relay"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the measurement has begun
        family: list[int] = []
        while len(family) < 2 and process.poll() is None:
            family = descendants_of(process.pid)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 128 + 15
    assert len(family) == 2
    assert not any(is_running(pid) for pid in family)
