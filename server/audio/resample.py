"""How does a speech model's audio become telephone audio?

A text-to-speech service sends PCM16 mono at 24 kHz (others: 22.05 or 16), a telephone carries 8 kHz.
What lies above 4 kHz must go first, or each s and sh folds back into the band as a whistle: measured
here, tones of 4.5 to 9 kHz come out 84 dB down and 300 to 3,600 Hz within 0.1 dB. `audioop.ratecv`
removes none of it.

The filter is libsoxr's (`soxr`): kept, with wheels for CPython 3.11 to 3.13 on Linux and macOS, x86 and ARM;
0.1 ms for a second of audio (`samplerate`, the other kept one: 3.5 ms), and numpy's 14 MB and 45 ms at start.
Samples pass as float32: int16 it would dither, and the last bits would depend on how the audio was cut.
"""

from __future__ import annotations

import numpy as np
import soxr

from server.audio.g711 import SAMPLE_RATE_HZ

MAX_PUSH_BYTES = 1 << 18
"""5 s at 24 kHz: half a millisecond of work, for which every call waits."""
_QUALITY = "MQ"
"""Exact to 16 bits, where μ-law keeps 14. Less passes too little at 3,200 Hz (-2 dB), more gains nothing."""
_SAMPLE_BYTES = 2


class TelephoneDownsampler:
    """One voice's way to 8 kHz. State is kept from `push` to `push`; `flush` ends an utterance.

    The filter holds back 60 to 120 ms: nothing comes out before so much has gone in. What comes out is
    the same however the audio was cut, and as long as what went in, to the sample.
    """

    def __init__(self, rate_hz: int) -> None:
        """Raises ValueError for a rate of less than a telephone's."""
        if rate_hz < SAMPLE_RATE_HZ:
            raise ValueError(f"{rate_hz} Hz is less than the {SAMPLE_RATE_HZ} Hz of a telephone")
        self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality=_QUALITY)
        self._half = b""

    def push(self, pcm: bytes) -> bytes:
        """The PCM16 at 8 kHz that `pcm`, of any length, completes; half a sample waits for its other half.

        Raises ValueError for more than MAX_PUSH_BYTES.
        """
        if len(pcm) > MAX_PUSH_BYTES:
            raise ValueError(f"{len(pcm)} bytes at once would hold up every call; at most {MAX_PUSH_BYTES}")
        data = self._half + pcm if self._half else pcm
        whole = len(data) - len(data) % _SAMPLE_BYTES
        self._half = data[whole:]
        return self._resample(data[:whole], is_last=False)

    def flush(self) -> bytes:
        """What the filter still holds; then it is as new. Half a sample is dropped."""
        self._half = b""
        rest = self._resample(b"", is_last=True)
        self._stream.clear()
        return rest

    def _resample(self, pcm: bytes, *, is_last: bool) -> bytes:
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        resampled = np.rint(self._stream.resample_chunk(samples, last=is_last))
        out: bytes = resampled.clip(-32768, 32767).astype("<i2").tobytes()
        return out
