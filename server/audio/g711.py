"""How loud is this telephone audio, and what are its sizes?

G.711 μ-law at 8 kHz mono, as Twilio and the model's `audio/pcmu` carry it: one byte is one
sample, 8 bytes are one millisecond, and a frame is 20 ms. Levels are RMS on the 16-bit scale
(full-scale sine: 22,715; active telephone speech: about 500 to 2,800; a quiet line: 9 to 50).
"""

from __future__ import annotations

import audioop
import base64

SAMPLE_RATE_HZ = 8000
BYTES_PER_MS = 8
FRAME_MS = 20
FRAME_BYTES = FRAME_MS * BYTES_PER_MS

SILENCE = b"\xff"
"""μ-law zero. 0x00 is full-scale negative: a zero-filled buffer is loud noise."""
SILENT_FRAME = SILENCE * FRAME_BYTES
SILENT_FRAME_B64 = base64.b64encode(SILENT_FRAME)


def rms(payload: bytes) -> int:
    """RMS of μ-law samples on the 16-bit scale; 0 for none."""
    return audioop.rms(audioop.ulaw2lin(payload, 2), 2) if payload else 0


def to_pcm16(payload: bytes) -> bytes:
    """Little-endian signed 16-bit samples, two bytes for each byte given."""
    return audioop.ulaw2lin(payload, 2)


def from_pcm16(pcm16: bytes) -> bytes:
    """μ-law from little-endian signed 16-bit samples. Raises ValueError for half a sample."""
    if len(pcm16) % 2:
        raise ValueError(f"PCM16 of {len(pcm16)} bytes ends in half a sample")
    return audioop.lin2ulaw(pcm16, 2)


def ms(n_bytes: int) -> int:
    """Whole milliseconds that `n_bytes` of μ-law last."""
    return n_bytes // BYTES_PER_MS
