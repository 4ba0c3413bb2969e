"""What stands in front of several gateways: one address that leads to whichever of them answers.

Like a platform's router it sends new connections to the first one of its list that takes them, and leaves
live connections where they are. It can break those too, and keep new ones waiting.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

READ_BYTES = 65536
HOLD_POLL_S = 0.01
_NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST


class _Both:
    """One connection: its two sides."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.is_lost = False
        """The near side has gone, and the far side is not told."""


class Switch:
    """Context manager; 127.0.0.1:`port` is its own. One thread carries all connections."""

    def __init__(self) -> None:
        self._ports: tuple[int, ...] = ()
        self._door = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._door.getsockname()[1]
        self.refused = 0
        """Connections that nobody took."""
        self.held = 0
        """Connections that were kept waiting."""
        self._is_holding = False
        self._live: set[_Both] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"switch {self.port}", daemon=True)

    def lead_to(self, *ports: int) -> None:
        """New connections go to the first of these that takes them."""
        self._ports = ports

    def hold(self) -> None:
        """New connections are taken and wait."""
        self._is_holding = True

    def release(self) -> None:
        self._is_holding = False

    def reset(self) -> None:
        """RST on every live connection, both ways."""

        def run() -> None:
            for both in self._live:
                _reset(both.near)
                _reset(both.far)

        self._do(run)

    def half_close(self) -> None:
        """FIN on every live connection, both ways; nobody said goodbye."""

        def run() -> None:
            for both in self._live:
                both.near.write_eof()
                both.far.write_eof()

        self._do(run)

    def lose(self) -> None:
        """Every live connection breaks on the near side; nothing tells the far side."""

        def run() -> None:
            for both in self._live:
                both.is_lost = True
                _reset(both.near)

        self._do(run)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._door)

    def _run(self) -> None:
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _do(self, run: Callable[[], None]) -> None:
        done = threading.Event()

        def do() -> None:
            run()
            done.set()

        self._loop.call_soon_threadsafe(do)
        assert done.wait(5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.held += self._is_holding
        while self._is_holding:
            await asyncio.sleep(HOLD_POLL_S)
        for port in self._ports:
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            break
        else:
            self.refused += 1
            writer.close()
            return
        both = _Both(writer, far_writer)
        self._live.add(both)
        try:
            await asyncio.gather(_pump(reader, far_writer, both), _pump(far_reader, writer, both))
        finally:
            self._live.discard(both)
            writer.close()
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, both: _Both) -> None:
    """Until the reader's side ends; then the other side is told so."""
    try:
        while data := await reader.read(READ_BYTES):
            if not both.is_lost:
                writer.write(data)
                await writer.drain()
        if not both.is_lost and writer.can_write_eof():
            writer.write_eof()
    except OSError:
        if not both.is_lost:
            writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
