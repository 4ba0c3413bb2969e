"""One media stream as Twilio drives it, from `connected` to `stop`.

One thread, one socket, one monotonic schedule: a frame of 160 bytes goes out at each multiple of
20.000 ms, whatever comes in meanwhile. What comes in is judged, played on the virtual line, and
answered with marks when their audio has been played.
"""

from __future__ import annotations

import base64
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_MS
from server.simulator.twilio import schema
from server.simulator.twilio.stream_socket import NORMAL
from server.wire.websocket import Binary, Close, CloseCode, Text, Violation

if TYPE_CHECKING:
    from server.simulator.twilio.live_call import LiveCall
    from server.simulator.twilio.stream_socket import StreamSocket

BACKLOG_BYTES = 65536
"""Unread by the far end, over what the sockets hold: about four seconds. Then Twilio drops."""
GOODBYE_MS = 2000
LONGEST_WAIT_MS = FRAME_MS


class EndedBy(StrEnum):
    SERVER = "server"
    """It sent a close frame."""
    CALLER = "caller"
    """Hung up."""
    NETWORK = "network"
    """The connection broke without a close frame."""
    TWILIO = "twilio"
    """The far end broke the WebSocket protocol."""
    UPDATE = "update"
    """REST gave the call something else to do."""


class TwilioStream:
    """Runs until the stream has ended. Not for several threads."""

    def __init__(
        self, call: LiveCall, socket: StreamSocket, stream_sid: str, parameters: dict[str, str]
    ) -> None:
        self._call = call
        self._socket = socket
        self._sid = stream_sid
        self._parameters = parameters
        self._sequence = 0
        self._frames = 0
        self._start_ms = 0.0
        self._first_frame = 0  # of the caller's audio
        self._end: EndedBy | None = None

    def run(self) -> EndedBy:
        """Speak and listen until one side ends it. The socket is closed afterwards."""
        try:
            self._open()
            while self._end is None:
                self._speak()
                self._listen()
                self._echo_due_marks()
                self._consider_hanging_up()
                if self._end is None:
                    self._socket.wait(self._ms_to_next_deed() / 1000)
            self._part()
        finally:
            self._socket.close()
        return self._end

    def _open(self) -> None:
        call = self._call
        self._send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": call.account_sid,
            "streamSid": self._sid,
            "callSid": call.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._parameters,
        }
        self._start_ms = call.now_ms()
        self._first_frame = call.caller.begin(self._start_ms)
        self._send_numbered("start", {"start": start})
        if call.tally.start_sent_ms is None:
            call.tally.start_sent_ms = self._start_ms

    def _speak(self) -> None:
        """Send the frames and keys that are due; after a delay, all of them at once."""
        call = self._call
        while (due_ms := self._next_frame_ms()) <= (now_ms := call.now_ms()):
            index = self._first_frame + self._frames
            call.caller.listen(index, now_ms, call.line.audible_until_ms)
            payload = call.caller.frame(index)
            media = {
                "track": "inbound",
                "chunk": str(self._frames + 1),
                "timestamp": str(self._frames * FRAME_MS),
                "payload": base64.b64encode(payload).decode("ascii"),
            }
            self._frames += 1
            if self._socket.backlog_bytes > BACKLOG_BYTES:
                call.findings.add(31930, "the gateway does not read: a frame of the caller's was dropped")
                continue
            self._send_numbered("media", {"media": media})
            call.tally.frames_sent += 1
            call.tally.lateness_ms.append(now_ms - due_ms)
        for key in call.caller.due_keys(call.now_ms()):
            self._send_numbered("dtmf", {"dtmf": {"track": "inbound_track", "digit": key.digit}})

    def _listen(self) -> None:
        call = self._call
        events = self._socket.receive()
        now_ms = call.now_ms()
        for event in events:
            match event:
                case Text(data):
                    self._on_text(data, now_ms)
                case Binary():
                    call.findings.extend((schema.binary_frame(),))
                case Close(code, reason):
                    self._end = EndedBy.SERVER
                    call.tally.close_code, call.tally.close_reason = int(code), reason
                    self._socket.send_close(code)
                case Violation(code, reason):
                    self._end = EndedBy.TWILIO
                    call.findings.add(31924, f"the gateway broke the WebSocket protocol: {reason}")
                    self._socket.send_close(code, reason)
        if self._socket.is_eof and self._end is None:
            self._end = EndedBy.NETWORK
            call.tally.close_code = int(CloseCode.ABNORMAL)
            call.findings.add(31903, "the connection broke without a close frame")

    def _on_text(self, data: bytes, now_ms: float) -> None:
        call = self._call
        checked = schema.check(data, self._sid)
        call.findings.extend(checked.findings)
        match checked.command:
            case schema.Media(payload):
                if call.tally.first_audio_ms is None:
                    call.tally.first_audio_ms = now_ms
                call.tally.frames_received += 1
                call.tally.bytes_received += len(payload)
                call.tally.odd_frames += len(payload) != FRAME_BYTES
                call.line.media(payload, now_ms)
            case schema.Mark(name):
                call.tally.marks_received += 1
                call.line.mark(name, now_ms)
                self._echo_due_marks()
            case schema.Clear():
                self._echo_due_marks()
                call.tally.clears_ms.append(now_ms)
                self._echo(call.line.clear(now_ms))

    def _echo_due_marks(self) -> None:
        self._echo(self._call.line.due_marks(self._call.now_ms()))

    def _echo(self, names: list[str]) -> None:
        for name in names:
            self._send_numbered("mark", {"mark": {"name": name}})
        self._call.tally.marks_echoed += len(names)

    def _consider_hanging_up(self) -> None:
        call = self._call
        if self._end is None and (
            call.hung_up.is_set() or call.hangup.reason(call.now_ms(), call.caller, call.line)
        ):
            self._end = EndedBy.CALLER
            call.hung_up.set()
        elif self._end is None and call.is_instructed:
            self._end = EndedBy.UPDATE
        elif self._end is None and call.caller.takes_drop():
            self._end = EndedBy.NETWORK

    def _ms_to_next_deed(self) -> float:
        call = self._call
        next_ms = self._next_frame_ms()
        if (mark_ms := call.line.next_mark_ms) is not None:
            next_ms = min(next_ms, mark_ms)
        return min(max(next_ms - call.now_ms(), 0.0), LONGEST_WAIT_MS)

    def _next_frame_ms(self) -> float:
        return self._start_ms + self._frames * FRAME_MS

    def _part(self) -> None:
        """Say goodbye as the one who ends it should; what was queued is never heard."""
        call = self._call
        if self._end in (EndedBy.CALLER, EndedBy.UPDATE):
            stop = {"accountSid": call.account_sid, "callSid": call.call_sid}
            self._send_numbered("stop", {"stop": stop})
            self._socket.send_close(NORMAL)
            self._await_close()
        cut_before_bytes = call.line.cut_bytes
        call.line.clear(call.now_ms())
        if self._end is not EndedBy.CALLER:
            call.tally.unplayed_ms += (call.line.cut_bytes - cut_before_bytes) / BYTES_PER_MS
        until_ms = call.now_ms() + GOODBYE_MS
        while self._socket.backlog_bytes and not self._socket.is_eof and call.now_ms() < until_ms:
            self._socket.wait(0.02)

    def _await_close(self) -> None:
        """The far end's own close frame; what else it still says is not played any more."""
        call = self._call
        until_ms = call.now_ms() + GOODBYE_MS
        while not self._socket.is_eof and (left_ms := until_ms - call.now_ms()) > 0:
            self._socket.wait(min(left_ms, LONGEST_WAIT_MS) / 1000)
            for event in self._socket.receive():
                if isinstance(event, Close):
                    call.tally.close_code, call.tally.close_reason = int(event.code), event.reason
                    return
        call.tally.notes.append("the gateway did not answer our close frame")

    def _send_numbered(self, event: str, body: dict[str, Any]) -> None:
        """A message with the stream's running number, a decimal text as Twilio sends it."""
        self._sequence += 1
        self._send({"event": event, "sequenceNumber": str(self._sequence), "streamSid": self._sid, **body})

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.send_text(json.dumps(message, separators=(",", ":"), ensure_ascii=False))
