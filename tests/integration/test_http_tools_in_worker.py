"""HTTP tools in a real gunicorn worker, where everything is green: deadlines, the hub, kept connections."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from server.services.http_tools import MAX_ANSWER_BYTES
from tests.integration.calls import eventually
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.papers import make_papers
from tests.integration.receivers import Got, Receiver, http, receiver

APP = "tests.integration.tool_app:app"
HUB_S = 0.3
"""Far above what the hub is late by (2 ms), far below what a tool that held it would cost (1 s)."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_papers(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def worker(authority):
    with GunicornProcess(APP, env={"TOOL_CA": str(authority.ca)}) as process:
        yield process


def run(worker: GunicornProcess, url: str, arguments: object = None, **more: object) -> dict:
    """What the worker says of running a tool at `url`, and how long that took in its own words."""
    tool = {"name": "stock", "description": "d", "url": url, "parameters": {"type": "object"}} | more
    body = json.dumps({"tool": tool, "arguments": arguments or {}}).encode()
    asked = Request(worker.base_url + "/run", body, {"Content-Type": "application/json"})
    with urlopen(asked, timeout=15) as response:
        return json.load(response)


def get(worker: GunicornProcess, path: str) -> str:
    with urlopen(worker.base_url + path, timeout=15) as response:
        return response.read().decode()


def silent(got: Got, sock: socket.socket) -> None:
    """Takes the request and says nothing until the client has gone."""
    sock.recv(1)


def dripping(got: Got, sock: socket.socket) -> None:
    """A byte now and then: no read of it times out, only the whole does."""
    try:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            threading.Event().wait(0.05)
    except OSError:
        pass


def dripping_head(got: Got, sock: socket.socket) -> None:
    try:
        while True:
            sock.sendall(b"HTTP/1.1 200 OK\r\n" if got.target == "/" else b"X: y\r\n")
            got.target = ""
            threading.Event().wait(0.05)
    except OSError:
        pass


@pytest.mark.parametrize("slow", [silent, dripping, dripping_head])
@pytest.mark.parametrize("timeout_s", [0.5, 1.2])
def test_a_slow_receiver_is_given_its_time_and_no_more(worker, slow, timeout_s):
    with receiver(slow) as there:
        answer = run(worker, f"http://127.0.0.1:{there.port}/", timeout_s=timeout_s)
    assert (answer["outcome"], answer["detail"]) == ("timeout", f"no answer in {timeout_s:g} s")
    assert abs(answer["elapsed_ms"] / 1000 - timeout_s) < 0.3


def test_a_slow_name_and_a_slow_connection_count_too(worker):
    """The backlog of a listener that accepts nobody fills up: connecting to it waits."""
    answer = run(worker, "https://slow.example/x", timeout_s=0.5)
    assert answer["outcome"] == "timeout" and abs(answer["elapsed_ms"] - 500) < 300
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        answer = run(worker, f"http://127.0.0.1:{address[1]}/x", timeout_s=0.5)
        for each in waiting:
            each.close()
    assert answer["outcome"] == "timeout" and abs(answer["elapsed_ms"] - 500) < 300


def test_slow_tools_hold_neither_the_hub_nor_each_other(worker):
    with receiver(silent) as there, ThreadPoolExecutor(5) as pool:
        get(worker, "/healthz"), get(worker, "/lag")
        began_at = time.monotonic()
        slow = [pool.submit(run, worker, there.url, timeout_s=1.0) for _ in range(5)]
        while len(there.requests) < 5:
            assert time.monotonic() - began_at < 5
            time.sleep(0.005)
        waits = []
        while not all(each.done() for each in slow):
            asked_at = time.monotonic()
            get(worker, "/healthz")
            waits.append(time.monotonic() - asked_at)
        assert [each.result()["outcome"] for each in slow] == ["timeout"] * 5
        assert time.monotonic() - began_at < 2.0, "they waited for each other"
    lag_s = float(get(worker, "/lag"))
    print(
        f"hub late by {lag_s * 1000:.1f} ms; {len(waits)} others answered, worst {max(waits) * 1000:.0f} ms"
    )
    assert len(waits) > 20
    assert lag_s < HUB_S


def test_the_worker_talks_tls_and_checks_it(worker, authority):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.certificate, authority.key)
    with receiver(http('{"יש": "חלה"}'), tls=server) as there:
        assert run(worker, there.url, {"מוצר": "חלה"})["answer"] == {"יש": "חלה"}
        assert run(worker, there.url, {"מוצר": "חלה"})["answer"] == {"יש": "חלה"}
        assert there.connections == 1, "the second goes over the same connection, without a handshake"
        refused = run(worker, f"https://localhost:{there.port}/x")
        assert refused["outcome"] == "unreachable" and "certificate" in refused["detail"].lower()


def test_a_kept_connection_that_the_other_side_closed_is_not_used(worker):
    """Whether it says so (FIN) or not so kindly (RST)."""
    sockets: list[socket.socket] = []

    def keep(got: Got, sock: socket.socket) -> bytes:
        sockets.append(sock)
        return http("[1]")

    with receiver(keep) as there:
        for end in (fin, rst):
            assert run(worker, there.url)["outcome"] == "ok"
            end(sockets[-1])
            answer = run(worker, there.url)
            assert answer["outcome"] == "ok", answer
        assert len(there.requests) == 4 and there.connections >= 3


def fin(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


def rst(sock: socket.socket) -> None:
    """The thread that reads from it wakes and closes its own part: only then is the socket closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.shutdown(socket.SHUT_RD)
    sock.close()
    eventually(lambda: sock.fileno() == -1)
    time.sleep(0.02)


def test_a_connection_with_an_answer_that_was_not_read_whole_is_not_used_again(worker):
    """The rest of the one answer would be taken for the beginning of the next."""

    def late(got: Got, sock: socket.socket) -> bytes:
        if b'"first"' in got.body:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200000\r\n\r\n"
            return head + b"x" * (MAX_ANSWER_BYTES + 1)  # as much as is read of it
        return http('"second"')

    with receiver(late) as there:
        assert run(worker, there.url, {"a": "first"})["outcome"] == "too_large"
        assert run(worker, there.url, {"a": "second"})["answer"] == "second"
        assert there.connections == 2


def test_a_name_into_our_own_network_is_refused_in_the_worker_too(worker):
    with receiver(http("{}")) as there:
        answer = run(worker, f"https://here.example:{there.port}/x")
        assert answer["outcome"] == "refused", answer
        assert_nobody_came(there)


def assert_nobody_came(there: Receiver) -> None:
    assert (there.connections, there.requests) == (0, [])


def test_many_tools_leave_nothing_behind(worker):
    """Files that stay open would show after a few hundred calls."""
    pid = worker.worker_pids()[0]

    def open_files() -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    with receiver(lambda got, sock: silent(got, sock) if b"slow" in got.body else http("[1]")) as there:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: run(worker, there.url, {"a": "slow"}, timeout_s=0.5), range(8)))
            before = open_files()
            list(pool.map(lambda _: run(worker, there.url, {"a": "slow"}, timeout_s=0.5), range(24)))
            list(pool.map(lambda _: run(worker, there.url), range(100)))
        after = open_files()
    assert after <= before + 6, (before, after)
