"""What is measured: the gateway, and beside it relays that do less. How each is started and ended."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from server.simulator.load import processes, procfs
from server.simulator.load.caller_side import Target

ROOT = Path(__file__).resolve().parents[3]
NODE_RELAY = ROOT / "bench" / "node_relay"
START_S = 20.0
INSTALL_S = 120.0
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")
"""What a relay gets of our environment: an operator's own keys must not be measured, or spent."""
KEY = "sk-bench-0123456789"
LINES_SHOWN = 12


class CannotRun(Exception):
    """A relay that cannot be started here, and why."""


@dataclass(frozen=True, slots=True)
class Relay:
    """One row of the table."""

    name: str
    about: str
    command: Callable[[int], list[str]]
    """The command line that listens on this port of 127.0.0.1."""
    method: str = "POST"
    ready_path: str = "/"
    metrics_path: str = ""


def _gateway(port: int) -> list[str]:
    bind = f"127.0.0.1:{port}"
    return [sys.executable, "-m", "gunicorn", "-k", "eventlet", "-w", "1", "-b", bind, "server.main:app"]


def _node(_: int) -> list[str]:
    return [_tool("node"), str(NODE_RELAY / "relay.js")]


def _script(name: str) -> Callable[[int], list[str]]:
    return lambda _: [sys.executable, "-m", f"bench.{name}"]


RELAYS = {
    relay.name: relay
    for relay in (
        Relay("gateway", "this product", _gateway, ready_path="/healthz", metrics_path="/metrics"),
        Relay("node", "Node and ws, as samples do it", _node),
        Relay("asyncio", "asyncio and websockets, as samples do it", _script("asyncio_relay"), method="GET"),
        Relay("relay", "bytes only, the floor for Python", _script("byte_relay")),
    )
}


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotRun(f"{name} not found")
    return found


def prepare(relay: Relay) -> None:
    """Install what a relay needs and this checkout lacks. Raises CannotRun."""
    if relay.name != "node":
        return
    _tool("node")
    if (NODE_RELAY / "node_modules" / "ws").is_dir():
        return
    npm = [_tool("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", "--omit=dev"]
    try:
        done = subprocess.run(
            npm, cwd=NODE_RELAY, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotRun("npm install did not end") from None
    if done.returncode:
        raise CannotRun(f"npm install failed: {done.stderr.strip().splitlines()[-1:]}")


class RunningRelay:
    """A relay's process group, on one core. Leaving ends every process of it."""

    def __init__(self, relay: Relay, model_url: str, core: int | None, ca: Path | None) -> None:
        self._relay = relay
        self._core = core
        self.port = _free_port()
        self._env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._env |= {
            "PORT": str(self.port),
            "CALL_MODE": "realtime",
            "OPENAI_API_KEY": KEY,
            "OPENAI_REALTIME_URL": model_url,
            "ALLOW_UNSIGNED_AI": "1",
            "MAX_CALLS": "10000",
            "MAX_CALL_SECONDS": "86400",
        }
        if ca is not None:
            for name in ("WEBSOCKET_CLIENT_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
                self._env[name] = str(ca)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self._folder = tempfile.TemporaryDirectory(prefix="kav-relay-")
        # What its calls leave behind belongs neither among an operator's messages nor into later rounds.
        self._env["DATABASE_URL"] = f"sqlite:///{self._folder.name}/kav.sqlite3"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningRelay:
        try:
            self._process = processes.start(
                self._relay.command(self.port),
                self._core,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process that carries the calls: gunicorn's worker, else the relay itself."""
        assert self._process is not None, "not started"
        if self._relay.name != "gateway":
            return self._process.pid
        workers = procfs.children_of(self._process.pid)
        if len(workers) != 1:
            raise CannotRun(f"{len(workers)} workers instead of one")
        return workers[0]

    @property
    def target(self) -> Target:
        return Target("127.0.0.1", self.port, "/webhook/incoming_call", self._relay.method)

    def last_words(self) -> str:
        """The end of what it printed."""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-LINES_SHOWN:])

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            processes.end(process, signal.SIGQUIT if self._relay.name == "gateway" else signal.SIGTERM)
        self._log.close()
        self._folder.cleanup()

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if process.poll() is not None:
                raise CannotRun(f"ended with {process.returncode}:\n{self.last_words()}")
            if _answers(self.port, self._relay.ready_path):
                return
            time.sleep(0.05)
        raise CannotRun(f"no answer in {START_S:.0f} s:\n{self.last_words()}")


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
            )
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
