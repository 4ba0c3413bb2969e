"""What happens once the agent's last words have been heard: the call ends, or goes to a person.

Hanging up when the words are sent would cut them short by all that waits at Twilio. A caller who
interrupts them has more to say, so the plan is dropped. Pure; the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.endings import EndReason

AT_LATEST_S = 20.0
"""A plan that waits longer, once what was at hand to be heard has been, is carried out though the agent still
speaks: its words have no end."""


@dataclass(frozen=True, slots=True)
class HangUp:
    reason: EndReason = EndReason.AGENT_HANGUP


@dataclass(frozen=True, slots=True)
class Transfer:
    """To one of the business's own destinations, by its name."""

    destination: str


Plan = HangUp | Transfer


class Leaving:
    """At most one plan at a time; the latest counts."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self._at_latest = 0.0
        self._is_new = False

    def ask(self, plan: Plan, now_s: float) -> None:
        self.plan, self._at_latest, self._is_new = plan, now_s + AT_LATEST_S, True

    def interrupt(self) -> Plan | None:
        """The caller has more to say; returns the plan that is dropped for it. Time that is up stays up."""
        if self.plan == HangUp(EndReason.MAX_DURATION):
            return None
        return self._take()

    def due(self, now_s: float, *, is_heard: bool, remaining_ms: float) -> Plan | None:
        """The plan to carry out now, once. `is_heard`: nothing more is being said or heard; `remaining_ms`:
        of what is at hand, for a model makes a minute of speech in seconds."""
        if self._is_new:
            self._at_latest += remaining_ms / 1000
            self._is_new = False
        if self.plan is None or not (is_heard or now_s >= self._at_latest):
            return None
        return self._take()

    def _take(self) -> Plan | None:
        plan, self.plan = self.plan, None
        return plan
