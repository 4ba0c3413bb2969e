"""What may go wrong on purpose, at which of the three endpoints, from when on, and how often?

    [ENDPOINT:]NAME[=ARGUMENT][@FIRST][xTIMES]      slow=3    speech:cut    chat:429=1x1    speech:500@3x2

Without an endpoint a fault holds for all three; without FIRST, from the first request on; without a number
of times, for ever. So `speech:500@3x2` lets two sentences pass and refuses the third one twice.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from server.errors import ConfigError

ENDPOINTS = ("transcriptions", "chat", "speech")
FAULTS = {
    "slow": "seconds before anything is answered, as in slow=2",
    "never": "the request is taken and never answered",
    "drop": "the connection is closed without an answer",
    "400": "something in the request is not liked",
    "401": "the key is refused",
    "404": "there is no such model",
    "409": "a conflict, which may be over a moment later",
    "429": "too many requests; 429=1.5 sends that Retry-After",
    "500": "a fault of the service",
    "503": "the service is overloaded",
    "quota": "429 insufficient_quota",
    "html": "status 200 and a page",
    "json": "status 200 and an error in JSON",
    "text": "status 200 and a line of text",
    "disguised": "status 200, the right Content-Type, and an error in JSON",
    "cut": "the connection is closed in the middle of the answer",
    "stall": "the answer stops in the middle and the connection stays open",
    "empty": "status 200, the right Content-Type, and nothing",
}
_WORD = re.compile(
    r"(?:(?P<endpoint>[a-z]+):)?(?P<name>[a-z0-9]+?)(?:=(?P<argument>[0-9.]+))?"
    r"(?:@(?P<first>[1-9]\d*))?(?:x(?P<times>\d+))?"
)
_WITH_ARGUMENT = ("slow", "429")


@dataclass(slots=True)
class Fault:
    name: str
    endpoints: tuple[str, ...]
    argument: float | None = None
    passes: int = 0
    """So many requests come before it."""
    times_left: int | None = None


@dataclass(slots=True)
class Faults:
    """Those of a server; requests take them from several threads."""

    planned: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, endpoint: str) -> dict[str, float | None]:
        """The faults of the next request there, name to argument."""
        taken: dict[str, float | None] = {}
        with self._lock:
            for fault in self.planned:
                if endpoint not in fault.endpoints:
                    continue
                if fault.passes:
                    fault.passes -= 1
                elif fault.times_left != 0:
                    taken[fault.name] = fault.argument
                    if fault.times_left is not None:
                        fault.times_left -= 1
        return taken


def parse_faults(words: Iterable[str]) -> Faults:
    """Raises ConfigError, which lists what there is."""
    return Faults([_fault(word) for word in words])


def _fault(word: str) -> Fault:
    found = _WORD.fullmatch(word)
    if found is None or found["name"] not in FAULTS:
        raise ConfigError(f"no fault {word!r}; there are {', '.join(FAULTS)}")
    endpoint, name, argument = found["endpoint"], found["name"], found["argument"]
    if endpoint is not None and endpoint not in ENDPOINTS:
        raise ConfigError(f"fault {word}: no endpoint {endpoint!r}; there are {', '.join(ENDPOINTS)}")
    if (name == "slow" and argument is None) or (argument is not None and name not in _WITH_ARGUMENT):
        raise ConfigError(f"fault {word}: {name} is {FAULTS[name]}")
    try:
        number = None if argument is None else float(argument)
    except ValueError:
        raise ConfigError(f"fault {word}: {argument!r} is no number") from None
    times = None if found["times"] is None else int(found["times"])
    return Fault(name, (endpoint,) if endpoint else ENDPOINTS, number, int(found["first"] or 1) - 1, times)
