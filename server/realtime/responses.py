"""Whose audio is still wanted, and may another response be asked for?

Two facts about one conversation that every event changes. After a barge-in the audio of every
response begun before it is stale, also what is still on its way. And only one response at a time
may write to the conversation: voice detection starts them on its own, so a `response.create` of
ours waits until the running one is done, and is asked again when a race was lost.

Pure bookkeeping, no sockets.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_REMEMBERED = 64

Request = Callable[[], str]
"""Builds a `response.create`: at the time it is sent, so that a repeated one has its own id."""


class Responses:
    """The responses of one conversation."""

    def __init__(self) -> None:
        self._abandoned: dict[str, bool] = {}  # response id -> whether its audio is stale, oldest first
        self._active: str | None = None
        self._asked: Request | None = None  # sent, and not yet known to have been created
        self._doubtful: Request | None = None  # what came may be its response, or one of another's making
        self._waiting: list[Request] = []

    @property
    def is_active(self) -> bool:
        """A response is being made, or was asked for."""
        return self._active is not None or self._asked is not None

    def ask(self, request: Request) -> str | None:
        """Ask for a response: the event to send now, or None when it must wait its turn."""
        if self.is_active:
            self._waiting.append(request)
            return None
        return self._send(request)

    def _send(self, request: Request) -> str:
        self._asked, self._doubtful = request, None
        return request()

    def _send_next(self) -> str | None:
        return self._send(self._waiting.pop(0)) if self._waiting and not self.is_active else None

    def created(self, response_id: str) -> None:
        """A response began: ours, or one that voice detection started. Only an error would tell."""
        self._active = response_id
        if self._asked is not None:
            self._asked, self._doubtful = None, self._asked
        self._know(response_id)

    def done(self, response_id: str) -> str | None:
        """A response ended, however. Returns the next request to send, if one waits."""
        if self._active == response_id:
            self._active = None
        return self._send_next()

    def lost_race(self) -> str | None:
        """Our request met a running response: it waits for that one's end, before all others.

        The racing response may have ended before its error reached us; then nothing would wake
        the request again, so it is returned to be sent at once.
        """
        request = self._asked or self._doubtful
        self._asked = self._doubtful = None
        if request is not None:
            self._waiting.insert(0, request)
        return self._send_next()

    def refused(self) -> str | None:
        """Our request was wrong and will not be created. Returns the next one, if one waits."""
        self._asked = None
        return self._send_next()

    def abandon(self) -> None:
        """A barge-in: the audio of every response so far is stale."""
        for response_id in self._abandoned:
            self._abandoned[response_id] = True

    def is_abandoned(self, response_id: str) -> bool:
        """Whether audio of this response is stale. One never announced counts as new."""
        if response_id not in self._abandoned:
            self._know(response_id)
        return self._abandoned[response_id]

    def _know(self, response_id: str) -> None:
        self._abandoned.setdefault(response_id, False)
        while len(self._abandoned) > MAX_REMEMBERED:
            del self._abandoned[next(iter(self._abandoned))]
