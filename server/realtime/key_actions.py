"""What a key of the business's menu does, without asking the model what it thinks of it."""

from __future__ import annotations

from typing import assert_never

from server.business import KeyAction, KeyKind
from server.realtime.words import Words
from server.turns.leaving import HangUp, Leaving, Transfer

NEED_NO_MODEL = frozenset((KeyKind.TRANSFER, KeyKind.HANGUP))
"""They act also while no session is there."""


def act_on_key(action: KeyAction, words: Words, leaving: Leaving, now_s: float) -> str | None:
    """Plan what the key asks for. Returns what the agent is to say; None: the model is told of the key."""
    match action.kind:
        case KeyKind.TRANSFER:
            leaving.ask(Transfer(action.text), now_s)
            return words.transfer.format(destination=action.text)
        case KeyKind.SAY:
            return words.exactly.format(text=action.text)
        case KeyKind.MESSAGE:
            return words.take_message
        case KeyKind.HANGUP:
            leaving.ask(HangUp(), now_s)
            return words.goodbye
        case KeyKind.MODEL:
            return None
        case _:
            assert_never(action.kind)
