"""What is a persona told, and what may it answer?

A `Turn` tells a persona what has happened since its last answer, and it returns an `Answer`: items
of speech (G.711 μ-law, 8 kHz, with the words that are said), function calls and waits, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Spoken:
    """A caller's utterance."""

    payload: bytes
    """μ-law as it was heard: with the padding before the speech and the silence that ended it."""
    speech_ms: int
    """From the first loud frame to the last."""

    @property
    def transcript(self) -> str:
        """What can honestly be said of words nobody recognised."""
        return f"[speech {self.speech_ms / 1000:.1f} s]"


@dataclass(frozen=True, slots=True)
class Typed:
    """A text item of the user's."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a function call of ours gave back."""

    call_id: str
    output: str


Heard = Spoken | Typed | ToolOutput


@dataclass(frozen=True, slots=True)
class Turn:
    """Why a response is due."""

    heard: tuple[Heard, ...]
    """What came since the last answer, oldest first; empty for a bare request to speak."""
    instructions: str
    """In force for this response: its own, or else the session's."""
    language: str | None
    """As the session's input transcription names it, if it does."""
    tools: frozenset[str]
    is_idle: bool = False
    """Nobody has spoken for the session's idle timeout."""
    own_instructions: str = ""
    """Those that came with this very request; empty when the session's hold."""


@dataclass(frozen=True, slots=True)
class Speech:
    """One audio item."""

    payload: bytes
    transcript: str
    delta_bytes: tuple[int, ...] = ()
    """Sizes to cut it into, the last one repeating; empty leaves that to the server."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """A JSON object, as text."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The model thinks before what follows."""

    seconds: float


Part = Speech | ToolCall | Wait
Answer = tuple[Part, ...]

TRANSCRIPTION_S = 0.1
"""How long the words of an utterance take, unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the session's transcription makes of one utterance."""

    text: str
    delay_s: float = TRANSCRIPTION_S
    """From the end of the utterance."""
    has_failed: bool = False
    """`…transcription.failed` comes instead of the words."""


class Persona(Protocol):
    """Who answers. One belongs to one session, unless it says otherwise."""

    def answer(self, turn: Turn) -> Answer: ...


@runtime_checkable
class Listener(Protocol):
    """A persona that knows what the caller's utterances say."""

    def transcript(self, spoken: Spoken) -> Transcript | None:
        """Asked once for each utterance, in order; None: nobody recognised the words."""
