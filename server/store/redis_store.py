"""The store in Redis: for several machines, or for one whose files do not outlive a restart.

What Redis does not take waits in memory and follows when it is back. Messages do not wait: they go to the
spare store, the database file, for a process that ends would take them with it.

After a failure Redis is left alone for RETRY_S, so that no call waits for a time-out more than once. A
reply lost on the way can leave a copy of a taken record behind, until its time is over.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import redis

from server import green
from server.faults import FAULTS
from server.logs import clean
from server.store.call_store import PARKED_TTL_S, TAKE_S, CallStore, storable
from server.store.caller_messages import CallerMessage
from server.store.memory_store import packed, unpacked
from server.store.parked_calls import ParkedCall
from server.store.redis_client import make_client
from server.store.spool import Spool, Spooled

log = logging.getLogger(__name__)

RETRY_S = 2.0
LINE_EVERY_S = 60.0
SEND_S = 1.0
LIST_S = 0.5
POLL_S = 0.005
BATCH = 10
"""Packing and reading so many takes the hub a millisecond."""
BATCH_BYTES = 256 * 1024
MAX_MESSAGES = 10_000
"""In Redis, which is memory too."""


class RedisStore:
    """See `CallStore`. `spare` is closed with it."""

    def __init__(
        self, url: str, spare: CallStore, *, ttl_s: float = PARKED_TTL_S, key_prefix: str = "kav:"
    ) -> None:
        """Returns at once. Raises ValueError for a URL that is none of Redis."""
        self._client = make_client(url)
        self._spare = spare
        self._ttl_s = ttl_s
        self._call_prefix = f"{key_prefix}call:"
        self._messages_key = f"{key_prefix}messages"
        self._calls = Spool()
        self._dropped_told = 0
        self._refused = 0
        self._in_flight: set[str] = set()
        self._messages: deque[CallerMessage] = deque()
        self._sending: list[CallerMessage] = []
        self._down_until = 0.0
        self._is_known_down = False
        self._line_at = -LINE_EVERY_S
        self._is_writing = True
        self._is_closed = False
        green.spawn(self._write_loop)  # it finds out whether Redis is there before a call does

    def put(self, record: ParkedCall) -> None:
        if self._is_closed:
            self._refuse()
        elif (text := packed(record)) is not None:
            self._calls.put(storable(record.call_sid), text, time.time() + self._ttl_s)
            self._wake_writer()

    def take(self, call_sid: str) -> ParkedCall | None:
        call_sid = storable(call_sid)
        give_up_at = time.monotonic() + TAKE_S
        while call_sid in self._in_flight and time.monotonic() < give_up_at:
            green.sleep(POLL_S)
        text = self._calls.take(call_sid, time.time())  # no other process has seen it
        if text is None:
            left_s = give_up_at - time.monotonic()
            text = self._ask(left_s, lambda: self._client.getdel(self._call_prefix + call_sid))
        if isinstance(text, str):
            return unpacked(text)
        try:
            with green.deadline(max(POLL_S, give_up_at - time.monotonic())):
                return self._spare.take(call_sid)  # a predecessor may have ended while Redis was down
        except TimeoutError:
            return None

    def purge(self) -> None:
        """Redis does so by itself."""
        self._calls.purge(time.time())
        self._spare.purge()

    def note_message(self, message: CallerMessage) -> None:
        if self._is_closed:
            self._refuse()
            return
        self._messages.append(message.bounded())
        if self._is_down():
            self._give_messages_to_spare()
        else:
            self._wake_writer()

    def messages(self, limit: int = 100) -> list[CallerMessage]:
        found = [*self._messages, *self._sending, *self._spare.messages(limit)]
        texts = self._ask(LIST_S, lambda: self._client.lrange(self._messages_key, 0, limit - 1))
        found += [message for text in texts or [] if (message := _message(text)) is not None]
        return sorted(dict.fromkeys(found), key=lambda message: -message.noted_at)[:limit]

    def flush(self, timeout_s: float = 2.0) -> bool:
        """What Redis does not take goes to the spare store: the next process looks there as well."""
        give_up_at = time.monotonic() + timeout_s
        while self._waits() and not self._is_down() and time.monotonic() < give_up_at:
            green.sleep(POLL_S)
        self._give_messages_to_spare()
        for call_sid, spooled in self._calls.oldest(len(self._calls)):
            if (record := unpacked(spooled.text)) is not None:
                self._spare.put(record)
            self._calls.discard(call_sid, spooled)
        return self._spare.flush(max(0.1, give_up_at - time.monotonic()))

    def _refuse(self) -> None:
        self._refused += 1
        log.warning("%s", FAULTS["KAV-189"].line(f"{self._refused} so far, the store is closed"))

    def close(self) -> None:
        self._is_closed = True
        self._client.close()
        self._client.connection_pool.disconnect()
        self._spare.close()

    # The writer, one green thread while there is something to write

    def _wake_writer(self) -> None:
        if not self._is_writing and not self._is_closed:
            self._is_writing = True
            green.spawn(self._write_loop)

    def _write_loop(self) -> None:
        """Ends when nothing waits."""
        try:
            while not self._is_closed:
                if self._is_down():
                    green.sleep(max(POLL_S, self._down_until - time.monotonic()))
                else:
                    self._send_batch()
                if not self._waits():
                    break
        finally:
            self._is_writing = False

    def _waits(self) -> bool:
        return bool(self._calls or self._messages or self._sending)

    def _send_batch(self) -> None:
        now = time.time()
        self._calls.purge(now)
        calls = _bounded(self._calls.oldest(BATCH))
        self._sending = [self._messages.popleft() for _ in range(min(BATCH, len(self._messages)))]
        self._in_flight = {call_sid for call_sid, _ in calls}

        def send() -> bool:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.ping()
                for call_sid, spooled in calls:
                    left_ms = max(1, int((spooled.expires_at - now) * 1000))
                    pipe.set(self._call_prefix + call_sid, spooled.text, px=left_ms)
                if self._sending:
                    pipe.lpush(self._messages_key, *(message.to_json() for message in self._sending))
                    pipe.ltrim(self._messages_key, 0, MAX_MESSAGES - 1)
                pipe.execute()
            return True

        if self._ask(SEND_S, send):
            for call_sid, spooled in calls:
                self._calls.discard(call_sid, spooled)
        else:
            self._messages.extendleft(reversed(self._sending))
            self._give_messages_to_spare()
        self._sending = []
        self._in_flight = set()

    def _give_messages_to_spare(self) -> None:
        while self._messages:
            self._spare.note_message(self._messages.popleft())

    # Up and down

    def _ask(self, timeout_s: float, run: Callable[[], Any]) -> Any:
        """What Redis answers; None while it is down, and when it goes down by this."""
        if self._is_down():
            return None
        try:
            with green.deadline(max(POLL_S, timeout_s)):
                answer = run()
        except (redis.RedisError, OSError) as error:
            self._failed(error)
            return None
        except Exception as error:  # a call is worth more than its record
            log.exception("%s", FAULTS["KAV-199"].line("asking Redis"))
            self._failed(error)
            return None
        self._worked()
        return answer

    def _is_down(self) -> bool:
        return time.monotonic() < self._down_until

    def _worked(self) -> None:
        if self._is_known_down:
            self._is_known_down = False
            log.info("Redis works again; %d parked calls waited for it", len(self._calls))

    def _failed(self, error: Exception) -> None:
        if self._is_closed:
            return
        now_s = time.monotonic()
        self._down_until = now_s + RETRY_S
        self._is_known_down = True
        self._give_messages_to_spare()
        if now_s - self._line_at >= LINE_EVERY_S:
            self._line_at = now_s
            seen = f"{clean(str(error), 120)}; {len(self._calls)} parked calls wait"
            log.warning("%s", FAULTS["KAV-186"].line(seen))
            if self._calls.dropped > self._dropped_told:
                self._dropped_told = self._calls.dropped
                log.warning("%s", FAULTS["KAV-189"].line(f"{self._calls.dropped} so far"))


def _bounded(calls: list[tuple[str, Spooled]]) -> list[tuple[str, Spooled]]:
    """The first ones, as far as one write should carry; one at least."""
    n_bytes = 0
    for count, (_, spooled) in enumerate(calls):
        n_bytes += spooled.n_bytes
        if n_bytes > BATCH_BYTES and count:
            return calls[:count]
    return calls


def _message(text: str) -> CallerMessage | None:
    try:
        return CallerMessage.from_json(text)
    except ValueError as error:
        log.warning("%s", FAULTS["KAV-188"].line(clean(str(error), 120)))
        return None
