"""The other call: 20 ms of audio every 20 ms, and each must come back.

A process of its own, so that what is measured is the gateway's time and not that of a test that
floods it. `SteadyCall` starts it and asks it; run as a script it is the caller itself.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.raw_websocket import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    EchoCall,
    Ended,
    Signer,
    audio,
    frame,
    start_call,
)

ROOT = Path(__file__).resolve().parents[2]
FRAME_S = 0.02
LONGEST_S = 1200
"""It ends by itself, whatever became of who started it."""
LATE_S = 3.0
"""A frame that has not come back by then is lost."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened since the last one."""

    sent: int
    lost: int
    out_of_order: int
    ended: str
    """Why the call is over; empty while it is not."""
    latencies_ms: list[float]

    @property
    def worst_ms(self) -> float:
        return max(self.latencies_ms, default=0.0)


class SteadyCall:
    """The process. Whoever starts it has to end it."""

    def __init__(self, port: int, signer: Signer | None = None) -> None:
        arguments = [str(port), *((signer.base_url, signer.auth_token) if signer else ())]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.steady_call", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def report(self) -> Report:
        """Wait until all that was sent has come back, or is late."""
        assert self._process.stdin is not None
        self._process.stdin.write("report\n")
        self._process.stdin.flush()
        return Report(**self._read())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the other call's process is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Caller:
    def __init__(self, call: EchoCall) -> None:
        self._call = call
        self._sent_at: dict[int, float] = {}
        self._number = 0
        self._expected = 0
        self._new_window()
        self._ended = ""

    def _new_window(self) -> None:
        self._sent = self._out_of_order = 0
        self._latencies_ms: list[float] = []

    def run(self) -> None:
        """Until the one who asks is gone."""
        sock, asker = self._call.ws.sock, sys.stdin.fileno()
        due_at = time.monotonic()
        reports: list[tuple[int, float]] = []
        until = due_at + LONGEST_S
        while due_at < until:
            now = time.monotonic()
            while due_at <= now and not self._ended:
                self._send_frame()
                due_at += FRAME_S
            watched = [asker] if self._ended else [asker, sock]
            readable, _, _ = select.select(watched, [], [], max(0.0, min(due_at - now, FRAME_S)))
            if asker in readable:
                if not os.read(asker, 100):
                    return
                reports.append((self._number, time.monotonic() + LATE_S))
            if sock in readable:
                self._receive()
            while reports and self._is_due(*reports[0]):
                self._say(reports.pop(0)[0])

    def _is_due(self, number: int, late_at: float) -> bool:
        is_all_back = not self._sent_at or min(self._sent_at) >= number
        return is_all_back or bool(self._ended) or time.monotonic() > late_at

    def _send_frame(self) -> None:
        self._sent_at[self._number] = time.monotonic()
        self._sent += 1
        if not self._call.ws.try_send(self._call.media(audio(self._number))):
            self._ended = "could not send"
        self._number += 1

    def _receive(self) -> None:
        try:
            while True:
                got = self._call.ws.read_frame(0.0)
                if got.opcode == PING:
                    self._call.ws.try_send(frame(PONG, got.payload))
                elif got.opcode == CLOSE:
                    self._ended = f"closed with {int.from_bytes(got.payload[:2], 'big')}"
                    return
                elif got.opcode == TEXT:
                    self._hear(json.loads(got.payload))
        except Ended as ended:
            self._ended = str(ended)
        except AssertionError:
            pass  # nothing more for now

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "mark":
            self._call.ws.try_send(self._call.mark(message["mark"]["name"]))
            return
        payload = base64.b64decode(message["media"]["payload"])
        number = int.from_bytes(payload[:4], "big")
        sent_at = self._sent_at.pop(number, None)
        if sent_at is None or number != self._expected or payload != audio(number):
            self._out_of_order += 1
        if sent_at is not None:
            self._latencies_ms.append((time.monotonic() - sent_at) * 1000)
        self._expected = number + 1

    def _say(self, number: int) -> None:
        lost = [sent for sent in self._sent_at if sent < number]
        for sent in lost:
            del self._sent_at[sent]
        self._print(len(lost))
        self._new_window()

    def _print(self, lost: int) -> None:
        report = Report(self._sent, lost, self._out_of_order, self._ended, self._latencies_ms)
        fields = {name: getattr(report, name) for name in report.__slots__}
        print(json.dumps(fields), flush=True)


def main() -> None:
    port, *signer = sys.argv[1:]
    with start_call(int(port), signer=Signer(*signer) if signer else None) as call:
        call.ws.sock.settimeout(0)
        print("{}", flush=True)
        _Caller(call).run()


if __name__ == "__main__":
    main()
