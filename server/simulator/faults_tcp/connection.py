"""One connection through the fault proxy: two sockets, a `Flow` each way, and what is planned for it.

Everything here runs in the proxy's thread. Sockets do not block.
"""

from __future__ import annotations

import dataclasses
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from server.simulator.faults_tcp.flow import Flow

Way = Literal["up", "down"]
Direction = Literal["up", "down", "both"]
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
READ_BYTES = 65536

_NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST


@dataclass(slots=True, eq=False)
class Plan:
    """Something that shall happen to every connection, or to `times` of them, at one point of its life."""

    run: Callable[[Connection], None]
    way: Way
    after_bytes: int | None
    after_s: float | None
    times: int | None
    only: int | None = None
    """The number of the one connection it is for."""


@dataclass(slots=True, eq=False)
class _Due:
    plan: Plan
    at_bytes: int | None
    at_s: float | None


@dataclass(slots=True, eq=False)
class End:
    """One socket, and the flow of what it sends."""

    sock: socket.socket
    flow: Flow
    is_connected: bool = True
    is_open: bool = True
    is_reset: bool = False
    """The peer there is gone, and its partner has not been told."""
    is_read_out: bool = False
    """It has sent its last byte."""
    is_told_the_end: bool = False
    """It was sent a FIN."""
    is_full: bool = False
    """The kernel took less than it was given."""
    events: int = 0

    def __post_init__(self) -> None:
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self, selector: selectors.BaseSelector, *, reset: bool = False) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self.watch(selector, 0)
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.sock.close()

    def watch(self, selector: selectors.BaseSelector, events: int, data: object = None) -> None:
        if events == self.events:
            return
        if not self.events:
            selector.register(self.sock, events, data)
        elif not events:
            selector.unregister(self.sock)
        else:
            selector.modify(self.sock, events, data)
        self.events = events


@dataclass(slots=True, eq=False)
class Connection:
    """`upstream` is None when nobody is behind the proxy."""

    number: int
    """From 1, in the order they came."""
    selector: selectors.BaseSelector
    client: End
    upstream: End | None
    is_unreachable: bool = False
    """The upstream refused, and the client was reset."""
    _due: list[_Due] = field(default_factory=list)

    def ends(self) -> Iterator[tuple[Way, End, End | None]]:
        """(way, who sends that way, to whom)"""
        yield "up", self.client, self.upstream
        if self.upstream is not None:
            yield "down", self.upstream, self.client

    def flow(self, way: Way) -> Flow | None:
        return next((sender.flow for name, sender, _ in self.ends() if name == way), None)

    def is_over(self) -> bool:
        return not any(sender.is_open for _, sender, _ in self.ends())

    def change(self, direction: Direction, **changes: Any) -> None:
        """Fields of the weather."""
        for way, sender, _ in self.ends():
            if direction in (way, "both"):
                sender.flow.change(dataclasses.replace(sender.flow.weather, **changes))

    def plan(self, plan: Plan) -> None:
        flow = self.flow(plan.way)
        if flow is None or plan.times == 0 or plan.only not in (None, self.number):
            return
        at_bytes = None if plan.after_bytes is None else flow.passed_bytes + plan.after_bytes
        at_s = None if plan.after_s is None else time.monotonic() + plan.after_s
        self._due.append(_Due(plan, at_bytes, at_s))

    def forget_plans(self) -> None:
        self._due.clear()

    def reset(self, direction: Direction = "both") -> None:
        """RST to the client (`down`), to the upstream (`up`), or to both."""
        for way, _, target in self.ends():
            if target is not None and direction in (way, "both"):
                target.close(self.selector, reset=True)
        if self.upstream is None and direction != "up":
            self.client.close(self.selector, reset=True)

    def close(self) -> None:
        for _, end, _ in self.ends():
            end.close(self.selector)

    def ready(self, end: End, events: int) -> None:
        """The selector saw these events on one of our sockets."""
        if events & WRITE and not end.is_connected:
            if end.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.is_unreachable = True
                self.reset()
                return
            end.is_connected = True
        end.is_full = end.is_full and not events & WRITE
        if events & READ and end.is_open:
            self._read(end)

    def _read(self, end: End) -> None:
        try:
            data = end.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._was_reset(end)
            return
        end.is_read_out = not data
        end.flow.came(data, time.monotonic())

    def _was_reset(self, end: End) -> None:
        end.is_reset = True
        end.close(self.selector)

    def move(self) -> float | None:
        """Write what is due and do what is planned. Returns when there will be more (monotonic)."""
        self._run_due()
        dues = [due.at_s for due in self._due if due.at_s is not None]
        for way, sender, target in self.ends():
            if sender.is_reset and not (sender.flow.weather.is_black_hole or sender.flow.weather.is_stalled):
                self.reset()
            if target is None or not target.is_open:
                sender.flow.drop()
                sender.flow.is_shut = True
            elif (due_at_s := self._write(way, sender.flow, target)) is not None:
                dues.append(due_at_s)
        for _, sender, target in self.ends():
            if sender.is_open:
                is_told = target is None or not target.is_open
                if target is not None and target.is_open:
                    is_told = sender.is_told_the_end and target.is_told_the_end
                if sender.is_read_out and is_told:
                    sender.close(self.selector)
                    continue
                reads = sender.is_connected and not sender.is_read_out and sender.flow.wants_more()
                writes = sender.is_full or not sender.is_connected
                sender.watch(self.selector, READ * reads | WRITE * writes, (self, sender))
        return min(dues, default=None)

    def _write(self, way: Way, flow: Flow, target: End) -> float | None:
        """Returns when there is more to do; None: nothing, or not before the target can be written."""
        while target.is_open and target.is_connected and not target.is_full:
            now_s = time.monotonic()
            due_at_s = flow.due_at_s()
            if due_at_s is None or due_at_s > now_s:
                return due_at_s
            data = flow.next_bytes(self._bytes_to_next_plan(way, flow))
            try:
                if data:
                    sent = target.sock.send(data)
                else:
                    target.sock.shutdown(socket.SHUT_WR)
                    sent, target.is_told_the_end = 0, True
            except BlockingIOError:
                target.is_full = True
                return None
            except OSError:
                self._was_reset(target)
                return None
            flow.wrote(sent, now_s)
            self._run_due()
            if flow.weather.slice_bytes:  # the far end shall have a chance to read each slice by itself
                return now_s
        return None

    def _bytes_to_next_plan(self, way: Way, flow: Flow) -> int | None:
        marks = [due.at_bytes for due in self._due if due.plan.way == way and due.at_bytes is not None]
        return max(1, min(marks) - flow.passed_bytes) if marks else None

    def _run_due(self) -> None:
        for due in list(self._due):
            flow = self.flow(due.plan.way)
            has_bytes = due.at_bytes is None or (flow is not None and flow.passed_bytes >= due.at_bytes)
            if has_bytes and (due.at_s is None or time.monotonic() >= due.at_s):
                self._due.remove(due)
                if due.plan.times != 0:
                    due.plan.times = None if due.plan.times is None else due.plan.times - 1
                    due.plan.run(self)
