"""How does audio of any length become whole 20 ms frames?

The model sends deltas of one byte or of a megabyte; Twilio plays best what comes in frames of
160 bytes. A partial frame waits for the next delta and is padded with silence only at the end
of its item, so that nothing is dropped and no gap opens inside a word.
"""

from __future__ import annotations

from server.audio.g711 import FRAME_BYTES, SILENCE


class Framer:
    """Cuts one item's audio into frames."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def waiting_bytes(self) -> int:
        """Bytes held back until they fill a frame: 0 to 159."""
        return len(self._rest)

    def push(self, payload: bytes) -> list[bytes]:
        """The whole frames that `payload` completes, each of 160 bytes, in order."""
        if len(payload) == FRAME_BYTES and not self._rest:
            return [payload]
        data = self._rest + payload if self._rest else payload
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        return [data[at : at + FRAME_BYTES] for at in range(0, whole, FRAME_BYTES)]

    def flush(self) -> bytes | None:
        """The last partial frame, padded with silence; None when nothing waits."""
        if not self._rest:
            return None
        frame, self._rest = self._rest.ljust(FRAME_BYTES, SILENCE), b""
        return frame


def frames_of(payload: bytes) -> list[bytes]:
    """All of it at once; the last frame is padded with silence."""
    framer = Framer()
    frames = framer.push(payload)
    last = framer.flush()
    return frames if last is None else [*frames, last]
