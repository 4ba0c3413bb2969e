"""The app behind the worker's tests: each route shows one thing a worker can do wrong.

It speaks through stdout, one line an event, because the tests outlive it. Variables:

    APP_CLOSES_ON_DRAIN   1: on_drain closes each socket with 1001
    APP_LISTENER_S        becomes app.drain_listener_s
    APP_MAX_FILES         lowers the limit of open files
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import threading
import time
from pathlib import Path

from flask import Flask, Response, request, send_file
from flask_sock import Sock

BIG_FILE = Path(__file__)  # any file will do: it must arrive as it is

app = Flask(__name__)
sock = Sock(app)
live = set()
state = {"draining": False}

if limit := os.environ.get("APP_MAX_FILES"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))


def say(line: str) -> None:
    print(line, flush=True)


def on_drain(deadline_at: float) -> None:
    state["draining"] = True
    say(f"ON_DRAIN now={time.time():.3f} left_s={deadline_at - time.monotonic():.2f}")
    if os.environ.get("APP_CLOSES_ON_DRAIN"):
        for ws in list(live):
            ws.close(1001, "draining")


app.on_drain = on_drain
app.on_end = lambda: say("ON_END")
app.drain_listener_s = float(os.environ.get("APP_LISTENER_S", "0"))


@app.get("/healthz")
def healthz() -> str:
    return str(os.getpid())


@app.get("/readyz")
def readyz() -> tuple[str, int]:
    return ("draining", 503) if state["draining"] else ("ready", 200)


@app.get("/facts")
def facts() -> dict:
    client = request.environ["gunicorn.socket"]
    return {
        "is_patched": socket.socket is type(client) and client.__class__.__name__ == "GreenSocket",
        "is_wrapped_once": hasattr(client, "fd") and not hasattr(client.fd, "fd"),
        "sends_at_once": bool(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
    }


@app.get("/sleep")
def sleep() -> str:
    time.sleep(0.5)
    return "slept"


@app.get("/file")
def file() -> Response:
    return send_file(BIG_FILE)


@app.get("/slow_log")
def slow_log() -> str:
    """Hold the access log's lock, as a log line on a stalled disk does."""
    lock = logging.getLogger("gunicorn.access").handlers[0].lock
    with lock:
        say("LOCKED")
        time.sleep(0.5)
    return "logged"


@app.get("/hog")
def hog() -> str:
    """Hold the processor, and with it the hub, for four seconds."""
    until = time.monotonic() + 4
    while time.monotonic() < until:
        pass
    return "done"


@app.get("/join")
def join() -> dict:
    """Thread.join(timeout) on a thread that outlives it; then the same inside a Timeout that is shorter."""
    import eventlet  # here, or the arbiter's side of a test would have it too

    end = threading.Event()
    thread = threading.Thread(target=end.wait, daemon=True)
    thread.start()
    started_at = time.monotonic()
    thread.join(0.1)
    result = {"returned_after": time.monotonic() - started_at, "is_alive": thread.is_alive(), "outer": "lost"}
    outer = eventlet.Timeout(0.1)
    try:
        thread.join(2)
    except eventlet.Timeout as timeout:
        result["outer"] = "ours" if timeout is outer else "another"
    finally:
        outer.cancel()
    end.set()
    thread.join()
    result["is_alive_at_the_end"] = thread.is_alive()
    return result


@sock.route("/echo")
def echo(ws) -> None:
    live.add(ws)
    try:
        while True:
            ws.send(ws.receive())
    finally:
        live.discard(ws)
        time.sleep(0.01)  # as a record written to a database: the end of a call waits for something
        say("FINALLY")
