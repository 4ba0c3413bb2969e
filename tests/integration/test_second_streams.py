"""Several streams of one call: the newest serves it, and none stays behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from server import green
from server.businesses_file import read_businesses
from server.channel import Channel
from server.config import Settings
from server.endings import EndReason
from server.gateway import CallerLeg, Gateway, Mode
from server.media_ws import CALLER_LIMITS, MediaStream
from server.media_ws_echo import EchoMode
from server.store.live_calls import FollowUp
from server.telephony.call_token import CallTokens
from server.telephony.messages import Start
from server.telephony.signature import SignatureCheck
from tests.integration.raw_websocket import start

CALL_SID = "CA" + "1" * 32


class Door:
    """A gateway's streams over real sockets, without its web server."""

    def __init__(self) -> None:
        settings = Settings.from_env({"ECHO_TEST": "1", "MAX_CALLS": "4"})
        self.begun: list[str] = []
        self.gateway = Gateway(
            settings=settings,
            make_mode=self.make_mode,
            businesses=read_businesses(settings),
            signature=SignatureCheck(()),
            tokens=CallTokens.for_deployment(()),
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []

    def make_mode(self, caller: CallerLeg, start: Start) -> Mode:
        self.begun.append(start.stream_sid)
        return EchoMode(caller)

    def open(self) -> tuple[socket.socket, MediaStream, green.Thread]:
        peer = socket.create_connection(self._listener.getsockname())
        sock, _ = self._listener.accept()
        self._peers.append(peer)
        stream = MediaStream(Channel(sock, is_client=False, limits=CALLER_LIMITS), self.gateway, None)
        thread = green.spawn(stream.run)
        green.sleep(0.01)
        return peer, stream, thread

    def close(self) -> None:
        for sock in (*self._peers, self._listener):
            sock.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def test_two_that_follow_at_once_leave_nobody_behind(door: Door) -> None:
    """Both wait for the first to give way."""
    opened = [door.open() for _ in range(3)]
    opened[0][0].sendall(start("MZ0", CALL_SID))
    green.sleep(0.02)
    for number in (1, 2):
        opened[number][0].sendall(start(f"MZ{number}", CALL_SID))
    with green.deadline(3.0):
        while set(door.begun) != {"MZ0", "MZ1", "MZ2"}:
            green.sleep(0.01)
    for peer, _, _ in opened:
        peer.close()
    for _, _, thread in opened:
        with green.deadline(3.0):
            thread.wait()
    assert (door.gateway.streams, door.gateway.unstarted_streams) == (set(), 0)
    assert door.gateway.streams_by_call == {}


def test_one_that_ended_while_it_waited_does_not_begin(door: Door) -> None:
    (first, _, _), (second, stream, thread) = door.open(), door.open()
    first.sendall(start("MZ0", CALL_SID))
    green.sleep(0.02)
    second.sendall(start("MZ1", CALL_SID))
    green.sleep(0.005)
    stream.end(EndReason.DRAIN)
    with green.deadline(3.0):
        thread.wait()
    assert door.begun == ["MZ0"]
    assert door.gateway.unstarted_streams == 0


def refused(door: Door, message: bytes) -> FollowUp | None:
    """What follows the call, after a stream of it was refused."""
    peer, _, thread = door.open()
    peer.sendall(message)
    with green.deadline(3.0):
        thread.wait()
    assert door.begun == []
    return door.gateway.calls.follow_up(CALL_SID)


def test_a_stream_without_a_good_token_is_followed_by_words(door: Door) -> None:
    door.gateway.calls.answered(CALL_SID)
    assert refused(door, start("MZ1", CALL_SID, "no token of ours")) is FollowUp.APOLOGY


def test_a_stream_of_another_sound_is_followed_by_words(door: Door) -> None:
    door.gateway.calls.answered(CALL_SID)
    other = start(
        "MZ1", CALL_SID, mediaFormat={"encoding": "audio/x-alaw", "sampleRate": 8000, "channels": 1}
    )
    assert refused(door, other) is FollowUp.APOLOGY


def test_a_stream_for_which_there_is_no_place_is_followed_by_words(door: Door) -> None:
    for number in range(4):
        door.gateway.calls.began(f"CA{number}", f"MZ{number}")
    door.gateway.calls.answered(CALL_SID)
    assert refused(door, start("MZ9", CALL_SID)) is FollowUp.APOLOGY


def begin(door: Door, message: bytes) -> None:
    peer, _, _ = door.open()
    peer.sendall(message)
    with green.deadline(3.0):
        while not door.begun:
            green.sleep(0.01)


def test_a_call_that_was_answered_a_moment_ago_has_its_place(door: Door) -> None:
    for number in range(3):
        door.gateway.calls.began(f"CA{number}", f"MZ{number}")
    door.gateway.calls.expected(CALL_SID, time.monotonic())
    assert door.gateway.places_taken == 4
    begin(door, start("MZ9", CALL_SID))
    assert door.gateway.places_taken == 4


def test_a_call_whose_line_broke_and_that_is_expected_again_holds_one_place(door: Door) -> None:
    begin(door, start("MZ1", CALL_SID))
    door.gateway.calls.expected(CALL_SID, time.monotonic())
    assert door.gateway.places_taken == 1


def test_what_the_stream_brings_of_its_webhook_is_hostile_text(door: Door) -> None:
    parameters = {"caller": "+97250\n\u202e" + "1" * 300, "called": "+97239999999"}
    begin(door, start("MZ1", CALL_SID, customParameters=parameters))
    facts = door.gateway.calls.facts(CALL_SID)
    assert facts.caller == "+97250 \ufffd" + "1" * 56
    assert facts.called == "+97239999999"
