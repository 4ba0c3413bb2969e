"""`python -m server canary` in a shell: real gunicorn, real TLS, real faults; exit codes and words."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from server.cli.canary import canary
from server.simulator.load.certificates import Certificates
from tests.integration.calls import eventually, gateway, model_server
from tests.integration.gunicorn_process import ROOT, GunicornProcess, http_status
from tests.integration.papers import make_papers
from tests.integration.tiny_gateway import FarStream, TinyGateway, closed_port, tone

TOKEN, OTHER_TOKEN = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
READY = (200, "text/plain", b"ready, 0 of 100 calls\n")


def shell(*arguments: str, env: dict[str, str] | None = None) -> Result:
    env = {"TWILIO_AUTH_TOKEN": "", "PUBLIC_BASE_URL": ""} | (env or {})
    return CliRunner().invoke(canary, [*arguments], env=env)


def start(*arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "server", "canary", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": "1"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def demo() -> Iterator[GunicornProcess]:
    with gateway() as process:
        yield process


@pytest.fixture
def tiny() -> Iterator[TinyGateway]:
    with TinyGateway() as running:
        running.replies["/readyz"] = READY
        yield running


def calls_seen(process: GunicornProcess) -> int:
    return process.output().count("INCOMING_CALL")


def test_a_good_gateway_is_one_line_and_0(demo: GunicornProcess) -> None:
    before = calls_seen(demo)
    result = shell(demo.base_url)
    assert result.exit_code == 0, result.output
    [line] = result.output.splitlines()
    assert re.fullmatch(
        r"✓ greeting after \d+ ms, 0\.\d s of sound  webhook \d+ ms  upgrade \d+ ms  ready \d+ ms", line
    )
    demo.wait_for_line(r"WS_STOP .* call=CA000000 reason=stop")
    eventually(lambda: calls_seen(demo) == before + 1)
    assert "Traceback" not in demo.output()


def test_it_hangs_up_as_soon_as_it_knows(demo: GunicornProcess) -> None:
    told = json.loads(shell(demo.base_url, "--json", "--greeting-at-least", "0.3").stdout)
    assert 300 <= told["sound_ms"] < 1000, "the demo's greeting lasts eight seconds"


def test_a_question_is_asked_and_answered(demo: GunicornProcess) -> None:
    result = shell(demo.base_url, "--turn", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["answer_ms"] is not None and told["answer_ms"] < 4000
    assert told["sound_ms"] > 4000, "the greeting was heard to its end first"
    assert told["complaint"] is None and told["ok"] is True
    assert "answer after" in result.stderr


def test_all_is_well_in_silence(demo: GunicornProcess) -> None:
    result = shell(demo.base_url, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    result = shell(demo.base_url, "--quiet", "--first-audio-within", "0.001")
    assert result.exit_code == 1
    assert result.output.startswith("✗ KAV-137 the greeting came after ")


def test_several_checks_end_with_a_summary(demo: GunicornProcess) -> None:
    result = shell(demo.base_url, "--every", "1", "--times", "2", "--json")
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["call_sid"] != second["call_sid"]
    assert {first["call_sid"][:8], second["call_sid"][:8]} == {"CA000000"}
    *lines, summary = result.stderr.splitlines()
    assert [re.match(r"\d\d:\d\d:\d\d  ✓ ", line) is not None for line in lines] == [True, True]
    assert summary.startswith("· 2 checks: 2 well, 0 failed; greeting p50 ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_politely(demo: GunicornProcess, number: signal.Signals) -> None:
    before = calls_seen(demo)
    process = start(demo.base_url, "--every", "600")
    assert process.stdout is not None
    assert "✓" in process.stdout.readline()
    process.send_signal(number)
    rest, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert rest.startswith("· 1 checks: 1 well, 0 failed")
    assert calls_seen(demo) == before + 1, "no other call was begun"


def test_an_interrupted_call_is_hung_up_and_proves_nothing(demo: GunicornProcess) -> None:
    before = len(re.findall("WS_CONNECTED", demo.output()))
    process = start(demo.base_url, "--greeting-at-least", "20")
    eventually(lambda: len(re.findall("WS_CONNECTED", demo.output())) > before, 20.0)
    stops = demo.output().count("reason=stop")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (1, "")
    assert errors == "· interrupted: nothing was found out\n"
    eventually(lambda: demo.output().count("reason=stop") > stops)


def test_an_echo_is_not_a_greeting() -> None:
    with gateway(ECHO_TEST="1") as process:
        result = shell(process.base_url)
    assert result.exit_code == 1
    assert "echo mode" in result.output and "ECHO_TEST" in result.output


@pytest.mark.parametrize(
    ("fault", "prompt"), [("mute", "leave_message"), ("refuse401", "leave_message")], ids=str
)
def test_a_model_that_does_not_speak_is_found_out_before_a_message_is_taken(
    tmp_path: Path, fault: str, prompt: str
) -> None:
    with model_server(tmp_path, [[]], faults=[fault]) as model, gateway(model) as process:
        result = shell(process.base_url)
        assert result.exit_code == 1
        assert f"the recorded prompt “{prompt}” was heard" in result.output
        process.wait_for_line("STREAM_ENDED .* status=completed follow_up=nothing")
        assert "MESSAGE" not in process.output(), "the caller was gone by then"


def test_nobody_is_rung_for_a_canary(tmp_path: Path) -> None:
    with model_server(tmp_path, [[]], faults=["refuse401"]) as model:
        with gateway(model, PERSON_NUMBER="+972501112222") as process:
            result = shell(process.base_url)
            assert result.exit_code == 1
            assert "connect_agent" in result.output or "passed on to a person" in result.output
            process.wait_for_line("STREAM_ENDED ")
            assert "DIAL_ENDED" not in process.output() or "outcome=canceled" in process.output()


def test_a_ringing_tone_is_no_greeting(tiny: TinyGateway) -> None:
    dial = '<Dial action="/dialled"><Number>+972501112222</Number></Dial>'
    tiny.replies["/webhook/incoming_call"] = tiny.twiml(tiny.connect() + dial)
    tiny.on_stream = lambda stream: stream.until("media", 5)
    tiny.replies["/dialled"] = (204, None, b"")
    result = shell(tiny.url)
    assert result.exit_code == 1
    assert "no greeting: the call was passed on to a person" in result.output
    assert tiny.requests_of("/dialled")[0].form["DialCallStatus"] == "canceled"


def test_no_message_is_recorded(tiny: TinyGateway) -> None:
    record = '<Record action="/recorded" timeout="5"/>'
    tiny.replies["/webhook/incoming_call"] = tiny.twiml(tiny.connect() + record)
    tiny.on_stream = lambda stream: stream.until("media", 5)
    result = shell(tiny.url)
    assert result.exit_code == 1
    assert "a message was to be recorded" in result.output
    assert not tiny.requests_of("/recorded")


@pytest.mark.parametrize("token", ["", OTHER_TOKEN], ids=["unsigned", "wrong"])
def test_a_wrong_token_is_4(token: str) -> None:
    with gateway(TWILIO_AUTH_TOKEN=TOKEN) as process:
        result = shell(process.base_url, env={"TWILIO_AUTH_TOKEN": token})
        assert result.exit_code == 4
        assert result.output.startswith("✗ KAV-111 the webhook answered 403")
        assert ("not signed" in result.output) == (not token)
        assert OTHER_TOKEN not in result.output
        well = shell(process.base_url, env={"TWILIO_AUTH_TOKEN": f"{TOKEN},{OTHER_TOKEN}"})
        assert well.exit_code == 0, well.output


def test_a_closed_port_is_3() -> None:
    result = shell(f"http://127.0.0.1:{closed_port()}")
    assert result.exit_code == 3
    assert result.output.startswith("✗ 11205 nothing listens on 127.0.0.1:")


def test_failures_of_one_kind_keep_their_exit_code() -> None:
    result = shell(f"http://127.0.0.1:{closed_port()}", "--every", "1", "--times", "2", "--quiet")
    assert result.exit_code == 3
    assert result.output.count("✗ 11205") == 2
    assert result.output.endswith("· 2 checks: 0 well, 2 failed\n")


def test_a_full_gateway_is_told_and_not_called(tiny: TinyGateway) -> None:
    tiny.replies["/readyz"] = (503, "text/plain", b"full, 100 of 100 calls\n")
    result = shell(tiny.url)
    assert result.exit_code == 1
    assert "KAV-141" in result.output and "100 of 100" in result.output
    assert [request.path for request in tiny.requests] == ["/readyz"]


def test_a_draining_gateway_is_told(tmp_path: Path) -> None:
    with gateway() as process:
        caller = start(process.base_url, "--greeting-at-least", "20")  # keeps the process in its drain
        process.wait_for_line("sent media frame to Twilio", 20.0)
        process.terminate()
        eventually(lambda: http_status(process.port, "/readyz") == 503, 5.0)
        result = shell(process.base_url)
        caller.send_signal(signal.SIGTERM)
        caller.communicate(timeout=10)
    assert result.exit_code == 1
    assert re.match(r"✗ the gateway is ending: draining, \d calls left", result.output)


def test_another_readyz_is_no_reason_not_to_call(tiny: TinyGateway) -> None:
    def greet(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(800))
        for _ in stream.messages():
            pass

    tiny.on_stream = greet
    tiny.replies["/readyz"] = (503, "text/html", b"<h1>no such page</h1>")
    assert shell(tiny.webhook_url, "--to", "+97239998888").exit_code == 0
    form = tiny.requests_of("/webhook/incoming_call")[0].form
    assert (form["From"], form["To"]) == ("+15005550006", "+97239998888")


def test_a_stream_that_cannot_be_had_is_twilios_number(tiny: TinyGateway) -> None:
    tiny.refuse_upgrade = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    result = shell(tiny.url)
    assert result.exit_code == 1
    assert result.output.startswith("✗ 31920 ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "URL"),
        (["nope"], "no http://"),
        (["ftp://x"], "no http://"),
        (["https://x", "--times", "3"], "--times goes with --every"),
        (["https://x", "--every", "0"], "--every"),
        (["https://x", "--first-audio-within", "0"], "first-audio-within"),
    ],
)
def test_usage_errors_are_2(arguments: list[str], words: str) -> None:
    result = shell(*arguments)
    assert result.exit_code == 2
    assert words in result.output


# TLS


class TlsFront:
    """What stands before a deployed gateway: takes TLS off, and passes bytes on."""

    def __init__(self, upstream_port: int, certificate: Path, key: Path, port: int = 0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._listener = context.wrap_socket(
            socket.create_server(("127.0.0.1", port)), server_side=True, do_handshake_on_connect=False
        )
        self.port = self._listener.getsockname()[1]
        self._upstream_port = upstream_port
        self._open: set[socket.socket] = set()

    def __enter__(self) -> TlsFront:
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: Any) -> None:
        try:
            client.do_handshake()
            upstream = socket.create_connection(("127.0.0.1", self._upstream_port), 5)
        except OSError:
            client.close()
            return
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()
        client.close()
        upstream.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_papers(tmp_path_factory.mktemp("papers"))


def trusting(papers: Certificates) -> dict[str, str]:
    """As on a machine that knows this authority: for the webhooks and for the stream."""
    return {"REQUESTS_CA_BUNDLE": str(papers.ca), "SSL_CERT_FILE": str(papers.ca)}


@pytest.fixture(scope="module")
def secure(papers: Certificates) -> Iterator[tuple[TlsFront, GunicornProcess]]:
    port = closed_port()
    with gateway(PUBLIC_BASE_URL=f"https://127.0.0.1:{port}", TWILIO_AUTH_TOKEN=TOKEN) as process:
        with TlsFront(process.port, papers.certificate, papers.key, port) as front:
            yield front, process


def run(*arguments: str, env: dict[str, str]) -> tuple[int, str]:
    with start(*arguments, env=env) as process:
        output, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    return process.returncode, output + errors


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_tls_from_end_to_end(
    secure: tuple[TlsFront, GunicornProcess], papers: Certificates, scheme: str
) -> None:
    front, _ = secure
    code, output = run(
        f"{scheme}://127.0.0.1:{front.port}", env=trusting(papers) | {"TWILIO_AUTH_TOKEN": TOKEN}
    )
    assert code == 0, output
    assert output.startswith("✓ greeting after")


def test_an_authority_that_nobody_knows_is_11237(secure: tuple[TlsFront, GunicornProcess]) -> None:
    code, output = run(f"https://127.0.0.1:{secure[0].port}", env={})
    assert code == 3
    assert output.startswith("✗ 11237 the certificate is refused: unable to get local issuer certificate")
    assert "fullchain" in output


def test_a_certificate_of_another_host_is_11235(
    secure: tuple[TlsFront, GunicornProcess], papers: Certificates
) -> None:
    code, output = run(f"https://localhost:{secure[0].port}", env=trusting(papers))
    assert code == 3
    assert output.startswith("✗ 11235 the certificate is refused: ")
    assert "localhost" in output


def test_an_expired_certificate_is_11236(
    secure: tuple[TlsFront, GunicornProcess], papers: Certificates
) -> None:
    folder = papers.ca.parent
    command = "openssl x509 -req -in server.pem -CA ca.pem -CAkey ca.key -set_serial 2 -days -1"
    command += " -extfile openssl.cnf -extensions server -out expired.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    with TlsFront(secure[1].port, folder / "expired.pem", papers.key) as front:
        code, output = run(f"https://127.0.0.1:{front.port}", env=trusting(papers))
    assert code == 3
    assert output.startswith("✗ 11236 the certificate is refused: certificate has expired")
    assert "renew" in output


def test_a_port_without_tls_is_11220(demo: GunicornProcess) -> None:
    code, output = run(f"https://127.0.0.1:{demo.port}", env={"HOME": os.environ.get("HOME", "/")})
    assert code == 3
    assert output.startswith("✗ 11220 TLS fails: ")


def test_a_stream_whose_certificate_is_refused_is_31910(
    secure: tuple[TlsFront, GunicornProcess], papers: Certificates
) -> None:
    """The webhook is trusted, the stream's address is not."""
    env = {"REQUESTS_CA_BUNDLE": str(papers.ca), "TWILIO_AUTH_TOKEN": TOKEN}
    code, output = run(f"https://127.0.0.1:{secure[0].port}", env=env)
    assert code == 1
    assert output.startswith("✗ 31910 TLS with 127.0.0.1:")
