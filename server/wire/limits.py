"""How often may a peer do this? A token bucket; the time is an argument."""

from __future__ import annotations


class TokenBucket:
    """Allows `burst` at once and `rate` a second after that."""

    def __init__(self, rate: float, burst: int, now_s: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = now_s

    def take(self, now_s: float, count: int = 1) -> bool:
        """Whether `count` more are within the limit; if so, they are counted."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_at) * self._rate)
        self._filled_at = now_s
        if self._tokens < count:
            return False
        self._tokens -= count
        return True
