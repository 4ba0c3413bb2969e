"""A connection made beforehand and taken over by a call, in this process; the model runs in threads."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from server import green
from server.config import Dialect
from server.errors import ModelRefused, ModelUnreachable
from server.realtime.events import Event, SessionUpdated
from server.services.model_dial import Endpoint, ModelChannel, dial
from server.services.openai_realtime_client import OpenAIRealtimeClient
from server.simulator.realtime.server import RealtimeServer
from tests.integration.calls import eventually
from tests.integration.slow_model import SlowModel

WAIT_S = 5.0


def until(is_so: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Let the hub run until something is so."""
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not happen"
        green.sleep(0.001)


def endpoint(url: str) -> Endpoint:
    return Endpoint(url, "gpt-realtime", "sk-test", Dialect.GA)


@pytest.fixture
def model() -> Iterator[RealtimeServer]:
    with RealtimeServer() as server:
        yield server


class Call:
    def __init__(self, url: str) -> None:
        self.kinds: list[str] = []
        self.client = OpenAIRealtimeClient(endpoint(url), self._on_event, "test")

    def _on_event(self, kind: str, event: Event) -> None:
        self.kinds.append(kind)
        if isinstance(event, SessionUpdated):
            self.client.close()


def waits(channel: ModelChannel) -> bool:
    """Something came that nobody has read."""
    return channel._inbox_bytes > 0


def test_what_came_before_the_call_is_read_first(model):
    channel = dial(endpoint(model.url))
    until(lambda: waits(channel))
    call = Call(model.url)
    assert call.client.connect(channel) < 5
    call.client.configure_session(voice="marin", instructions="שלום")
    call.client.read_events()
    assert call.kinds[0] == "session.created" and call.kinds[-1] == "session.updated"
    assert model.sessions_total == 1


def test_a_call_without_a_channel_dials(model):
    call = Call(model.url)
    call.client.connect()
    call.client.configure_session(voice="marin", instructions="")
    call.client.read_events()
    assert call.kinds[0] == "session.created" and call.kinds[-1] == "session.updated"


def test_a_channel_that_ended_meanwhile_is_freed_and_dialled_anew(model):
    channel = dial(endpoint(model.url))
    channel.close()
    call = Call(model.url)
    call.client.connect(channel)
    call.client.configure_session(voice="marin", instructions="")
    call.client.read_events()
    assert "session.updated" in call.kinds
    assert model.sessions_total == 2


def test_a_channel_that_the_model_ended_is_freed():
    with RealtimeServer() as first:
        channel = dial(endpoint(first.url))
        until(lambda: first.sessions_open == 1)
    until(lambda: channel.closed is not None)
    with RealtimeServer() as second:
        call = Call(second.url)
        call.client.connect(channel)
        until(lambda: not channel._port.is_open)
        call.client.close()


def test_a_call_that_is_over_closes_what_it_is_given(model):
    channel = dial(endpoint(model.url))
    call = Call(model.url)
    call.client.close()
    call.client.connect(channel)
    assert channel.closed is not None


def test_the_end_of_a_waiting_channel_is_told_once(model):
    channel = dial(endpoint(model.url))
    told = []
    channel.on_closed = lambda: told.append(channel.closed)
    until(lambda: waits(channel))
    threading.Thread(target=model.stop).start()
    until(lambda: told)
    channel.close()
    channel._lost("reset by peer")
    assert [closed.code for closed in told] == [1001]


def test_our_own_end_is_told_too(model):
    channel = dial(endpoint(model.url))
    told = []
    channel.on_closed = lambda: told.append(channel.closed)
    channel.close()
    assert [closed.by_peer for closed in told] == [False]


def test_plain_audio_of_a_taken_channel_goes_the_short_way():
    """The tap is set when the channel is taken over; before, audio waits like all else."""
    delta = {"type": "response.output_audio.delta", "event_id": "event_1", "response_id": "resp_1"}
    delta |= {"item_id": "item_1", "output_index": 0, "content_index": 0, "delta": "////"}
    with SlowModel() as server:
        channel = dial_slow(server)
        call, short = Call(server.url), []
        call.client.plain_audio = lambda response_id, item_id, payload: short.append(payload) is None
        server.say(0, json.dumps({"type": "session.created", "event_id": "event_0", "session": {}}))
        until(lambda: waits(channel))
        call.client.connect(channel)
        reader = green.spawn(call.client.read_events)
        until(lambda: call.kinds == ["session.created"])
        server.say(0, json.dumps(delta, separators=(",", ":")))
        until(lambda: short)
        assert short == [b"\xff\xff\xff"]
        call.client.close()
        reader.wait()


def dial_slow(server: SlowModel) -> ModelChannel:
    """Unpatched, a dial blocks this thread: somebody else must answer."""

    def answer() -> None:
        eventually(lambda: bool(server.accepted))
        server.answer(0)

    answering = threading.Thread(target=answer)
    answering.start()
    channel = dial(endpoint(server.url))
    answering.join()
    return channel


def test_a_peer_that_vanishes_is_noticed_by_tcp(model):
    channel = dial(endpoint(model.url))
    sock = socket.socket(fileno=socket.dup(channel._port.fileno))
    with sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    channel.close()


def test_a_refusal_and_an_absence_are_told_apart():
    with RealtimeServer(faults=["refuse401"]) as server:
        with pytest.raises(ModelRefused, match="HTTP 401") as refused:
            dial(endpoint(server.url))
        assert refused.value.code == "invalid_api_key"
    with pytest.raises(ModelUnreachable, match=r"127\.0\.0\.1"):
        dial(endpoint(server.url))


def test_a_password_in_the_address_is_not_told():
    with pytest.raises(ModelUnreachable, match=r"^127\.0\.0\.1:9: ") as unreachable:
        dial(endpoint("ws://user:secret@127.0.0.1:9/v1/realtime"))
    assert "secret" not in str(unreachable.value)
