"""What may go wrong on purpose?

A fault is named on the command line or by a test (`slow=2`, `close=1011`) and stays for the life of
the server, or with `once:` before its name for its first connection only. Faults of the transport are
acted out by the connection, all others by the session.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from server.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything off unless said otherwise. Field names are the names of the faults."""

    refuse401: bool = False
    """The handshake is answered 401 with OpenAI's error body."""
    refuse404: bool = False
    """So it is with 404: there is no such model."""
    refuse429: bool = False
    """And with 429: the quota is used up."""
    quota: bool = False
    """The first frame is the error insufficient_quota, then a close."""
    no_session: bool = False
    """The WebSocket opens and nothing ever comes, not even session.created."""
    mute: bool = False
    """Everything is accepted and voice is detected, but no response is ever begun."""
    mute_after: int | None = None
    """So many responses are begun, and none after them."""
    slow: float = 0.0
    """Seconds before the first audio of each response."""
    slow_after: tuple[int, float] | None = None
    """`2:4.5`: from the third response on, 4.5 seconds before the first audio."""
    drop: float | None = None
    """Seconds after the first session.updated at which TCP is reset."""
    close: int | None = None
    """The WebSocket is closed with this code one second after the first session.updated."""
    session_expired: float | None = None
    """Seconds after which the session reaches its maximum duration: error, then close 1001."""
    garbage: bool = False
    """Text that is no JSON, JSON that is no event and unknown events come in between."""
    unknown_events: bool = False
    """Well-formed events of types nobody knows come in between."""
    big_delta: bool = False
    """The first response is one delta of 1 MiB of base64: its audio repeated, 98 s of μ-law."""
    tiny_deltas: bool = False
    """Every delta is one byte of μ-law."""
    late_deltas: bool = False
    """Three more deltas of a cancelled response follow its response.done."""
    error_midturn: bool = False
    """Half-way through its audio a response fails with an error event of type server_error."""
    incomplete_response: bool = False
    """Half-way through its audio a response ends incomplete, as at max_output_tokens."""
    reject_update: bool = False
    """The first session.update is answered unknown_parameter."""
    no_update: bool = False
    """No session.update is answered."""
    refuse_transcription: bool = False
    """A session.update that asks for transcription is answered invalid_value."""
    failed_response: int = 0
    """So many responses end at once with status failed, rate_limit_exceeded."""

    @property
    def refused_status(self) -> int | None:
        """The HTTP status that the handshake is answered with; None: it is taken."""
        asked = ((self.refuse401, 401), (self.refuse404, 404), (self.refuse429, 429))
        return next((status for is_asked, status in asked if is_asked), None)


FAULT_NAMES = tuple(field.name for field in dataclasses.fields(Faults))
_EVERY_RESPONSE = 1_000_000
_ONCE = "once:"


def first_and_later(words: Iterable[str]) -> tuple[Faults, Faults]:
    """The faults of a server's first connection, and of all that follow: `once:drop=3` is spent with
    the first. Raises ConfigError."""
    words = list(words)
    lasting = [word for word in words if not word.startswith(_ONCE)]
    return parse_faults(word.removeprefix(_ONCE) for word in words), parse_faults(lasting)


def parse_faults(words: Iterable[str]) -> Faults:
    """Faults from words such as `mute` and `slow=2`. Raises ConfigError, which lists what there is."""
    wanted: dict[str, Any] = {}
    for word in words:
        name, has_argument, argument = word.partition("=")
        if name not in FAULT_NAMES:
            raise ConfigError(f"no fault {name!r}; there are {', '.join(FAULT_NAMES)}")
        wanted[name] = _value(name, argument if has_argument else None)
    return Faults(**wanted)


def _value(name: str, argument: str | None) -> bool | int | float | tuple[int, float]:
    if name == "slow_after":
        answers, _, seconds = (argument or "").partition(":")
        return _number(name, answers, int, "2:4.5"), _number(name, seconds, float, "2:4.5")
    if name == "failed_response":
        return _EVERY_RESPONSE if argument is None else _number(name, argument, int)
    if name == "mute_after":
        return _number(name, argument, int)
    if name in ("slow", "drop", "session_expired"):
        return _number(name, argument, float)
    if name == "close":
        code = _number(name, argument, int)
        if not 1000 <= code <= 4999:
            raise ConfigError(f"fault close={code}: a WebSocket close code is 1000 to 4999")
        return code
    if argument is not None:
        raise ConfigError(f"fault {name} takes no argument, {argument!r} was given")
    return True


_N = TypeVar("_N", int, float)


def _number(name: str, argument: str | None, kind: type[_N], example: str = "2") -> _N:
    try:
        value = kind(argument or "")
    except ValueError:
        value = kind(-1)
    if not 0 <= value < float("inf"):
        raise ConfigError(f"fault {name} needs a number, as in {name}={example}")
    return value
