"""Echo calls through real gunicorn: every caller hears themselves, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from server.simulator.twilio.virtual_line import VirtualLine
from tests.integration.calls import eventually, gateway, make_call, speech
from tests.integration.gunicorn_process import GunicornProcess

ON_THEIR_WAY = 25
"""Frames, half a second: what a slow machine may still hold when the caller hangs up."""


@pytest.fixture(scope="module")
def process() -> Iterator[GunicornProcess]:
    with gateway(ECHO_TEST="1", OPENAI_API_KEY="sk-test-0123456789abcdef") as running:
        yield running


def played(line: VirtualLine) -> bytes:
    return line.played(1e9)


@pytest.mark.parametrize("path", ["/ws/twilio-media", "/ws/twilio-media/"])
@pytest.mark.parametrize("offers", [True, False], ids=["subprotocol offered", "none offered"])
def test_every_frame_comes_back(process: GunicornProcess, path: str, offers: bool) -> None:
    said = speech("human_command")
    call = make_call(process, said, stream_path=path, offer_subprotocol=offers, quiet_after_s=0.3)
    report = call.run()
    assert report.verdict == "PASS", report.failures
    assert report.subprotocol == ("audio.twilio.com" if offers else "")
    assert played(call.line).startswith(said)
    assert report.frames_sent - report.frames_received <= ON_THEIR_WAY, "the last ones, at the hang-up"
    assert report.odd_frames == 0


def test_its_end_reports_frames_losses_and_round_trip(process: GunicornProcess) -> None:
    report = make_call(process, speech("hebrew_question"), quiet_after_s=0.3).run()
    tag = report.call_sid[:8]
    line = process.wait_for_line(
        rf"ECHO_REPORT call={tag} frames_in=(\d+) frames_back=(\d+) lost=(\d+) round_trip_ms=(\d+)"
    )
    assert int(line[1]) == report.frames_sent
    assert 0 <= int(line[1]) - int(line[2]) <= ON_THEIR_WAY
    assert int(line[3]) == 0 and int(line[4]) < 100
    stop = process.wait_for_line(rf"WS_STOP sid=MZ\S+ rx=(\d+) tx=(\d+) call={tag}")
    assert stop[1] == line[1]
    assert 0 <= int(stop[1]) - int(stop[2]) <= ON_THEIR_WAY


def test_it_needs_neither_the_ai_nor_its_key(process: GunicornProcess) -> None:
    eventually(lambda: "mode=echo" in process.output())
    assert not re.search(r"\[REALTIME\]|\[VOICE\]", process.output())
