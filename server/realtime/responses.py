"""Whose audio is still wanted, and may another response be asked for?

Two facts about one conversation that every event changes. After a barge-in the audio of every
response asked for before it is stale, also what is still on its way. And only one response at a time
may write to the conversation: a `response.create` of ours waits until the running one is done, and is
asked again when a race was lost. We ask for every response ourselves; a server that begins some on its
own all the same has answered the turn we were about to ask for.

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
        self._is_active_stale = False
        """The running response, or the one asked for, is to be cancelled as soon as it has a name."""
        self._asked: str | None = None  # event id of a request of which nothing has come yet
        self._sent: dict[str, Request | None] = {}
        """By event id, for an error may still name them. None: a barge-in came since, and nobody wants it."""
        self._waiting: list[tuple[Request, bool]] = []
        self._created_for: str | None = None  # event id of the request outstanding when `_active` began
        self._answers: set[str] = set()  # event ids

    @property
    def is_active(self) -> bool:
        """A response is being made, or was asked for."""
        return self._active is not None or self._asked is not None

    def ask(self, request: Request, *, answers_turn: bool = False) -> Command | None:
        """Ask for a response: the event to send now, or None when it must wait its turn.

        One that `answers_turn` is not asked again when a server answered the turn before we asked, and
        answers all turns that end while it waits.
        """
        if not (answers_turn and any(is_answer for _, is_answer in self._waiting)):
            self._waiting.append((request, answers_turn))
        return self._next()

    def _next(self) -> Command | None:
        if self.is_active or not self._waiting:
            return None
        request, answers_turn = self._waiting.pop(0)
        command = request()
        self._asked = command.event_id
        self._sent[command.event_id] = request
        if answers_turn:
            self._answers.add(command.event_id)
        while len(self._sent) > MAX_REMEMBERED:
            oldest = next(iter(self._sent))
            del self._sent[oldest]
            self._answers.discard(oldest)
        return command

    def created(self, response_id: str) -> bool:
        """A response began: ours, or one that the server started. Only an error would tell.

        True: a barge-in came between, so it is to be cancelled.
        """
        self._active = response_id
        self._created_for, self._asked = self._asked, None
        self._know(response_id)
        is_stale, self._is_active_stale = self._is_active_stale, False
        if is_stale:
            self._abandoned[response_id] = True
        return is_stale

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
        if event_id in self._sent:
            request = self._sent.pop(event_id)
            is_answered = event_id == self._created_for and event_id in self._answers
            if request is not None and not is_answered:
                self._waiting.insert(0, (request, event_id in self._answers))
            self._answers.discard(event_id)
            self._settle(event_id)
        return self._next()

    def refused(self, event_id: str) -> Command | None:
        """If this was our request, it was wrong and will not be created. Returns the next one.

        An error that names no event is taken for the answer to the one that is outstanding.
        """
        event_id = event_id or self._asked or ""
        if event_id in self._sent:
            del self._sent[event_id]
            self._answers.discard(event_id)
            self._settle(event_id)
        return self._next()

    def _settle(self, event_id: str) -> None:
        """Nothing will be created for this request."""
        if self._asked == event_id:
            self._asked, self._is_active_stale = None, False

    def abandon(self) -> str | None:
        """A barge-in: the audio of every response so far is stale, and nothing waits any more.

        Returns the id of the running response, which is to be cancelled.
        """
        for response_id in self._abandoned:
            self._abandoned[response_id] = True
        self._is_active_stale = self._asked is not None
        self._waiting.clear()
        self._sent = dict.fromkeys(self._sent)
        return self._active

    def forget_waiting(self) -> None:
        """Something newer is asked for instead of what waits for the running response to end."""
        self._waiting.clear()

    def give_up_asked(self) -> None:
        """Nothing ever came of the request that is outstanding: the next one need not wait for it."""
        self._asked, self._is_active_stale = None, False

    def session_lost(self) -> None:
        """Nothing comes of what was asked for; audio of it that is still queued is as wanted as before."""
        self._active = self._asked = self._created_for = None
        self._is_active_stale = False
        self._sent.clear()
        self._waiting.clear()
        self._answers.clear()

    def is_abandoned(self, response_id: str) -> bool:
        """Whether audio of this response is stale. One never announced counts as new."""
        if response_id not in self._abandoned:
            self._know(response_id)
        return self._abandoned[response_id]

    def _know(self, response_id: str) -> None:
        self._abandoned.setdefault(response_id, False)
        while len(self._abandoned) > MAX_REMEMBERED:
            del self._abandoned[next(iter(self._abandoned))]
