"""What is kept beyond one process: calls that are parked, and messages that callers left."""

from __future__ import annotations

from typing import Protocol

from server.store.caller_messages import CallerMessage
from server.store.parked_calls import ParkedCall

PARKED_TTL_S = 600.0
"""A caller who is not back by then has hung up."""
TAKE_S = 0.5
"""The longest `take` may keep a call waiting: the silence after a webhook is not longer than a ring."""


class CallStore(Protocol):
    """Made after the worker's fork, in the hub's thread, and used there. Nothing here ever raises because
    of a disk or a server: calls go on, and a log line says what is amiss."""

    def put(self, record: ParkedCall) -> None:
        """Park a call, in place of an earlier record of it. Returns at once; it is written off the hub."""

    def take(self, call_sid: str) -> ParkedCall | None:
        """The call's record, which is gone from the store then: of several processes one gets it.

        Blocks this green thread for TAKE_S at most. None for what was never parked, was taken, is past its
        time, or could not be had in time.
        """

    def purge(self) -> None:
        """Remove what is past its time. Returns at once. Stores do so by themselves as well."""

    def note_message(self, message: CallerMessage) -> None:
        """Keep a caller's message. Returns at once; `flush` tells whether it is safe."""

    def messages(self, limit: int = 100) -> list[CallerMessage]:
        """The latest, the latest first. Blocks this green thread for a second at most."""

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Block this green thread until all that was put and noted before would survive this process.

        False when it does not, by then.
        """

    def close(self) -> None:
        """After the last call. Blocks a second at most; call `flush` before."""


def storable(key: str) -> str:
    """A CallSid as it may become a key: half a surrogate pair could be written nowhere."""
    return key.encode("utf-8", "replace").decode()
