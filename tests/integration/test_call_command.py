"""`call` in a shell, against a real far end on real sockets: exit codes, words, files."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from twilio.request_validator import RequestValidator

from server.audio.wav import read_ulaw
from server.cli.call import call
from tests.integration.tiny_gateway import FarStream, TinyGateway, beep, closed_port, mute, tone

DATA = Path(__file__).parents[1] / "data"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def gateway() -> Iterator[TinyGateway]:
    with TinyGateway(beep) as running:
        yield running


def shell(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    quick = ("--quiet-after", "0.2", "--timeout", "1", "--seconds", "0.2")
    env = {"TWILIO_AUTH_TOKEN": "", "PUBLIC_BASE_URL": ""} | (env or {})
    return CliRunner().invoke(call, [*quick, *map(str, arguments)], env=env)


def test_a_good_call_ends_with_0_and_says_what_was_heard(gateway: TinyGateway, tmp_path: Path):
    out, stereo = tmp_path / "out.wav", tmp_path / "both.wav"
    result = shell(gateway.url, "--out", out, "--stereo", stereo, "--wav", DATA / "hebrew_question.wav")
    assert result.exit_code == 0, result.output
    assert "webhook 200 in" in result.output
    assert "verdict PASS" in result.output
    assert len(read_ulaw(out)) > 100 * 8
    frames = stereo.read_bytes()
    assert struct.unpack_from("<H", frames, 22) == (2,)
    left, right = frames[44::4] + frames[45::4], frames[46::4] + frames[47::4]
    assert any(left) and any(right)


def test_silence_ends_with_1(gateway: TinyGateway):
    gateway.on_stream = mute
    result = shell(gateway.url)
    assert result.exit_code == 1
    assert "the caller heard nothing" in result.output


def test_sound_that_comes_too_late_ends_with_1(gateway: TinyGateway):
    def late(stream: FarStream) -> None:
        stream.until("media", 20)
        beep_now(stream)

    def beep_now(stream: FarStream) -> None:
        stream.play(tone(60))
        mute(stream)

    gateway.on_stream = late
    result = shell(gateway.url, "--expect-first-audio", "0.2")
    assert result.exit_code == 1
    assert "expected within 0.2 s" in result.output
    assert shell(gateway.url, "--expect-first-audio", "1.5").exit_code == 0


def test_json_is_alone_on_stdout_and_hebrew_is_whole(gateway: TinyGateway):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        "<Say>שלום, הגעתם למאפייה</Say>" + gateway.connect()
    )
    result = shell(gateway.url, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == report["outcome"] == 0
    assert report["said"] == ["שלום, הגעתם למאפייה"]
    assert "שלום" in result.stdout
    assert "שלום" in result.stderr
    assert report["first_heard_ms"] > 0
    assert report["frames_sent"] > 10


def test_control_characters_of_the_far_end_do_not_reach_the_terminal(gateway: TinyGateway):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml("<Say>a\u0085&#x9B;31mb</Say>")
    assert "\x9b" not in shell(gateway.url).output


@pytest.mark.parametrize("at", ["webhook", "upgrade"])
def test_a_refused_call_ends_with_4_and_says_what_to_do(gateway: TinyGateway, at: str):
    if at == "webhook":
        gateway.replies["/webhook/incoming_call"] = (403, "text/plain", b"no")
    else:
        gateway.refuse_upgrade = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    result = shell(gateway.url)
    assert result.exit_code == 4
    assert "TWILIO_AUTH_TOKEN" in result.output


def test_a_closed_port_ends_with_3():
    result = shell(f"http://127.0.0.1:{closed_port()}")
    assert result.exit_code == 3
    assert "nothing listens" in result.output
    assert "start_all.sh" in result.output


def test_a_webhook_without_answer_ends_with_3(gateway: TinyGateway):
    released = threading.Event()

    def slow(_: Any) -> Any:
        released.wait(5)
        return 200, "text/xml", b"<Response/>"

    gateway.replies["/webhook/incoming_call"] = slow
    result = shell(gateway.url, "--timeout", "0.3")
    released.set()
    assert result.exit_code == 3
    assert "did not answer in time" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp://x"], "no http://"),
        (["127.0.0.1:5000"], "no http://"),
        (["http://"], "no http://"),
        (["http://x:99999"], "no http://"),
        (["--wav", "no-such.wav"], "no-such.wav"),
        (["--wav", __file__], "not a WAV file"),
        (["--dtmf", "12"], "--dtmf 12#@3.5"),
        (["--dtmf", "x@1"], "KEYS@SECONDS"),
        (["--path", "ws"], "does not begin with /"),
        (["--out", "/no/such/folder/out.wav"], "the folder does not exist"),
        (["--public-url", "https://"], "no http://"),
        (["--timeout", "0"], "timeout"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_usage_errors_end_with_2(arguments: list[str], words: str):
    result = shell(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_the_path_of_the_stream_can_be_replaced(gateway: TinyGateway):
    assert shell(gateway.url, "--path", "/ws/twilio-media/").exit_code == 0
    assert gateway.requests[1].path == "/ws/twilio-media/"


def test_the_environment_gives_token_and_public_address(gateway: TinyGateway):
    env = {"TWILIO_AUTH_TOKEN": f"{TOKEN},older", "PUBLIC_BASE_URL": "app.example"}
    assert shell(gateway.url, env=env).exit_code == 0
    webhook = gateway.requests[0]
    assert webhook.headers["Host"] == "app.example"
    url = "https://app.example/webhook/incoming_call"
    assert RequestValidator(TOKEN).validate(url, webhook.form, webhook.headers["X-Twilio-Signature"])


def test_without_a_token_nothing_is_signed(gateway: TinyGateway):
    assert shell(gateway.url, "--unsigned", env={"TWILIO_AUTH_TOKEN": TOKEN}).exit_code == 0
    assert all("X-Twilio-Signature" not in request.headers for request in gateway.requests)
