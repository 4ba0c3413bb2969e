"""The simulated HTTP API as others meet it: through OpenAI's own client library, and as a command."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from server.errors import ConfigError
from server.prompts import load_prompts
from server.simulator.openai_http.script import read_script
from server.simulator.openai_http.server import OpenAIHttpServer
from tests.integration.calls import eventually

ROOT = Path(__file__).resolve().parents[2]
WAV = (ROOT / "tests" / "data" / "hebrew_question.wav").read_bytes()
TOOL: Any = {
    "type": "function",
    "function": {"name": "end_call", "parameters": {"type": "object", "properties": {}}},
}


@contextmanager
def simulator(*faults: str, **script: Any) -> Iterator[tuple[OpenAIHttpServer, OpenAI]]:
    with OpenAIHttpServer(faults=faults, script=read_script(script), speed=400.0, use_espeak=False) as server:
        with OpenAI(base_url=server.base_url, api_key="sk-test", max_retries=0, timeout=5) as client:
            yield server, client


def test_openai_s_own_client_is_understood_and_understands() -> None:
    text = load_prompts().get("he", "goodbye").text
    answers = [[{"text": text}, {"call": "end_call"}]]
    with simulator(hears=["שלום"], answers=answers) as (server, client):
        heard = client.audio.transcriptions.create(file=("a.wav", WAV, "audio/wav"), model="gpt-transcribe")
        assert heard.text == "שלום"
        stream = client.chat.completions.create(
            model="gpt-6-luna",
            messages=[{"role": "user", "content": heard.text}],
            tools=[TOOL],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
        assert chunks[-2].choices[0].finish_reason == "tool_calls"
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0
        with client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="marin", input=text, response_format="pcm"
        ) as answer:
            assert answer.headers["content-type"] == "audio/pcm"
            assert answer.headers["x-simulator-voice"] == "prompt"
            pcm = b"".join(answer.iter_bytes())
        assert len(pcm) == len(load_prompts().get("he", "goodbye").payload) * 6
        assert [request.status for request in server.served] == [200, 200, 200]


def test_it_says_which_ear_heard() -> None:
    with simulator(hears=["שלום"]) as (_, client):
        ears = []
        for _ in range(2):
            raw = client.audio.transcriptions.with_raw_response.create(
                file=("a.wav", WAV, "audio/wav"), model="whisper-1", language="he"
            )
            ears.append((raw.headers["x-simulator-ear"], raw.parse().text))
    assert ears == [("script", "שלום"), ("length", "[speech 3.4 s]")]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", openai.AuthenticationError),
        ("404", openai.NotFoundError),
        ("409", openai.ConflictError),
        ("429", openai.RateLimitError),
        ("quota", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("drop", openai.APIConnectionError),
    ],
)
def test_a_fault_is_the_error_that_openai_s_client_knows(fault: str, error: type[Exception]) -> None:
    with simulator(fault) as (_, client), pytest.raises(error) as caught:
        client.audio.transcriptions.create(file=("a.wav", WAV, "audio/wav"), model="whisper-1")
    if fault == "quota":
        assert getattr(caught.value, "code", None) == "insufficient_quota"


def test_a_bad_request_names_its_field() -> None:
    with simulator() as (_, client), pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="tts-1", voice="bob", input="hi", response_format="pcm")
    assert caught.value.param == "voice"


def ask(
    server: OpenAIHttpServer, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    connection = HTTPConnection(server.host, server.port, timeout=5)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/v1/models", {}, b"", 404),
        ("POST", "/v1/embeddings", {"Authorization": "Bearer sk-x"}, b"{}", 404),
        ("POST", "/v1/chat/completions", {}, b"{}", 401),
        ("POST", "/v1/chat/completions", {"Authorization": "Bearer sk-x"}, b"not json", 400),
        ("POST", "/v1/chat/completions", {"Authorization": "Bearer sk-x"}, b"[]", 400),
        ("POST", "/v1/audio/transcriptions", {"Authorization": "Bearer sk-x"}, b"{}", 400),
        ("POST", "/v1/audio/speech", {"api-key": "x"}, b"{}", 400),
    ],
)
def test_what_is_no_request_is_told_so(
    method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    with simulator() as (server, _):
        found, answer = ask(server, method, path, body, **headers)
    assert found == status
    assert answer["error"]["message"]


def test_broken_forms_end_no_connection_in_silence() -> None:
    with simulator() as (server, _):
        kind = "multipart/form-data; boundary=x"
        for body in (
            b"",
            b"--x\r\n",
            b"--x--\r\n",
            b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--",
        ):
            form = {"Authorization": "Bearer sk-x", "Content-Type": kind}
            status, _ = ask(server, "POST", "/v1/audio/transcriptions", body, **form)
            assert status == 400


def test_stopping_ends_what_is_under_way() -> None:
    with simulator("never") as (server, client):
        failures: list[Exception] = []

        def wait_for_it() -> None:
            try:
                client.audio.speech.create(model="tts-1", voice="alloy", input="hi", response_format="pcm")
            except openai.APIConnectionError as error:
                failures.append(error)

        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        eventually(lambda: bool(server.served))
        server.stop()
        waiting.join(3)
        assert len(failures) == 1


def test_a_speed_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="speed"):
        OpenAIHttpServer(speed=0)


# The command


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address it says it answers at."""
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "simulate", "openai-http", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+/v1", process.stdout.readline())
        assert found, process.stderr and process.stderr.read()
        assert f"OPENAI_BASE_URL={found[0]} " in process.stdout.readline()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"answers": [[{"text": "סגור היום"}]]}', "utf-8")
    with command("--script", str(script), "--fault", "speech:500", "--speed", "400") as (process, url):
        with OpenAI(base_url=url, api_key="sk-test", max_retries=0) as client:
            stream = client.chat.completions.create(
                model="gpt-6-luna", messages=[{"role": "user", "content": "שלום"}], stream=True
            )
            assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "סגור היום"
            with pytest.raises(openai.InternalServerError):
                client.audio.speech.create(model="tts-1", voice="alloy", input="hi", response_format="pcm")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "chat 200 " in err and "speech 500 " in err and "faults=500" in err
    assert "stopped after 2 request(s)" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "video:cut"], "no endpoint 'video'"),
        (["--script", "/nowhere/script.json"], "No such file"),
        (["--speed", "0"], "--speed"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "simulate", "openai-http", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr


def test_the_command_says_when_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "server", "simulate", "openai-http", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
