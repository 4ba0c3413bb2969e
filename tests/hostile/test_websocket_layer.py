"""Frames no honest peer sends: the offender gets its code, and nobody else notices."""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Callable

import pytest

from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    EchoCall,
    Ended,
    RawWebSocket,
    audio,
    close,
    connected,
    fragments,
    frame,
    read_answer,
    reset,
    sid,
    start,
    start_call,
    tcp,
    text,
    upgrade_request,
)

BOMB = zlib.compress(bytes(10 << 20))[2:-4]
"""Ten megabytes of nothing, as permessage-deflate would carry them."""

REFUSED: dict[str, tuple[bytes, int]] = {
    "no mask": (text(b"{}", masked=False), 1002),
    "reserved bit": (text(b"{}", reserved=4), 1002),
    "reserved opcode 3": (frame(3, b"x"), 1002),
    "reserved opcode 11": (frame(11, b"x"), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "text inside fragmented text": (frame(TEXT, b"a", final=False) + text(b"b"), 1002),
    "invalid UTF-8": (text(b'{"event":"\xff"}'), 1007),
    "ping of 126 bytes": (frame(PING, b"p" * 126), 1002),
    "fragmented ping": (frame(PING, b"p", final=False), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close 999": (close(999), 1002),
    "close 1005": (close(1005), 1002),
    "close reason not UTF-8": (close(1000, b"\xff\xfe"), 1007),
    "length with its top bit": (frame(TEXT, announced=1 << 63), 1002),
    "length not in its shortest form": (text(b"{}", length_form=127), 1002),
    "a gigabyte announced": (frame(TEXT, b"0123456789", announced=1 << 30), 1009),
    "deflate bomb": (frame(TEXT, BOMB, reserved=4), 1002),
    "deflate bomb without its bit": (text(BOMB), 1007),
    "random bytes": (b"\xde\xad\xbe\xef" * 4000, 1002),
    "HTTP again": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10, 1002),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 1002),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("state", ["live", "before start", "with audio on its way"])
def test_a_broken_frame_gets_its_code(gateway: GunicornProcess, name: str, state: str) -> None:
    bad, code = REFUSED[name]
    if state == "before start":
        with RawWebSocket.open(gateway.port) as ws:
            ws.send(connected(), bad)
            assert ws.closed_with(1.0) == code
        return
    with start_call(gateway.port) as call:
        call.echoes()
        if state == "with audio on its way":
            call.ws.send(*(call.media(audio(number)) for number in range(200)), bad)
        else:
            call.ws.send(bad)
        assert call.ws.closed_with(1.0) == code


TOLERATED: dict[str, Callable[[EchoCall], list[bytes]]] = {
    "raw audio in binary": lambda call: [frame(BINARY, audio(n)) for n in range(100)],
    "pings between fragments": lambda call: [
        part + frame(PING, b"?") for part in fragments(TEXT, *_thirds(call.media_json(audio(1))))
    ],
    "Hebrew cut inside a letter": lambda call: fragments(
        TEXT, '{"event":"ש'.encode()[:-1], "ש".encode()[-1:] + b'"}'
    ),
    "pongs nobody asked for": lambda call: [frame(PONG, b"!")] * 100,
}


def _thirds(data: bytes) -> list[bytes]:
    third = len(data) // 3
    return [data[:third], data[third : 2 * third], data[2 * third :]]


@pytest.mark.parametrize("name", TOLERATED)
def test_what_is_odd_but_allowed_ends_nothing(gateway: GunicornProcess, name: str) -> None:
    with start_call(gateway.port) as call:
        call.ws.send(*TOLERATED[name](call))
        call.echoes()


def test_a_whole_call_byte_by_byte(gateway: GunicornProcess) -> None:
    sock = tcp(gateway.port)
    for byte in upgrade_request(gateway.port):
        sock.send(bytes([byte]))
    answer, rest = read_answer(sock)
    assert answer.status == 101
    with RawWebSocket(sock, answer, rest) as ws:
        call = EchoCall(ws, sid("CA"), sid("MZ"))
        ws.send_sliced(connected() + start(call.stream_sid, call.call_sid) + call.media(audio(7)))
        assert call.next_audio() == audio(7)
        ws.send_sliced(call.stop())
        assert ws.closed_with() == 1000


def test_nothing_behind_a_close_is_read(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        call.echoes()
        call.ws.send(close(1000), *[call.media(audio(n)) for n in range(50)], frame(3))
        assert [got.opcode for got in call.ws.read_to_end()] == [CLOSE]


def test_the_words_of_a_close_cannot_forge_a_log_line(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        call.echoes()
        call.ws.send(close(4000, "bye\nFORGED \u202eline\r\nFORGED\x1b[2J +972541234567"))
        assert call.ws.closed_with() == 4000
    gateway.wait_for_line(f"WS_END call={call.tag}")


# A peer that goes without a word, in every state

STATES = [
    "connected", "half a request", "101 not read", "101", "half a frame", "before start", "half a message",
    "live", "audio on its way", "half a media message", "after stop", "closing",
]  # fmt: skip


def _bring_to(state: str, port: int) -> socket.socket:
    sock = tcp(port)
    if state == "connected":
        return sock
    request = upgrade_request(port)
    if state == "half a request":
        sock.sendall(request[:60])
        return sock
    sock.sendall(request)
    if state == "101 not read":
        return sock
    ws = RawWebSocket(sock, *read_answer(sock))
    call = EchoCall(ws, sid("CA"), sid("MZ"))
    if state == "half a frame":
        ws.send(connected()[:1])
    elif state == "before start":
        ws.send(connected())
    elif state == "half a message":
        ws.send(frame(TEXT, b'{"event":', final=False))
    if state in ("101", "half a frame", "before start", "half a message"):
        return sock
    ws.send(connected(), start(call.stream_sid, call.call_sid))
    call.echoes()
    if state == "audio on its way":
        ws.send(*(call.media(audio(n)) for n in range(300)))
    elif state == "half a media message":
        ws.send(call.media(audio(1))[:100])
    elif state == "after stop":
        ws.send(call.stop())
    elif state == "closing":
        ws.send(close(1000))
    return sock


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", ["reset", "end of stream", "half closed"])
def test_a_peer_that_leaves_in_any_state_is_forgotten(gateway: GunicornProcess, state: str, how: str) -> None:
    sock = _bring_to(state, gateway.port)
    if how == "reset":
        reset(sock)
    elif how == "end of stream":
        sock.close()
    else:
        sock.shutdown(socket.SHUT_WR)
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        sock.close()
    with start_call(gateway.port) as call:
        call.echoes()


# Too much of everything


def pour(ws: RawWebSocket, chunk: bytes, times: int) -> None:
    """Send for as long as the server takes it."""
    for _ in range(times):
        if not ws.try_send(chunk):
            return


@pytest.mark.parametrize("megabytes", [16, 200])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_huge_message_is_too_big(gateway: GunicornProcess, megabytes: int, opcode: int) -> None:
    with start_call(gateway.port) as call:
        call.ws.send(frame(opcode, announced=megabytes << 20))
        pour(call.ws, b"m" * (1 << 20), megabytes)
        assert call.ws.closed_with() == 1009


def test_100_000_fragments_are_too_many(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        call.ws.send(frame(TEXT, b"", final=False))
        pour(call.ws, frame(CONTINUATION, b"f" * 100, final=False) * 1000, 100)
        assert call.ws.closed_with() == 1009


@pytest.mark.parametrize("size", [0, 125])
def test_100_000_pings_whose_pongs_nobody_reads(gateway: GunicornProcess, size: int) -> None:
    with start_call(gateway.port, receive_buffer=4096) as call:
        pour(call.ws, frame(PING, b"p" * size) * 1000, 100)
        assert call.ws.closed_with() == 1008


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("size", [0, 300])
def test_10_000_messages_at_once_are_too_many(gateway: GunicornProcess, opcode: int, size: int) -> None:
    with start_call(gateway.port) as call:
        pour(call.ws, frame(opcode, b" " * size) * 1000, 10)
        assert call.ws.closed_with() == 1008


@pytest.mark.parametrize("size", [0, 125])
def test_a_million_pongs_hold_up_nobody(gateway: GunicornProcess, size: int) -> None:
    with start_call(gateway.port) as call:
        pour(call.ws, frame(PONG, b"p" * size) * 10_000, 100)
        try:
            call.echoes()
        except Ended:
            pass  # it may be closed for that
        except AssertionError:
            pytest.fail("neither served nor closed")


def test_300_megabytes_of_messages_are_bounded(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        payload = audio(1, 45_000)
        message = call.media(payload)
        pour(call.ws, message * 16, (300 << 20) // (len(message) * 16))
        assert call.ws.closed_with() == 1008


def test_300_megabytes_of_nonsense_are_bounded(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        pour(call.ws, text(b"[" * 65_000) * 16, 300)
        assert call.ws.closed_with() == 1008


def test_a_flood_behind_a_close_is_not_read_for_ever(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        call.ws.send(close(1000))
        pour(call.ws, frame(PING, b"") * 10_000, 100)
        assert call.ws.closed_with() == 1000


def test_a_flood_behind_a_refusal_is_not_read_for_ever(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        call.ws.send(struct.pack("!BB", 0x83, 0x80) + b"mask")
        pour(call.ws, frame(PING, b"") * 10_000, 100)
        assert call.ws.closed_with() == 1002
