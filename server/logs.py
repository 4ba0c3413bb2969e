"""Where do log lines go, and what may they show?

Two facts shape this. A write to a pipe that nobody reads blocks, and the hub with it: so lines
are formatted here, put on a bounded queue, and written by a native thread; when the queue is full
they are dropped and counted. And logs are read by many eyes: secrets are masked whatever line
they slipped into, and telephone numbers keep their last four digits only.

A call's lines carry the first eight characters of its CallSid, `unknown` before `start`.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import time
from _queue import SimpleQueue  # the C queue: its locks stay real when `queue` is patched
from collections.abc import Callable

FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(message)s"
MAX_QUEUED_LINES = 10_000

_SECRETS = (
    (re.compile(r"\b(sk|rk)-[A-Za-z0-9_-]{8,}"), r"\1-•••"),
    (re.compile(r"(?i)\b(bearer\s+)[^\s,'\"]+"), r"\1•••"),
    (re.compile(r"(?i)\b(x-twilio-signature|api-key)(['\"]?\s*[:=]\s*['\"]?)[^\s,'\"]+"), r"\1\2•••"),
    (re.compile(r"(\+\d{3})\d{3,8}(\d{4})\b"), r"\1•••\2"),
)
_BETWEEN_DIGITS = r"[\s.()\-\u00ad\u05be\u2010-\u2015\u200e\u200f\u202a-\u202e\u2066-\u2069]{0,3}"
"""As people and models write numbers: spaces, dots, brackets, dashes of all kinds, marks of direction."""
_SPOKEN_NUMBER = re.compile(
    rf"""(?<!\d)(?:
        \d\d?:\d\d(?::\d\d)?(?!\d)                                 # a time
      | \d{{1,3}}(?:,\d{{3}})+(?!\d)(?:\.\d\d?(?!\d))?                  # 1,250 or 1,250.50
      | (?:19|20)\d\d-\d\d?-\d\d?(?!\d)                             # a date
      | \d\d?([./-])\d\d?\1(?:(?:19|20)\d\d(?!\d)|\d\d(?![./-]?\d))
      | [1-9]\d{{0,6}}\.\d\d?(?!\.?\d|-\d{{3}})                       # 1250.50
      | (?P<number>\d(?:{_BETWEEN_DIGITS}\d){{6,}}(?!\d?:\d))
    )""",
    re.VERBOSE,
)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def call_tag(call_sid: str | None) -> str:
    """How a call is named in logs."""
    return call_sid[:8] if call_sid else "unknown"


def clean(text: str, limit: int = 200) -> str:
    """A caller's or model's words, safe for one log line: no line ends, no bidi controls, bounded."""
    return _CONTROL.sub("�", text.replace("\n", " "))[:limit]


def mask(line: str) -> str:
    """The line without secrets and without whole telephone numbers."""
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line


def mask_numbers(words: str) -> str:
    """What somebody said, with the last four digits of each number of seven or more, however it is written.

    Prices, dates and times stay. For words alone: the ids in other lines look like numbers too.
    """
    return _SPOKEN_NUMBER.sub(_last_four, words)


def _last_four(found: re.Match[str]) -> str:
    number: str | None = found["number"]
    return found[0] if number is None else re.sub(r"\d(?=(?:\D*\d){4})", "•", number)


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class OffHubHandler(logging.Handler):
    """Hands finished lines to a native thread, so that a stalled reader of ours stalls no call."""

    def __init__(
        self,
        start_native_thread: Callable[[Callable[[], None], str], None],
        native_write: Callable[[int, bytes], int] = os.write,
        fd: int = 2,
    ) -> None:
        """`native_write`: as `os.write` was before any patching, for a green one waits for ever for a
        reader that is gone, and takes a whole core for it."""
        super().__init__()
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._native_write = native_write
        self._fd = fd
        self._dropped = 0
        start_native_thread(self._write_forever, "log writer")
        atexit.register(self._flush)

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= MAX_QUEUED_LINES:
            self._dropped += 1
            return
        try:
            line = self.format(record)
        except (TypeError, ValueError) as error:
            line = f"a log line could not be formatted: {record.msg!r}: {error}"
        if self._dropped:
            line, self._dropped = f"{self._dropped} log lines were dropped: nobody read them\n{line}", 0
        self._lines.put(line)

    def _write_forever(self) -> None:
        """The native thread. Takes what waits in one write; nothing green is touched."""
        while True:
            lines = [self._lines.get()]
            while len(lines) < 100 and not self._lines.empty():
                lines.append(self._lines.get())
            data = "".join(f"{line}\n" for line in lines if line is not None).encode("utf-8", "replace")
            while data:
                try:
                    data = data[self._native_write(self._fd, data) :]
                except OSError:
                    break

    def _flush(self) -> None:
        """At exit: give the writer a moment. A reader that is gone is not waited for."""
        until = time.monotonic() + 0.5
        while not self._lines.empty() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.005)


def configure(
    level: str,
    start_native_thread: Callable[[Callable[[], None], str], None] | None = None,
    native_write: Callable[[int, bytes], int] = os.write,
) -> None:
    """Set up the root logger: off the hub in the serving process, plainly elsewhere."""
    handler: logging.Handler
    if start_native_thread:
        handler = OffHubHandler(start_native_thread, native_write)
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Masked(FORMAT, "%H:%M:%S"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
