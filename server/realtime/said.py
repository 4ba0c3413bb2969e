"""What was said in this call, and how much of it has reached the caller's ear?

Three things count in the caller's ear and not where they are sent: a call is greeted when the greeting was
heard, the agent's words are told as far as they were heard, and a turn's latency ends with its first sound.

Pure. The outbox is an argument: a caller whose line broke comes back in another stream, with another one.
"""

from __future__ import annotations

from server.realtime import events
from server.realtime.stage import OWN_ITEM
from server.telephony.outbox import Outbox
from server.turns.history import History


class Said:
    """Of one call, whatever number of sessions and streams it takes."""

    def __init__(self, history: History, *, was_greeted: bool) -> None:
        self.history = history
        self.has_spoken = was_greeted
        """The caller was sent something of the agent's; the call's own prompts do not count."""
        self.is_opening = not was_greeted
        """The opening has not been heard to its end."""
        self._opening_audio = ("", "")
        """The response that is the opening, and its last item."""
        self._is_opening_followed = False
        """What is said next waits behind it."""
        self._partial = ("", "")
        """The item that is being spoken, and its words so far."""
        self._unheard_item = ""
        """The answer whose first sound is on its way to the caller."""
        self.is_own_audible = False
        """What was handed to Twilio last is a prompt of the call's own."""

    # What the model said

    def audio(self, delta: events.AudioDelta) -> None:
        """Audio that will be queued."""
        self.history.began(delta.item_id)
        if self._opening_audio[0] in ("", delta.response_id):
            self._opening_audio = (delta.response_id, delta.item_id)
        else:
            self._is_opening_followed = True

    def opens(self) -> None:
        """The opening is asked for, for the first time or anew."""
        self._opening_audio, self._is_opening_followed = ("", ""), False

    def agent_words(self, more: events.AgentWords) -> None:
        item_id, words = self._partial
        words = words + more.text if item_id == more.item_id else more.text
        self._partial = (more.item_id, words)
        self.agent(more.item_id, words)

    def agent(self, item_id: str, words: str) -> None:
        """What was given up before its first sound came is written down too, and was never said."""
        if self.history.knows(item_id):
            self.history.agent(item_id, words)

    # What the caller was sent, and heard

    def handed(self, item_id: str) -> bool:
        """The first frame of an item was written to Twilio; false for a prompt of our own."""
        self.is_own_audible = item_id.startswith(OWN_ITEM)
        if self.is_own_audible:
            return False
        self.has_spoken = True
        self._unheard_item = item_id
        return True

    def cut(self) -> None:
        """What was not heard by now never will be."""
        self._unheard_item = ""

    def newly_heard(self, tx_q: Outbox, now_s: float) -> tuple[str, float] | None:
        """The answer whose first sound has reached the caller's ear since the last call, and when it did."""
        if not self._unheard_item:
            return None
        heard_ms = tx_q.ledger.heard_ms(self._unheard_item, now_s)
        if heard_ms == 0:
            return None
        item_id, self._unheard_item = self._unheard_item, ""
        return item_id, now_s - (heard_ms or 0) / 1000

    def watch_opening(self, tx_q: Outbox, now_s: float, *, is_more_to_come: bool) -> None:
        """Notice the moment at which the opening was heard to its end."""
        if not (self.is_opening and self.has_spoken):
            return
        is_past = self._is_opening_followed and tx_q.ledger.heard_ms(self._opening_audio[1], now_s) is None
        self.is_opening = not is_past and (is_more_to_come or not tx_q.is_quiet(now_s))

    def is_greeted(self, tx_q: Outbox, now_s: float) -> bool:
        """The caller has heard something of the agent's: it is not to be greeted again."""
        if not (self.has_spoken and self.is_opening):
            return self.has_spoken
        cuts = [cut for cut in tx_q.unheard(now_s) if not cut.item_id.startswith(OWN_ITEM)]
        return not cuts or any(cut.heard_ms for cut in cuts)

    def told(self, tx_q: Outbox, now_s: float) -> list[tuple[str, str]]:
        """(role, text) of what was said so far; of the agent's words those that were heard by now."""
        cuts = tx_q.unheard(now_s)
        shares = {cut.item_id: cut.heard_ms / max(1, cut.heard_ms + cut.unheard_ms) for cut in cuts}
        return list(self.history.entries(shares))
