"""Peers that do nothing: each has a deadline. And what is left for others while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.hostile.conftest import Watched
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.raw_websocket import (
    PING,
    TEXT,
    EchoCall,
    Ended,
    RawWebSocket,
    audio,
    connected,
    frame,
    incoming_call,
    read_answer,
    reset,
    start_call,
    tcp,
    upgrade_request,
)

UNSTARTED_LIMIT = 200
LONGEST_S = 20.0


def _never_starts(ws: RawWebSocket) -> int:
    return ws.closed_with(LONGEST_S)


def _says_connected_only(ws: RawWebSocket) -> int:
    ws.send(connected())
    return ws.closed_with(LONGEST_S)


def _talks_but_never_starts(ws: RawWebSocket) -> int:
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        ws.try_send(frame(PING, b"still here"))
        try:
            got = ws.read_frame()
        except Ended:
            return 1006
        if got.opcode == 8:
            return int.from_bytes(got.payload[:2], "big")
        time.sleep(0.2)
    return 0


def _never_ends_its_message(call: EchoCall) -> int:
    call.ws.send(frame(TEXT, b"0123456789", announced=60_000))
    return call.ws.closed_with(LONGEST_S)


def _never_ends_its_fragments(call: EchoCall) -> int:
    call.ws.send(frame(TEXT, b'{"event":', final=False))
    return call.ws.closed_with(LONGEST_S)


def _falls_silent(call: EchoCall) -> int:
    call.echoes()
    return call.ws.closed_with(LONGEST_S)


def _is_kept_up_by_pings_only(call: EchoCall) -> int:
    call.echoes()
    return _talks_but_never_starts(call.ws)


UNSTARTED: dict[str, tuple[Callable[[RawWebSocket], int], int, float]] = {
    "never starts": (_never_starts, 1008, 5.0),
    "says connected and no more": (_says_connected_only, 1008, 5.0),
    "pings and never starts": (_talks_but_never_starts, 1008, 5.0),
}
LIVE: dict[str, tuple[Callable[[EchoCall], int], int, float]] = {
    "never ends its message": (_never_ends_its_message, 1008, 5.0),
    "never ends its fragments": (_never_ends_its_fragments, 1008, 5.0),
    "falls silent": (_falls_silent, 1000, 15.0),
    "pings and says nothing": (_is_kept_up_by_pings_only, 1000, 15.0),
}


@pytest.fixture(scope="module")
def patience(_open_gateway: Watched) -> Iterator[dict[str, Future[tuple[int, float]]]]:
    """All of them at once, by name."""
    with ThreadPoolExecutor(len(UNSTARTED) + len(LIVE)) as threads:
        port = _open_gateway.process.port
        yield {name: threads.submit(_try, port, name) for name in (*UNSTARTED, *LIVE)}


def _try(port: int, name: str) -> tuple[int, float]:
    """Close code and seconds."""
    if name in UNSTARTED:
        with RawWebSocket.open(port) as ws:
            started_at = time.monotonic()
            return UNSTARTED[name][0](ws), time.monotonic() - started_at
    with start_call(port) as call:
        started_at = time.monotonic()
        return LIVE[name][0](call), time.monotonic() - started_at


def test_a_caller_who_never_reads_is_cut_off(gateway: GunicornProcess, patience: object) -> None:
    """What is echoed has nowhere to go: the call ends some five seconds after the last byte fitted."""
    with start_call(gateway.port, receive_buffer=2048) as call:
        started_at = time.monotonic()
        chunk = b"".join(call.media(audio(number)) for number in range(25))
        for _ in range(40):  # half a second of audio each: twenty seconds at most
            if not call.ws.try_send(chunk):
                break
            try:
                gateway.wait_for_line(f"WS_END call={call.tag}", 0.5)
                break
            except AssertionError:
                continue
        gateway.wait_for_line(f"WS_END call={call.tag} .*reason=(not_reading|reset)", 3.0)
        assert 4.0 < time.monotonic() - started_at < 12.0


@pytest.fixture
def crowd(_open_gateway: Watched) -> Iterator[None]:
    """A thousand connections at once may cost 40 kB each; what they cost stays for the next thousand."""
    allowed, _open_gateway.allowed_growth_bytes = _open_gateway.allowed_growth_bytes, 1000 * 40_000
    yield
    _open_gateway.allowed_growth_bytes = allowed


def test_1000_silent_sockets_leave_the_others_their_room(
    crowd: None, gateway: GunicornProcess, patience: object
) -> None:
    sockets = []
    statuses: dict[int, int] = {}
    try:
        with start_call(gateway.port) as call:
            began_at = time.monotonic()
            for _ in range(1000):
                sock = tcp(gateway.port)
                sockets.append(sock)
                sock.sendall(upgrade_request(gateway.port))
                status = read_answer(sock)[0].status
                statuses[status] = statuses.get(status, 0) + 1
            assert set(statuses) == {101, 503}
            assert statuses[101] >= UNSTARTED_LIMIT - 3
            if time.monotonic() - began_at < 4.5:  # later the first of them have made room for others
                assert statuses[101] <= UNSTARTED_LIMIT
            started_at = time.monotonic()
            incoming_call(gateway.port, "CA_in_the_crowd")
            assert time.monotonic() - started_at < 0.5
            call.echoes()
            until = time.monotonic() + 8
            while True:  # the silent ones have five seconds: then there is room again
                try:
                    with start_call(gateway.port) as another:
                        another.echoes()
                    break
                except AssertionError:
                    assert time.monotonic() < until, "no room for a new call"
                    time.sleep(0.1)
            call.echoes()
    finally:
        for sock in sockets:
            sock.close()


def test_1000_half_requests_leave_the_others_their_room(crowd: None, gateway: GunicornProcess) -> None:
    sockets = []
    try:
        for _ in range(1000):
            sockets.append(sock := tcp(gateway.port))
            sock.sendall(upgrade_request(gateway.port)[:40])
        with start_call(gateway.port) as call:
            call.echoes()
    finally:
        for sock in sockets:
            reset(sock)


def test_400_calls_one_after_the_other_leave_nothing(gateway: GunicornProcess) -> None:
    for number in range(400):
        call = start_call(gateway.port)
        if number % 4 == 0:
            call.hang_up()
            call.ws.sock.close()
        elif number % 4 == 1:
            call.echoes()
            reset(call.ws.sock)
        elif number % 4 == 2:
            call.ws.sock.close()
        else:
            call.ws.send(frame(3))
            call.ws.sock.close()


@pytest.mark.parametrize("name", [*UNSTARTED, *LIVE])
def test_a_peer_that_does_nothing_is_not_waited_for(
    gateway: GunicornProcess,
    patience: dict[str, Future[tuple[int, float]]],
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    """What all of them together gave is judged once: who is asked for again is tried again, alone."""
    _, code, deadline_s = {**UNSTARTED, **LIVE}[name]
    is_again = getattr(request.node, "execution_count", 1) > 1
    got, took_s = _try(gateway.port, name) if is_again else patience[name].result(LONGEST_S)
    assert got == code
    assert deadline_s - 0.5 < took_s < deadline_s + 2
