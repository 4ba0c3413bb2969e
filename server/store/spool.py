"""Records that wait in memory: by key, each with the time at which it is worthless, bounded in bytes.

No lock and no clock: it belongs to one thread, and the time is an argument, in Unix seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_SPOOLED_BYTES = 16 * 1024 * 1024
MAX_SPOOLED_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class Spooled:
    text: str
    expires_at: float
    n_bytes: int


class Spool:
    """The oldest are dropped, and counted, when too much waits."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Spooled] = OrderedDict()
        self._n_bytes = 0
        self.dropped = 0

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __len__(self) -> int:
        return len(self._records)

    def put(self, key: str, text: str, expires_at: float) -> None:
        """In place of what was put for this key before, and as the youngest."""
        self.discard(key)
        record = Spooled(text, expires_at, len(text.encode()))
        self._records[key] = record
        self._n_bytes += record.n_bytes
        while len(self._records) > MAX_SPOOLED_RECORDS or self._n_bytes > MAX_SPOOLED_BYTES:
            self.discard(next(iter(self._records)))
            self.dropped += 1

    def take(self, key: str, now: float) -> str | None:
        """The text, which is gone then; None when there is none, or none that is still worth something."""
        record = self._records.get(key)
        self.discard(key)
        return record.text if record is not None and record.expires_at > now else None

    def oldest(self, count: int) -> list[tuple[str, Spooled]]:
        """Left where they are."""
        return [item for item, _ in zip(self._records.items(), range(count), strict=False)]

    def discard(self, key: str, only: Spooled | None = None) -> None:
        """Without effect when there is none, or when it is another one than `only`."""
        record = self._records.get(key)
        if record is not None and (only is None or record is only):
            del self._records[key]
            self._n_bytes -= record.n_bytes

    def purge(self, now: float) -> None:
        """Remove what is past its time, beginning with the oldest."""
        while self._records and next(iter(self._records.values())).expires_at <= now:
            self.discard(next(iter(self._records)))
