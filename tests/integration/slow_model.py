"""A model's server by hand: it accepts at once, and answers and says what a test tells it to."""

from __future__ import annotations

import socket
import threading

from server.wire import handshake
from server.wire.websocket import TEXT, encode


class SlowModel:
    """`accepted` are its connections, by number."""

    def __init__(self) -> None:
        self.accepted: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/v1/realtime"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> SlowModel:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for sock in self.accepted:
            sock.close()

    def answer(self, number: int) -> None:
        """Complete the handshake."""
        lines = (line.partition(":") for line in self._request(number).decode().split("\r\n")[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        self.accepted[number].sendall(handshake.response(headers))

    def refuse(self, number: int, status: bytes) -> None:
        self._request(number)
        self.accepted[number].sendall(b"HTTP/1.1 %s\r\n\r\n" % status)
        self.accepted[number].close()

    def say(self, number: int, text: str) -> None:
        self.accepted[number].sendall(encode(TEXT, text.encode("utf-8")))

    def _request(self, number: int) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            request += self.accepted[number].recv(4096)
        return request

    def _accept(self) -> None:
        """Until the listener is shut."""
        while True:
            try:
                self.accepted.append(self._listener.accept()[0])
            except OSError:
                return
