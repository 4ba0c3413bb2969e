"""A real gunicorn for tests: started as a user would start it, heard, and ended without leftovers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0
"""The longest a start may take: a cold disk under a busy machine, not what is usual (about 1 s)."""

INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")
"""What the process gets of our own environment: a developer's keys must not change a test."""


class GunicornProcess:
    """Context manager around `gunicorn -k eventlet -w 1 -b 127.0.0.1:PORT <args> <app>`.

    `command` replaces the whole command line; the port is in its environment as PORT. Entering
    returns as soon as the port answers HTTP, with whatever status; leaving ends every process.
    """

    def __init__(
        self,
        app: str = "server.main:app",
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        *,
        command: Sequence[str] | None = None,
        cwd: Path = ROOT,
        ready_path: str = "/healthz",
    ) -> None:
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        bind = f"127.0.0.1:{self.port}"
        self._command = command or [
            *(sys.executable, "-m", "gunicorn", "-k", "eventlet", "-w", "1", "-b", bind, *args, app)
        ]
        self._env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._env |= {
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": "sqlite://",
            **(env or {}),
        }
        self._cwd = cwd
        self._ready_path = ready_path
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> GunicornProcess:
        self.start()
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is not None:
            print(self.output())  # pytest shows it beside the failure

    def start(self) -> None:
        """Start without waiting for an answer; for servers that are expected to refuse."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C at pytest is not one at the server
        )
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End it quickly and everything it started; the output stays readable."""
        process = self._running()
        family = [process.pid, *descendants_of(process.pid)]
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        for pid in family:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        self._reader.join(3)  # not for ever: a process that got away may still hold the pipe

    @property
    def pid(self) -> int:
        """The process started: the arbiter, unless `command` wraps it in a script."""
        return self._running().pid

    @property
    def master_pid(self) -> int:
        return int(self.wait_for_line(r"Listening at: \S+ \((\d+)\)", START_S)[1])

    def worker_pids(self) -> list[int]:
        return children_of(self.master_pid)

    def output(self) -> str:
        """Everything printed so far on both streams."""
        with self._changed:
            return "".join(self._lines)

    def wait_for_line(self, regex: str, timeout_s: float = 5.0) -> re.Match[str]:
        """The first line so far, or to come, in which `regex` is found."""
        pattern = re.compile(regex)
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(hit for line in self._lines if (hit := pattern.search(line)))
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(look, timeout_s):
                raise AssertionError(f"no line with {regex!r} in {timeout_s} s:\n{''.join(self._lines)}")
        return found[0]

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self._running().send_signal(number)

    def wait(self, timeout_s: float = 10.0) -> int:
        """The exit status; with all output collected."""
        status = self._running().wait(timeout_s)
        self._reader.join(3)
        return status

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    def _collect(self) -> None:
        stream = self._running().stdout
        assert stream is not None
        with stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()

    def _wait_until_it_answers(self) -> None:
        deadline_at = time.monotonic() + START_S
        while time.monotonic() < deadline_at:
            if self._running().poll() is not None:
                raise AssertionError(f"ended with {self.wait()} before it answered:\n{self.output()}")
            if http_status(self.port, self._ready_path) is not None:
                return
            time.sleep(0.02)
        raise AssertionError(f"no answer on port {self.port} in {START_S} s:\n{self.output()}")


def http_status(port: int, path: str, timeout_s: float = 5.0) -> int | None:
    """The status of one GET on a connection of its own; None when nobody answers."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(request.encode())
            head = connection.recv(64).split()
    except OSError:
        return None
    return int(head[1]) if len(head) > 1 else None


def children_of(pid: int) -> list[int]:
    """The living children of a process, lowest id first."""
    return sorted(child for child, parent in _living() if parent == pid)


def descendants_of(pid: int) -> list[int]:
    children = children_of(pid)
    return children + [below for child in children for below in descendants_of(child)]


def is_running(pid: int) -> bool:
    """Whether a process still runs; a zombie that nobody has reaped yet does not."""
    return any(pid == living for living, _ in _living())


def _living() -> list[tuple[int, int]]:
    """(process, parent) of all that run, without zombies. From /proc, for slim systems have no `ps`."""
    if Path("/proc/self/stat").exists():
        rows = [row for path in Path("/proc").glob("[0-9]*/stat") if (row := _stat(path))]
    else:
        command = ["ps", "-A", "-o", "pid=,stat=,ppid="]
        listing = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.split() for line in listing.stdout.splitlines()]
    return [(int(pid), int(parent)) for pid, state, parent in rows if not state.startswith("Z")]


def _stat(path: Path) -> list[str]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []  # ended between the listing and now
    return [path.parent.name, *text.rpartition(")")[2].split()[:2]]


def wait_until_gone(pid: int, timeout_s: float) -> float:
    """Seconds until the process has ended."""
    started_at = time.monotonic()
    while is_running(pid):
        assert time.monotonic() - started_at < timeout_s, f"process {pid} still runs after {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - started_at


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
