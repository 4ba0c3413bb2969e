"""Which keys belong together? A caller presses several in a row; the model is told of them at once.

Pure; the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

PAUSE_S = 1.5
"""Longer between two keys, and they are two entries."""
MAX_KEYS = 32
END_KEY = "#"


class KeyBuffer:
    """Collects keys until a pause, or until the caller ends the entry with `#`."""

    def __init__(self) -> None:
        self._keys = ""
        self._last_at = 0.0

    def press(self, digit: str, now_s: float) -> str:
        """One key. Returns the entry it ends, empty while it goes on."""
        self._keys += digit
        self._last_at = now_s
        return self._take() if digit == END_KEY or len(self._keys) >= MAX_KEYS else ""

    def due(self, now_s: float) -> str:
        """The entry that a pause has ended; empty when there is none."""
        return self._take() if self._keys and now_s - self._last_at > PAUSE_S else ""

    def _take(self) -> str:
        keys, self._keys = self._keys, ""
        return keys
