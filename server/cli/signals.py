"""How a command that serves until it is told to stop hears so."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


def ended_by_signal() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM; the second one does what it always does."""
    ended = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "posix" or number == signal.SIGINT:
            signal.signal(number, end)
    return ended
