"""Asking the model to speak, until it does.

One request at a time (`Responses`), each watched for its first sound: a filler while it takes long, asked
once more when nothing comes, tried again when it failed, given up with words for the log.
"""

from __future__ import annotations

from server.endings import EndReason
from server.realtime.answer_watch import AnswerWatch, Due
from server.realtime.commands import Command, Commands
from server.realtime.events import ErrorKind, ResponseDone, ServerError, classify, fault_of
from server.realtime.responses import Request, Responses
from server.realtime.stage import Stage
from server.turns.latency import TurnClock

MAX_RETRIES = 2
RETRY_AFTER_S = 0.5
MAX_SILENT_ROUNDS = 8
"""A model that calls tools so often without a word does nothing else any more."""


class Asking:
    """The requests of one conversation, through all its sessions."""

    def __init__(self, stage: Stage, commands: Commands, latency: TurnClock) -> None:
        self.responses = Responses()
        self.commands = commands
        self.watch = AnswerWatch()
        self.is_silenced = False
        """Nobody would hear it: what is asked for now is not asked at all."""
        self._stage = stage
        self._latency = latency
        self._last: Request = self._answer
        self._retries = 0
        self._retry_at: float | None = None
        self._is_for_turn = False
        self._is_missed = True
        """Of what was asked for last: somebody waits for it."""
        self._sounded = ""
        """The response of which a sound came last."""
        self._silent_rounds = 0
        """Responses in a row that only called tools."""

    @property
    def is_active(self) -> bool:
        """A response is being made, or was asked for, or is asked for again in a moment."""
        return self.responses.is_active or self._retry_at is not None

    def session_lost(self) -> None:
        """What was asked for is owed still, and asked for again by `ask_owed`."""
        self.responses.session_lost()
        self._retry_at = None

    def session_changed(self, commands: Commands) -> None:
        self.commands = commands
        self.responses = Responses()

    def ask(
        self, request: Request, now_s: float, *, answers_turn: bool = False, waited_s: float = 0.0
    ) -> None:
        """`waited_s`: of silence before the request."""
        if self.is_silenced:
            return
        self._last = request
        self._is_for_turn, self._is_missed = answers_turn, True
        self._retries, self._retry_at = 0, None
        self.watch.owed(now_s, waited_s)
        self._latency.asked(now_s)
        self._send(self.responses.ask(request, answers_turn=answers_turn))

    def answer(self, now_s: float, *, answers_turn: bool = False, waited_s: float = 0.0) -> None:
        """Have the model answer the conversation as it stands."""
        self.ask(self._answer, now_s, answers_turn=answers_turn, waited_s=waited_s)

    def instruct(self, instructions: str, now_s: float, *, verbatim: str = "") -> None:
        """Have the agent say something of ours, in its own voice. `verbatim`: see `Command`."""
        self.ask(
            lambda: self.commands.create_response(instructions, may_use_tools=False, verbatim=verbatim), now_s
        )

    def owe(self, now_s: float) -> None:
        """An answer is owed that cannot be asked for yet."""
        self._last = self._answer
        self.watch.owed(now_s)

    def ask_owed(self, now_s: float) -> None:
        """In a new session: what the old one still owed, and all the time for it."""
        if self.watch.is_owed:
            retries = self._retries
            self.watch.begin_anew(now_s)
            self.ask(self._last, now_s)
            self._retries = retries  # the same request, which may fail in every session

    def abandon(self) -> None:
        """The caller has the floor: nothing asked for so far is wanted any more."""
        self.watch.settled()
        self._retry_at = None
        if (response_id := self.responses.abandon()) is not None:
            self._stage.send(self.commands.cancel_response(response_id))

    def owe_nothing(self) -> None:
        """The turn that is to be answered was no words: an answer is heard if there is one, and not missed if
        there is none."""
        if self._is_for_turn:
            self.watch.settled()
            self._retry_at, self._is_missed = None, False

    def sounds(self, response_id: str) -> None:
        """Audio of it has come: it is answered."""
        self._sounded = response_id
        self._silent_rounds = 0
        self.watch.settled()

    def created(self, response_id: str) -> None:
        if self.responses.created(response_id):
            self._stage.send(self.commands.cancel_response(response_id))

    def done(self, done: ResponseDone, now_s: float) -> bool:
        """A response ended; false when a barge-in had given it up."""
        is_wanted = not self.responses.is_abandoned(done.response_id)
        following = self.responses.done(done.response_id)
        self._send(following)
        if not is_wanted:
            return False
        is_heard = self._sounded == done.response_id
        if done.status == "completed" and done.function_calls and not is_heard:
            self._on_silent_calls(now_s)
        elif done.status == "completed" and (is_heard or not self._is_missed):
            self._retries = 0
            self.watch.settled()
        elif done.status == "completed" and self.watch.is_owed:
            seen = "response without a sound"
            self._try_again(seen, now_s, is_followed=following is not None, fault_id="KAV-137")
        elif done.status == "failed":
            error = done.error or ServerError("server_error", "", "no reason given", "", "")
            self._on_failed(error, now_s, is_followed=following is not None)
        elif done.status == "incomplete":
            seen = f"response incomplete: {done.reason}"
            if self.watch.is_owed:
                self._try_again(seen, now_s, is_followed=following is not None)
            else:
                self._stage.warn("KAV-136", seen)
        return True

    def tick(self, now_s: float, *, is_working: bool, may_fill: bool) -> None:
        """`is_working`: a tool runs. `may_fill`: the line is silent, and a filler would be heard at once."""
        match self.watch.due(now_s, is_working=is_working, may_fill=may_fill):
            case Due.FILL:
                self._stage.play_prompt("one_moment")
            case Due.ASK_AGAIN:
                self._stage.warn("KAV-137", "asking once more")
                if (response_id := self.responses.abandon()) is not None:  # it began, and says nothing
                    self._stage.send(self.commands.cancel_response(response_id))
                self.responses.give_up_asked()
                # Should the first come after all and this one lose the race, it is not asked a third time.
                self._send(self.responses.ask(self._last, answers_turn=True))
            case Due.GIVE_UP:
                self.watch.begin_anew(now_s)  # still owed: whoever serves the call next is asked
                self._stage.fail(EndReason.MODEL_SILENT, "KAV-137", "no answer, though asked twice")
        if self._retry_at is not None and now_s >= self._retry_at:
            self._retry_at = None
            self._send(self.responses.ask(self._last))

    def on_error(self, error: ServerError) -> None:
        seen = f"{error.code or error.type} {error.param} {error.message}".strip()
        match classify(error):
            case ErrorKind.ACTIVE_RESPONSE:
                self._send(self.responses.lost_race(error.event_id))
            case ErrorKind.BENIGN:
                self._stage.note(f"[REALTIME] harmless error: {seen}")
            case ErrorKind.FATAL:
                self._stage.fail(EndReason.MODEL_REFUSED, error.fault_id or fault_of(error.code), seen)
            case ErrorKind.SESSION_OVER:
                self._stage.fail(EndReason.MODEL_GONE, "KAV-135", seen)
            case ErrorKind.REFUSED | ErrorKind.TRANSIENT:
                self._send(self.responses.refused(error.event_id))
                self._stage.warn("KAV-136", seen)

    def _on_failed(self, error: ServerError, now_s: float, *, is_followed: bool) -> None:
        """A response came to nothing, and the caller waits for it: ask again, twice at most. `is_followed`:
        another one has been asked for since, which went out now and answers for both."""
        if classify(error) is ErrorKind.TRANSIENT:
            self._try_again(f"{error.code} {error.message}", now_s, is_followed=is_followed)
        else:
            self.on_error(error)

    def _on_silent_calls(self, now_s: float) -> None:
        """The model used tools and said nothing: it has all the time anew, but the caller waits as before."""
        self._retries = 0
        self._silent_rounds += 1
        self.watch.begin_anew(now_s)
        if self._silent_rounds >= MAX_SILENT_ROUNDS:
            self._silent_rounds = 0
            self._stage.fail(EndReason.MODEL_SILENT, "KAV-137", "it calls tools and says nothing")

    def _try_again(self, seen: str, now_s: float, *, is_followed: bool, fault_id: str = "KAV-136") -> None:
        if not is_followed and self._retries >= MAX_RETRIES:
            self.watch.owed(now_s)  # whatever was heard of it
            self._stage.fail(EndReason.MODEL_SILENT, "KAV-137", seen)
            return
        if not is_followed:
            self._retries += 1
            self._retry_at = now_s + RETRY_AFTER_S * self._retries
        self._stage.warn(fault_id, seen)

    def _answer(self) -> Command:
        return self.commands.create_response()

    def _send(self, command: Command | None) -> None:
        if command is not None:
            self._stage.send(command)
