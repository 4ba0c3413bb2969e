"""Where does a call's voice go: to the stream that serves the caller now, or nowhere for the moment.

A stream may break and another one follow, while the call goes on as it is. Whatever speaks to the caller
holds this seat, not the stream.
"""

from __future__ import annotations

from server.endings import EndReason
from server.gateway import CallerLeg
from server.telephony.outbox import Outbox


class CallerSeat:
    """A `CallerLeg` that leads to another one; without it everything for the caller is dropped."""

    def __init__(self, leg: CallerLeg) -> None:
        self.call_tag = leg.call_tag
        self.tx_q = leg.tx_q
        self._leg: CallerLeg | None = leg

    @property
    def is_empty(self) -> bool:
        return self._leg is None

    def leave(self) -> None:
        """The line is gone."""
        self._leg, self.tx_q = None, Outbox("")

    def sit_down(self, leg: CallerLeg) -> None:
        """The caller is back, by this stream."""
        self._leg, self.tx_q = leg, leg.tx_q

    # CallerLeg

    def play(self, item_id: str, frame: bytes) -> None:
        if self._leg is not None:
            self._leg.play(item_id, frame)

    def end_item(self, item_id: str) -> None:
        if self._leg is not None:
            self._leg.end_item(item_id)

    def wake(self) -> None:
        if self._leg is not None:
            self._leg.wake()

    def flush(self) -> None:
        if self._leg is not None:
            self._leg.flush()

    def play_now(self, item_id: str, frame: bytes) -> None:
        if self._leg is not None:
            self._leg.play_now(item_id, frame)

    def end(self, reason: EndReason, detail: str = "") -> None:
        if self._leg is not None:
            self._leg.end(reason, detail)
