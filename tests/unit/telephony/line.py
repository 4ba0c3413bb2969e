"""Twilio's end of a stream on a bench: what it plays, and when its marks come back.

It plays in real time, echoes a mark when the audio before it was played, and on `clear` drops what it holds
and echoes every mark that waits. All that we send is under way equally long, so Twilio's clock is ours plus
that way: what counts as heard is what was played when the `clear` got there. Echoes travel back for as long
as each is told to, in their order.

Frames are numbered (`frame`), so that what is heard can be checked one by one. Times are seconds.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

FRAME_BYTES = 160
FRAME_S = 0.02
_NUMBERS = struct.Struct(">II")
_EPSILON_S = 1e-9


def frame(item: int, number: int) -> bytes:
    """20 ms that carry their item's number and their own in it, from 0."""
    return _NUMBERS.pack(item, number).ljust(FRAME_BYTES, b"\x55")


def audio(item: int, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of an item whose every frame is numbered."""
    first = start // FRAME_BYTES
    whole = b"".join(frame(item, n) for n in range(first, -(-end // FRAME_BYTES)))
    return whole[start - first * FRAME_BYTES : end - first * FRAME_BYTES]


def numbers_of(payload: bytes) -> tuple[int, int]:
    """(item, frame) of one frame."""
    return _NUMBERS.unpack_from(payload)


@dataclass(slots=True)
class _Piece:
    starts_at: float
    item: int
    number: int
    is_begun: bool = False


class Line:
    """Twilio's buffer and the caller's ear."""

    def __init__(self, way_s: float = 0.0, echo_s: Callable[[], float] = lambda: 0.0) -> None:
        self.heard: list[tuple[int, int]] = []
        """(item, frame) of every frame of which anything was played, in order."""
        self.sent: list[tuple[int, int]] = []
        self.clears = 0
        self._way_s = way_s
        self._echo_s = echo_s
        self._played_ms: dict[int, float] = {}
        self._buffer: deque[_Piece] = deque()
        self._marks: deque[tuple[float, str]] = deque()  # when it is due here, name
        self._echoes: deque[tuple[float, str]] = deque()  # when it is back, name
        self._ends_at = 0.0

    def take(self, message: str | bytes, now_s: float) -> None:
        """One message of ours, sent now."""
        at_s = now_s + self._way_s
        self._play_until(at_s)
        event = json.loads(message)
        match event["event"]:
            case "media":
                item, number = numbers_of(base64.b64decode(event["media"]["payload"]))
                starts_at = max(at_s, self._ends_at)
                self._buffer.append(_Piece(starts_at, item, number))
                self._ends_at = starts_at + FRAME_S
                self.sent.append((item, number))
            case "mark":
                self._marks.append((max(at_s, self._ends_at), event["mark"]["name"]))
                self._play_until(at_s)
            case "clear":
                self.clears += 1
                self._buffer.clear()
                self._ends_at = at_s
                while self._marks:
                    self._echo(self._marks.popleft()[1], at_s)
            case other:
                raise AssertionError(f"Twilio knows no {other!r}")

    def echoes(self, now_s: float) -> list[str]:
        """The marks that have come back by now; each is given once."""
        self._play_until(now_s + self._way_s)
        back = []
        while self._echoes and self._echoes[0][0] <= now_s:
            back.append(self._echoes.popleft()[1])
        return back

    def played_ms(self, item: int, now_s: float) -> float:
        """How much of an item is played when what we send now gets there."""
        self._play_until(now_s + self._way_s)
        return self._played_ms.get(item, 0.0)

    def left_ms(self, now_s: float) -> float:
        """How much will not have been played yet when what we send now gets there."""
        return max(0.0, self._ends_at - now_s - self._way_s) * 1000

    def _play_until(self, at_s: float) -> None:
        while self._buffer and (piece := self._buffer[0]).starts_at < at_s - _EPSILON_S:
            if not piece.is_begun:
                piece.is_begun = True
                self.heard.append((piece.item, piece.number))
            played_s = min(FRAME_S, at_s - piece.starts_at)
            self._played_ms[piece.item] = (piece.number * FRAME_S + played_s) * 1000
            if piece.starts_at + FRAME_S > at_s + _EPSILON_S:
                break
            self._buffer.popleft()
        while self._marks and self._marks[0][0] <= at_s + _EPSILON_S:
            due_at, name = self._marks.popleft()
            self._echo(name, due_at)

    def _echo(self, name: str, at_s: float) -> None:
        """`at_s` is Twilio's time. None overtakes another: they travel in one stream."""
        back_at = at_s + self._echo_s()
        if self._echoes:
            back_at = max(back_at, self._echoes[-1][0])
        self._echoes.append((back_at, name))
