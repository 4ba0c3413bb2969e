"""What every route and every call of one process shares. Built once by the app factory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from server.config import CallMode, Settings
from server.metrics import Counters
from server.store.live_calls import EndReason, LiveCalls
from server.telephony.call_token import CallTokens
from server.telephony.messages import Start
from server.telephony.outbox import Frame, Outbox
from server.telephony.signature import SignatureCheck


class CallerLeg(Protocol):
    """The side of a call that leads to Twilio, as a mode sees it."""

    call_tag: str
    tx_q: Outbox

    def play(self, item_id: str, frame: bytes) -> None:
        """Queue 20 ms for the caller; `wake` or `flush` must follow. A full queue drops it, counts it
        and says so once."""

    def end_item(self, item_id: str) -> None:
        """The item's last frame was queued; `wake` or `flush` must follow."""

    def wake(self) -> None:
        """`tx_q` has changed: the tx loop shall look."""

    def flush(self) -> None:
        """Write what of `tx_q` is due, here and now. Never blocks: for hub callbacks."""

    def play_now(self, item_id: str, frame: bytes) -> None:
        """`play` and `flush` in one, for plain media."""

    def end(self, reason: EndReason, detail: str = "") -> None:
        """End the call, from whatever green thread. Returns at once; the first reason counts."""


class Mode(Protocol):
    """What happens to the audio of one call. Nothing here may block: `on_media`, `frames_sent` and
    `frame_passed` come in the hub's own callbacks, `tick` in the one timer of all streams."""

    name: CallMode

    def start(self) -> None:
        """The stream was accepted. Must not block."""

    def on_media(self, payload: bytes, chunk: int | None, payload_b64: bytes | None = None) -> None:
        """The caller's next audio, of any length; as base64 too where it is at hand. Must not block:
        plain media comes in the hub's own callback."""

    def on_dtmf(self, digit: str) -> None: ...

    def on_mark(self, name: str) -> None:
        """A mark of ours came back, and not by a `clear`; the ledger has been told already."""

    def tick(self, now_s: float) -> None:
        """About ten times a second: the place for deadlines."""

    def frames_sent(self, frames: list[Frame], ended: list[str]) -> None:
        """The stream wrote these frames, and these items are written to their end."""

    def frame_passed(self, item_id: str, payload: bytes) -> None:
        """The stream wrote one frame of plain media, given to `play_now`."""

    def close(self) -> None:
        """The call is over: free what `start` took. Blocks half a second at most."""


class OpenStream(Protocol):
    """A media WebSocket, as the process sees it."""

    def tick(self, now_s: float) -> None:
        """About ten times a second: deadlines. Must not block."""

    def drain(self, deadline_s: float) -> None:
        """End at the agent's next pause, or at the deadline (monotonic)."""


ModeFactory = Callable[[CallerLeg, Start], Mode]


@dataclass(slots=True)
class Gateway:
    """One process."""

    settings: Settings
    make_mode: ModeFactory
    signature: SignatureCheck
    tokens: CallTokens
    calls: LiveCalls = field(default_factory=LiveCalls)
    counters: Counters = field(default_factory=Counters)
    unstarted_streams: int = 0
    is_draining: bool = False
    started_at: float = field(default_factory=time.monotonic)
    streams: set[OpenStream] = field(default_factory=set)
    """Every media WebSocket that is open, started or not."""
    is_ticking: bool = False
    """A green thread looks after their deadlines."""
