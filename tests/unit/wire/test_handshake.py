import base64
from http import HTTPStatus

import pytest

from server.wire.handshake import refuse, response

GOOD = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
BAD, NOT_ALLOWED, UPGRADE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.UPGRADE_REQUIRED,
)


def status(method="GET", version="HTTP/1.1", **changes):
    """The status that refuses the good request with these headers changed; None leaves one out."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {name: value for name, value in (GOOD | named).items() if value is not None}
    refusal = refuse(method, version, headers)
    assert refusal is None or refusal.reason
    return None if refusal is None else refusal.status


def test_a_handshake_as_twilio_sends_it_passes():
    assert status() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"connection": "keep-alive, Upgrade"},
        {"connection": "UPGRADE"},
        {"sec_websocket_key": " dGhlIHNhbXBsZSBub25jZQ== "},
        {"sec_websocket_version": " 13 "},
        {"origin": "https://elsewhere.example"},
        {"sec_websocket_protocol": "audio.twilio.com"},
    ],
)
def test_spellings_that_mean_the_same_pass(changes):
    assert status(**changes) is None


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "get", ""])
def test_only_get_opens_a_websocket(method):
    assert status(method) == NOT_ALLOWED


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "HTTP/2", ""])
def test_only_http_1_1_opens_a_websocket(version):
    assert status(version=version) == BAD


@pytest.mark.parametrize("header", ["upgrade", "connection"])
@pytest.mark.parametrize("value", [None, "", "keep-alive", "websockets", "upgraded"])
def test_a_plain_request_is_told_to_upgrade(header, value):
    assert status(**{header: value}) == UPGRADE


@pytest.mark.parametrize("version", [None, "", "12", "8", "0", "014", "13, 12", "thirteen"])
def test_only_version_13_is_spoken(version):
    assert status(sec_websocket_version=version) == UPGRADE


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "short",
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        "dGhlIHNhbXBsZSBub25jZQ",  # padding lost
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",  # sent twice
        "dGhlIHNhbXBsZSBu b25jZQ==",
        "________________________",
        "מפתח בעברית",
        "A" * 5000,
    ],
)
def test_a_key_must_be_16_bytes_of_base64(key):
    assert status(sec_websocket_key=key) == BAD


def test_an_empty_request_is_refused_without_an_exception():
    assert refuse("GET", "HTTP/1.1", {}).status == UPGRADE


def test_the_answer_has_the_rfcs_accept_key_and_no_protocol_unless_chosen():
    assert response(GOOD) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


def test_a_chosen_protocol_is_named_in_the_answer():
    lines = response(GOOD, "audio.twilio.com").split(b"\r\n")
    assert lines[-3:] == [b"Sec-WebSocket-Protocol: audio.twilio.com", b"", b""]
