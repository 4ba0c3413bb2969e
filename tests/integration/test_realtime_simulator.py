"""The Realtime simulator over real sockets: in a thread, and as the command that people run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from server.prompts import load_prompts
from server.simulator.realtime.persona import ScriptPersona, Speech, demo_personas
from server.simulator.realtime.server import RealtimeServer
from tests.openai_types import parse_server_event, validate_client_event

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
PATIENCE_S = 5.0
FAST = 400.0
HEADERS = {"Authorization": "Bearer sk-test"}
PCMU = {"type": "audio/pcmu"}
SESSION = {"type": "realtime", "audio": {"input": {"format": PCMU}, "output": {"format": PCMU}}}


class Client:
    """A client as the gateway is one; judges every event of a GA server."""

    def __init__(self, url: str, *, is_ga: bool = True, headers: dict[str, str] | None = None) -> None:
        self.is_ga = is_ga
        self.ws = websocket.create_connection(
            f"{url}?model=gpt-realtime-2.1", timeout=PATIENCE_S, header=headers or HEADERS
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.ws.close(timeout=1)
        self.ws.shutdown()  # closes the socket of a connection that was lost, too

    def send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind} | fields
        if self.is_ga:
            validate_client_event(event)
        self.ws.send(json.dumps(event))

    def append(self, payload: bytes) -> None:
        for at in range(0, len(payload), 1600):
            audio = base64.b64encode(payload[at : at + 1600]).decode("ascii")
            self.send("input_audio_buffer.append", audio=audio)

    def receive(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.ws.recv())
        if self.is_ga:
            parse_server_event(event)
        return event

    def until(self, kind: str) -> list[dict[str, Any]]:
        """Events up to and with the first of that type."""
        events = [self.receive()]
        while events[-1]["type"] != kind:
            events.append(self.receive())
        return events

    def configure(self, session: dict[str, Any] | None = None) -> None:
        self.until("session.created")
        self.send("session.update", session=session or SESSION)
        self.until("session.updated")

    def closed(self) -> tuple[int, str]:
        """Read to the end; the close code and reason."""
        while True:
            opcode, data = self.ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big"), data[2:].decode("utf-8")


def audio_of(events: list[dict[str, Any]]) -> bytes:
    names = ("response.output_audio.delta", "response.audio.delta")
    return b"".join(base64.b64decode(event["delta"]) for event in events if event["type"] in names)


def clip(name: str) -> bytes:
    return (DATA / f"{name}.ulaw").read_bytes()


def eventually(condition: Any) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[RealtimeServer] = []

    def start(*faults: str, **options: Any) -> RealtimeServer:
        server = RealtimeServer(faults=faults, **({"speed": FAST} | options)).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


class TestDemo:
    def test_greets_repeats_and_says_goodbye(self, serve: Any) -> None:
        prompts = load_prompts()
        with Client(serve().url) as client:
            client.configure(SESSION | {"tools": [{"type": "function", "name": "end_call"}]})
            client.send("response.create")
            greeting = audio_of(client.until("response.done"))
            assert greeting == b"".join(prompts.get(tongue, "greeting").payload for tongue in ("he", "en"))

            client.append(clip("hebrew_question"))
            heard = client.until("response.done")
            began = next(e for e in heard if e["type"] == "input_audio_buffer.speech_started")
            ended = next(e for e in heard if e["type"] == "input_audio_buffer.speech_stopped")
            own_words = clip("hebrew_question")[began["audio_start_ms"] * 8 : ended["audio_end_ms"] * 8]
            assert audio_of(heard) == prompts.get("he", "you_said").payload + own_words

            content = [{"type": "input_text", "text": "[keys] #"}]
            item = {"type": "message", "role": "user", "content": content}
            client.send("conversation.item.create", item=item)
            client.send("response.create")
            goodbye = client.until("response.done")
            assert audio_of(goodbye) == prompts.get("he", "goodbye").payload
            assert goodbye[-1]["response"]["output"][-1]["name"] == "end_call"

    def test_barge_in_over_the_wire(self, serve: Any) -> None:
        with Client(serve(speed=1.0).url) as client:
            client.configure()
            client.send("response.create")
            client.until("response.output_audio.delta")
            client.append(clip("hebrew_barge_in"))
            events = client.until("response.done")
            assert events[-1]["response"]["status_details"]["reason"] == "turn_detected"

    def test_several_clients_at_once_do_not_mix(self, serve: Any) -> None:
        server = serve()
        clips = ["human_command", "human_sentence", "hebrew_question", "quiet_caller"] * 3
        found: dict[int, bytes] = {}

        def call(number: int, name: str) -> None:
            with Client(server.url) as client:
                client.configure()
                client.append(clip(name))
                found[number] = audio_of(client.until("response.done"))

        threads = [threading.Thread(target=call, args=pair) for pair in enumerate(clips)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        prompt = load_prompts().get("he", "you_said").payload
        assert len(found) == server.sessions_total == 12
        for number, name in enumerate(clips):
            assert found[number].removeprefix(prompt) in clip(name)
        assert len(set(found.values())) == 4


class TestDoor:
    def refused(self, url: str, headers: dict[str, str]) -> tuple[int, str]:
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            websocket.create_connection(url, timeout=PATIENCE_S, header=headers)
        body = caught.value.resp_body or b"{}"
        return caught.value.status_code, json.loads(body)["error"]["code"]

    def test_a_key_and_a_model_are_needed(self, serve: Any) -> None:
        url = serve().url
        assert self.refused(f"{url}?model=m", {}) == (401, "missing_api_key")
        assert self.refused(f"{url}?model=m", {"Authorization": "Bearer "}) == (401, "missing_api_key")
        assert self.refused(url, HEADERS) == (400, "missing_model")
        assert self.refused(f"{url}/elsewhere?model=m", HEADERS) == (404, "not_found")
        with Client(url, headers={"api-key": "azure"}) as client:
            client.until("session.created")

    @pytest.mark.parametrize(
        ("status", "code"),
        [(401, "invalid_api_key"), (404, "model_not_found"), (429, "insufficient_quota")],
    )
    def test_a_refusal_that_is_asked_for(self, serve: Any, status: int, code: str) -> None:
        assert self.refused(f"{serve(f'refuse{status}').url}?model=m", HEADERS) == (status, code)

    def test_settings_that_are_not_answered(self, serve: Any) -> None:
        with Client(serve("no_update").url) as client:
            client.until("session.created")
            client.send("session.update", session={"type": "realtime", "instructions": "x"})
            client.send("conversation.item.delete", item_id="nowhere")
            assert client.receive()["type"] == "error", "nothing of the settings comes before"

    def test_one_connection_is_closed_by_its_number(self, serve: Any) -> None:
        server = serve()
        with Client(server.url) as first, Client(server.url) as second:
            for client in (first, second):
                client.until("session.created")
            server.close_session(2, 1011, "sorry")
            assert second.closed() == (1011, "sorry")
            server.close_session(7, 1011)
            first.send("conversation.item.delete", item_id="nowhere")
            assert first.receive()["type"] == "error"

    def test_what_is_no_websocket_gets_an_http_answer(self, serve: Any) -> None:
        server = serve()
        with socket.create_connection((server.host, server.port), PATIENCE_S) as sock:
            sock.sendall(b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 426 ")
        with socket.create_connection((server.host, server.port), PATIENCE_S) as sock:
            try:
                sock.sendall(b"x" * 40_000)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # hung up on already
        assert eventually(lambda: server.sessions_open == 0)
        assert server.sessions_total == 0

    def test_the_beta_header_is_told_off_and_closed(self, serve: Any) -> None:
        headers = HEADERS | {"OpenAI-Beta": "realtime=v1"}
        with Client(serve().url, headers=headers) as client:
            assert client.receive()["error"]["code"] == "beta_api_shape_disabled"
            assert client.closed()[0] == 4000

    def test_a_full_server_refuses_the_next(self, serve: Any) -> None:
        server = serve(max_sessions=1)
        with Client(server.url) as client:
            client.until("session.created")
            assert server.sessions_open == 1
            assert self.refused(f"{server.url}?model=m", HEADERS) == (503, "too_many_sessions")
        assert eventually(lambda: server.sessions_open == 0)
        with Client(server.url):
            pass

    def test_a_broken_frame_is_closed_with_its_code(self, serve: Any) -> None:
        server = serve(max_message_bytes=10_000)
        with Client(server.url) as client:
            client.ws.send("x" * 10_001)
            assert client.closed()[0] == 1009
        with Client(serve().url) as client:
            client.until("session.created")
            try:
                client.ws.send("x" * 40_000_000)  # the refusal comes while this is still being sent
            except OSError:
                pass
            assert client.closed()[0] == 1009
        with Client(server.url) as client:
            client.until("session.created")
            client.ws.send_binary(b"\x00")
            assert client.receive()["error"]["code"] == "invalid_json"

    def test_pings_are_answered(self, serve: Any) -> None:
        with Client(serve().url) as client:
            client.until("session.created")
            client.ws.ping("hello")
            opcode, data = client.ws.recv_data(control_frame=True)
            assert (opcode, data) == (websocket.ABNF.OPCODE_PONG, b"hello")

    def test_beta_speaks_on_azure_s_path(self, serve: Any) -> None:
        server = serve(dialect="beta")
        url = server.url.replace("/v1/realtime", "/openai/realtime") + "?api-version=2024-10-01-preview"
        ws = websocket.create_connection(f"{url}&deployment=d", timeout=5, header={"api-key": "k"})
        assert json.loads(ws.recv())["session"]["input_audio_format"] == "pcm16"
        ws.close(timeout=1)
        with Client(server.url, is_ga=False, headers=HEADERS | {"OpenAI-Beta": "realtime=v1"}) as client:
            client.until("session.created")
            client.send("response.create")
            names = {event["type"] for event in client.until("response.done")}
            assert "response.audio.delta" in names
            assert "response.output_audio.delta" not in names


class TestFaults:
    def test_quota(self, serve: Any) -> None:
        with Client(serve("quota").url) as client:
            assert client.receive()["error"]["code"] == "insufficient_quota"
            assert client.closed()[0] == 1008

    def test_no_session(self, serve: Any) -> None:
        with Client(serve("no_session").url) as client:
            client.ws.settimeout(0.3)
            client.send("session.update", session=SESSION)
            with pytest.raises(websocket.WebSocketTimeoutException):
                client.receive()

    def test_drop_resets_the_connection(self, serve: Any) -> None:
        with Client(serve("drop=1.0").url) as client:
            client.configure()
            started = time.monotonic()
            with pytest.raises(ConnectionResetError):
                client.receive()
            assert 0.3 < time.monotonic() - started < 3.0

    def test_close_and_session_expired(self, serve: Any) -> None:
        with Client(serve("close=1011").url) as client:
            client.configure()
            assert client.closed()[0] == 1011
        with Client(serve("session_expired=0.3").url) as client:
            client.until("session.created")
            assert client.receive()["error"]["code"] == "session_expired"
            code, reason = client.closed()
            assert (code, "60 minutes" in reason) == (1001, True)

    @pytest.mark.parametrize("fault", ["garbage", "unknown_events"])
    def test_noise_stands_between_whole_events(self, serve: Any, fault: str) -> None:
        with Client(serve(fault).url) as client:
            client.configure()
            client.send("response.create")
            good, noise = [], []
            while not good or good[-1]["type"] != "response.done":
                text = client.ws.recv()
                try:
                    parse_server_event(json.loads(text))
                    good.append(json.loads(text))
                except (ValueError, AttributeError):
                    noise.append(text)
            assert len(noise) > 5
            assert any("not JSON" in text for text in noise) == (fault == "garbage")
            assert hashlib.sha256(audio_of(good)).digest()

    def test_a_server_that_stops_says_goodbye(self, serve: Any) -> None:
        server = serve()
        with Client(server.url) as client:
            client.configure()
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            assert client.closed()[0] == 1001
            client.ws.close(timeout=1)
            stopping.join()
        assert server.sessions_open == 0


class TestPressure:
    def test_a_client_that_does_not_read_blocks_nobody(self, serve: Any) -> None:
        long = ScriptPersona([(Speech(b"\x31" * 3_000_000, "long"),)])
        server = serve(persona_factory=lambda: long, speed=100_000.0)
        with Client(server.url) as lazy, Client(server.url) as busy:
            lazy.configure()
            lazy.send("response.create")
            busy.configure()
            time.sleep(0.3)  # the lazy client's socket buffers are full by now
            lazy.send("response.cancel")
            busy.send("conversation.item.retrieve", item_id="item_x")
            assert busy.receive()["error"]["code"] == "item_retrieve_invalid_item_id"
            events = lazy.until("response.done")
            assert events[-1]["response"]["status"] == "cancelled"
            assert len(audio_of(events)) < 3_000_000

    def test_a_client_that_vanishes_in_mid_answer_is_forgotten(self, serve: Any) -> None:
        server = serve(speed=1.0)
        for _ in range(5):
            client = Client(server.url)
            client.configure()
            client.send("response.create")
            client.until("response.output_audio.delta")
            client.ws.sock.close()
        assert eventually(lambda: server.sessions_open == 0)

    def test_an_append_of_15_mib_is_taken_and_a_larger_one_refused(self, serve: Any) -> None:
        with Client(serve().url) as client:
            client.configure(SESSION | {"audio": SESSION["audio"] | {"input": {"turn_detection": None}}})
            for size, refused in ((15 * 1024 * 1024 + 3, True), (15 * 1024 * 1024, False)):
                client.send("input_audio_buffer.append", audio=base64.b64encode(bytes(size)).decode("ascii"))
                if refused:
                    assert client.receive()["error"]["param"] == "audio"
            client.send("input_audio_buffer.commit")
            assert client.receive()["type"] == "input_audio_buffer.committed"


def test_the_log_and_the_audio_files_tell_what_was_carried(serve: Any, tmp_path: Path) -> None:
    server = serve(log_path=tmp_path / "log.jsonl", audio_dir=tmp_path / "audio")
    sound = clip("human_sentence")
    with Client(server.url) as client:
        client.configure()
        client.append(sound)
        heard = audio_of(client.until("response.done"))
    server.stop()
    assert (tmp_path / "audio" / "session-1-in.ulaw").read_bytes() == sound
    assert (tmp_path / "audio" / "session-1-out.ulaw").read_bytes() == heard
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    into, out = ([r for r in records if r["dir"] == way] for way in ("in", "out"))
    assert into[-1]["audio_bytes"] == len(sound)
    assert out[-2]["audio_bytes"] == len(heard)
    deltas = [r["event"]["delta"] for r in out if r["event"].get("type") == "response.output_audio.delta"]
    assert sum(delta["bytes"] for delta in deltas) == len(heard)
    assert deltas[0]["sha256"] == hashlib.sha256(heard[: deltas[0]["bytes"]]).hexdigest()
    assert [r["ms"] for r in records] == sorted(r["ms"] for r in records)
    assert records[-1]["dir"] == "end"


def test_junk_is_logged_and_answered_like_anything_else(serve: Any, tmp_path: Path) -> None:
    log_path = tmp_path / "log.jsonl"
    junk = [
        "",
        "{",
        "[" * 3000 + "]" * 3000,
        '{"type": "\\ud800"}',
        '{"type": {}, "audio": 5, "item": {}}',
        "null",
    ]
    with Client(serve(log_path=log_path, audio_dir=tmp_path).url) as client:
        client.until("session.created")
        for message in junk:
            client.ws.send(message)
            assert client.receive()["type"] == "error"
    records = [json.loads(line) for line in log_path.read_text("utf-8").splitlines()]
    assert len([record for record in records if record["dir"] == "in"]) == len(junk)


class TestCommand:
    def start(self, *arguments: str) -> tuple[subprocess.Popen[str], str, str]:
        """The process, its URL and the line of variables; both empty when it ended at once."""
        code = "from server.cli.simulate import simulate; simulate()"
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, "realtime", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        ready, variables = process.stdout.readline().strip(), process.stdout.readline().strip()
        return process, ready.removeprefix("realtime simulator ready: "), variables

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_serves_until_it_is_told_to_end(self, number: signal.Signals) -> None:
        process, url, variables = self.start("--speed", str(FAST), "--delta-bytes", "160")
        try:
            with Client(url) as client:
                client.configure()
                client.send("response.create")
                deltas = [e for e in client.until("response.done") if "output_audio.delta" in e["type"]]
                assert {len(base64.b64decode(e["delta"])) for e in deltas} == {160}
                process.send_signal(number)
                assert client.closed()[0] == 1001
            _, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 0
        assert variables == f"export OPENAI_REALTIME_URL={url} OPENAI_API_KEY=sk-simulator"
        assert "1 session" in err
        assert "Traceback" not in err

    def test_says_a_script(self, tmp_path: Path) -> None:
        script = {"answers": [[{"base64": base64.b64encode(b"\x42" * 800).decode(), "transcript": "beep"}]]}
        (tmp_path / "script.json").write_text(json.dumps(script))
        arguments = ["--persona", "script", "--script", str(tmp_path / "script.json"), "--dialect", "beta"]
        process, url, variables = self.start(*arguments, "--fault", "slow=0.2")
        try:
            with Client(url, is_ga=False) as client:
                client.until("session.created")
                client.send("session.update", session={"output_audio_format": "g711_ulaw"})
                client.send("response.create")
                assert audio_of(client.until("response.done")) == b"\x42" * 800
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        assert "REALTIME_DIALECT=beta" in variables

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--fault", "explode"], "no fault 'explode'; there are refuse401"),
            (["--fault", "slow=soon"], "slow needs a number"),
            (["--fault", "mute=1"], "takes no argument"),
            (["--persona", "script"], "go together"),
            (["--delta-bytes", "9-3"], "small to large"),
            (["--speed", "0"], "speed"),
            (["--host", "203.0.113.1"], "cannot listen"),
        ],
    )
    def test_usage_errors_end_with_2_and_a_reason(self, arguments: list[str], complaint: str) -> None:
        process, _, _ = self.start(*arguments)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 2
        assert complaint in err
        assert "Traceback" not in err


_GREEN = """
import eventlet
eventlet.monkey_patch()
import json, sys, threading, time
import websocket
from server.simulator.realtime.server import RealtimeServer

worst_s = 0.0
def watch():
    global worst_s
    while True:
        before = time.monotonic()
        time.sleep(0.002)
        worst_s = max(worst_s, time.monotonic() - before - 0.002)

threading.Thread(target=watch, daemon=True).start()
server = RealtimeServer(speed=50.0).start()
assert server._acceptor.__class__.__module__ == "threading"
def connect():
    return websocket.create_connection(server.url + "?model=m", timeout=5, header={"api-key": "k"})

talker, idler, lost = connect(), connect(), connect()
talker.send(json.dumps({"type": "response.create"}))
while json.loads(talker.recv())["type"] != "response.done":
    pass
assert json.loads(idler.recv())["type"] == "session.created"
assert server.sessions_open == 3
lost.sock.close()
until = time.monotonic() + 5
while server.sessions_open != 2:
    assert time.monotonic() < until, "a client that is gone keeps its session"
    time.sleep(0.01)
stopping = threading.Thread(target=server.stop)
started = time.monotonic()
stopping.start()
for ws in (talker, idler):
    opcode, data = ws.recv_data()
    assert (opcode, data[:2]) == (8, (1001).to_bytes(2, "big"))
    ws.close(timeout=1)
stopping.join()
assert server.sessions_open == 0
assert time.monotonic() - started < 1.0, "stop waited for a thread that nothing woke"
print(f"ok, worst lag {worst_s * 1000:.1f} ms")
"""


def test_the_same_code_runs_and_ends_on_green_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _GREEN],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith("ok"), done.stderr
    assert "Traceback" not in done.stderr


def test_one_persona_factory_serves_many_sessions() -> None:
    with RealtimeServer(persona_factory=demo_personas("en"), speed=FAST) as server:
        for _ in range(2):
            with Client(server.url) as client:
                client.configure()
                client.send("response.create")
                assert len(audio_of(client.until("response.done"))) > 70_000
        assert server.sessions_total == 2
