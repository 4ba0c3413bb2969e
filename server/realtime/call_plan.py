"""What is known of a call before its first word: who is called, and whether it goes on from before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.business import BargeInRule, Business
from server.realtime.words import WORDS
from server.turns.barge_in import BargeInLimits


@dataclass(frozen=True, slots=True)
class CallPlan:
    business: Business
    barge_in: BargeInLimits
    tool_names: frozenset[str]
    """Of the tools that `Stage.run_tool` knows."""
    max_call_s: float
    is_transcribed: bool
    """The session writes down what the caller says."""
    opening: str = ""
    """Instructions for the first words instead of the greeting: the call goes on from before."""
    history: Sequence[tuple[str, str]] = ()
    """(role, text) of what was said before."""
    was_greeted: bool = False
    """Before; it is not done again."""


def barge_in_limits(business: Business) -> BargeInLimits:
    return BargeInLimits(
        is_allowed=business.barge_in is not BargeInRule.OFF,
        is_allowed_in_greeting=business.barge_in is BargeInRule.ON,
        min_speech_ms=business.min_speech_ms,
    )


def continued(business: Business, resume: str, destination: str, *, was_greeted: bool | None) -> str:
    """The opening of a call that comes back; empty: it is greeted as new.

    `resume`: `transfer:busy` after a transfer that failed, with Twilio's word for why; else any text.
    `was_greeted`: None when nothing is known of what was said.
    """
    words = WORDS[business.language]
    kind, _, why = resume.partition(":")
    if kind == "transfer":
        cause = words.no_answer.get(why, words.no_answer["failed"])
        return words.transfer_failed.format(destination=destination or words.a_person, why=cause)
    if was_greeted is None:
        return words.continuing_blank
    return words.continuing if was_greeted else ""
