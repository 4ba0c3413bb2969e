"""Echo mode: the caller hears themselves. The smallest mode; read it first.

A minute of it proves the handshake, the way in and the way back, with no AI and no key. Frames go
back as they came, byte for byte; only audio of another length than 20 ms is cut anew.
"""

from __future__ import annotations

import logging

from server.audio.framing import Framer
from server.audio.g711 import FRAME_BYTES
from server.config import CallMode
from server.endings import EndReason
from server.gateway import CallerLeg
from server.telephony.outbox import Frame

log = logging.getLogger(__name__)

ITEM_ID = "echo"


class EchoMode:
    """One echo call, and what it tells about the line."""

    name = CallMode.ECHO
    overtime_s = 0.0
    is_restful = True

    def __init__(self, caller: CallerLeg) -> None:
        self._caller = caller
        self._framer = Framer()
        self._frames_in = 0
        self._frames_back = 0
        self._lost = 0
        self._last_chunk = 0
        self._round_trips_ms: list[float] = []

    def start(self) -> None:
        pass

    def on_media(self, payload: bytes, chunk: int | None, payload_b64: bytes | None = None) -> None:
        self._frames_in += 1
        if chunk is not None:
            if self._last_chunk and chunk > self._last_chunk + 1:
                self._lost += chunk - self._last_chunk - 1
            self._last_chunk = chunk
        if len(payload) == FRAME_BYTES and not self._framer.waiting_bytes:
            self._caller.play_now(ITEM_ID, payload)
        else:
            for frame in self._framer.push(payload):
                self._caller.play_now(ITEM_ID, frame)

    def on_dtmf(self, digit: str) -> None:
        pass

    def on_mark(self, name: str) -> None:
        self._round_trips_ms.append(self._caller.tx_q.ledger.round_trip_ms)

    def tick(self, now_s: float) -> None:
        pass

    def frames_sent(self, frames: list[Frame], ended: list[str]) -> None:
        self._frames_back += len(frames)

    def frame_passed(self, item_id: str, payload: bytes) -> None:
        self._frames_back += 1

    def ending(self, reason: EndReason) -> bool:
        return False

    def settle(self) -> None:
        pass

    def close(self) -> None:
        trips = sorted(self._round_trips_ms)
        middle = f"{trips[len(trips) // 2]:.0f}" if trips else "unknown"
        worst = f"{trips[-1]:.0f}" if trips else "unknown"
        log.info(
            "ECHO_REPORT call=%s frames_in=%d frames_back=%d lost=%d round_trip_ms=%s worst_ms=%s",
            self._caller.call_tag,
            self._frames_in,
            self._frames_back,
            self._lost,
            middle,
            worst,
        )
