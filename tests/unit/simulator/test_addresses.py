import pytest

from server.simulator.twilio.addresses import Addresses, Target, is_loopback

LOCAL = "http://127.0.0.1:5000/webhook/incoming_call"


def test_without_a_public_address_everything_is_what_it_says():
    addresses = Addresses("https://app.example/hook")
    assert addresses.signed("wss://app.example/ws") == "wss://app.example/ws"
    assert addresses.target("wss://app.example/ws") == Target("wss://app.example/ws")


def test_a_public_address_is_signed_while_the_local_one_is_called():
    addresses = Addresses(LOCAL, "https://app.example")
    signed = addresses.signed(LOCAL)
    assert signed == "https://app.example/webhook/incoming_call"
    assert addresses.target(signed) == Target(LOCAL, "app.example", is_behind_proxy=True)
    assert addresses.signed("ws://127.0.0.1:5000/ws") == "wss://app.example/ws"
    assert addresses.target("wss://app.example/ws") == Target("ws://127.0.0.1:5000/ws", "app.example", True)


def test_secure_stream_of_a_plain_webhook_is_reached_by_plain_ws():
    addresses = Addresses("http://gateway:5000/hook")
    assert addresses.target("wss://gateway:5000/ws").url == "ws://gateway:5000/ws"
    assert addresses.target("wss://elsewhere:5000/ws") == Target("wss://elsewhere:5000/ws")


def test_a_loopback_gateway_is_the_public_host_it_names():
    addresses = Addresses(LOCAL)
    assert addresses.target("wss://app.example/ws").url == "wss://app.example/ws"
    addresses.adopt("wss://app.example/ws")
    assert addresses.target("wss://app.example/ws") == Target("ws://127.0.0.1:5000/ws", "app.example", True)
    assert addresses.target("https://app.example/end").url == "http://127.0.0.1:5000/end"
    assert addresses.target("https://cdn.example/a.wav") == Target("https://cdn.example/a.wav")


def test_plain_ws_is_taken_at_its_word():
    addresses = Addresses(LOCAL)
    addresses.adopt("ws://localhost:5001/ws")
    assert addresses.target("ws://localhost:5001/ws") == Target("ws://localhost:5001/ws")


def test_a_remote_gateway_is_never_taken_for_another_host():
    addresses = Addresses("http://gateway:5000/hook")
    addresses.adopt("wss://app.example/ws")
    assert addresses.target("wss://app.example/ws") == Target("wss://app.example/ws")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("10.0.0.1", False)],
)
def test_loopback(host: str, expected: bool):
    assert is_loopback(host) is expected
