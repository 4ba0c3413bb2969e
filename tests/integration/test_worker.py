"""The gunicorn worker, seen from outside: real processes, signals, sockets.

The app is `worker_apps.py`. Each test names a way in which an eventlet worker has gone wrong.
An idle gunicorn ends in 0.3 s, for its arbiter looks every 0.1 s. A worker with calls ends them 3 s
before `--graceful-timeout`, but never sooner than after 0.5 s.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest
import websocket

from tests.integration.gunicorn_process import (
    ROOT,
    GunicornProcess,
    http_status,
    wait_until_gone,
)

APP = "tests.integration.worker_apps:app"
BESIDE_CALLS_S = 3.0
"""What ending costs beyond the drain itself, on a slow and busy machine. Who waits for calls that are over
takes 24 s."""


def gunicorn(*args: str, **env: str) -> GunicornProcess:
    return GunicornProcess(APP, env=env, args=args)


@pytest.fixture(scope="module")
def server():
    """One for all tests that leave it as it was."""
    with gunicorn() as process:
        yield process


@pytest.fixture
def call():
    """Opens live calls: echo WebSockets that have answered once."""
    opened: list[websocket.WebSocket] = []

    def open_call(process: GunicornProcess) -> websocket.WebSocket:
        ws = websocket.create_connection(f"ws://127.0.0.1:{process.port}/echo", timeout=5)
        opened.append(ws)
        ws.send("hello")
        assert ws.recv() == "hello"
        return ws

    yield open_call
    for ws in opened:
        ws.shutdown()


def get(process: GunicornProcess, path: str) -> bytes:
    with urlopen(process.base_url + path, timeout=5) as response:
        return response.read()


def timed_end(process: GunicornProcess) -> tuple[int, float]:
    """Exit status, and seconds until then."""
    started_at = time.monotonic()
    return process.wait(), time.monotonic() - started_at


def rest_of(ws: websocket.WebSocket) -> bytes:
    """What still comes on the socket, raw, until the other end closes it."""
    pieces = []
    while piece := ws.sock.recv(4096):
        pieces.append(piece)
    return b"".join(pieces)


def test_the_command_works_as_typed(call):
    typed = "exec gunicorn -k eventlet -w 1 -b 0.0.0.0:$PORT " + APP
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with GunicornProcess(command=["sh", "-c", typed], env={"PATH": path}) as process:
        process.wait_for_line("Using worker: eventlet")
        call(process).close()
        process.terminate()
        status, seconds = timed_end(process)
    assert status == 0
    assert seconds < BESIDE_CALLS_S
    assert "Warning" not in process.output()


def test_the_worker_is_patched_and_the_arbiter_is_not(tmp_path):
    report = "print('ARBITER_PATCHED', eventlet.patcher.is_monkey_patched('socket'), flush=True)"
    conf = tmp_path / "conf.py"
    conf.write_text(
        f"exec(open({str(ROOT / 'gunicorn.conf.py')!r}).read())\n"
        f"def on_exit(server):\n    import eventlet.patcher\n    {report}\n"
    )
    with gunicorn("-c", str(conf)) as process:
        assert json.loads(get(process, "/facts"))["is_patched"]
        process.terminate()
        assert process.wait() == 0
    process.wait_for_line("ARBITER_PATCHED False")


def test_a_client_is_wrapped_once_and_sends_at_once(server):
    facts = json.loads(get(server, "/facts"))
    assert facts["is_wrapped_once"]
    assert facts["sends_at_once"]


def test_requests_that_wait_do_not_wait_for_each_other(server):
    started_at = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: get(server, "/sleep"), range(4))) == [b"slept"] * 4
    assert time.monotonic() - started_at < 1.5  # 0.5 each; 2.0 one after the other


def test_a_static_file_arrives_whole(server):
    assert get(server, "/file") == (ROOT / "tests/integration/worker_apps.py").read_bytes()


def test_joining_a_thread_for_a_time_returns_and_an_outer_timeout_still_counts(server):
    result = json.loads(get(server, "/join"))
    assert result["returned_after"] < 1
    assert result["is_alive"]
    assert result["outer"] == "ours"
    assert not result["is_alive_at_the_end"]


def test_usr1_reopens_the_log_even_while_its_lock_is_held(tmp_path, call):
    """The signal comes while every greenlet waits, that is inside the hub, where nothing may wait."""
    log = tmp_path / "access.log"
    with gunicorn("--access-logfile", str(log)) as process, ThreadPoolExecutor(1) as pool:
        ws = call(process)
        workers = process.worker_pids()
        slow = pool.submit(get, process, "/slow_log")
        process.wait_for_line("LOCKED")
        log.rename(tmp_path / "access.log.1")
        os.kill(workers[0], signal.SIGUSR1)
        assert slow.result() == b"logged"
        deadline_at = time.monotonic() + 3  # the line is written after the answer
        while not (log.exists() and "/slow_log" in log.read_text()):
            assert time.monotonic() < deadline_at, "nothing is written to a new file"
            time.sleep(0.02)
        ws.send("still here")
        assert ws.recv() == "still here"
        assert process.worker_pids() == workers
    assert "Traceback" not in process.output()


@pytest.mark.parametrize("to_all", [False, True], ids=["to the arbiter", "to every process"])
def test_draining_starts_at_once_and_ends_with_the_last_call(to_all, call):
    with gunicorn(APP_CLOSES_ON_DRAIN="1") as process:
        calls = [call(process) for _ in range(20)]
        workers = process.worker_pids()
        signalled_at = time.time()
        process.terminate()
        for worker in workers if to_all else []:
            os.kill(worker, signal.SIGTERM)
        assert [ws.recv_data()[1] for ws in calls] == [b"\x03\xe9draining"] * 20  # 1001
        for ws in calls:
            ws.shutdown()  # as a client does: until then the handler waits for its answer to the close
        status, seconds = timed_end(process)
    drained_at = float(process.wait_for_line(r"ON_DRAIN now=(\S+)")[1])
    left_s = float(process.wait_for_line(r"left_s=(\S+)")[1])
    assert drained_at - signalled_at < 0.45  # of which the arbiter's own part is a few ms
    assert 23 < left_s <= 24
    assert status == 0
    assert seconds < BESIDE_CALLS_S
    assert process.output().count("FINALLY") == 20


def test_calls_that_do_not_end_are_ended_before_the_arbiter_kills(call):
    with gunicorn("--graceful-timeout", "4") as process:  # the deadline is 1 s
        calls = [call(process) for _ in range(20)]
        with closing(HTTPConnection("127.0.0.1", process.port, timeout=5)) as idle:
            idle.request("GET", "/healthz")
            assert idle.getresponse().read()
            assert idle.sock is not None, "kept alive, as a proxy does between two requests"
            process.terminate()
            started_at = time.monotonic()
            rests = {rest_of(ws) for ws in calls}
            assert 0.8 < time.monotonic() - started_at < 2
            assert idle.sock.recv(4096) == b""
        status, seconds = timed_end(process)
    assert rests == {b""}, "an HTTP error page was written into a WebSocket"
    assert status == 0
    assert process.output().rpartition("FINALLY")[2].count("ON_END") == 1, "when everything else is over"
    assert seconds < 2.0  # SIGKILL would come 3 s after the deadline
    assert process.output().count("FINALLY") == 20
    assert "Error handling request" not in process.output()
    assert "SIGKILL" not in process.output()


def test_while_draining_readiness_is_answered_for_as_long_as_the_app_asks(call):
    with gunicorn("--graceful-timeout", "9", APP_LISTENER_S="2.0") as process:  # the deadline is 6 s
        ws = call(process)
        assert http_status(process.port, "/readyz") == 200
        process.terminate()
        process.wait_for_line("ON_DRAIN")
        started_at = time.monotonic()
        assert http_status(process.port, "/readyz") == 503
        while http_status(process.port, "/readyz") is not None:
            time.sleep(0.02)
        assert 1.0 < time.monotonic() - started_at < 4.0
        ws.send("the call goes on")
        assert ws.recv() == "the call goes on"
        ws.close()
        assert process.wait() == 0


def test_a_second_sigterm_changes_nothing(call):
    with gunicorn("--graceful-timeout", "6") as process:
        ws = call(process)
        (worker,) = process.worker_pids()
        process.terminate()
        process.wait_for_line("ON_DRAIN")
        started_at = time.monotonic()
        process.terminate()
        os.kill(worker, signal.SIGTERM)
        assert rest_of(ws) == b""
        assert time.monotonic() - started_at > 1.5  # the deadline of the first one: 3 s
        assert process.wait() == 0
    assert process.output().count("ON_DRAIN") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_a_quick_stop_still_ends_calls_in_order(number, call):
    with gunicorn() as process:
        calls = [call(process) for _ in range(5)]
        process.terminate(number)
        status, seconds = timed_end(process)
        assert {rest_of(ws) for ws in calls} == {b""}
    assert status == 0
    assert seconds < BESIDE_CALLS_S
    assert process.output().count("FINALLY") == 5
    assert "Traceback" not in process.output()


@pytest.mark.parametrize("delay_s", [0.005, 0.02, 0.06, 0.12])
def test_sigterm_to_a_worker_that_is_not_ready_yet_is_not_lost(delay_s):
    with gunicorn("--graceful-timeout", "5") as process:
        (first,) = process.worker_pids()
        os.kill(first, signal.SIGKILL)
        successor = first
        while successor == first:
            successor = next(iter(process.worker_pids()), first)
        process.wait_for_line(rf"Booting worker with pid: {successor}")
        time.sleep(delay_s)
        process.terminate()
        status, seconds = timed_end(process)
    assert status == 0
    assert seconds < 4  # 5 when lost: the whole graceful timeout, then SIGKILL


def test_a_killed_worker_is_replaced(call):
    with gunicorn() as process:
        ws = call(process)
        (first,) = process.worker_pids()
        os.kill(first, signal.SIGKILL)
        assert rest_of(ws) == b""
        assert int(get(process, "/healthz")) != first  # waits in the listener until the successor serves
        call(process).close()


def test_a_worker_without_its_arbiter_drains(call):
    with gunicorn("--graceful-timeout", "4") as process:
        ws = call(process)
        (worker,) = process.worker_pids()
        os.kill(process.master_pid, signal.SIGKILL)
        assert rest_of(ws) == b""
        assert wait_until_gone(worker, 3) < 1
        process.wait_for_line("FINALLY")
        assert http_status(process.port, "/healthz") is None


def test_a_worker_whose_hub_is_blocked_is_replaced_at_once(call):
    with gunicorn("--timeout", "1") as process:
        call(process)  # would keep a worker that merely drains for another 24 s
        (first,) = process.worker_pids()
        with socket.create_connection(("127.0.0.1", process.port), 5) as connection:
            connection.sendall(b"GET /hog HTTP/1.1\r\nHost: x\r\n\r\n")
            process.wait_for_line("WORKER TIMEOUT")
            wait_until_gone(first, 2)
        assert int(get(process, "/healthz")) != first


def test_a_full_pool_keeps_others_waiting_but_not_the_heartbeat(call):
    with gunicorn("--worker-connections", "2", "--timeout", "1") as process:
        workers = process.worker_pids()
        calls = [call(process), call(process)]
        with ThreadPoolExecutor(1) as pool:
            third = pool.submit(http_status, process.port, "/healthz")
            time.sleep(2.5)  # more than the heartbeat's limit and the arbiter's look each second
            assert not third.done()
            calls[0].close()
            assert third.result(2) == 200
        assert process.worker_pids() == workers
        calls[1].close()
    assert "WORKER TIMEOUT" not in process.output()


def test_running_out_of_descriptors_is_survived_without_spinning(call):
    with gunicorn("--timeout", "1", APP_MAX_FILES="40") as process:
        (worker,) = process.worker_pids()
        ws = call(process)
        address = ("127.0.0.1", process.port)
        crowd = [socket.create_connection(address, 5) for _ in range(60)]
        process.wait_for_line("accept.. failed.*Too many open files")
        before_s = _cpu_s(worker)
        time.sleep(2)
        used_s = _cpu_s(worker) - before_s
        ws.send("still here")
        assert ws.recv() == "still here"
        for connection in crowd:
            connection.close()
        assert http_status(process.port, "/healthz") == 200
        assert process.worker_pids() == [worker]
        ws.close()
    assert used_s < 0.5, "the accept loop spins"
    assert process.output().count("failed") == 1
    assert "WORKER TIMEOUT" not in process.output()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_contradictory_variables_end_the_start_with_status_2_and_one_message(tmp_path):
    """With settings of the test's own, so that it does not depend on which variables there are."""
    shutil.copy(ROOT / "gunicorn.conf.py", tmp_path)
    package = tmp_path / "server"
    package.mkdir()
    for name in ("worker.py", "green.py"):
        shutil.copy(ROOT / "server" / name, package)
    (package / "errors.py").write_text("class ConfigError(Exception): pass\n")
    (package / "businesses_file.py").write_text("def read_businesses(settings): pass\n")
    (package / "config.py").write_text(
        "from server.errors import ConfigError\n"
        "class Settings:\n"
        "    @classmethod\n"
        "    def from_env(cls, env):\n"
        "        raise ConfigError('WEB_CONCURRENCY is ' + env['WEB_CONCURRENCY'])\n"
    )
    process = GunicornProcess("nothing:app", {"WEB_CONCURRENCY": "7"}, cwd=tmp_path)
    process.start()
    try:
        assert process.wait() == 2
    finally:
        process.close()
    assert process.output().count("WEB_CONCURRENCY is 1") == 1  # `-w 1` wins over the platform's advice
    assert "Traceback" not in process.output()
    assert "Listening" not in process.output()


def test_no_module_of_ours_hides_one_that_eventlet_imports(tmp_path):
    """A `dns.py` beside the app breaks `import eventlet`; so would a `queue.py` in a folder on sys.path."""
    listing = (
        "import sys, eventlet; eventlet.monkey_patch(); import eventlet.support.greendns; print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", listing],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = {name.partition(".")[0] for name in result.stdout.split()} - {"__main__"}
    ours = {path.stem for folder in (ROOT, ROOT / "server") for path in folder.glob("*.py")} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }
    assert "dns" in theirs
    assert not theirs & ours
