"""The Realtime side: a listening socket and the sessions on it, each saying as little as the protocol allows.

`session.created` on connection, `session.updated` for settings, and from the first `response.create` on
one endless answer: a delta of 20 ms each 20 ms. Of what comes, audio is judged and all else is read but
not obeyed.
"""

from __future__ import annotations

import json
import socket
import ssl
from typing import Protocol

from server.simulator.load import stamps
from server.simulator.load.frames import quoted, split, text
from server.simulator.load.legs import Leg, Loop
from server.simulator.load.tally import Tally
from server.wire import handshake
from server.wire.websocket import CLOSE, PING, PONG, TEXT, encode, encode_close


class Stage(Protocol):
    """Who lets sessions speak."""

    def speaks(self, session: Session) -> None:
        """It was asked for a response."""

    def gone(self, session: Session) -> None: ...


class ModelServer(Leg):
    """Accepts sessions on a free port of 127.0.0.1."""

    def __init__(
        self, loop: Loop, heard: Tally, said: Tally, stage: Stage, tls: ssl.SSLContext | None
    ) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        super().__init__(loop, listener)
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{listener.getsockname()[1]}/v1/realtime"
        self.live = 0
        self.opened = 0
        self._heard, self._said = heard, said
        self._stage = stage
        self._context = tls

    def readable(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:  # nobody waits any more
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock.setblocking(False)
                sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            number = self.opened % stamps.MAX_FLOWS
            self.opened += 1
            self.live += 1
            Session(self._loop, sock, number, self)

    def speaks(self, session: Session) -> None:
        self._stage.speaks(session)

    def gone(self, session: Session) -> None:
        self.live -= 1
        self._said.forget(session.number)
        self._stage.gone(session)

    @property
    def tallies(self) -> tuple[Tally, Tally]:
        return self._heard, self._said


class Session(Leg):
    """One session. `number` is also the flow of what it says."""

    def __init__(self, loop: Loop, sock: socket.socket, number: int, server: ModelServer) -> None:
        super().__init__(loop, sock)
        self.number = number
        self._server = server
        self._heard, self._said = server.tallies
        self._is_upgraded = False
        self._is_speaking = False
        self._seq = 0
        self._events = 0
        self._delta = (
            b'{"type":"response.output_audio.delta","event_id":"event_%d","response_id":"resp_'
            + str(number).encode()
            + b'","item_id":"item_'
            + str(number).encode()
            + b'","output_index":0,"content_index":0,"delta":"%s'
            + stamps.REST_B64
            + b'"}'
        )

    def speak(self, now_ns: int) -> None:
        seq = self._seq
        self._seq = seq + 1
        self._said.sent += 1
        stamp = stamps.stamp_b64(stamps.FROM_MODEL, self.number, seq, now_ns)
        self.write(text(self._delta % (seq + 100, stamp)))

    def received(self, data: bytes, now_ns: int) -> bytes:
        if not self._is_upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                return head
            self._upgrade(head)
        messages, rest = split(data)
        for opcode, payload in messages:
            if opcode == TEXT:
                if b"input_audio_buffer.append" in payload:
                    self._hear(payload, now_ns)
                else:
                    self._obey(json.loads(payload))
            elif opcode == PING:
                self.write(encode(PONG, payload))
            elif opcode == CLOSE:
                self.write(encode_close(1000))
                self.close()
                self.lost()
        return rest

    def lost(self) -> None:
        self._server.gone(self)

    def _upgrade(self, head: bytes) -> None:
        _, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        if handshake.refuse("GET", "HTTP/1.1", headers) is not None:
            self.close()
            self.lost()
            return
        self._is_upgraded = True
        self.write(handshake.response(headers))
        session = {"id": f"sess_{self.number}", "object": "realtime.session", "type": "realtime"}
        self._say("session.created", session=session)

    def _hear(self, payload: bytes, now_ns: int) -> None:
        audio = quoted(payload, b'"audio"')
        found = stamps.read(audio) if audio is not None else None
        if found is None:
            self._heard.spoil(now_ns)
            return
        for stamp in found:
            if stamp[0] == stamps.FROM_CALLER:
                self._heard.take(stamp, self.number, now_ns)
            else:
                self._heard.misroute(now_ns)

    def _obey(self, event: dict[str, object]) -> None:
        if event.get("type") == "session.update":
            self._say("session.updated", session=event.get("session"))
        elif event.get("type") == "response.create" and not self._is_speaking:
            self._is_speaking = True
            response = {"id": f"resp_{self.number}", "object": "realtime.response", "status": "in_progress"}
            item = {"id": f"item_{self.number}", "type": "message", "role": "assistant", "content": []}
            self._say("response.created", response=response)
            self._say("response.output_item.added", response_id=response["id"], output_index=0, item=item)
            self._server.speaks(self)

    def _say(self, kind: str, **fields: object) -> None:
        self._events += 1
        event = {"type": kind, "event_id": f"event_{self._events}", **fields}
        self.write(text(json.dumps(event, ensure_ascii=False).encode()))
