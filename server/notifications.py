"""Businesses are being told of messages: who waits for that when the process ends?

Telling takes seconds at worst and belongs to no call, for the caller may have hung up meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from server import green

log = logging.getLogger(__name__)

POLL_S = 0.05


class Notifications:
    """One process's, each in a green thread of its own."""

    def __init__(self) -> None:
        self._tags: list[str] = []
        """The calls whose messages are on their way, one entry for each."""

    def begin(self, call_tag: str, tell: Callable[[], None]) -> None:
        """Returns at once. `tell` raises nothing."""
        self._tags.append(call_tag)
        green.spawn(self._run, call_tag, tell)

    def wait(self, until_s: float) -> None:
        """Block until all are done, or until then (monotonic)."""
        while self._tags and time.monotonic() < until_s:
            green.sleep(min(POLL_S, max(0.0, until_s - time.monotonic())))

    def say_cut(self) -> None:
        """The process ends now: name those that it takes along."""
        for tag in self._tags:
            log.warning(
                "[MESSAGE] the process ends while the business is being told: it is kept, but they may not "
                "know, call_sid=%s",
                tag,
            )

    def _run(self, call_tag: str, tell: Callable[[], None]) -> None:
        try:
            tell()
        finally:
            self._tags.remove(call_tag)
