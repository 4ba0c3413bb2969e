"""Processes that are started to be measured, and are gone afterwards, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_S = 3.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_living: list[subprocess.Popen[bytes]] = []


def start(command: Sequence[str], core: int | None, **how: Any) -> subprocess.Popen[bytes]:
    """Start the leader of a process group; on one core, which all it starts inherits, threads too."""
    with _undisturbed(), _on_core(core):
        process = subprocess.Popen(command, start_new_session=True, **how)
        _living.append(process)
    return process


def end(process: subprocess.Popen[bytes], politely: signal.Signals = signal.SIGTERM) -> None:
    """End a process and all of its group."""
    if process.poll() is None:
        process.send_signal(politely)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of it is gone
    process.wait()
    if process in _living:
        _living.remove(process)


@contextmanager
def none_left_behind() -> Iterator[None]:
    """On leaving, all that was started is ended. SIGTERM and SIGHUP leave the block as Ctrl-C does."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled((signal.SIGTERM, signal.SIGHUP), leave):
        try:
            yield
        finally:
            for process in list(_living):
                end(process)


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """Only Linux can tie a process to a core; None asks nothing of the system."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A signal to end waits until the block is done: a process half started would be forgotten."""
    came: list[int] = []
    with _handled(ENDING, lambda number, _: came.append(number)):
        yield
    for number in came:
        signal.raise_signal(number)


@contextmanager
def _handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
