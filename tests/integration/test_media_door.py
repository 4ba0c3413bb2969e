"""Who gets in: the handshake of the media WebSocket, signatures, call tokens, and the smoke tests.

Two real servers: one as on a first run, without any key, and one as in production, with a public
address and two auth tokens of which one is on its way out.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from server.telephony.call_token import VALID_S, CallTokens
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.raw_websocket import (
    MEDIA_PATH,
    PING,
    SUBPROTOCOL,
    Answer,
    EchoCall,
    Ended,
    RawWebSocket,
    Signer,
    audio,
    connected,
    frame,
    get,
    metric,
    post,
    sid,
    start,
    start_call,
    tcp,
    upgrade_request,
)
from tests.integration.raw_websocket import (
    http as raw_http,
)
from tests.integration.raw_websocket import (
    signature as raw_signature,
)

PUBLIC_HOST = "kav.example"
TOKENS = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210")
STRANGER = "00000000000000000000000000000000"
UNSTARTED_LIMIT = 200


@pytest.fixture(scope="module")
def gateway() -> Iterator[GunicornProcess]:
    """Without a Twilio token: everybody may call and reaches what costs nothing."""
    with GunicornProcess(env={"ECHO_TEST": "1"}) as process:
        yield process


@pytest.fixture(scope="module")
def production() -> Iterator[GunicornProcess]:
    env = {
        "ECHO_TEST": "1",
        "TWILIO_AUTH_TOKEN": ",".join(TOKENS),
        "PUBLIC_BASE_URL": f"https://{PUBLIC_HOST}/",
    }
    with GunicornProcess(env=env) as process:
        yield process


def signature(
    url: str, form: Mapping[str, str] | None = None, token: str = TOKENS[0]
) -> dict[str, str | None]:
    return raw_signature(url, form or {}, token)


def knock(gateway: GunicornProcess, request: bytes) -> Answer:
    return raw_http(gateway.port, request)


def upgrade(gateway: GunicornProcess, path: str = MEDIA_PATH, **how: object) -> Answer:
    return knock(gateway, upgrade_request(gateway.port, path, **how))  # type: ignore[arg-type]


# The handshake


@pytest.mark.parametrize("path", [MEDIA_PATH, MEDIA_PATH + "/"])
def test_both_spellings_of_the_path_open_without_a_redirect(gateway: GunicornProcess, path: str) -> None:
    answer = upgrade(gateway, path)
    assert answer.status == 101
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"
    assert "sec-websocket-protocol" not in answer.headers
    assert "sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize("offer", [SUBPROTOCOL, f"chat, {SUBPROTOCOL}", f"{SUBPROTOCOL},chat"])
def test_the_subprotocol_is_answered_when_offered(gateway: GunicornProcess, offer: str) -> None:
    answer = upgrade(gateway, headers={"Sec-WebSocket-Protocol": offer})
    assert answer.status == 101
    assert answer.headers["sec-websocket-protocol"] == SUBPROTOCOL


def test_the_subprotocol_is_answered_when_offered_in_a_second_header(gateway: GunicornProcess) -> None:
    more = [("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Protocol", SUBPROTOCOL)]
    answer = upgrade(gateway, more=more)
    assert (answer.status, answer.headers.get("sec-websocket-protocol")) == (101, SUBPROTOCOL)


@pytest.mark.parametrize("offer", ["chat", "audio.twilio.com.evil.example", "AUDIO", ",,"])
def test_another_subprotocol_is_not_answered(gateway: GunicornProcess, offer: str) -> None:
    answer = upgrade(gateway, headers={"Sec-WebSocket-Protocol": offer})
    assert answer.status == 101
    assert "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "WebSocket", "Connection": "upgrade"},
        {"Connection": "keep-alive, Upgrade"},
        {"Origin": None, "User-Agent": "Twilio.TmeWs/1.0"},
    ],
    ids=["other letters", "Connection list", "as Twilio asks"],
)
def test_the_usual_spellings_of_a_handshake_are_understood(
    gateway: GunicornProcess, headers: dict[str, str | None]
) -> None:
    assert upgrade(gateway, headers=headers).status == 101


def key_of(n_bytes: int) -> str:
    return base64.b64encode(b"k" * n_bytes).decode()


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        key_of(15),
        key_of(17),
        key_of(16)[:-2],
        "!" * 22 + "==",
        f"{key_of(16)} {key_of(16)}",
        "מפתח",
    ],
    ids=["none", "empty", "15 bytes", "17 bytes", "no padding", "no base64", "two in one", "Hebrew"],
)
def test_a_bad_key_is_refused(gateway: GunicornProcess, key: str | None) -> None:
    assert upgrade(gateway, headers={"Sec-WebSocket-Key": key}).status == 400


def test_a_second_key_is_refused(gateway: GunicornProcess) -> None:
    assert upgrade(gateway, more=[("Sec-WebSocket-Key", key_of(16))]).status == 400


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "thirteen", "13, 8"])
def test_another_version_is_told_which_one_is_spoken(gateway: GunicornProcess, version: str | None) -> None:
    answer = upgrade(gateway, headers={"Sec-WebSocket-Version": version})
    assert answer.status == 426
    assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("path", [MEDIA_PATH, MEDIA_PATH + "/"])
def test_a_plain_get_is_told_to_upgrade(gateway: GunicornProcess, path: str) -> None:
    answer = get(gateway.port, path)
    assert answer.status == 426
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "headers", [{"Upgrade": None}, {"Connection": "keep-alive"}, {"Upgrade": "h2c"}, {"Connection": "close"}]
)
def test_half_a_handshake_is_none(gateway: GunicornProcess, headers: dict[str, str | None]) -> None:
    assert upgrade(gateway, headers=headers).status in (400, 426)


def test_http_1_0_cannot_upgrade(gateway: GunicornProcess) -> None:
    assert upgrade(gateway, version="HTTP/1.0").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_only_get_upgrades(gateway: GunicornProcess, method: str) -> None:
    assert upgrade(gateway, method=method).status == 405


@pytest.mark.parametrize("path", ["/webhook/incoming_call", "/webhook/stream_status", "/healthz", "/"])
def test_only_the_media_path_upgrades(gateway: GunicornProcess, path: str) -> None:
    answer = upgrade(gateway, path)
    assert answer.status != 101
    assert answer.status < 500


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1",
        "null",
        "file://",
        "http://[",
        "http://[::1",
        "http://127.0.0.1:{port}.evil.example",
        "https://evil.example/http://127.0.0.1:{port}",
        "http://127.0.0.1:{port}@evil.example",
        "//",
        "אתר",
    ],
)
def test_another_sites_page_may_not_open_a_stream(gateway: GunicornProcess, origin: str) -> None:
    answer = upgrade(gateway, headers={"Origin": origin.replace("{port}", str(gateway.port))})
    assert answer.status == 403


def test_a_page_of_our_own_may_open_a_stream(gateway: GunicornProcess) -> None:
    assert upgrade(gateway, headers={"Origin": gateway.base_url}).status == 101


@pytest.mark.parametrize("host", ["[", "a b", "a/b", '"<Say>', "x:y", "מארח", "a" * 300 + "/"])
def test_a_host_that_is_none_opens_nothing_and_breaks_nothing(gateway: GunicornProcess, host: str) -> None:
    answer = upgrade(gateway, headers={"Host": host, "Origin": "null"})
    assert 400 <= answer.status < 500


PATH_TRICKS = [
    "//ws/twilio-media",
    "/ws//twilio-media",
    "/ws/twilio-media//",
    "/ws/",
    "/ws/./twilio-media",
    "/ws/../ws/twilio-media",
    "/ws/%2e%2e/ws/twilio-media",
    "/%77s/twilio-media",
    "/ws/twilio-media%2f",
    "/ws/twilio-media%00",
    "/ws/twilio-media;jsessionid=1",
    "/ws/twilio-media?token=1",
    "/WS/twilio-media",
    "/ws\\twilio-media",
    "/ws/twilio-media/..%2f..%2fwebhook/incoming_call",
    "/static/../ws/twilio-media",
    "http://evil.example/ws/twilio-media",
    "/ws/תמדיה",
]


@pytest.mark.parametrize("path", PATH_TRICKS)
def test_a_path_trick_is_the_door_itself_or_no_door(gateway: GunicornProcess, path: str) -> None:
    answer = upgrade(gateway, path)
    assert answer.status == 101 or 400 <= answer.status < 500
    assert "location" not in answer.headers


@pytest.mark.parametrize("path", PATH_TRICKS)
def test_no_path_trick_leads_around_the_signature(production: GunicornProcess, path: str) -> None:
    answer = upgrade(production, path)
    assert 400 <= answer.status < 500


def test_too_many_headers_are_refused(gateway: GunicornProcess) -> None:
    assert upgrade(gateway, more=[(f"X-{n}", "x") for n in range(200)]).status == 431


def test_a_header_too_long_is_refused(gateway: GunicornProcess) -> None:
    assert upgrade(gateway, headers={"X-Long": "x" * 9000}).status == 431


def test_two_readings_of_one_body_are_refused(gateway: GunicornProcess) -> None:
    request = (
        "POST /webhook/incoming_call HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert knock(gateway, request.encode()).status == 400


# Peers that take their time: they run beside the other tests, and are judged at the end of this file

SLOW_S = 9.0


def _served_slowly(port: int, head: bytes, drip: bytes) -> float:
    """Seconds until the server gives up a peer that sends a byte each half second; without `drip` none."""
    started_at = time.monotonic()
    pieces = itertools.cycle(bytes([byte]) for byte in drip) if drip else itertools.repeat(b"")
    with tcp(port) as sock:
        sock.sendall(head)
        sock.settimeout(0.5)
        for piece in pieces:
            if time.monotonic() - started_at > SLOW_S:
                break
            try:
                sock.sendall(piece)
                if not sock.recv(4096):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - started_at


@pytest.fixture(scope="module", autouse=True)
def slow_peers(gateway: GunicornProcess) -> Iterator[dict[str, Future[float]]]:
    body_head = (
        "POST /webhook/incoming_call HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\nCallSid="
    )
    with ThreadPoolExecutor(3) as threads:
        yield {
            "headers": threads.submit(
                _served_slowly, gateway.port, b"GET /ws/twilio-media HTTP/1.1\r\n", b"X-A: b\r\n"
            ),
            "body": threads.submit(_served_slowly, gateway.port, body_head.encode(), b"a"),
            "nothing": threads.submit(_served_slowly, gateway.port, b"", b""),
        }


# Signed upgrades


@pytest.mark.parametrize("scheme", ["wss", "https"])
@pytest.mark.parametrize("port", ["", ":443"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("asked", [MEDIA_PATH, MEDIA_PATH + "/"])
@pytest.mark.parametrize("token", TOKENS, ids=["new token", "old token"])
def test_a_signed_upgrade_is_let_in_however_its_url_is_spelt(
    production: GunicornProcess, scheme: str, port: str, slash: str, asked: str, token: str
) -> None:
    signed = signature(f"{scheme}://{PUBLIC_HOST}{port}{MEDIA_PATH}{slash}", token=token)
    assert upgrade(production, asked, headers=signed).status == 101


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Twilio-Signature": ""},
        {"X-Twilio-Signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"X-Twilio-Signature": "חתימה"},
        {"X-Twilio-Signature": "x" * 8000},
        signature(f"wss://{PUBLIC_HOST}{MEDIA_PATH}", token=STRANGER),
        signature(f"wss://evil.example{MEDIA_PATH}"),
        signature(f"wss://{PUBLIC_HOST}:444{MEDIA_PATH}"),
        signature(f"ws://{PUBLIC_HOST}{MEDIA_PATH}"),
        signature(f"wss://{PUBLIC_HOST}/webhook/incoming_call"),
        signature(f"wss://{PUBLIC_HOST}{MEDIA_PATH}", {"CallSid": "CA1"}),
        signature(f"wss://{PUBLIC_HOST}{MEDIA_PATH}?x=1"),
    ],
    ids=[
        "missing", "empty", "wrong", "not ASCII", "long", "stranger's token", "other host", "other port",
        "not TLS", "other path", "with a form", "with a query",
    ],
)  # fmt: skip
def test_an_upgrade_without_a_right_signature_is_refused(
    production: GunicornProcess, headers: dict[str, str]
) -> None:
    answer = upgrade(production, headers=headers)
    assert answer.status == 403
    production.wait_for_line("KAV-112")


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "X-Original-Host", "Forwarded"])
def test_a_forged_host_does_not_choose_what_is_checked(production: GunicornProcess, name: str) -> None:
    value = "host=evil.example" if name == "Forwarded" else "evil.example"
    for url in (f"wss://evil.example{MEDIA_PATH}", f"https://evil.example{MEDIA_PATH}"):
        assert upgrade(production, headers={name: value} | signature(url)).status == 403
    signed = signature(f"wss://{PUBLIC_HOST}{MEDIA_PATH}")
    assert upgrade(production, headers={name: value} | signed).status == 101


def test_unsigned_upgrades_take_no_place(production: GunicornProcess) -> None:
    statuses = {upgrade(production).status for _ in range(UNSTARTED_LIMIT + 20)}
    assert statuses == {403}
    assert upgrade(production, headers=signature(f"wss://{PUBLIC_HOST}{MEDIA_PATH}")).status == 101


# Signed webhooks


def ask(
    gateway: GunicornProcess,
    name: str,
    form: Mapping[str, str],
    *,
    signed_url: str | None = None,
    signed_form: Mapping[str, str] | None = None,
    token: str = TOKENS[0],
    headers: dict[str, str | None] | None = None,
) -> Answer:
    """A webhook as Twilio signs it, or with another URL or form under the signature."""
    url = signed_url or f"https://{PUBLIC_HOST}/webhook/{name}"
    signed = signature(url, form if signed_form is None else signed_form, token)
    return post(gateway.port, f"/webhook/{name}", form, {**signed, **(headers or {})})


@pytest.mark.parametrize("token", TOKENS, ids=["new token", "old token"])
def test_a_signed_webhook_is_answered_with_the_stream(production: GunicornProcess, token: str) -> None:
    form = {"CallSid": sid("CA"), "From": "+972541234567", "CallerName": "דנה כהן", "Empty": ""}
    answer = ask(production, "incoming_call", form, token=token)
    assert answer.status == 200
    response = ET.fromstring(answer.body)
    stream = response.find("Connect/Stream")
    assert stream is not None
    assert stream.get("url") == f"wss://{PUBLIC_HOST}{MEDIA_PATH}"
    assert stream.get("statusCallback") == f"https://{PUBLIC_HOST}/webhook/stream_status"
    assert response.find("Connect").get("action") == f"https://{PUBLIC_HOST}/webhook/stream_ended"  # type: ignore[union-attr]


@pytest.mark.parametrize("signed", [None, "", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "חתימה"])
def test_an_unsigned_webhook_is_refused(production: GunicornProcess, signed: str | None) -> None:
    headers = {"X-Twilio-Signature": signed}
    answer = post(production.port, "/webhook/incoming_call", {"CallSid": sid("CA")}, headers)
    assert answer.status == 403
    assert b"Traceback" not in answer.body
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_signature_holds_for_its_own_form_and_url_only(production: GunicornProcess) -> None:
    form = {"CallSid": sid("CA"), "From": "+972541234567"}
    base = f"https://{PUBLIC_HOST}/webhook"
    for answer in (
        ask(production, "incoming_call", form, signed_form={**form, "From": "+972547654321"}),
        ask(production, "incoming_call", form, signed_form={"CallSid": form["CallSid"]}),
        ask(production, "incoming_call", form, signed_url=f"{base}/stream_ended"),
        ask(production, "incoming_call", form, signed_url="https://evil.example/webhook/incoming_call"),
        ask(production, "incoming_call", form, token=STRANGER),
    ):
        assert answer.status == 403
    assert ask(production, "incoming_call", form).status == 200


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-Proto"])
def test_a_poisoned_host_never_reaches_the_twiml(production: GunicornProcess, name: str) -> None:
    answer = ask(production, "incoming_call", {"CallSid": sid("CA")}, headers={name: "evil.example"})
    assert answer.status == 200
    assert b"evil.example" not in answer.body


@pytest.mark.parametrize("host", ["[", "a/b", "a b", '"><Say>', "", "מארח"])
def test_a_host_that_is_none_makes_no_twiml(gateway: GunicornProcess, host: str) -> None:
    """There is no public address, and the request names none: `wss:///…` would be a dead line."""
    answer = post(gateway.port, "/webhook/incoming_call", {"CallSid": sid("CA")}, {"Host": host})
    assert answer.status == 400


@pytest.mark.parametrize("name", ["stream_status", "stream_ended"])
def test_an_unsigned_callback_gets_its_204(production: GunicornProcess, name: str) -> None:
    form = {"CallSid": sid("CA"), "StreamSid": sid("MZ"), "StreamEvent": "stream-started"}
    answer = post(production.port, f"/webhook/{name}", form)
    assert (answer.status, answer.body) == (204, b"")


def production_call(production: GunicornProcess) -> EchoCall:
    """A call with every signature in its place."""
    return start_call(production.port, signer=Signer(f"https://{PUBLIC_HOST}", TOKENS[0]))


def test_only_a_signed_callback_decides_what_follows(production: GunicornProcess) -> None:
    with production_call(production) as call:
        call.echoes()
        call.hang_up()
    form = {"CallSid": call.call_sid, "StreamSid": call.stream_sid, "CallStatus": "in-progress"}
    production.wait_for_line(f"WS_END call={call.tag}")
    for _ in range(3):
        assert post(production.port, "/webhook/stream_ended", form).status == 204
    answer = ask(production, "stream_ended", form)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert ET.fromstring(answer.body).tag == "Response"


# Call tokens


@pytest.fixture
def signed_ws(production: GunicornProcess) -> Iterator[RawWebSocket]:
    signed = signature(f"wss://{PUBLIC_HOST}{MEDIA_PATH}")
    with RawWebSocket.open(production.port, headers=signed) as ws:
        yield ws


def issue(call_sid: str, age_s: float = 0.0) -> str:
    """A token as this deployment makes them, so long ago."""
    return CallTokens.for_deployment(TOKENS).issue(call_sid, time.time() - age_s)


def assert_refused(gateway: GunicornProcess, ws: RawWebSocket, call_sid: str, token: str | None) -> None:
    ws.send(connected(), start(sid("MZ"), call_sid, token))
    assert ws.closed_with() == 1008
    gateway.wait_for_line(f"KAV-114 .* call={call_sid[:8]}")
    assert not token or len(token) < 10 or token not in gateway.output()


def test_a_good_token_starts_its_call(production: GunicornProcess) -> None:
    with production_call(production) as call:
        call.echoes()
        assert call.hang_up() == 1000


def test_a_stream_without_a_token_is_refused(production: GunicornProcess, signed_ws: RawWebSocket) -> None:
    assert_refused(production, signed_ws, sid("CA"), None)


NO_TOKENS = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "short": "1.2.3",
    "far future": "9999999999999999.a.b",
    "negative": "-1.a.b",
    "Arabic digit": "٣.a.b",
    "surrogate": "1795210105.x.\ud800",
    "surrogate nonce": "1.\udfff.b",
    "long": "x" * 40_000,
}


@pytest.mark.parametrize("token", NO_TOKENS.values(), ids=NO_TOKENS)
def test_a_token_that_is_none_is_refused(
    production: GunicornProcess, signed_ws: RawWebSocket, token: str
) -> None:
    assert_refused(production, signed_ws, sid("CA"), token)


def test_a_token_of_another_call_is_refused(production: GunicornProcess, signed_ws: RawWebSocket) -> None:
    assert_refused(production, signed_ws, sid("CA"), issue(sid("CA")))


def test_a_token_of_another_deployment_is_refused(
    production: GunicornProcess, signed_ws: RawWebSocket
) -> None:
    call_sid = sid("CA")
    token = CallTokens.for_deployment((STRANGER,)).issue(call_sid, time.time())
    assert_refused(production, signed_ws, call_sid, token)


def test_an_expired_token_is_refused(production: GunicornProcess, signed_ws: RawWebSocket) -> None:
    call_sid = sid("CA")
    assert_refused(production, signed_ws, call_sid, issue(call_sid, age_s=VALID_S + 70))


def test_a_token_with_a_longer_life_written_into_it_is_refused(
    production: GunicornProcess, signed_ws: RawWebSocket
) -> None:
    call_sid = sid("CA")
    expires, _, rest = issue(call_sid, age_s=VALID_S + 70).partition(".")
    assert_refused(production, signed_ws, call_sid, f"{int(expires) + 3600}.{rest}")


def test_a_token_is_good_for_one_stream(production: GunicornProcess, signed_ws: RawWebSocket) -> None:
    with production_call(production) as call:
        call.echoes()
        assert_refused(production, signed_ws, call.call_sid, call.token)
        call.echoes()


def test_without_a_twilio_token_a_bare_stream_may_be_tried(gateway: GunicornProcess) -> None:
    call_sid, stream_sid = sid("CA"), sid("MZ")
    with RawWebSocket.open(gateway.port) as ws:
        ws.send(connected(), start(stream_sid, call_sid))
        EchoCall(ws, call_sid, stream_sid).echoes()


def test_a_wrong_token_is_wrong_everywhere(gateway: GunicornProcess) -> None:
    with RawWebSocket.open(gateway.port) as ws:
        assert_refused(gateway, ws, sid("CA"), "1.2.3")


# The smoke tests, as they are typed


def curl(gateway: GunicornProcess, path: str, data: str) -> Answer:
    """`curl -i -X POST $BASE<path> -d <data>`, and quickly."""
    headers = {
        "User-Agent": "curl/8.14.1",
        "Accept": "*/*",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    started_at = time.monotonic()
    answer = post(gateway.port, path, data.encode(), dict(headers))
    assert time.monotonic() - started_at < 2.0
    return answer


def test_curl_incoming_call(gateway: GunicornProcess) -> None:
    answer = curl(gateway, "/webhook/incoming_call", "CallSid=CA_TEST")
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == "text/xml"
    assert answer.headers["cache-control"] == "no-store"
    response = ET.fromstring(answer.body)
    first = response[0]
    assert (response.tag, first.tag, first.get("method")) == ("Response", "Connect", "POST")
    assert first.get("action") == f"{gateway.base_url}/webhook/stream_ended"
    stream = first[0]
    assert stream.tag == "Stream"
    assert stream.get("url") == f"wss://127.0.0.1:{gateway.port}{MEDIA_PATH}"
    assert stream.get("statusCallback") == f"{gateway.base_url}/webhook/stream_status"
    parameters = {item.get("name"): item.get("value") for item in stream}
    assert parameters["call_sid"] == "CA_TEST"
    assert parameters["token"]


def test_curl_stream_status(gateway: GunicornProcess) -> None:
    for field in ("StreamEvent", "Status"):
        data = f"CallSid=CA_TEST&StreamSid=MZ_{field}&{field}=stream-started"
        answer = curl(gateway, "/webhook/stream_status", data)
        assert (answer.status, answer.body) == (204, b"")
        gateway.wait_for_line(f"STREAM_STATUS call=CA_TEST stream=MZ_{field} event=stream-started$")


def test_curl_stream_ended(gateway: GunicornProcess) -> None:
    data = "CallSid=CA_TEST&StreamSid=MZ_TEST&Status=completed"
    answer = curl(gateway, "/webhook/stream_ended", data)
    assert (answer.status, answer.body) == (204, b"")
    gateway.wait_for_line("STREAM_ENDED call=CA_TEST stream=MZ_TEST status=completed")


@pytest.mark.parametrize("path", [MEDIA_PATH, MEDIA_PATH + "/"])
def test_wscat(gateway: GunicornProcess, path: str) -> None:
    """`wscat -c wss://HOST/ws/twilio-media -s audio.twilio.com` says which sub-protocol it got."""
    headers = {
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    }
    with RawWebSocket.open(gateway.port, path, headers=headers) as ws:
        assert ws.answer.headers["sec-websocket-protocol"] == SUBPROTOCOL
        ws.send(frame(PING, b"?"))
        assert ws.read_frame().payload == b"?"
    gateway.wait_for_line(f"WS_CONNECTED subprotocol={SUBPROTOCOL}")


def test_an_echo_call_is_heard_and_told_in_the_log(gateway: GunicornProcess) -> None:
    with start_call(gateway.port) as call:
        for number in range(12):
            call.ws.send(call.media(audio(number)))
            assert call.next_audio() == audio(number)
        assert call.hang_up() == 1000
    gateway.wait_for_line(f"WS_STOP sid={call.stream_sid} rx=12 tx=12 ")
    gateway.wait_for_line(f"ECHO_REPORT call={call.tag} frames_in=12 frames_back=12 lost=0 ")
    gateway.wait_for_line(f"WS_END call={call.tag} .*reason=stop")


def test_webhooks_have_one_prefix_only(gateway: GunicornProcess) -> None:
    assert post(gateway.port, "/webhook/webhook/incoming_call").status == 404
    assert post(gateway.port, "/incoming_call").status == 404


def test_an_ordinary_http_client_gets_its_answers_on_one_connection(gateway: GunicornProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=3)
    try:
        for path, status in (("/healthz", 200), ("/readyz", 200), (MEDIA_PATH, 426), ("/healthz", 200)):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status
    finally:
        connection.close()


# Last, for what they need time for has run beside the tests above


@pytest.mark.parametrize("what", ["headers", "body", "nothing"])
def test_a_peer_that_takes_its_time_is_not_waited_for(
    slow_peers: dict[str, Future[float]], what: str
) -> None:
    assert slow_peers[what].result(SLOW_S + 3) < SLOW_S - 1


def test_streams_that_never_start_are_all_gone(gateway: GunicornProcess) -> None:
    """Every socket above that was upgraded and left has freed its place."""
    with RawWebSocket.open(gateway.port) as ws, pytest.raises(Ended):
        while ws.closed_with(7.0):
            pass
    gateway.wait_for_line("KAV-116")
    assert metric(gateway.port, "gateway_active_calls") == 0


def test_nothing_above_was_a_fault_of_our_own(gateway: GunicornProcess, production: GunicornProcess) -> None:
    lines = (gateway.output() + production.output()).splitlines()
    assert [line for line in lines if "KAV-199" in line or "Traceback" in line] == []


def test_nothing_above_told_a_secret(production: GunicornProcess) -> None:
    for secret in (*TOKENS, "+972541234567"):
        assert secret not in production.output()
