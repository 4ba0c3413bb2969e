"""What did the model's side send and receive, and when?

One JSON line for each event: `{"ms", "session", "dir": "in"|"out", "event", "audio_bytes"}`. `ms` is
the machine's monotonic clock, so that lines compare with those of other processes on it; in the
event, audio is replaced by its size and SHA-256, and `audio_bytes` counts all audio of that
direction so far. An outgoing event is logged once the socket has taken it. The audio itself can be
kept as files, byte for byte as it travelled: `session-1-in.ulaw`, `session-1-out.ulaw`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

from server.errors import ConfigError
from server.simulator.realtime.checks import too_deep

_AUDIO_DELTAS = ("response.output_audio.delta", "response.audio.delta")


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """One event as it travelled, audio and all."""

    session: int
    """Of the server's connections, counted from 1."""
    direction: Literal["in", "out"]
    """`in`: the client sent it."""
    at_s: float
    """On the machine's monotonic clock."""
    event: dict[str, Any]


Watch = Callable[[SeenEvent], None]


class EventLog:
    """The log of a whole server. Raises ConfigError when a file cannot be made."""

    def __init__(self, log_path: Path | None, audio_dir: Path | None, watch: Watch | None = None) -> None:
        self.watch = watch
        """Called with each event, in the threads of the sessions, which wait for it."""
        self._audio_dir = audio_dir
        self._lock = threading.Lock()
        try:
            if audio_dir is not None:
                audio_dir.mkdir(parents=True, exist_ok=True)
            self._file: TextIO | None = (
                log_path.open("a", encoding="utf-8", errors="backslashreplace") if log_path else None
            )
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror or error}") from error

    def session(self, number: int) -> SessionLog:
        """The log of one connection, counted from 1."""
        return SessionLog(self, number, self._audio_dir)

    @property
    def is_on(self) -> bool:
        return self._file is not None or self._audio_dir is not None or self.watch is not None

    def write(self, record: dict[str, Any]) -> None:
        if self._file is None:
            return
        with self._lock:  # the time is taken inside, so that lines stand in its order
            if not self._file.closed:
                line = json.dumps({"ms": _now_ms()} | record, ensure_ascii=False)
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with self._lock:
                self._file.close()


class SessionLog:
    """Costs nothing when neither a log nor an audio folder was asked for."""

    def __init__(self, log: EventLog, number: int, audio_dir: Path | None) -> None:
        self._log = log
        self._number = number
        self._audio_dir = audio_dir
        self._files: dict[str, BinaryIO] = {}
        self._audio_bytes = {"in": 0, "out": 0}

    def received(self, message: bytes) -> None:
        if not self._log.is_on:
            return
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            event = None
        if event is None or too_deep(event):
            event = {"text": message[:200].decode("utf-8", "replace")}
        self._note("in", event)

    def sent(self, event: Any) -> None:
        """`event` is the dict that was sent, or the text of a fault."""
        if self._log.is_on:
            self._note("out", event if isinstance(event, dict) else {"text": str(event)[:200]})

    def ended(self, how: str) -> None:
        """One line for the end of the connection."""
        self._log.write({"session": self._number, "dir": "end", "event": {"text": how}})
        for file in self._files.values():
            file.close()

    def _note(self, direction: Literal["in", "out"], event: Any) -> None:
        if self._log.watch is not None and isinstance(event, dict):
            self._log.watch(SeenEvent(self._number, direction, time.monotonic(), event))
        shown = self._without_audio(direction, event)
        record = {"session": self._number, "dir": direction, "event": shown}
        self._log.write(record | {"audio_bytes": self._audio_bytes[direction]})

    def _without_audio(self, direction: str, event: Any) -> Any:
        if not isinstance(event, dict):
            return event
        shown = dict(event)
        field = "audio" if event.get("type") == "input_audio_buffer.append" else "delta"
        if field == "audio" or event.get("type") in _AUDIO_DELTAS:
            shown[field] = self._count(direction, event.get(field))
        item = event.get("item")
        if isinstance(item, dict) and isinstance(item.get("content"), list):
            shown["item"] = item | {"content": [_without_sound(part) for part in item["content"]]}
        return shown

    def _count(self, direction: str, encoded: Any) -> Any:
        try:
            payload = base64.b64decode(encoded, validate=True)
        except (ValueError, TypeError):
            return {"text": str(encoded)[:200]}
        self._audio_bytes[direction] += len(payload)
        if self._audio_dir is not None:
            if direction not in self._files:
                path = self._audio_dir / f"session-{self._number}-{direction}.ulaw"
                self._files[direction] = path.open("wb", buffering=0)
            self._files[direction].write(payload)
        return {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}


def _without_sound(part: Any) -> Any:
    if isinstance(part, dict) and isinstance(part.get("audio"), str):
        return part | {"audio": {"base64_chars": len(part["audio"])}}
    return part


def _now_ms() -> float:
    return round(time.monotonic() * 1000, 1)
