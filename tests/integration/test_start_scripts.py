"""start_all.sh, as Procfile and people run it, with the packages of the running Python: no network.

The side-car is a shell script behind `npm start`, with a child that ignores SIGTERM: what npm
really starts is several processes deep and not always polite.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import websocket

from tests.integration.gunicorn_process import ROOT, GunicornProcess, http_status, is_running

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
WEB = (ROOT / "Procfile").read_text("utf-8").removeprefix("web: ").split()
"""What the platform runs."""
NPM_S = 30.0
"""What npm may take to start a script, on a cold disk."""

LONG_LIVED = """
sh -c 'trap "" TERM; echo SIDECAR_CHILD $$; while :; do sleep 0.2; done' &
echo "SIDECAR port=${PORT:-none} $$"
trap 'echo SIDECAR_STOPS; exit 0' TERM
while :; do sleep 0.1; done
"""


def start_all(**env: str) -> GunicornProcess:
    ours = {"KAV_NO_VENV": "1", "PYTHON": sys.executable, "KAV_APP": "tests.integration.worker_apps:app"}
    return GunicornProcess(command=WEB, env=ours | env)


@pytest.fixture
def sidecar(tmp_path):
    """Writes a side-car whose start script is the given shell script; returns its folder."""

    def write(script: str) -> str:
        (tmp_path / "package.json").write_text('{"name": "sidecar", "scripts": {"start": "sh start.sh"}}')
        (tmp_path / "start.sh").write_text(script)
        return str(tmp_path)

    return write


@pytest.fixture
def call():
    opened = []

    def open_call(process: GunicornProcess) -> websocket.WebSocket:
        opened.append(websocket.create_connection(f"ws://127.0.0.1:{process.port}/echo", timeout=5))
        return opened[-1]

    yield open_call
    for ws in opened:
        ws.shutdown()


@needs_npm
def test_sigterm_stops_gunicorn_and_the_whole_sidecar(sidecar, call):
    with start_all(SIDECAR_DIR=sidecar(LONG_LIVED), APP_CLOSES_ON_DRAIN="1") as process:
        pids = [int(process.wait_for_line(r"SIDECAR port=none (\d+)", NPM_S)[1])]
        pids += [int(process.wait_for_line(r"SIDECAR_CHILD (\d+)")[1]), process.master_pid]
        pids += process.worker_pids()
        assert len(pids) == 4
        ws = call(process)
        started_at = time.monotonic()
        process.terminate()
        assert ws.recv_data()[1] == b"\x03\xe9draining"
        ws.shutdown()
        assert process.wait() == 0
        assert time.monotonic() - started_at < 8  # of which 2 are for the child that ignores SIGTERM
        left_over = [pid for pid in pids if is_running(pid)]
        for pid in left_over:
            os.kill(pid, signal.SIGKILL)
        assert not left_over
    assert "SIDECAR_STOPS" in process.output()
    assert "calls go on" not in process.output()


def test_ctrl_c_lets_calls_finish_and_a_second_one_does_not(call):
    with start_all() as process:
        ws = call(process)
        process.terminate(signal.SIGINT)
        process.wait_for_line("ON_DRAIN")
        ws.send("the call goes on")
        assert ws.recv() == "the call goes on"
        started_at = time.monotonic()
        process.terminate(signal.SIGINT)
        assert process.wait() == 0
        assert time.monotonic() - started_at < 5
    assert process.output().count("FINALLY") == 1


@needs_npm
def test_calls_survive_the_sidecar_and_the_status_is_gunicorns(sidecar, call):
    with start_all(SIDECAR_DIR=sidecar("exit 3")) as process:
        process.wait_for_line("side-car: ended with status 3; calls go on without it", NPM_S)
        call(process).close()
        os.kill(process.master_pid, signal.SIGKILL)
        assert process.wait() == 128 + signal.SIGKILL


def test_a_sidecar_without_npm_is_left_out(sidecar, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "sleep"):
        (tools / name).symlink_to(Path(shutil.which(name) or name))
    with start_all(SIDECAR_DIR=sidecar(LONG_LIVED), PATH=str(tools)) as process:
        process.wait_for_line("npm is not; going on without it")
        assert http_status(process.port, "/healthz") == 200
        process.terminate()
        assert process.wait() == 0


def test_contradictory_settings_end_the_start_with_status_2():
    process = start_all(MAX_CALLS="many")
    process.start()
    try:
        assert process.wait() == 2
    finally:
        process.close()
    assert "MAX_CALLS" in process.output()
    assert "gunicorn" not in process.output()


@pytest.mark.parametrize("script", ["start_all.sh", "test_all.sh", "tools/env.sh", ".ci/run"])
def test_scripts_have_no_syntax_error(script):
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
