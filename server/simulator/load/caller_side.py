"""The Twilio side of one call: webhook, upgrade, `connected`, `start`, then a frame each 20 ms.

Marks are echoed when what was sent before them would have been played, at the caller's next frame
and in one write with it: that spares a relay with many marks some reads, so the comparison errs in
its favour. Nothing else is obeyed.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from html import unescape
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from server.simulator.load import stamps
from server.simulator.load.frames import Masker, quoted, split
from server.simulator.load.legs import HttpExchange, Leg, Loop, connect, request
from server.simulator.load.tally import Tally
from server.wire.websocket import CLOSE, PING, PONG, TEXT, accept_key, encode, encode_close

FRAME_NS = 20_000_000
_STREAM = re.compile(rb'<Stream\b[^>]*\burl="([^"]+)"')
_PARAMETER = re.compile(rb'<Parameter\s+name="([^"]*)"\s+value="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Target:
    """Where a relay answers calls."""

    host: str
    port: int
    webhook: str
    method: str = "POST"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


class Phase(Enum):
    DIALLING = auto()
    UPGRADING = auto()
    TALKING = auto()
    ENDED = auto()
    """Hung up by us."""
    FAILED = auto()
    """Refused, or cut off by the relay."""


class Observer(Protocol):
    """What hears of a caller's fortunes."""

    def talking(self, caller: Caller) -> None: ...

    def heard(self, caller: Caller) -> None:
        """A frame of the model has come."""

    def over(self, caller: Caller) -> None: ...


class Caller:
    """One call. `number` is also its flow."""

    def __init__(
        self, loop: Loop, target: Target, number: int, out: Tally, back: Tally, observer: Observer
    ) -> None:
        self.number = number
        self.phase = Phase.DIALLING
        self.failure = ""
        self.sent_frames = self.heard_frames = 0
        self._loop = loop
        self._target = target
        self._out, self._back = out, back
        self._observer = observer
        self._stream: _Stream | None = None
        self._call_sid, self._stream_sid = f"CA{os.urandom(16).hex()}", f"MZ{os.urandom(16).hex()}"
        self._parameters: dict[str, str] = {}
        self._masker = Masker()
        self._marks: deque[tuple[int, bytes]] = deque()
        self._played_ns = 0
        self._media = (
            b'{"event":"media","sequenceNumber":"%d","streamSid":"'
            + self._stream_sid.encode()
            + b'","media":{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"%s'
            + stamps.REST_B64
            + b'"}}'
        )
        form = {
            "CallSid": self._call_sid,
            "AccountSid": "AC" + "0" * 32,
            "From": "+972501234567",
            "To": "+97231234567",
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
        }
        query = urlencode(form)
        if target.method == "POST":
            asked = request("POST", target.webhook, target.authority, query.encode())
        else:
            asked = request("GET", f"{target.webhook}?{query}", target.authority)
        _Webhook(self, loop, target.address, asked)

    # The webhook

    def twiml(self, status: int, body: bytes) -> None:
        stream = _STREAM.search(body)
        if status != 200 or stream is None:
            self.fail(f"the webhook answered {status} without a stream")
            return
        self._parameters = {
            unescape(name.decode()): unescape(value.decode()) for name, value in _PARAMETER.findall(body)
        }
        self.phase = Phase.UPGRADING
        path = urlsplit(unescape(stream[1].decode())).path or "/"
        self._stream = _Stream(self, self._loop, self._target, path)

    # The stream

    def upgraded(self) -> None:
        start = {
            "accountSid": "AC" + "0" * 32,
            "streamSid": self._stream_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._parameters,
        }
        self._say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        self._say({"event": "start", "sequenceNumber": "1", "streamSid": self._stream_sid, "start": start})
        self.phase = Phase.TALKING
        self._observer.talking(self)

    def speak(self, now_ns: int) -> None:
        seq = self.sent_frames
        self.sent_frames = seq + 1
        stamp = stamps.stamp_b64(stamps.FROM_CALLER, self.number, seq, now_ns)
        data = self._masker.text(self._media % (seq + 2, seq + 1, seq * 20, stamp))
        self._out.sent += 1
        while self._marks and self._marks[0][0] <= now_ns:
            data += self._masker.text(self._mark_echo(self._marks.popleft()[1]))
        if self._stream is not None:
            self._stream.write(data)

    def _mark_echo(self, name: bytes) -> bytes:
        sid = self._stream_sid.encode()
        return b'{"event":"mark","sequenceNumber":"%d","streamSid":"%s","mark":{"name":"%s"}}' % (
            self.sent_frames + 1,
            sid,
            name,
        )

    def message(self, text: bytes, now_ns: int) -> None:
        payload = quoted(text, b'"payload"')
        if payload is None:
            if (name := quoted(text, b'"name"')) is not None:
                self._marks.append((max(now_ns, self._played_ns), name))
            return
        found = stamps.read(payload)
        if found is None:
            self._back.spoil(now_ns)
            return
        for stamp in found:
            self._played_ns = max(self._played_ns, now_ns) + FRAME_NS
            self.heard_frames += 1
            if stamp[0] == stamps.FROM_MODEL:
                self._back.take(stamp, self.number, now_ns)
            else:  # its own voice
                self._back.misroute(now_ns)
        self._observer.heard(self)

    # The end

    def hang_up(self) -> None:
        if self.phase in (Phase.ENDED, Phase.FAILED):
            return
        if self.phase is Phase.TALKING and self._stream is not None:
            stop = {"accountSid": "AC" + "0" * 32, "callSid": self._call_sid}
            sequence = str(self.sent_frames + 2)
            sid = self._stream_sid
            self._say({"event": "stop", "sequenceNumber": sequence, "streamSid": sid, "stop": stop})
            self._stream.write(encode_close(1000, masked=True))
        self._end(Phase.ENDED)

    def fail(self, why: str) -> None:
        if self.phase in (Phase.ENDED, Phase.FAILED):
            return
        self.failure = why
        if self._stream is not None:
            self._stream.close()
        self._end(Phase.FAILED)

    def _end(self, phase: Phase) -> None:
        self.phase = phase
        self._observer.over(self)

    def _say(self, message: dict[str, object]) -> None:
        if self._stream is not None:
            self._stream.write(self._masker.text(json.dumps(message, separators=(",", ":")).encode()))


class _Webhook(HttpExchange):
    def __init__(self, caller: Caller, loop: Loop, address: tuple[str, int], asked: bytes) -> None:
        self._caller = caller
        super().__init__(loop, address, asked)

    def answered(self) -> None:
        self._caller.twiml(self.status, self.body or b"")


class _Stream(Leg):
    """The media WebSocket. After our close frame it waits for the relay's, and for its end."""

    def __init__(self, caller: Caller, loop: Loop, target: Target, path: str) -> None:
        super().__init__(loop, connect(target.address))
        self._caller = caller
        self._is_upgraded = False
        self._key = base64.b64encode(os.urandom(16)).decode()
        self.write(
            (
                f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: Twilio.TmeWs/1.0\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {self._key}\r\n\r\n"
            ).encode()
        )

    def received(self, data: bytes, now_ns: int) -> bytes:
        if not self._is_upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                return head
            if b" 101 " not in head[:20] or accept_key(self._key).encode() not in head:
                self._caller.fail(f"the stream was refused: {head[:40]!r}")
                return b""
            self._is_upgraded = True
            self._caller.upgraded()
        messages, rest = split(data)
        for opcode, payload in messages:
            if opcode == TEXT:
                self._caller.message(payload, now_ns)
            elif opcode == PING:
                self.write(encode(PONG, payload, masked=True))
            elif opcode == CLOSE:
                self.close()
                self.lost()
        return rest

    def lost(self) -> None:
        self._caller.fail("the relay ended the stream")
