"""A `Channel` on real TCP and TLS sockets, in this process; its peers are native threads.

The hub runs in the test's own thread, unpatched, whenever the test waits: `beside` starts a peer's
work and lets the hub run until it is done.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from server import channel as channel_module
from server import green
from server.channel import MAX_UNREAD_BYTES, MAX_UNSENT_BYTES, Channel, ChannelClosed, Limits
from tests.integration.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Answer,
    Ended,
    Frame,
    RawWebSocket,
    close,
    frame,
    reset,
    text,
)

T = TypeVar("T")
WAIT_S = 5.0
BOUNDLESS = Limits(max_message_bytes=1 << 20, messages_per_s=1e9, message_burst=10**9)
SMALL_BUFFER = 16_384

threads = ThreadPoolExecutor(4)


def beside(run: Callable[..., T], *args: Any) -> Future[T]:
    """Run a peer's blocking work in a thread of its own."""
    return threads.submit(run, *args)


def until(is_so: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Let the hub run until something is so."""
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not happen"
        green.sleep(0.001)


def result(future: Future[T], timeout_s: float = WAIT_S) -> T:
    until(future.done, timeout_s)
    return future.result()


def wait_closed(channel: Channel, timeout_s: float = WAIT_S) -> ChannelClosed:
    until(lambda: channel.closed is not None, timeout_s)
    assert channel.closed is not None
    return channel.closed


def receive_all(channel: Channel, count: int, timeout_s: float = WAIT_S) -> list[bytes]:
    """So many messages."""
    got: list[bytes] = []
    give_up_at = time.monotonic() + timeout_s
    while len(got) < count and time.monotonic() < give_up_at:
        got += channel.receive(0.1)
    return got


def receive_to_end(channel: Channel) -> tuple[list[bytes], ChannelClosed]:
    got: list[bytes] = []
    give_up_at = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < give_up_at:
            got += channel.receive(0.1)
    except ChannelClosed as closed:
        return got, closed
    raise AssertionError("it was not closed")


def tcp_pair(buffer_bytes: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two ends of one connection over loopback."""
    with socket.socket() as listener:
        if buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near = socket.socket()
        if buffer_bytes is not None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.settimeout(WAIT_S)
    return near, far


Opener = Callable[..., tuple[Channel, RawWebSocket]]


@pytest.fixture
def open_pair() -> Iterator[Opener]:
    """Makes a channel and its raw peer; both are gone after the test."""
    made: list[tuple[Channel, RawWebSocket]] = []

    def open_one(
        *,
        is_client: bool = False,
        limits: Limits = BOUNDLESS,
        buffer_bytes: int | None = None,
        sockets: tuple[Any, Any] | None = None,
    ) -> tuple[Channel, RawWebSocket]:
        near, far = sockets or tcp_pair(buffer_bytes)
        peer = RawWebSocket(far, Answer(101, {}, b""))
        made.append((Channel(near, is_client=is_client, limits=limits), peer))
        return made[-1]

    yield open_one
    for channel, peer in made:
        peer.sock.close()
        channel.close()


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-addext", "keyUsage=digitalSignature,keyCertSign"]
    command += ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


def tls_pair(
    certificate: Path, *, is_client: bool, buffer_bytes: int | None = None
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """(the channel's end, the peer's end) after the handshake; the channel's does not block."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    calling = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
    near, far = tcp_pair(buffer_bytes)
    server_end, client_end = (far, near) if is_client else (near, far)
    wrapping = threads.submit(serving.wrap_socket, server_end, server_side=True)
    client = calling.wrap_socket(client_end, server_hostname="localhost")
    server = wrapping.result(WAIT_S)
    ours, theirs = (client, server) if is_client else (server, client)
    ours.setblocking(False)
    return ours, theirs


@pytest.fixture(params=["plain server", "plain client", "TLS server", "TLS client"])
def pair(request: pytest.FixtureRequest, open_pair: Opener) -> tuple[Channel, RawWebSocket, bool]:
    """Every role on every kind of socket, with small buffers; and whether the peer has to mask."""
    kind, _, role = request.param.partition(" ")
    is_client = role == "client"
    if kind == "plain":
        return *open_pair(is_client=is_client, buffer_bytes=SMALL_BUFFER), not is_client
    sockets = tls_pair(request.getfixturevalue("certificate"), is_client=is_client, buffer_bytes=SMALL_BUFFER)
    return *open_pair(is_client=is_client, sockets=sockets), not is_client


# Out


def read_slowly(peer: RawWebSocket, count: int, bytes_a_read: int) -> list[Frame]:
    frames = []
    recv = peer.sock.recv
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tests.integration.raw_websocket._some", lambda sock, until, limit=0: recv(bytes_a_read)
        )
        for _ in range(count):
            frames.append(peer.read_frame(WAIT_S))
    return frames


@pytest.mark.parametrize("size", [1, 4_000, 100_000])
def test_a_slow_reader_gets_every_byte_in_order(pair: tuple[Channel, RawWebSocket, bool], size: int) -> None:
    channel, peer, _ = pair
    words = [f"{number:06d}" + "w" * size for number in range(800_000 // (size + 20))][:2_000]
    for start in range(0, len(words), 50):
        channel.send_all(words[start : start + 50])
    frames = result(beside(read_slowly, peer, len(words), 1_000), 20)
    assert [got.payload.decode() for got in frames] == words
    assert channel.closed is None


def test_who_masks_depends_on_the_role(pair: tuple[Channel, RawWebSocket, bool]) -> None:
    channel, peer, peer_masks = pair
    channel.send("שלום")
    got = result(beside(peer.read_frame))
    assert (got.payload.decode(), got.is_masked) == ("שלום", not peer_masks)
    peer.send(text("מה נשמע", masked=peer_masks))
    assert [words.decode() for words in receive_all(channel, 1)] == ["מה נשמע"]
    peer.send(text("wrong", masked=not peer_masks))
    assert wait_closed(channel).code == 1002


def test_both_ways_at_once(pair: tuple[Channel, RawWebSocket, bool]) -> None:
    channel, peer, peer_masks = pair
    words = [f"{number:05d}" * 100 for number in range(400)]

    def send_and_read() -> list[Frame]:  # in one thread: two may not share a TLS socket
        peer.send_sliced(b"".join(text(word, masked=peer_masks) for word in words), 3_001)
        return read_slowly(peer, len(words), 5_000)

    far = beside(send_and_read)
    channel.send_all(words)
    assert [got.decode() for got in receive_all(channel, len(words), 20)] == words
    assert [got.payload.decode() for got in result(far, 20)] == words


def fill(channel: Channel) -> None:
    """Send until the kernel takes no more."""
    for _ in range(60):
        channel.send("x" * 16_000)


def test_a_peer_that_does_not_read_is_given_up(open_pair: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "WRITE_STALL_S", 0.2)
    channel, _ = open_pair(buffer_bytes=SMALL_BUFFER)
    fill(channel)
    assert channel.closed is None
    closed = wait_closed(channel, 1.0)
    assert (closed.code, closed.by_peer) == (1006, True)
    assert "does not read" in closed.reason
    with pytest.raises(ChannelClosed):
        channel.send("more")
    with pytest.raises(ChannelClosed):
        channel.receive(1.0)


def test_a_peer_that_reads_now_and_then_is_not_given_up(
    open_pair: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "WRITE_STALL_S", 0.4)
    channel, peer = open_pair(buffer_bytes=SMALL_BUFFER)
    fill(channel)

    def read_now_and_then() -> None:
        for _ in range(10):
            time.sleep(0.1)
            peer.sock.recv(40_000, socket.MSG_WAITALL)

    result(beside(read_now_and_then))
    assert channel.closed is None


def test_what_waits_to_be_sent_is_bounded(open_pair: Opener) -> None:
    channel, _ = open_pair(buffer_bytes=SMALL_BUFFER)
    sent = 0
    with pytest.raises(ChannelClosed) as caught:
        while sent < 4 * MAX_UNSENT_BYTES:
            channel.send("x" * 16_000)
            sent += 16_000
    assert "does not read" in caught.value.reason
    assert sent < MAX_UNSENT_BYTES + 300_000


def test_a_peer_that_reads_a_bit_frees_room_for_more(open_pair: Opener) -> None:
    channel, peer = open_pair(buffer_bytes=SMALL_BUFFER)
    for _ in range(6):
        fill(channel)
        assert len(result(beside(read_slowly, peer, 60, 65_536))) == 60
    assert channel.closed is None


# In


@pytest.mark.parametrize("size", [100, 3_000, 60_000])
def test_what_nobody_receives_stays_with_the_peer(
    pair: tuple[Channel, RawWebSocket, bool], size: int
) -> None:
    channel, peer, peer_masks = pair
    sent = 0
    is_done = threading.Event()

    per_write = max(1, 20_000 // size)
    count = 6_000_000 // size // per_write * per_write

    def pour() -> None:
        nonlocal sent
        for number in range(0, count, per_write):
            words = [b"%08d" % (number + more) + b"m" * size for more in range(per_write)]
            peer.sock.sendall(b"".join(text(word, masked=peer_masks) for word in words))
            sent += (size + 8) * per_write
        is_done.set()

    pouring = beside(pour)
    until(lambda: sent > MAX_UNREAD_BYTES // 2)
    seen = -1
    while seen != sent:  # until it stops growing
        seen = sent
        green.sleep(0.05)
    assert not is_done.is_set()
    assert MAX_UNREAD_BYTES - 100_000 < sent < 3 * MAX_UNREAD_BYTES
    numbers = [int(message[:8]) for message in receive_all(channel, count, 20)]
    assert numbers == list(range(count))
    result(pouring)


def test_a_receiver_who_takes_its_time_loses_no_peer(
    open_pair: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While reading is stopped it is us who do not go on, not the peer."""
    monkeypatch.setattr(channel_module, "MESSAGE_DEADLINE_S", 0.2)
    channel, peer = open_pair()
    count = 500
    pouring = beside(lambda: peer.send(*(text(b"m" * 9_999) for _ in range(count))))
    green.sleep(0.6)
    assert channel.closed is None
    assert len(receive_all(channel, count, 10)) == count
    result(pouring)


def test_messages_that_follow_each_other_closely_are_not_one_that_stalls(
    open_pair: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may cut the stream so that every piece ends inside a message."""
    monkeypatch.setattr(channel_module, "MESSAGE_DEADLINE_S", 0.3)
    channel, peer = open_pair()
    message = text(b"0123456789")
    count = 60

    def drip() -> None:
        peer.sock.sendall(message[:5])
        for _ in range(count - 1):
            time.sleep(0.01)
            peer.sock.sendall(message[5:] + message[:5])
        peer.sock.sendall(message[5:])

    dripping = beside(drip)
    assert len(receive_all(channel, count, 3)) == count
    result(dripping)
    assert channel.closed is None


@pytest.mark.parametrize(
    "piece",
    [frame(TEXT, b"0123456789", announced=500), frame(TEXT, b"x", final=False), b"\x81"],
    ids=["payload", "fragments", "header"],
)
def test_a_message_that_never_ends_is_refused(
    open_pair: Opener, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(channel_module, "MESSAGE_DEADLINE_S", 0.2)
    channel, peer = open_pair()
    peer.send(text("whole"), piece)
    assert receive_all(channel, 1) == [b"whole"]
    assert wait_closed(channel, 1.0).code == 1008
    assert result(beside(peer.read_close))[0] == 1008


def test_receive_returns_empty_when_nothing_comes(open_pair: Opener) -> None:
    channel, _ = open_pair()
    started_at = time.monotonic()
    assert channel.receive(0.05) == []
    assert 0.04 < time.monotonic() - started_at < 1.0


def test_many_messages_in_one_tls_record_all_arrive(certificate: Path, open_pair: Opener) -> None:
    channel, peer = open_pair(sockets=tls_pair(certificate, is_client=False))
    for _ in range(5):
        peer.send(text(b"small") * 1_000)
    assert len(receive_all(channel, 5_000)) == 5_000


# The end


def test_what_came_before_a_close_is_received(pair: tuple[Channel, RawWebSocket, bool]) -> None:
    channel, peer, peer_masks = pair
    goodbye = frame(CLOSE, b"\x0f\xa1bye", masked=peer_masks)
    peer.send(*(text(b"%d" % number, masked=peer_masks) for number in range(3)), goodbye)
    messages, closed = receive_to_end(channel)
    assert messages == [b"0", b"1", b"2"]
    assert (closed.code, closed.reason, closed.by_peer) == (4001, "bye", True)
    assert result(beside(peer.read_close))[0] == 4001
    started_at = time.monotonic()
    channel.close()
    assert time.monotonic() - started_at < 0.1


@pytest.mark.parametrize("how", ["end of stream", "reset"])
def test_a_peer_that_goes_without_a_word_is_noticed_at_once(
    pair: tuple[Channel, RawWebSocket, bool], how: str
) -> None:
    channel, peer, peer_masks = pair
    peer.send(text("last words", masked=peer_masks))
    assert receive_all(channel, 1) == [b"last words"]
    if how == "reset":
        reset(peer.sock)
    else:
        peer.sock.close()
    messages, closed = receive_to_end(channel)
    assert messages == []
    assert (closed.code, closed.by_peer) == (1006, True)
    channel.close()


def test_what_came_before_the_end_of_the_stream_is_received(open_pair: Opener) -> None:
    channel, peer = open_pair()
    peer.send(*(text(b"%d" % number) for number in range(100)))
    peer.sock.close()
    messages, closed = receive_to_end(channel)
    assert messages == [b"%d" % number for number in range(100)]
    assert closed.code == 1006


def test_a_reset_while_much_waits_to_be_sent_frees_all(open_pair: Opener) -> None:
    channel, peer = open_pair(buffer_bytes=SMALL_BUFFER)
    fill(channel)
    reset(peer.sock)
    assert wait_closed(channel).code == 1006
    started_at = time.monotonic()
    channel.close()
    assert time.monotonic() - started_at < 0.1


def answer_close(peer: RawWebSocket, masks: bool) -> int:
    code, _ = peer.read_close()
    peer.send(frame(CLOSE, code.to_bytes(2, "big"), masked=masks))
    peer.read_to_end()
    return code


def test_our_close_is_over_as_soon_as_it_is_answered(pair: tuple[Channel, RawWebSocket, bool]) -> None:
    channel, peer, peer_masks = pair
    answering = beside(answer_close, peer, peer_masks)
    started_at = time.monotonic()
    channel.close(4002, "done")
    assert time.monotonic() - started_at < 0.3
    assert result(answering) == 4002


def test_our_close_waits_half_a_second_for_an_answer(pair: tuple[Channel, RawWebSocket, bool]) -> None:
    channel, peer, _ = pair
    started_at = time.monotonic()
    channel.close()
    assert 0.4 < time.monotonic() - started_at < 0.9
    assert result(beside(peer.read_close))[0] == 1000
    with pytest.raises(Ended):
        result(beside(peer.read_frame))


def test_a_refusal_is_over_as_soon_as_it_is_answered(open_pair: Opener) -> None:
    channel, peer = open_pair()
    peer.send(frame(3))
    answering = beside(answer_close, peer, True)
    assert wait_closed(channel).code == 1002
    started_at = time.monotonic()
    channel.close()
    assert time.monotonic() - started_at < 0.3
    assert result(answering) == 1002


def test_two_threads_may_close_at_once(open_pair: Opener) -> None:
    channel, _ = open_pair()
    finished = []

    def close_it(name: str) -> None:
        channel.close()
        finished.append(name)

    for name in ("one", "other"):
        green.spawn(close_it, name)
    until(lambda: len(finished) == 2, 2.0)


def test_a_thread_that_waits_for_messages_learns_of_the_end(open_pair: Opener) -> None:
    channel, peer = open_pair()
    learnt: list[ChannelClosed] = []

    def wait_for_messages() -> None:
        try:
            channel.receive()
        except ChannelClosed as closed:
            learnt.append(closed)

    green.spawn(wait_for_messages)
    green.sleep(0)
    peer.send(close(4003))
    until(lambda: learnt)
    assert learnt[0].code == 4003


def test_closing_again_is_harmless_and_sending_is_not_possible(open_pair: Opener) -> None:
    channel, peer = open_pair()
    peer.sock.close()
    wait_closed(channel)
    for _ in range(3):
        channel.close()
    with pytest.raises(ChannelClosed) as caught:
        channel.send("late")
    assert caught.value.code == 1006


def test_a_closed_channel_leaves_its_descriptor_to_others(open_pair: Opener) -> None:
    """The number is reused at once; nothing of the old channel may touch the new socket."""
    for _ in range(20):
        channel, peer = open_pair()
        answering = beside(answer_close, peer, True)
        channel.close()
        result(answering)
        again, other = open_pair()
        other.send(text("hello"))
        assert receive_all(again, 1) == [b"hello"]


def test_half_a_character_loses_no_message(open_pair: Opener) -> None:
    """A tool's server may have cut an emoji in two."""
    channel, peer = open_pair()
    channel.send('{"note": "see you \ud83d"}')
    channel.send_all(['{"note": "\ude00 שלום"}'])
    assert result(beside(peer.read_frame)).payload == b'{"note": "see you ?"}'
    assert result(beside(peer.read_frame)).payload == '{"note": "? שלום"}'.encode()


# Limits


MORE = frame(CONTINUATION, b"m" * 900, final=False)
TIGHT = Limits(max_message_bytes=1_000, messages_per_s=10, message_burst=50, pings_per_s=5, ping_burst=8)


def test_a_burst_within_the_limit_is_taken(open_pair: Opener) -> None:
    channel, peer = open_pair(limits=TIGHT)
    peer.send(*(text(b"%d" % number) for number in range(50)))
    assert len(receive_all(channel, 50)) == 50
    assert channel.closed is None


@pytest.mark.parametrize(
    "flood",
    [text("t") * 60, frame(BINARY, b"b") * 60, text("") * 60, frame(PING, b"p") * 10],
    ids=["text", "binary", "empty text", "pings"],
)
def test_a_burst_beyond_the_limit_is_refused(open_pair: Opener, flood: bytes) -> None:
    channel, peer = open_pair(limits=TIGHT)
    peer.send(flood)
    assert wait_closed(channel).code == 1008
    assert result(beside(peer.read_close))[0] == 1008


@pytest.mark.parametrize(
    "flood",
    [text(b"m" * 20_000) * 3, frame(TEXT, b"m" * 900, final=False) + MORE * 70],
    ids=["whole", "in pieces"],
)
def test_few_and_huge_messages_are_a_flood_too(open_pair: Opener, flood: bytes) -> None:
    """Within the messages a second they could be megabytes a second, for as long as the peer likes."""
    limits = Limits(max_message_bytes=1 << 20, messages_per_s=10, message_burst=50)
    channel, peer = open_pair(limits=limits)
    peer.send(flood)
    assert wait_closed(channel).code == 1008


def test_a_message_over_the_limit_is_too_big(open_pair: Opener) -> None:
    channel, peer = open_pair(limits=TIGHT)
    peer.send(text(b"m" * 1_000), text(b"m" * 1_001))
    messages, closed = receive_to_end(channel)
    assert [len(message) for message in messages] == [1_000]
    assert closed.code == 1009
    assert result(beside(peer.read_close))[0] == 1009


def test_pings_are_answered_and_binary_is_counted(open_pair: Opener) -> None:
    channel, peer = open_pair(limits=TIGHT)
    peer.send(frame(PING, b"one"), frame(BINARY, b"b"), frame(PONG, b"unasked"), frame(PING, b"two"))
    pongs = [result(beside(peer.read_frame)) for _ in range(2)]
    assert [(pong.opcode, pong.payload) for pong in pongs] == [(PONG, b"one"), (PONG, b"two")]
    assert channel.ignored_binary == 1


def test_a_flood_of_tiny_frames_leaves_the_hub_to_others(open_pair: Opener) -> None:
    """Whatever one peer sends, no pass of the hub may take the 20 ms that another call's frame has."""
    _, peer = open_pair(limits=Limits(max_message_bytes=1_000, messages_per_s=250, message_burst=1_500))
    gaps_s = []
    flood = frame(PONG) * 100_000
    flooding = beside(lambda: [peer.try_send(flood) for _ in range(10)])
    while not flooding.done():
        at = time.monotonic()
        green.sleep(0.001)
        gaps_s.append(time.monotonic() - at)
    assert sorted(gaps_s)[-6] < 0.02, f"longest gaps {[round(gap, 3) for gap in sorted(gaps_s)[-8:]]}"


def test_the_sources_of_time_are_what_the_tests_think() -> None:
    """The constants that are shortened above exist, with the values that callers rely on."""
    assert channel_module.WRITE_STALL_S == 5.0
    assert channel_module.MESSAGE_DEADLINE_S == 5.0
    assert channel_module.CLOSE_WAIT_S == 0.5
