"""Each weather of the fault proxy, measured on real sockets.

Bounds from below are what the weather promises. Bounds from above leave room for a busy machine.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import websocket

from tests.integration import tiny_gateway
from tests.integration.fault_flow import MAX_IN_FLIGHT_BYTES
from tests.integration.fault_proxy import FaultProxy
from tests.integration.raw_websocket import reset
from tests.integration.tiny_gateway import TinyGateway, closed_port

WAIT_S = 5.0
SOON_S = 1.0
NOTHING_S = 0.3
"""So long a silence is taken for silence: far longer than a byte takes on loopback."""
NUMBERS = b"".join(b"%07d " % number for number in range(25_000))
"""200 kB in which every byte shows its place."""


class Upstream:
    """A server whose accepted connections the test holds itself."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self.port = self._listener.getsockname()[1]
        self._accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        sock, _ = self._listener.accept()
        sock.settimeout(WAIT_S)
        self._accepted.append(sock)
        return sock

    def close(self) -> None:
        for sock in [*self._accepted, self._listener]:
            sock.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with closing(Upstream()) as server:
        yield server


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", upstream.port) as made:
        yield made


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def open_pair(proxy: FaultProxy, upstream: Upstream) -> Iterator[Callable[[], Pair]]:
    """Makes (client, its upstream) of one connection through the proxy."""
    clients = []

    def open_one() -> Pair:
        clients.append(connected(proxy.port))
        return clients[-1], upstream.accept()

    yield open_one
    for client in clients:
        client.close()


@pytest.fixture
def pair(open_pair: Callable[[], Pair]) -> Pair:
    return open_pair()


def connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), WAIT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read(sock: socket.socket, count: int) -> bytes:
    """Exactly so many bytes; fewer at the end of the stream."""
    got = bytearray()
    while len(got) < count and (data := sock.recv(count - len(got))):
        got += data
    return bytes(got)


def nothing_comes(sock: socket.socket) -> bool:
    """Neither a byte nor an end."""
    sock.settimeout(NOTHING_S)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(WAIT_S)
    return False


def seconds(run: Callable[[], object]) -> float:
    started_at = time.monotonic()
    run()
    return time.monotonic() - started_at


def in_background(run: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def until(is_so: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.002)


def is_reset(sock: socket.socket) -> bool:
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


# Plain


def test_bytes_go_both_ways_and_are_counted(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    writing = in_background(lambda: client.sendall(NUMBERS))
    assert read(far, len(NUMBERS)) == NUMBERS
    writing.join()
    far.sendall(b"an answer")
    assert read(client, 9) == b"an answer"
    counts = proxy.counts
    assert (counts.connections, counts.live) == (1, 1)
    assert (counts.bytes_up, counts.bytes_down) == (len(NUMBERS), 9)


def test_a_plain_proxy_adds_next_to_nothing(pair: Pair) -> None:
    client, far = pair

    def round_trip() -> None:
        client.sendall(b"x")
        far.sendall(read(far, 1))
        assert read(client, 1) == b"x"

    assert min(seconds(round_trip) for _ in range(50)) < 0.005


def test_an_end_is_passed_on_each_way_by_itself(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert read(far, 99) == b"last words"
    far.sendall(b"and the answer")
    far.close()
    assert read(client, 99) == b"and the answer"
    until(lambda: proxy.counts.live == 0)
    assert proxy.counts.bytes_down == 14


@pytest.mark.parametrize("who", [0, 1], ids=["client", "upstream"])
def test_a_reset_is_passed_on(pair: Pair, who: int) -> None:
    reset(pair[who])
    assert is_reset(pair[1 - who])


def test_an_upstream_that_is_not_there_resets_the_client() -> None:
    with FaultProxy("127.0.0.1", closed_port()) as proxy:
        with closing(connected(proxy.port)) as client:
            assert is_reset(client)
        until(lambda: proxy.counts.unreachable == 1)


def test_leaving_closes_what_is_open(upstream: Upstream) -> None:
    with FaultProxy("127.0.0.1", upstream.port) as proxy:
        client = connected(proxy.port)
        far = upstream.accept()
    with closing(client):
        assert read(client, 1) == read(far, 1) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(proxy.port)
    assert (proxy.counts.connections, proxy.counts.live) == (1, 0)


# Slow


def test_latency_is_added_each_way(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.weather(latency_ms=100)
    client.sendall(b"ping")
    assert 0.09 < seconds(lambda: read(far, 4)) < SOON_S
    far.sendall(b"pong")
    assert 0.09 < seconds(lambda: read(client, 4)) < SOON_S


def test_latency_may_be_of_one_way_and_ends(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.weather("down", latency_ms=200)
    client.sendall(b"ping")
    assert seconds(lambda: read(far, 4)) < 0.15
    far.sendall(b"pong")
    assert seconds(lambda: read(client, 4)) > 0.18
    proxy.calm()
    far.sendall(b"pong")
    assert seconds(lambda: read(client, 4)) < 0.15


def test_jitter_spreads_the_delays_and_reorders_nothing(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.weather("up", latency_ms=60, jitter_ms=50)
    count = 100
    arrivals: list[float] = []
    got: list[bytes] = []

    def read_all() -> None:
        for _ in range(count):
            got.append(read(far, 8))
            arrivals.append(time.monotonic())

    reading = in_background(read_all)
    sent_at = []
    for number in range(count):
        sent_at.append(time.monotonic())
        client.sendall(b"%07d " % number)
        time.sleep(0.004)
    reading.join()
    assert got == [b"%07d " % number for number in range(count)]
    delays_ms = [(at - sent) * 1000 for at, sent in zip(arrivals, sent_at, strict=True)]
    assert min(delays_ms) > 8
    assert max(delays_ms) - min(delays_ms) > 20
    assert max(delays_ms) < 110 + 300


def test_bandwidth_is_held_and_order_kept(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.weather("down", bandwidth_bytes_s=100_000)
    data = NUMBERS[:60_000]
    writing = in_background(lambda: far.sendall(data))
    received = []
    took_s = seconds(lambda: received.append(read(client, len(data))))
    writing.join()
    assert received == [data]
    assert 0.55 < took_s < 0.6 + SOON_S


def test_a_slow_link_makes_its_sender_wait(proxy: FaultProxy, pair: Pair) -> None:
    _, far = pair
    proxy.weather("down", bandwidth_bytes_s=1_000)
    far.settimeout(NOTHING_S)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 5_000_000:
            sent += far.send(NUMBERS)
    assert sent < 5_000_000


def test_a_reader_that_does_not_read_makes_its_sender_wait(pair: Pair) -> None:
    _, far = pair
    far.settimeout(NOTHING_S)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 20_000_000:
            sent += far.send(NUMBERS)
    assert sent < 10_000_000


def test_slices_arrive_as_slices(proxy: FaultProxy, pair: Pair) -> None:
    """With a pause after each, for a reader that comes late finds several slices together."""
    client, far = pair
    proxy.weather("up", slice_bytes=1, bandwidth_bytes_s=5_000)
    sizes = []
    data = NUMBERS[:1_000]
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = far.recv(65536)
        sizes.append(len(piece))
        got += piece
    assert got == data
    assert len(sizes) > 100


# Silent


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_stall_loses_nothing(proxy: FaultProxy, pair: Pair, way: str) -> None:
    sender, receiver = pair if way == "up" else pair[::-1]
    proxy.stall(way)
    sender.sendall(b"held back")
    assert nothing_comes(receiver)
    receiver.sendall(b"the other way is free")
    assert read(sender, 21) == b"the other way is free"
    sender.shutdown(socket.SHUT_WR)
    assert nothing_comes(receiver)
    proxy.resume(way)
    assert read(receiver, 99) == b"held back"


def test_a_stalled_sender_meets_full_buffers(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.stall("up")
    client.settimeout(NOTHING_S)
    sent = 0
    data = NUMBERS * 50
    with pytest.raises(TimeoutError):
        while True:
            sent += client.send(data[sent : sent + 65_536])
    assert sent < MAX_IN_FLIGHT_BYTES + 5_000_000
    proxy.resume()
    assert read(far, sent) == data[:sent]


def test_a_stall_hides_a_reset_until_it_ends(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.stall()
    reset(far)
    assert nothing_comes(client)
    proxy.resume()
    assert is_reset(client)


def test_a_black_hole_swallows_bytes_and_ends(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.black_hole()
    client.sendall(NUMBERS)  # taken without end
    client.sendall(NUMBERS)
    far.sendall(b"answer")
    assert nothing_comes(client)
    far.close()
    assert nothing_comes(client)
    assert proxy.counts.live == 1
    assert proxy.counts.bytes_up == 0


def test_a_black_hole_swallows_a_reset(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.black_hole("down")
    reset(far)
    assert nothing_comes(client)
    client.sendall(b"into nothing")
    assert nothing_comes(client)


def test_one_connection_alone_can_be_meant(proxy: FaultProxy, open_pair: Callable[[], Pair]) -> None:
    pairs = [open_pair() for _ in range(5)]
    proxy.black_hole(only=1)
    proxy.reset(only=2)
    proxy.half_close("down", only=3)
    proxy.inject(b"!", only=4)
    proxy.stall(only=9)
    assert is_reset(pairs[1][0]) and is_reset(pairs[1][1])
    assert read(pairs[2][0], 1) == b""
    for client, far in (pairs[0], pairs[3], pairs[4]):
        far.sendall(b"answer")
        if (client, far) != pairs[0]:
            assert read(client, 7 if (client, far) == pairs[3] else 6).endswith(b"answer")
    assert nothing_comes(pairs[0][0])
    client, far = open_pair()
    far.sendall(b"later ones are not meant")
    assert read(client, 24) == b"later ones are not meant"


def test_a_black_hole_of_one_way(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.black_hole("down")
    client.sendall(b"question")
    assert read(far, 8) == b"question"
    far.sendall(b"lost")
    assert nothing_comes(client)
    proxy.resume()
    far.sendall(b"found")
    assert read(client, 5) == b"found"


def test_accepted_but_silent(proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.accept_but_silent()
    with closing(connected(proxy.port)) as client:
        client.sendall(b"hello?")
        assert nothing_comes(client)
        proxy.serve()
        client.sendall(b"hello?")
        assert nothing_comes(client)
        with closing(connected(proxy.port)) as other:
            upstream.accept().sendall(b"here")
            assert read(other, 4) == b"here"
    until(lambda: proxy.counts.live == 1)


# Ends


def test_a_reset_reaches_both_ends(proxy: FaultProxy, pair: Pair) -> None:
    proxy.reset()
    assert is_reset(pair[0])
    assert is_reset(pair[1])
    assert proxy.counts.live == 0


def test_a_reset_of_one_way_leaves_the_other_end_unaware(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.reset("down")
    assert is_reset(client)
    far.sendall(b"is anybody there?")
    assert nothing_comes(far)


@pytest.mark.parametrize("way", ["up", "down"])
def test_half_of_a_connection_is_closed(proxy: FaultProxy, pair: Pair, way: str) -> None:
    sender, receiver = pair if way == "up" else pair[::-1]
    sender.sendall(b"before")
    assert read(receiver, 6) == b"before"
    proxy.half_close(way)
    assert read(receiver, 1) == b""
    sender.sendall(b"after")
    receiver.sendall(b"still open")
    assert read(sender, 10) == b"still open"


def test_what_is_in_flight_comes_before_the_end(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.weather("down", latency_ms=150)
    far.sendall(b"in flight")
    until(lambda: proxy.counts.in_flight_bytes)
    proxy.half_close("down")
    assert read(client, 99) == b"in flight"


def test_refused_and_served_again(proxy: FaultProxy, open_pair: Callable[[], Pair]) -> None:
    client, far = open_pair()
    for _ in range(3):
        proxy.refuse()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connected(proxy.port)
        proxy.serve()
        other, other_far = open_pair()
        other.sendall(b"new")
        assert read(other_far, 3) == b"new"
    client.sendall(b"live ones went on")
    assert read(far, 17) == b"live ones went on"


# Planned


@pytest.mark.parametrize("how", ["reset", "half_close"])
def test_a_cut_after_so_many_bytes(proxy: FaultProxy, open_pair: Callable[[], Pair], how: str) -> None:
    client, far = open_pair()
    far.sendall(b"before the plan")
    assert read(client, 15) == b"before the plan"
    proxy.cut(how, after_bytes=12_345)
    for end, other in ((client, far), open_pair()):
        other.sendall(NUMBERS[:50_000])
        got = bytearray()
        try:
            while data := end.recv(4096):
                got += data
            assert how == "half_close"
        except ConnectionResetError:
            assert how == "reset"
        assert bytes(got) == NUMBERS[:12_345]
        if how == "half_close":
            end.sendall(b"the other way is open")
            assert read(other, 21) == b"the other way is open"


def test_a_cut_of_the_next_connection_only(proxy: FaultProxy, open_pair: Callable[[], Pair]) -> None:
    proxy.cut("reset", "up", after_bytes=4, times=1)
    client, far = open_pair()
    client.sendall(b"12345678")
    assert is_reset(client)
    assert is_reset(far)
    again, far_again = open_pair()
    again.sendall(b"12345678")
    assert read(far_again, 8) == b"12345678"


def test_a_cut_after_some_time(proxy: FaultProxy, pair: Pair) -> None:
    started_at = time.monotonic()
    proxy.cut("reset", after_s=0.2)
    assert is_reset(pair[0])
    assert 0.19 < time.monotonic() - started_at < 0.2 + SOON_S


@pytest.mark.parametrize("how", ["stall", "black_hole"])
def test_a_connection_falls_silent_after_so_many_bytes(
    proxy: FaultProxy, open_pair: Callable[[], Pair], how: str
) -> None:
    proxy.cut(how, after_bytes=100, times=1)
    client, far = open_pair()
    far.sendall(NUMBERS[:1000])
    assert read(client, 100) == NUMBERS[:100]
    assert nothing_comes(client)
    other, other_far = open_pair()
    other_far.sendall(NUMBERS[:1000])
    assert read(other, 1000) == NUMBERS[:1000]
    proxy.resume()
    if how == "stall":
        assert read(client, 900) == NUMBERS[100:1000]
    else:
        assert nothing_comes(client)


def test_garbage_now(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.inject(b"\xff\x00garbage")
    assert read(client, 9) == b"\xff\x00garbage"
    far.sendall(b"sense")
    assert read(client, 5) == b"sense"
    proxy.inject(b"!", "up")
    assert read(far, 1) == b"!"


def test_garbage_between_two_bytes(proxy: FaultProxy, pair: Pair) -> None:
    client, far = pair
    proxy.inject(b"<garbage>", after_bytes=10)
    far.sendall(NUMBERS[:40])
    assert read(client, 49) == NUMBERS[:10] + b"<garbage>" + NUMBERS[10:40]


def test_calm_forgets_all_plans_and_weathers(proxy: FaultProxy, open_pair: Callable[[], Pair]) -> None:
    client, far = open_pair()
    proxy.cut("reset", after_bytes=10)
    proxy.cut("reset", after_s=0.1)
    proxy.weather(latency_ms=5_000, bandwidth_bytes_s=1)
    proxy.refuse()
    proxy.calm()
    assert nothing_comes(client)
    for end, other in ((client, far), open_pair()):
        other.sendall(NUMBERS[:1000])
        assert seconds(lambda end=end: read(end, 1000)) < SOON_S


# What it is for


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(NUMBERS)))
        self.end_headers()
        self.wfile.write(NUMBERS)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    "weather",
    [{}, {"latency_ms": 30, "jitter_ms": 30}, {"slice_bytes": 997}, {"bandwidth_bytes_s": 2_000_000}],
    ids=["plain", "jitter", "slices", "bandwidth"],
)
def test_http_gets_through_every_weather(weather: dict[str, float]) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    serving = in_background(lambda: server.serve_forever(0.02))
    try:
        with FaultProxy("127.0.0.1", server.server_address[1]) as proxy:
            proxy.weather(**weather)
            client = HTTPConnection("127.0.0.1", proxy.port, timeout=WAIT_S)
            for _ in range(2):
                client.request("GET", "/")
                assert client.getresponse().read() == NUMBERS
            client.close()
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize(
    "weather", [{"latency_ms": 20, "jitter_ms": 20}, {"slice_bytes": 1}], ids=["jitter", "slices"]
)
def test_a_websocket_gets_through_every_weather(weather: dict[str, float]) -> None:
    words = [f"מילה {number}" for number in range(100)]

    def echo(stream: tiny_gateway.FarStream) -> None:
        while True:
            stream.ws.send(stream.ws.receive())

    with TinyGateway(echo) as gateway, FaultProxy("127.0.0.1", gateway.port) as proxy:
        proxy.weather(**weather)
        ws = websocket.create_connection(f"ws://127.0.0.1:{proxy.port}/ws/twilio-media", timeout=WAIT_S)
        for word in words:
            ws.send(word)
        assert [ws.recv() for _ in words] == words
        ws.close()
        until(lambda: proxy.counts.live == 0)
