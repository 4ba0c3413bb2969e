"""A gateway of our own for one scenario: real gunicorn on a free port, and what it prints.

It gets only the variables it is given, and what any process needs: a developer's own keys must not
change what is tested, nor be spent.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from server.errors import GatewayError
from server.simulator.load import processes

ROOT = Path(__file__).resolve().parents[3]
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "VIRTUAL_ENV")
START_S = 30.0
"""A cold disk under a busy machine; a start takes about one second."""
_POLL_S = 0.05
_LAST_LINES = 20


class GatewayFailed(GatewayError):
    """It did not start; the message holds what it printed."""


class GatewayProcess:
    """Runs inside `with`. Raises GatewayFailed when it does not come up."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.port = _free_port()
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._env = inherited | {"PORT": str(self.port), "PYTHONUNBUFFERED": "1"} | dict(variables)
        self._lines: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything printed so far on both streams."""
        return tuple(self._lines)

    def __enter__(self) -> GatewayProcess:
        bind = f"127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-k",
            "eventlet",
            "-w",
            "1",
            "-b",
            bind,
            "server.main:app",
        ]
        self._process = processes.start(
            command,
            None,
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._collect, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and everything it started, at once; its lines stay."""
        process, self._process = self._process, None
        if process is not None:
            processes.end(process, signal.SIGQUIT)
        if self._reader is not None:
            self._reader.join(3)  # not for ever: a process that got away may still hold the pipe

    def _collect(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if process.poll() is not None:
                self._join_reader()
                raise GatewayFailed(
                    f"the gateway ended with {process.returncode} at its start:{self._told()}"
                )
            if _answers(self.port):
                return
            time.sleep(_POLL_S)
        raise GatewayFailed(f"the gateway did not answer within {START_S:.0f} s:{self._told()}")

    def _join_reader(self) -> None:
        if self._reader is not None:
            self._reader.join(3)

    def _told(self) -> str:
        return "".join(f"\n  {line}" for line in self._lines[-_LAST_LINES:]) or " it printed nothing"


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
