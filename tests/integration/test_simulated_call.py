"""A simulated call against a real far end on real sockets: what it says, hears and signs."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from server.audio.g711 import FRAME_BYTES, SILENCE
from server.audio.wav import read_ulaw
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport, Outcome
from server.simulator.twilio.caller import keys
from server.simulator.twilio.speech_spans import spans
from tests.integration.tiny_gateway import FarStream, TinyGateway, beep, closed_port, echo, mute, tone

DATA = Path(__file__).parents[1] / "data"
TOKEN = "0123456789abcdef0123456789abcdef"
QUICK: dict[str, Any] = {"quiet_after_s": 0.2, "timeout_s": 2.0}


def spans_of(audio: bytes) -> list[int]:
    return [span.start_ms for span in spans(audio, threshold_rms=200, hangover_ms=600)]


@pytest.fixture
def gateway() -> Iterator[TinyGateway]:
    with TinyGateway(beep) as running:
        yield running


def dial(gateway: TinyGateway, **options: Any) -> CallReport:
    return TwilioCall(CallOptions(gateway.webhook_url, **(QUICK | options))).run()


def test_an_echo_is_heard_byte_for_byte(gateway: TinyGateway):
    gateway.on_stream = echo
    speech = read_ulaw(DATA / "hebrew_question.ulaw")
    twilio = TwilioCall(CallOptions(gateway.webhook_url, audio=speech, **QUICK))
    report = twilio.run()
    padded = speech + SILENCE * (-len(speech) % FRAME_BYTES)
    assert twilio.line.played(report.duration_ms)[: len(padded)] == padded
    assert (report.verdict, report.outcome, report.failures) == ("PASS", Outcome.OK, ())
    assert report.closed_by == "caller"
    assert (report.odd_frames, report.unplayed_ms) == (0, 0)
    assert [turn.gap_ms for turn in report.turns] == [0] * len(report.turns) != []
    assert report.barge_ins == ()
    assert report.heard_ms > 1000
    spoken, heard = spans_of(twilio.caller_track()), spans_of(twilio.line.heard())
    assert [abs(a - b) <= 40 for a, b in zip(spoken, heard, strict=True)] == [True] * len(spoken) != []


def test_frames_keep_the_schedule_and_the_shapes_of_twilio(gateway: TinyGateway):
    parameter = '<Parameter name="business" value="מאפייה"/>'
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect("", parameter))
    audio = tone(510)
    report = dial(gateway, audio=audio, keys=tuple(keys("1#", 0.1)), hangup_after_s=1.0)
    received = gateway.streams.get(timeout=5).received
    connected, start, *rest = received
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start["start"] == {
        "accountSid": start["start"]["accountSid"],
        "streamSid": start["streamSid"],
        "callSid": report.call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"business": "מאפייה"},
    }
    assert start["streamSid"].startswith("MZ") and len(start["streamSid"]) == 34
    assert [message["sequenceNumber"] for message in [start, *rest]] == [
        str(n) for n in range(1, len(rest) + 2)
    ]
    media = [message["media"] for message in rest if message["event"] == "media"]
    assert [m["chunk"] for m in media] == [str(n + 1) for n in range(len(media))]
    assert [m["timestamp"] for m in media] == [str(20 * n) for n in range(len(media))]
    heard = b"".join(base64.b64decode(m["payload"]) for m in media)
    assert heard == audio + SILENCE * (len(heard) - len(audio))
    assert abs(len(media) - report.duration_ms / 20) <= 10
    assert [m["dtmf"] for m in rest if m["event"] == "dtmf"] == [
        {"track": "inbound_track", "digit": "1"},
        {"track": "inbound_track", "digit": "#"},
    ]
    assert rest[-1]["event"] == "stop"
    assert rest[-1]["stop"]["callSid"] == report.call_sid
    assert report.frames_sent == len(media)


def test_a_mark_comes_back_when_its_audio_was_played_and_at_once_after_a_clear(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.mark("idle")
        stream.until("mark")
        stream.play(tone(200))
        stream.mark("played")
        stream.until("mark")
        stream.play(tone(5000))
        stream.mark("cut")
        stream.until("media", 10)
        stream.clear()
        stream.until("mark")
        mute(stream)

    gateway.on_stream = script
    twilio = TwilioCall(CallOptions(gateway.webhook_url, **QUICK))
    report = twilio.run()
    received = gateway.streams.get(timeout=5).received
    order = [m["mark"]["name"] if m["event"] == "mark" else "frame" for m in received[2:-1]]
    before_idle, between, after = order.index("idle"), order.index("played"), order.index("cut")
    assert before_idle <= 10
    assert 9 <= order[before_idle:between].count("frame") <= 40  # 200 ms of audio
    assert 10 <= order[between:after].count("frame") <= 60  # not 250, 5 s: the clear brought it back
    assert (report.marks_received, report.marks_echoed, report.clears) == (3, 3, 1)
    assert 280 <= report.heard_ms <= 1200  # less than 400 when frames lay waiting for the far end to count
    assert twilio.line.cut_bytes == 5200 * 8 - twilio.line.heard_bytes(report.duration_ms)


def test_a_barge_in_is_measured_to_the_silence(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(6000))
        for message in stream.messages():
            if message["event"] == "media" and base64.b64decode(message["media"]["payload"])[0] != SILENCE[0]:
                stream.until("media", 5)
                stream.clear()
                break
        mute(stream)

    gateway.on_stream = script
    speech = b"\xff" * 8 * 500 + b"\x00\x80" * 4 * 400
    report = dial(gateway, audio=speech, timeout_s=0.5)
    [barge_in] = report.barge_ins
    assert barge_in.took_ms is not None
    assert 80 <= barge_in.took_ms <= 600
    assert report.heard_ms < 1200


def test_what_the_gateway_queued_when_it_hung_up_was_never_heard(gateway: TinyGateway):
    def script(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(1000))
        stream.until("media", 10)
        stream.ws.close(1000, "goodbye")

    gateway.on_stream = script
    report = dial(gateway)
    assert (report.closed_by, report.close_code, report.close_reason) == ("server", 1000, "goodbye")
    assert 400 <= report.unplayed_ms <= 850
    assert report.heard_ms < 620


def test_many_calls_at_once_do_not_mix(gateway: TinyGateway):
    gateway.on_stream = echo

    def one(number: int) -> tuple[TwilioCall, bytes]:
        audio = bytes([number * 3]) * FRAME_BYTES * 20
        twilio = TwilioCall(CallOptions(gateway.webhook_url, audio=audio, hangup_after_s=3.0))
        twilio.run()
        return twilio, audio

    with ThreadPoolExecutor(12) as pool:
        for twilio, audio in pool.map(one, range(12)):
            assert twilio.line.played(5000)[: len(audio)] == audio


def test_hanging_up_from_another_thread_ends_the_call(gateway: TinyGateway):
    began = threading.Event()

    def script(stream: FarStream) -> None:
        stream.until("start")
        began.set()
        mute(stream)

    gateway.on_stream = script
    twilio = TwilioCall(CallOptions(gateway.webhook_url))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(twilio.run)
        assert began.wait(5)
        twilio.hang_up()
        assert running.result(timeout=5).closed_by == "caller"


# Signatures and addresses


def test_webhook_upgrade_and_callbacks_carry_twilios_signature(gateway: TinyGateway):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect('action="/ended?x=1"'))
    gateway.replies["/ended"] = gateway.twiml("")
    dial(gateway, auth_token=TOKEN)
    validator = RequestValidator(TOKEN)
    assert [r.path for r in gateway.requests] == [
        *("/webhook/incoming_call", "/ws/twilio-media", "/status", "/status", "/ended?x=1")
    ]
    for request in gateway.requests:
        scheme = "wss" if request.method == "GET" else "http"
        url = f"{scheme}://127.0.0.1:{gateway.port}{request.path}"
        assert validator.validate(url, request.form, request.headers["X-Twilio-Signature"]), request.path
    form = gateway.requests[0].form
    assert form["CallStatus"] == "ringing"
    assert form["Direction"] == "inbound"
    assert form["ApiVersion"] == "2010-04-01"
    assert len(form["CallSid"]) == 34


def test_a_public_address_is_signed_and_told_to_the_local_gateway(gateway: TinyGateway):
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        '<Connect action="https://app.example/ended"><Stream url="wss://app.example/ws/twilio-media"/></Connect>'
    )
    gateway.replies["/ended"] = gateway.twiml("")
    report = dial(gateway, auth_token=TOKEN, public_url="https://app.example")
    assert report.verdict == "PASS"
    webhook, upgrade, ended = gateway.requests
    validator = RequestValidator(TOKEN)
    for request, scheme in ((webhook, "https"), (upgrade, "wss"), (ended, "https")):
        assert request.headers["Host"] == "app.example"
        assert request.headers["X-Forwarded-Proto"] == "https"
        url = f"{scheme}://app.example{request.path}"
        assert validator.validate(url, request.form, request.headers["X-Twilio-Signature"])
    assert any("TLS ends at a proxy" in note for note in report.notes)


def test_a_stream_named_by_its_local_address_is_signed_by_its_public_one(gateway: TinyGateway):
    assert dial(gateway, auth_token=TOKEN, public_url="https://app.example").verdict == "PASS"
    upgrade = gateway.requests[1]
    url = "wss://app.example/ws/twilio-media"
    assert RequestValidator(TOKEN).validate(url, {}, upgrade.headers["X-Twilio-Signature"])
    assert upgrade.headers["Host"] == "app.example"


def test_a_proxy_of_this_machine_is_not_asked_for_a_gateway_on_it(
    gateway: TinyGateway, monkeypatch: pytest.MonkeyPatch
):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert dial(gateway).verdict == "PASS"


def test_the_handshake_is_the_captured_one(gateway: TinyGateway):
    report = dial(gateway)
    headers = {k.lower(): v for k, v in gateway.requests[1].headers.items()}
    assert headers["user-agent"] == "Twilio.TmeWs/1.0"
    assert not {"origin", "sec-websocket-extensions"} & headers.keys()
    assert headers["sec-websocket-protocol"] == report.subprotocol == "audio.twilio.com"
    report = dial(gateway, offer_subprotocol=False)
    assert report.subprotocol == ""
    assert "Sec-WebSocket-Protocol" not in gateway.requests[-3].headers


def test_a_server_may_choose_no_subprotocol(gateway: TinyGateway):
    gateway.subprotocols = []
    report = dial(gateway)
    assert (report.verdict, report.subprotocol) == ("PASS", "")
