"""Whose audio is still wanted, and may another response be asked for?

Two facts about one conversation that every event changes. After a barge-in the audio of every
response begun before it is stale, also what is still on its way. And only one response at a time
may write to the conversation: voice detection starts them on its own, so a `response.create` of
ours waits until the running one is done, and is asked again when a race was lost.

Pure bookkeeping, no sockets.
"""

from __future__ import annotations

from collections.abc import Callable

from server.realtime.commands import Command

MAX_REMEMBERED = 64

Request = Callable[[], Command]
"""Builds a `response.create`: at the time it is sent, so that a repeated one has its own id."""


class Responses:
    """The responses of one conversation."""

    def __init__(self) -> None:
        self._abandoned: dict[str, bool] = {}  # response id -> whether its audio is stale, oldest first
        self._active: str | None = None
        self._asked: str | None = None  # event id of a request of which nothing has come yet
        self._sent: dict[str, Request] = {}  # by event id; an error may still name them
        self._waiting: list[Request] = []

    @property
    def is_active(self) -> bool:
        """A response is being made, or was asked for."""
        return self._active is not None or self._asked is not None

    def ask(self, request: Request) -> Command | None:
        """Ask for a response: the event to send now, or None when it must wait its turn."""
        self._waiting.append(request)
        return self._next()

    def _next(self) -> Command | None:
        if self.is_active or not self._waiting:
            return None
        request = self._waiting.pop(0)
        command = request()
        self._asked = command.event_id
        self._sent[command.event_id] = request
        while len(self._sent) > MAX_REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return command

    def created(self, response_id: str) -> None:
        """A response began: ours, or one that voice detection started. Only an error would tell."""
        self._active = response_id
        self._asked = None
        self._know(response_id)

    def done(self, response_id: str) -> Command | None:
        """A response ended, however. Returns the next request to send, if one waits."""
        if self._active == response_id:
            self._active = None
        return self._next()

    def lost_race(self, event_id: str) -> Command | None:
        """Our request met a running response: it waits for that one's end, before all others.

        The racing response may have ended before its error reached us; then nothing would wake
        the request again, so it is returned to be sent at once.
        """
        request = self._sent.pop(event_id, None)
        if request is not None:
            self._waiting.insert(0, request)
            if self._asked == event_id:
                self._asked = None
        return self._next()

    def refused(self, event_id: str) -> Command | None:
        """If this was our request, it was wrong and will not be created. Returns the next one.

        An error that names no event is taken for the answer to the one that is outstanding.
        """
        event_id = event_id or self._asked or ""
        if self._sent.pop(event_id, None) is not None and self._asked == event_id:
            self._asked = None
        return self._next()

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
