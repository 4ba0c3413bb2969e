"""What every route and every call of one process shares. Built once by the app factory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from server.business import Businesses
from server.config import CallMode, Settings
from server.endings import EndReason
from server.metrics import Counters
from server.parked_sessions import ParkedSessions
from server.store.caller_messages import CallerMessage
from server.store.live_calls import LiveCalls
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
    overtime_s: float
    """How much longer than MAX_CALL_SECONDS it may take, to say goodbye."""

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

    @property
    def is_restful(self) -> bool:
        """Nobody speaks and nothing is owed: the call may go on elsewhere."""

    def ending(self, reason: EndReason) -> bool:
        """The stream is about to be closed, once, and Twilio may ask what follows before it is. Must not
        block. True: the mode outlives this stream, which has nothing to do with it any more."""

    def settle(self) -> None:
        """After `ending`: what another process needs is where it will be looked for. Blocks half a second
        at most."""

    def close(self) -> None:
        """The call is over: free what `start` took. Blocks half a second at most."""


class OpenStream(Protocol):
    """A media WebSocket, as the process sees it."""

    def tick(self, now_s: float) -> None:
        """About ten times a second: deadlines. Must not block."""

    def drain(self, deadline_s: float) -> None:
        """End at the agent's next pause, or at the deadline (monotonic)."""

    def give_way(self) -> None:
        """Another stream of the same call has come. Blocks until this one has ended, a second at most."""


ModeFactory = Callable[[CallerLeg, Start], Mode]


@dataclass(slots=True)
class Gateway:
    """One process."""

    settings: Settings
    make_mode: ModeFactory
    businesses: Businesses
    signature: SignatureCheck
    tokens: CallTokens
    calls: LiveCalls = field(default_factory=LiveCalls)
    counters: Counters = field(default_factory=Counters)
    unstarted_streams: int = 0
    is_draining: bool = False
    is_leaving: bool = False
    """The last stream of a draining process has ended: whoever asks now is answered for the last time."""
    started_at: float = field(default_factory=time.monotonic)
    streams: set[OpenStream] = field(default_factory=set)
    """Every media WebSocket that is open, started or not."""
    is_ticking: bool = False
    """A green thread looks after their deadlines."""
    streams_by_call: dict[str, OpenStream] = field(default_factory=dict)
    """The stream that serves a call now, by CallSid."""
    on_message: Callable[[CallerMessage], None] = lambda message: None
    """A caller left a message: it is kept, and the business is told. Returns at once."""
    lag: Callable[[], float] = lambda: 0.0
    """How late the hub has lately been, in seconds, 95 of 100 times at most."""
    parked: ParkedSessions[Mode] = field(default_factory=lambda: ParkedSessions(0))
    """Calls whose line broke, and whose caller may be back in a moment."""
    forget_call: Callable[[str], None] = lambda call_sid: None
    """A call is over for good: nothing of it is kept. Returns at once."""
    see_off: Callable[[str], None] = lambda call_sid: None
    """We ended a call's stream: where that was to end the call, see that it does. Returns at once."""
    expect_call: Callable[[], None] = lambda: None
    """A caller of Twilio's was answered with a stream: what it needs may be made ready."""
    settle: Callable[[float], None] = lambda until_s: None
    """After the last stream: what waits is written, and businesses are told what they are being told. Blocks
    two and a half seconds, or until then (monotonic)."""
    close: Callable[[], None] = lambda: None
    """After the last request: what has come since is written, and the store closed. Blocks one and a half
    seconds at most."""

    @property
    def places_taken(self) -> int:
        """Of MAX_CALLS: a call whose line broke a moment ago holds one as well, and one that was answered a
        moment ago."""
        expected = self.calls.expected_count(time.monotonic(), self.parked, self.streams_by_call)
        return self.calls.live_count + len(self.parked) + expected
