"""What has the caller said that no session has taken in?

A session that breaks takes with it the words it was hearing: what was not written down yet, and not
answered. Their sound is kept and told again to the next session, with all that is said while there is
none; what is settled is history, and goes as text.

Frames are kept as the model gets them, μ-law of 20 ms. Pure, no clock: positions are counts of frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from server.realtime.events import (
    AudioDelta,
    CallerTranscript,
    Event,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
)

MAX_FRAMES = 500
"""10 s: longer than a session that has vanished goes unnoticed, shorter than a caller's patience."""
LEAD_FRAMES = 25
"""Told before the first voice: a word begins more softly than it goes on."""
CHUNK_FRAMES = 10
MAX_OPEN = 16
"""Utterances and responses that are followed at a time; a model that forgets them is not waited for."""


class Unheard:
    """One caller's, through all sessions of a call."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=MAX_FRAMES)
        self._count = 0
        self._settled = 0
        self._first_voice: int | None = 0  # the first session hears everything
        self._last_voice = 0
        self._ends: dict[str, int] = {}  # utterance -> where it ended
        self._answers: dict[str, int] = {}  # response -> up to where it answers

    def heard(self, payload: bytes, *, is_voice: bool) -> None:
        """The next frame, and whether our own detector takes it for speech."""
        self._frames.append(payload)
        self._count += 1
        if is_voice:
            self._voiced()
        elif self._first_voice is None and len(self._frames) > LEAD_FRAMES:
            self._frames.popleft()  # half a second a call instead of ten

    def note(self, event: Event) -> None:
        """What the session in use tells."""
        match event:
            case SpeechStarted():
                self._voiced()
            case SpeechStopped(item_id):
                _put(self._ends, item_id, self._count)
            case CallerTranscript(item_id):
                self._settle(self._ends.pop(item_id, 0))
            case ResponseCreated(response_id):
                _put(self._answers, response_id, max(self._ends.values(), default=0))
            case AudioDelta(response_id) if response_id in self._answers:
                self._settle(self._answers.pop(response_id))
            case _:
                pass

    @property
    def is_waiting(self) -> bool:
        """Somebody spoke, and nobody has taken it in."""
        return self._first_voice is not None and self._last_voice > self._settled

    def retold(self) -> Iterator[bytes]:
        """For a session that is new: what is not settled, the oldest first, up to 200 ms at a time. It
        stays until that session has taken it in."""
        if self._first_voice is None:
            return
        oldest = self._count - len(self._frames)
        begin = max(self._settled, self._first_voice - LEAD_FRAMES, oldest)
        self._ends.clear()
        self._answers.clear()
        frames = islice(tuple(self._frames), begin - oldest, None)
        while chunk := b"".join(islice(frames, CHUNK_FRAMES)):
            yield chunk
        if self._last_voice <= begin:
            self._first_voice = None

    def _voiced(self) -> None:
        self._last_voice = self._count
        if self._first_voice is None:
            self._first_voice = self._count

    def _settle(self, end: int) -> None:
        """Everything before is known to the model, and written down or answered."""
        self._settled = max(self._settled, end)
        if self._first_voice is not None and self._first_voice < end:
            self._first_voice = end if self._last_voice > end else None
            if self._first_voice is None:
                self._frames = deque(
                    islice(self._frames, max(0, len(self._frames) - LEAD_FRAMES), None), MAX_FRAMES
                )


def _put(places: dict[str, int], name: str, at: int) -> None:
    if len(places) >= MAX_OPEN:
        del places[next(iter(places))]
    places[name] = at
