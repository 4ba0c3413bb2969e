"""Does this frame sound like a voice, and not only loud?

WebRTC's detector compares six bands of the spectrum with models of speech and of this line's noise. It hears
a faint caller, and takes hum or a vacuum cleaner for noise if it has known the line no other way; one that is
switched on in the call is voice to it for some seconds, as are music, a cough, and people who talk nearby for
ever. Its word alone is not enough: the frame must also be over half the loudness that is asked for without
it. Both numbers were chosen by `python -m bench.detectors`; its table is in docs/voice-detection.md.
"""

from __future__ import annotations

import webrtcvad  # type: ignore[import-untyped]  # ships no types; what is used of it is all here

from server.audio.g711 import SAMPLE_RATE_HZ

AGGRESSIVENESS = 2
"""The library's scale, 0 to 3: how sure it must be. 0 and 1 hear voice in hum and in a vacuum cleaner, and 3
loses twice as much speech."""


def least_rms(threshold: int) -> int:
    """The loudness which must agree with the library, for a threshold that is meant for loudness alone."""
    return max(1, threshold // 2)


class WebrtcDetector:
    """The library's word on one line, frame after frame. It learns the line's noise, so each call has its own
    and asks it about every frame: asked about loud ones alone it missed half as much speech again."""

    def __init__(self, aggressiveness: int = AGGRESSIVENESS) -> None:
        """Raises ValueError for an aggressiveness other than 0 to 3."""
        if aggressiveness not in range(4):  # the library's own answer to -1 is a SystemError
            raise ValueError(f"aggressiveness {aggressiveness} is not one of 0, 1, 2, 3")
        self._library = webrtcvad.Vad(aggressiveness)

    def is_speech(self, pcm16: bytes) -> bool:
        """Of the next 20 ms: 320 bytes, signed 16-bit samples at 8 kHz."""
        return bool(self._library.is_speech(pcm16, SAMPLE_RATE_HZ))
