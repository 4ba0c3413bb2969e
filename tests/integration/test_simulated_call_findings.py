"""What a simulated call finds wrong at a real far end, and what it does after the stream."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.audio.g711 import SILENCE
from server.audio.wav import write_pcm16
from server.simulator.twilio.addresses import Target
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport, Outcome
from server.simulator.twilio.caller import Caller
from server.simulator.twilio.live_call import HangupRule, LiveCall
from server.simulator.twilio.stream import TwilioStream
from server.simulator.twilio.stream_socket import StreamFailed, StreamSocket, open_stream
from server.wire.handshake import response
from tests.integration.tiny_gateway import FarStream, TinyGateway, beep, closed_port, mute, tone

QUICK: dict[str, Any] = {"quiet_after_s": 0.2, "timeout_s": 2.0}


@pytest.fixture
def gateway() -> Iterator[TinyGateway]:
    with TinyGateway(beep) as running:
        yield running


def dial(gateway: TinyGateway, **options: Any) -> CallReport:
    return TwilioCall(CallOptions(gateway.webhook_url, **(QUICK | options))).run()


def codes(report: CallReport) -> list[int | None]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (
            {"event": "media", "streamSid": "SID", "media": {"payload": "/w==", "track": "x"}},
            31951,
            "media.track",
        ),
        ({"event": "media", "streamSid": "MZ0", "media": {"payload": "/w=="}}, 31951, "streamSid"),
        ({"event": "hello", "streamSid": "SID"}, 31951, "hello"),
        (b"binary", 31950, "binary"),
    ],
)
def test_wrong_messages_are_found(gateway: TinyGateway, message: Any, code: int, words: str):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(60))
        for _ in range(3):
            if isinstance(message, bytes):
                stream.ws.send(message)
            else:
                stream.send(**(message | {"streamSid": message["streamSid"].replace("SID", stream.sid)}))
        mute(stream)

    gateway.on_stream = script
    report = dial(gateway)
    [finding] = report.findings
    assert (finding.code, finding.count) == (code, 3)
    assert words in finding.text
    assert report.outcome is Outcome.FAILED


def test_a_broken_connection_is_31903(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(60))
        stream.until("media", 5)
        stream.ws.sock.shutdown(socket.SHUT_RDWR)

    gateway.on_stream = script
    report = dial(gateway)
    assert codes(report) == [31903]
    assert (report.closed_by, report.close_code) == ("network", 1006)


def test_frames_that_break_the_websocket_are_31924(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(60))
        stream.ws.sock.sendall(b"\x81\x85\x00\x00\x00\x00hello")  # masked, as no server may
        mute(stream)

    gateway.on_stream = script
    report = dial(gateway)
    assert codes(report) == [31924]
    assert report.closed_by == "twilio"


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", "answered 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "handshake"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answered 200"),
        (SWITCHED + b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n", "handshake"),
        (b"garbage\r\n\r\n", "handshake"),
        (b"HTTP/1.1 abc\r\n\r\n", "handshake"),
        (b"", "handshake"),
    ],
)
def test_a_refused_upgrade_is_31920_and_the_action_goes_on(gateway: TinyGateway, answer: bytes, words: str):
    gateway.refuse_upgrade = answer
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        gateway.connect('action="/ended"') + "<Hangup/>"
    )
    gateway.replies["/ended"] = gateway.twiml('<Say language="he-IL">מצטערים, יש תקלה</Say>')
    report = dial(gateway)
    [finding] = report.findings
    assert finding.code == 31920
    assert words in finding.text
    assert report.said == ("מצטערים, יש תקלה",)
    assert report.verbs == ("Connect", "Say")
    assert [r.form["StreamEvent"] for r in gateway.requests_of("/status")] == ["stream-error"]
    [ended] = gateway.requests_of("/ended")
    assert ended.form["CallStatus"] == "in-progress"
    assert report.outcome is Outcome.FAILED


@pytest.mark.parametrize("offer", [True, False])
def test_a_subprotocol_that_was_not_offered_is_31920(gateway: TinyGateway, offer: bool):
    chosen = b"chat" if offer else b"audio.twilio.com"

    def upgrade(handler: Any) -> None:
        headers = {k.lower(): v for k, v in handler.headers.items()}
        handler.connection.sendall(response(headers, chosen.decode()))

    gateway.on_upgrade = upgrade
    report = dial(gateway, offer_subprotocol=offer)
    assert codes(report) == [31920]
    assert "not offered" in report.findings[0].text


def test_a_stream_to_a_closed_port_is_31902(gateway: TinyGateway):
    stream = f'<Connect><Stream url="ws://localhost:{closed_port()}/ws"/></Connect>'
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(stream)
    assert codes(dial(gateway)) == [31902]


def test_tls_with_a_port_that_speaks_none_is_31910(gateway: TinyGateway):
    target = Target(f"wss://127.0.0.1:{gateway.port}/ws")
    with pytest.raises(StreamFailed) as failed:
        open_stream(target, {}, offer_subprotocol=True, timeout_s=2)
    assert failed.value.code == 31910


def test_an_unknown_host_is_31904():
    with pytest.raises(StreamFailed) as failed:
        open_stream(Target("ws://gateway.invalid/ws"), {}, offer_subprotocol=True, timeout_s=2)
    assert failed.value.code == 31904


def test_more_than_ten_minutes_at_once_is_31931(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(100) + SILENCE * (600_000 * 8))
        mute(stream)

    gateway.on_stream = script
    report = dial(gateway)
    assert codes(report) == [31931]
    assert "bytes over the ten minutes" in report.findings[0].text


def test_a_gateway_that_does_not_read_is_31930():
    """Ten times faster than life, over sockets with small buffers."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        call = LiveCall(
            "CA1", "AC1", Caller(b"", []), HangupRule(after_s=15), clock=lambda: time.monotonic() * 10
        )
        call.answer()
        assert TwilioStream(call, StreamSocket(ours), "MZ1", {}).run() == "caller"
    [finding] = call.findings.all()
    assert finding.code == 31930
    assert finding.count > 50
    assert finding.count + call.tally.frames_sent == pytest.approx(750, abs=75)


def test_an_upgrade_without_answer_is_31901(gateway: TinyGateway):
    released = threading.Event()

    def upgrade(handler: Any) -> None:
        released.wait(5)

    gateway.on_upgrade = upgrade
    report = dial(gateway, timeout_s=0.3)
    released.set()
    assert codes(report) == [31901]


def test_a_status_callback_that_fails_is_15003(gateway: TinyGateway):
    gateway.replies["/status"] = (500, "text/plain", b"")
    report = dial(gateway)
    assert codes(report) == [15003, 15003]
    assert [r.form["StreamEvent"] for r in gateway.requests_of("/status")] == [
        "stream-started",
        "stream-stopped",
    ]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ((500, "text/html", b"<h1>oops</h1>"), 11200),
        ((200, "application/json", b"{}"), 12300),
        ((200, None, b"<Response/>"), 12300),
        ((200, "text/xml", b""), 12100),
        ((200, "text/xml", b"<Response>" + b" " * 70_000), 11750),
    ],
)
def test_a_bad_answer_to_the_webhook_carries_twilios_number(gateway: TinyGateway, reply: Any, code: int):
    gateway.replies["/webhook/incoming_call"] = reply
    report = dial(gateway)
    assert (codes(report), report.outcome) == ([code], Outcome.FAILED)


# TwiML after the stream


def test_after_the_gateway_hangs_up_its_action_decides_and_may_connect_again(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(60))
        stream.mark("done")
        stream.until("mark")

    second = gateway.twiml("<Say>שוב</Say>" + gateway.connect('action="/ended"'))
    answers = [second, gateway.twiml("<Hangup/>")]
    gateway.on_stream = script
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        gateway.connect('action="/ended"') + "<Say>no</Say>"
    )
    gateway.replies["/ended"] = lambda _: answers.pop(0)
    report = dial(gateway)
    assert report.streams == 2
    assert report.verbs == ("Connect", "Say", "Connect", "Hangup")
    assert report.said == ("שוב",)
    assert [r.form["CallStatus"] for r in gateway.requests_of("/ended")] == ["in-progress"] * 2
    assert report.heard_ms == pytest.approx(120, abs=40)


def test_when_the_caller_hangs_up_the_action_is_told_and_not_obeyed(gateway: TinyGateway):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect('action="/ended"'))
    gateway.replies["/ended"] = gateway.twiml("<Say>too late</Say>")
    report = dial(gateway)
    assert report.said == ()
    assert [r.form["CallStatus"] for r in gateway.requests_of("/ended")] == ["completed"]


def test_without_an_action_the_verbs_after_connect_are_done(gateway: TinyGateway):
    gateway.refuse_upgrade = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect() + "<Say>sorry</Say><Hangup/>")
    assert dial(gateway).said == ("sorry",)


def test_play_redirect_and_record(gateway: TinyGateway, tmp_path: Path):
    write_pcm16(tmp_path / "hello.wav", [tone(300)])
    gateway.replies["/hello.wav"] = (200, "audio/wav", (tmp_path / "hello.wav").read_bytes())
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        "<Play>/hello.wav</Play><Redirect>/next</Redirect>"
    )
    gateway.replies["/next"] = gateway.twiml('<Record action="/recorded" timeout="1" maxLength="5"/>')
    gateway.replies["/recorded"] = (204, None, b"")
    report = dial(gateway, audio=tone(500))
    assert report.verbs == ("Play", "Redirect", "Record")
    assert report.heard_ms == pytest.approx(300, abs=20)
    [recorded] = gateway.requests_of("/recorded")
    assert recorded.form["RecordingSid"].startswith("RE")
    assert report.outcome is Outcome.OK


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/x", "ftp://127.0.0.1/x"])
def test_a_malformed_address_is_11100(gateway: TinyGateway, url: str):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(f"<Redirect>{url}</Redirect>")
    assert codes(dial(gateway)) == [11100]


def test_twiml_that_leads_to_itself_is_ended(gateway: TinyGateway):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml("<Redirect>/webhook/incoming_call</Redirect>")
    assert "TwiML led to TwiML" in dial(gateway).findings[0].text
