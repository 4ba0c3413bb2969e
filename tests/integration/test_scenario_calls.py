"""The caller of a scenario on real calls: in a stream, while somebody is rung, in a recording."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.audio.g711 import to_pcm16
from server.simulator.scenario.runner import Result, Status, Target, play
from server.simulator.scenario.scenario import parse_scenario
from server.simulator.scenario.sounds import trimmed
from tests.integration.tiny_gateway import FarStream, TinyGateway, beep, mute, tone

DATA = Path(__file__).parents[1] / "data"
SPEECH = trimmed((DATA / "human_command.ulaw").read_bytes())


@pytest.fixture
def gateway() -> Iterator[TinyGateway]:
    with TinyGateway(beep) as running:
        yield running


def played(gateway: TinyGateway, text: str, keep: Path | None = None) -> Result:
    return play(parse_scenario(text, Path("talk.yaml")), Target(gateway.webhook_url), keep)


def test_a_caller_hangs_up_while_somebody_is_rung(gateway: TinyGateway) -> None:
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(
        "<Dial timeout='9'>+97231112222</Dial><Say>ah</Say>"
    )
    result = played(
        gateway,
        """
twilio: {dial: {status: no-answer, rings_s: 8}}
caller: [{after: 1.5, hang_up: }]
expect:
  - dialled: "+97231112222"
  - verbs: [Dial]
  - duration_s: [1.4, 2.2]
""",
    )
    assert result.failures == ()


def test_what_the_caller_says_after_the_tone_is_recorded(gateway: TinyGateway, tmp_path: Path) -> None:
    gateway.replies["/webhook/incoming_call"] = gateway.twiml("<Record action='/kept' timeout='1'/>")
    gateway.replies["/kept"] = gateway.twiml("<Say>תודה</Say><Hangup/>")
    text = """
caller: [{after: 0.4, say: human_command}]
expect:
  - recordings: 1
  - said: תודה
  - verbs: [Record, Say, Hangup]
"""
    assert played(gateway, text, tmp_path).failures == ()
    assert 2 <= int(gateway.requests_of("/kept")[0].form["RecordingDuration"]) <= 4
    frames = (tmp_path / "talk.wav").read_bytes()[44:]
    left = b"".join(frames[at : at + 2] for at in range(0, len(frames), 4))
    assert to_pcm16(SPEECH) in left


def test_a_dropped_stream_has_no_stop_and_the_call_goes_on(gateway: TinyGateway) -> None:
    gateway.replies["/webhook/incoming_call"] = gateway.twiml(gateway.connect('action="/next"'))
    gateway.replies["/next"] = gateway.twiml(gateway.connect(path="/ws/again"))
    result = played(
        gateway,
        """
caller:
  - {at: 0.6, drop: }
  - {after: 0.5, say: human_command}
  - {after: 0.3, hang_up: }
expect:
  - verbs: [Connect, Connect]
  - ended_by: caller
""",
    )
    assert result.failures == ()
    first, second = (gateway.streams.get(timeout=5) for _ in range(2))
    assert first.of("media") and not first.of("stop")
    assert gateway.requests_of("/next")[0].form["CallStatus"] == "in-progress"
    heard = b"".join(base64.b64decode(m["media"]["payload"]) for m in second.of("media"))
    assert SPEECH in heard and second.of("stop")


def test_keys_and_noise_reach_the_far_end(gateway: TinyGateway) -> None:
    steps = "[{background: line_noise}, {at: 0.3, keys: '4#'}, {silent: 0.3}, hang_up]"
    assert played(gateway, f"caller: {steps}\nexpect: [{{clears: 0}}]").status is Status.PASSED
    stream = gateway.streams.get(timeout=5)
    assert [message["dtmf"]["digit"] for message in stream.of("dtmf")] == ["4", "#"]
    payloads = {message["media"]["payload"] for message in stream.of("media")[5:]}
    assert len(payloads) > 10, "no two frames of noise are alike"


def test_a_clear_is_what_a_caller_can_wait_for(gateway: TinyGateway) -> None:
    def speak_and_take_back(stream: FarStream) -> None:
        stream.until("start")
        stream.play(tone(3000))
        stream.until("media", 40)
        stream.clear()
        mute(stream)

    gateway.on_stream = speak_and_take_back
    text = "caller: [{when: cleared, hang_up: }]\nexpect: [{clears: 1}, {duration_s: [0.5, 2]}]"
    assert played(gateway, text).failures == ()


def test_what_twilio_would_complain_of_fails_unless_it_is_expected(gateway: TinyGateway) -> None:
    def odd(stream: FarStream) -> None:
        stream.until("start")
        stream.send(event="media", streamSid=stream.sid, media={"payload": "////", "track": "outbound"})
        mute(stream)

    gateway.on_stream = odd
    text = "caller: [{after: 0.5, hang_up: }]\nexpect: [{clears: 0}]"
    (failure,) = played(gateway, text).failures
    assert failure.startswith("31951 ")
    assert played(gateway, text.replace("{clears: 0}", "{findings: [31951]}")).failures == ()
