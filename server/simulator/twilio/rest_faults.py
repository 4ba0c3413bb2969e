"""What may go wrong with the REST API on purpose?

A fault is named on the command line or by a test. It stays, or with `once:` before its name is spent
by the next request: `once:500` is what a single retry overcomes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from server.errors import ConfigError

FAULTS = {
    "slow": "done and answered after SECONDS (slow=3)",
    "timeout": "the request is read and never answered",
    "drip": "an answer comes byte by byte and never ends",
    "drip_head": "so does its very first line",
    "reset": "TCP is reset instead of an answer, nothing is done",
    "lost": "done, and then TCP is reset instead of an answer",
    "401": "the credentials are refused (20003)",
    "429": "too many requests (20429)",
    "500": "an internal error (20500)",
    "html": "200 with an HTML page, as some proxy gives it; nothing is done",
}
_ONCE = "once:"


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    seconds: float = 0.0
    is_once: bool = False


class FaultPlan:
    """Which fault the next request meets. Any thread may ask or change it."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        """Raises ConfigError for a word that is no fault."""
        self._lock = threading.Lock()
        self._faults = [parse(word) for word in words]

    def set(self, *words: str) -> None:
        """These from now on, and no others. Raises ConfigError."""
        faults = [parse(word) for word in words]
        with self._lock:
            self._faults = faults

    def take(self) -> Fault | None:
        """The fault of one request: what happens once comes first."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.is_once:
                    return self._faults.pop(index)
            return self._faults[0] if self._faults else None


def parse(word: str) -> Fault:
    """`slow=3`, `reset` or `once:500`. Raises ConfigError, which lists what there is."""
    is_once = word.startswith(_ONCE)
    name, has_argument, argument = word.removeprefix(_ONCE).partition("=")
    if name not in FAULTS:
        raise ConfigError(f"no fault {name!r}; there are {', '.join(FAULTS)}, each also as once:NAME")
    if name != "slow":
        if has_argument:
            raise ConfigError(f"fault {name} takes no argument, {argument!r} was given")
        return Fault(name, is_once=is_once)
    try:
        seconds = float(argument)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 3600:
        raise ConfigError(f"fault slow={argument}: seconds from 0 on, such as slow=3")
    return Fault(name, seconds, is_once)
