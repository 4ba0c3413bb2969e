"""Messages Twilio never sends: dropped and counted, and the call goes on; or the stream is refused.

A message that means nothing costs nobody anything. Two hundred of them are no telephone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.raw_websocket import (
    FRAME_BYTES,
    EchoCall,
    RawWebSocket,
    audio,
    connected,
    event,
    incoming_call,
    metric,
    sid,
    start,
    start_call,
    start_message,
    text,
)

MAX_BROKEN_MESSAGES = 200
HOSTILE_WORDS = {
    "10 KB": "M" * 10_000,
    "quotes": "MZ\"'`",
    "line ends": "MZ\r\nFORGED line",
    "path": "../../etc/passwd",
    "right to left": "MZ\u202e\u2067gpj.exe",
    "NUL": "MZ\x00",
    "escape codes": "MZ\x1b[2J",
    "Hebrew": "שלום",
    "surrogate": "MZ\ud800",
    "markup": "</Stream><Say>hacked</Say>",
    "format": "%s%n{0}",
    "space": "MZ 1",
    "full width": "ＭＺ１",
    "number": "+972541234567",
}


@pytest.fixture
def call(gateway: GunicornProcess) -> Iterator[EchoCall]:
    with start_call(gateway.port) as call:
        yield call


def dropped(gateway: GunicornProcess) -> float:
    """Messages that meant nothing: broken, or of an event that nobody here knows."""
    whys = ("protocol", "unknown_event")
    return sum(metric(gateway.port, "gateway_frames_dropped_total", why=why) for why in whys)


def as_text(message: object) -> bytes:
    return json.dumps(message).encode()


def media(call: EchoCall, /, **changes: Any) -> bytes:
    return call.media_json(audio(1), **changes)


def b64(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


DROPPED: dict[str, Callable[[EchoCall], bytes | str]] = {
    "empty": lambda call: "",
    "no JSON": lambda call: "hello",
    "JSON cut short": lambda call: media(call)[:-1],
    "two messages in one": lambda call: media(call) + media(call),
    "single quotes": lambda call: "{'event':'media'}",
    "array": lambda call: "[]",
    "number": lambda call: "3",
    "null": lambda call: "null",
    "string": lambda call: '"event"',
    "10 000 arrays deep": lambda call: "[" * 10_000 + "]" * 10_000,
    "10 000 objects deep": lambda call: '{"event":' * 6_000 + "1" + "}" * 6_000,
    "unclosed arrays": lambda call: "[" * 60_000,
    "two events": lambda call: '{"event":"media","event":"weather"}',
    "event NaN": lambda call: '{"event":NaN}',
    "5 000 digits": lambda call: '{"event":"media","sequenceNumber":' + "9" * 5_000 + "}",
    "1e999": lambda call: '{"event":1e999}',
    "no event": lambda call: as_text({"media": {"payload": b64(audio(1))}}),
    "event null": lambda call: '{"event":null}',
    "event number": lambda call: '{"event":5}',
    "event array": lambda call: '{"event":["media"]}',
    "event object": lambda call: '{"event":{"event":"media"}}',
    "event unknown": lambda call: '{"event":"weather"}',
    "event unknown, with line ends": lambda call: as_text({"event": "x\nFORGED line \u202e +972541234567"}),
    "event unknown, a surrogate": lambda call: as_text({"event": "\ud800"}),
    "event unknown, 60 KB": lambda call: as_text({"event": "e" * 60_000}),
    "event in other letters": lambda call: '{"event":"MEDIA"}',
    "no media": lambda call: as_text({"event": "media", "streamSid": call.stream_sid}),
    "media null": lambda call: as_text({"event": "media", "streamSid": call.stream_sid, "media": None}),
    "media text": lambda call: as_text({"event": "media", "streamSid": call.stream_sid, "media": "x"}),
    "no payload": lambda call: media(call, payload=None),
    "payload number": lambda call: media(call, payload=5),
    "payload array": lambda call: media(call, payload=[1, 2]),
    "payload in another alphabet": lambda call: media(call, payload="!@#$"),
    "payload url-safe": lambda call: media(call, payload="-_-_"),
    "payload not padded": lambda call: media(call, payload=b64(audio(1)).rstrip("=")),
    "payload padded too much": lambda call: media(call, payload=b64(audio(1)) + "="),
    "payload padded in the middle": lambda call: media(call, payload="AA==AAAA"),
    "payload with spaces": lambda call: media(call, payload="AAAA AAAA"),
    "payload with a line end": lambda call: media(call, payload=b64(audio(1)) + "\n"),
    "payload Hebrew": lambda call: media(call, payload="שלום"),
    "payload a surrogate": lambda call: media(call, payload="\udc80"),
    "payload NUL": lambda call: media(call, payload="AAA\x00"),
    "payload of one letter": lambda call: media(call, payload="A"),
    "another streamSid": lambda call: as_text(call.media_message(audio(1)) | {"streamSid": sid("MZ")}),
    "streamSid missing": lambda call: as_text({**call.media_message(audio(1)), "streamSid": None}),
    "streamSid number": lambda call: as_text({**call.media_message(audio(1)), "streamSid": 5}),
    "outbound track": lambda call: media(call, track="outbound"),
    "unknown track": lambda call: media(call, track="sideways"),
    "dtmf missing": lambda call: '{"event":"dtmf"}',
    "dtmf text": lambda call: '{"event":"dtmf","dtmf":"1"}',
    "digit empty": lambda call: '{"event":"dtmf","dtmf":{"digit":""}}',
    "two digits": lambda call: '{"event":"dtmf","dtmf":{"digit":"12"}}',
    "digit number": lambda call: '{"event":"dtmf","dtmf":{"digit":1}}',
    "digit NUL": lambda call: '{"event":"dtmf","dtmf":{"digit":"\\u0000"}}',
    "digit Arabic-Indic": lambda call: '{"event":"dtmf","dtmf":{"digit":"٣"}}',
    "digit full width": lambda call: '{"event":"dtmf","dtmf":{"digit":"３"}}',
    "digit small letter": lambda call: '{"event":"dtmf","dtmf":{"digit":"a"}}',
    "digit 60 KB": lambda call: as_text({"event": "dtmf", "dtmf": {"digit": "1" * 60_000}}),
    "mark missing": lambda call: '{"event":"mark"}',
    "mark number": lambda call: '{"event":"mark","mark":5}',
    "mark name missing": lambda call: '{"event":"mark","mark":{}}',
    "mark name array": lambda call: '{"event":"mark","mark":{"name":["m"]}}',
    "start again": lambda call: as_text(start_message(call.stream_sid, call.call_sid)),
    "start without its object": lambda call: '{"event":"start"}',
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_message_that_means_nothing_is_dropped(gateway: GunicornProcess, call: EchoCall, name: str) -> None:
    call.echoes()
    before = dropped(gateway)
    call.ws.send(text(DROPPED[name](call)))
    call.echoes()
    assert dropped(gateway) == before + 1


TOLERATED: dict[str, Callable[[EchoCall], bytes | str]] = {
    "chunk NaN": lambda call: media(call).replace(b'"chunk":"1"', b'"chunk":NaN'),
    "2 000 digits": lambda call: media(call, chunk=10**1_999, timestamp=10**1_999),
    "connected again": lambda call: '{"event":"connected","protocol":"Call","version":"1.0.0"}',
    "connected, protocol null": lambda call: '{"event":"connected","protocol":null}',
    "track number": lambda call: media(call, track=5),
    "more fields": lambda call: as_text(call.media_message(audio(1)) | {"new": {"field": [1]}}),
    "empty payload": lambda call: media(call, payload=""),
    "dtmf A": lambda call: '{"event":"dtmf","dtmf":{"digit":"A"}}',
    "dtmf star": lambda call: '{"event":"dtmf","streamSid":"x","dtmf":{"track":"inbound","digit":"*"}}',
    "mark never sent": lambda call: '{"event":"mark","mark":{"name":"never"}}',
    "mark empty": lambda call: '{"event":"mark","mark":{"name":""}}',
    "mark 60 KB": lambda call: as_text({"event": "mark", "mark": {"name": "m" * 60_000}}),
    "mark Hebrew": lambda call: as_text({"event": "mark", "mark": {"name": "סוף"}}),
    "mark of another generation": lambda call: '{"event":"mark","mark":{"name":"g9:99"}}',
}
NUMBERS = (
    "",
    "0",
    "-1",
    "1.5",
    "abc",
    "٣",
    str(2**63),
    "9" * 2_000,
    "1e9",
    " 1",
    7,
    -7,
    1.5,
    2**70,
    True,
    [],
    {},
)


@pytest.mark.parametrize("name", TOLERATED)
def test_what_is_odd_but_understood_is_not_dropped(
    gateway: GunicornProcess, call: EchoCall, name: str
) -> None:
    call.echoes()
    before = dropped(gateway)
    call.ws.send(text(TOLERATED[name](call)))
    call.echoes()
    assert dropped(gateway) == before


@pytest.mark.parametrize("field", ["chunk", "timestamp", "sequenceNumber"])
def test_no_counter_of_the_caller_costs_audio(gateway: GunicornProcess, call: EchoCall, field: str) -> None:
    for number, value in enumerate(NUMBERS):
        if field == "sequenceNumber":
            message = as_text(call.media_message(audio(number)) | {field: value})
        else:
            message = call.media_json(audio(number), **{field: value})
        call.ws.send(text(message))
        assert call.next_audio() == audio(number)
    call.ws.send(text(media(call, **({field: None} if field != "sequenceNumber" else {}))))
    assert call.next_audio() == audio(1)


def test_counters_that_jump_cost_no_audio(gateway: GunicornProcess, call: EchoCall) -> None:
    for number, (chunk, ms) in enumerate([(1, 0), (5, 3_600_000), (5, 20), (2, 0), (10**9, 10**12), (3, 40)]):
        call.ws.send(call.media(audio(number), chunk=str(chunk), timestamp=str(ms)))
        assert call.next_audio() == audio(number)


# How much nonsense is enough


def test_two_hundred_messages_that_mean_nothing_are_borne(gateway: GunicornProcess, call: EchoCall) -> None:
    before = dropped(gateway)
    call.ws.send(text("nonsense") * MAX_BROKEN_MESSAGES)
    call.echoes()
    assert dropped(gateway) == before + MAX_BROKEN_MESSAGES


@pytest.mark.parametrize("words", ["nonsense", '{"event":"media","media":{"payload":"!"}}'])
def test_one_more_ends_the_stream(gateway: GunicornProcess, call: EchoCall, words: str) -> None:
    call.echoes()
    call.ws.send(text(words) * (MAX_BROKEN_MESSAGES + 1))
    assert call.ws.closed_with() == 1008


def test_events_that_twilio_may_add_one_day_end_nothing(gateway: GunicornProcess, call: EchoCall) -> None:
    call.ws.send(text('{"event":"weather"}') * (3 * MAX_BROKEN_MESSAGES))
    call.echoes()


def test_nonsense_before_start_counts_as_well(gateway: GunicornProcess) -> None:
    with RawWebSocket.open(gateway.port) as ws:
        ws.send(text("nonsense") * (MAX_BROKEN_MESSAGES + 1))
        assert ws.closed_with() == 1008


# The order of things


def open_call(port: int) -> EchoCall:
    """A stream that has not said `start`; it has its call's token."""
    call_sid = sid("CA")
    token = incoming_call(port, call_sid)["token"]
    return EchoCall(RawWebSocket.open(port), call_sid, sid("MZ"), token)


def begin(call: EchoCall, **changes: Any) -> bytes:
    return start(call.stream_sid, call.call_sid, call.token, **changes)


def test_media_before_start_is_dropped(gateway: GunicornProcess) -> None:
    with open_call(gateway.port) as call:
        before = dropped(gateway)
        call.ws.send(call.media(audio(0)), connected(), call.media(audio(1)), call.media(audio(2)))
        call.ws.send(begin(call), call.media(audio(3)))
        assert call.next_audio() == audio(3)
        assert dropped(gateway) == before + 3


def test_start_before_connected_starts(gateway: GunicornProcess) -> None:
    with open_call(gateway.port) as call:
        call.ws.send(begin(call), connected())
        call.echoes()


def test_start_needs_no_connected(gateway: GunicornProcess) -> None:
    with open_call(gateway.port) as call:
        call.ws.send(begin(call))
        call.echoes()


def test_everything_before_start_is_harmless(gateway: GunicornProcess) -> None:
    with open_call(gateway.port) as call:
        call.ws.send(call.mark("g1:1"), event("dtmf", dtmf={"digit": "1"}), event("weather"), begin(call))
        call.echoes()


def test_a_second_start_of_the_same_stream_is_ignored(gateway: GunicornProcess, call: EchoCall) -> None:
    call.ws.send(begin(call), begin(call, callSid=sid("CA")))
    call.echoes()


def test_a_second_start_of_another_stream_ends_both(gateway: GunicornProcess, call: EchoCall) -> None:
    call.echoes()
    call.ws.send(start(sid("MZ"), call.call_sid, call.token))
    assert call.ws.closed_with() == 1008
    gateway.wait_for_line(f"KAV-121 .*call={call.tag}")


@pytest.mark.parametrize("messages", [1, 2, 50])
def test_stop_ends_the_stream_however_often_it_is_said(
    gateway: GunicornProcess, call: EchoCall, messages: int
) -> None:
    call.echoes()
    call.ws.send(call.stop() * messages)
    assert call.ws.closed_with() == 1000
    gateway.wait_for_line(f"WS_END call={call.tag} .*reason=stop")


def test_stop_before_start_ends_the_stream(gateway: GunicornProcess) -> None:
    with open_call(gateway.port) as call:
        call.ws.send(connected(), call.stop())
        assert call.ws.closed_with() == 1000


def test_media_after_stop_is_not_heard(gateway: GunicornProcess, call: EchoCall) -> None:
    call.echoes()
    call.ws.send(call.stop() + b"".join(call.media(audio(number)) for number in range(50)))
    assert call.ws.closed_with() == 1000
    gateway.wait_for_line(f"WS_STOP sid={call.stream_sid} rx=1 tx=1 ")


@pytest.mark.parametrize(
    "stop", ['{"event":"stop"}', '{"event":"stop","stop":null}', '{"event":"stop","stop":5}']
)
def test_a_bare_stop_is_a_stop(gateway: GunicornProcess, call: EchoCall, stop: str) -> None:
    call.echoes()
    call.ws.send(text(stop))
    assert call.ws.closed_with() == 1000


# What `start` may say


BAD_STARTS: dict[str, dict[str, Any]] = {
    "no callSid": {"callSid": None},
    "callSid empty": {"callSid": ""},
    "callSid number": {"callSid": 5},
    "callSid array": {"callSid": ["CA"]},
    "streamSid number": {"streamSid": 5},
    **{f"callSid: {name}": {"callSid": words} for name, words in HOSTILE_WORDS.items()},
    **{f"streamSid: {name}": {"streamSid": words} for name, words in HOSTILE_WORDS.items()},
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_start_without_sound_sids_starts_nothing(gateway: GunicornProcess, name: str) -> None:
    with open_call(gateway.port) as call:
        before = dropped(gateway)
        call.ws.send(connected(), begin(call, **BAD_STARTS[name]))
        call.ws.send(begin(call))
        call.echoes()
        assert dropped(gateway) == before + 1


@pytest.mark.parametrize("inner", [None, "start", 5, [], True])
def test_a_start_that_is_no_object_starts_nothing(gateway: GunicornProcess, inner: object) -> None:
    with open_call(gateway.port) as call:
        call.ws.send(event("start", streamSid=call.stream_sid, start=inner), begin(call))
        call.echoes()


@pytest.mark.parametrize("media_format", [None, "audio/x-mulaw", [], {}])
def test_a_start_without_a_format_is_mu_law(gateway: GunicornProcess, media_format: object) -> None:
    with open_call(gateway.port) as call:
        call.ws.send(connected(), begin(call, mediaFormat=media_format))
        call.echoes()


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "audio/l16"},
        {"encoding": "audio/x-mulaw\nFORGED line"},
        {"encoding": "\u202e+972541234567" * 100},
        {"encoding": None},
        {"encoding": ["audio/x-mulaw"]},
        {"sampleRate": 16000},
        {"sampleRate": "8000"},
        {"sampleRate": -8000},
        {"sampleRate": 8000.5},
        {"channels": 2},
        {"channels": 0},
        {"channels": "one"},
        {"channels": 10**30},
    ],
    ids=lambda changes: str(changes)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_another_format_is_refused_clearly(gateway: GunicornProcess, changes: dict[str, Any]) -> None:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1} | changes
    with open_call(gateway.port) as call:
        call.ws.send(connected(), begin(call, mediaFormat=media_format))
        assert call.ws.closed_with() == 1008
        gateway.wait_for_line("KAV-115")


PARAMETERS: dict[str, dict[str, Any]] = {
    "Hebrew": {"שם": "דנה כהן־לוי"},
    "control characters": {"a": "".join(map(chr, range(32))), "\x00": "\x7f"},
    "line ends": {"a": "x\r\nFORGED line", "b\nFORGED": "c"},
    "bidi controls": {"\u202e": "\u2066\u2069\u200f"},
    "markup": {"a": '</Parameter><Say>x</Say><!--]]>"'},
    "SQL": {"a": "'; DROP TABLE calls; --"},
    "surrogates": {"a": "\ud800", "\udfff": "b"},
    "not text": {"a": 1, "b": None, "c": ["x"], "d": {"e": {}}, "f": True},
    "3 000 of them": {f"k{number}": str(number) for number in range(3_000)},
    "50 KB": {"a": "x" * 50_000},
    "names of methods": {"__class__": "x", "call_sid": "y", "business": "-1", "": ""},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_of_a_start_are_only_data(gateway: GunicornProcess, name: str) -> None:
    with open_call(gateway.port) as call:
        parameters = PARAMETERS[name] | {"token": call.token}
        call.ws.send(connected(), begin(call, customParameters=parameters))
        call.echoes()


def test_more_parameters_than_a_message_holds_are_too_big(gateway: GunicornProcess) -> None:
    with open_call(gateway.port) as call:
        parameters = {f"key{number}": str(number) for number in range(10_000)}
        call.ws.send(connected(), begin(call, customParameters=parameters))
        assert call.ws.closed_with() == 1009


@pytest.mark.parametrize(
    "token", ["\ud800", "1795210105.a.\ud800", 5, None, [], {"a": 1}, "%s", "1" * 50_000]
)
def test_a_token_that_is_none_refuses_or_is_none(gateway: GunicornProcess, token: object) -> None:
    """Where no token is needed, what is no text counts as none."""
    with open_call(gateway.port) as call:
        call.ws.send(connected(), begin(call, customParameters={"token": token}))
        if isinstance(token, str):
            assert call.ws.closed_with() == 1008
        else:
            call.echoes()


# One call, two sockets


def test_a_token_is_not_shared_by_two_sockets(gateway: GunicornProcess, call: EchoCall) -> None:
    call.echoes()
    with RawWebSocket.open(gateway.port) as second:
        second.send(connected(), start(sid("MZ"), call.call_sid, call.token))
        assert second.closed_with() == 1008
    call.echoes()


def test_a_second_stream_of_a_call_takes_the_place_of_the_first(
    gateway: GunicornProcess, call: EchoCall
) -> None:
    """Twilio has one stream a call: the first one broke at its side, and nobody has noticed here."""
    call.echoes()
    with start_call(gateway.port, call_sid=call.call_sid) as second:
        second.echoes()
        assert call.ws.closed_with() == 1000
        second.echoes()
        assert second.hang_up() == 1000


# Audio of every size and at every speed


@pytest.mark.parametrize("sizes", [[1] * 320, [159, 161], [161, 159], [320, 1600], [3200], [0, 160, 0, 160]])
def test_audio_is_cut_into_frames_byte_for_byte(
    gateway: GunicornProcess, call: EchoCall, sizes: list[int]
) -> None:
    sent = audio(1, sum(sizes))
    at = 0
    for size in sizes:
        call.ws.send(call.media(sent[at : at + size]))
        at += size
    heard = b"".join(call.next_audio() for _ in range(len(sent) // FRAME_BYTES))
    assert heard == sent


def test_audio_of_all_sizes_mixed_is_heard_in_order(gateway: GunicornProcess, call: EchoCall) -> None:
    sizes = [1, 160, 159, 161, 7, 0, 320, 33, 1600, 79, 160, 3200]
    sent = audio(2, sum(sizes))
    at = 0
    for size in sizes:
        call.ws.send(call.media(sent[at : at + size]))
        at += size
    whole = len(sent) - len(sent) % FRAME_BYTES
    assert b"".join(call.next_audio() for _ in range(whole // FRAME_BYTES)) == sent[:whole]


def test_a_message_of_40_kb_is_heard_from_its_beginning(gateway: GunicornProcess, call: EchoCall) -> None:
    sent = audio(3, 30_000)
    call.ws.send(call.media(sent))
    heard = b"".join(call.next_audio() for _ in range(20))
    assert heard == sent[: len(heard)]
    assert call.hang_up() == 1000


def test_ten_seconds_of_frames_at_once_lose_nothing(gateway: GunicornProcess, call: EchoCall) -> None:
    before = metric(gateway.port, "gateway_frames_dropped_total", why="queue_full")
    call.ws.send(*(call.media(audio(number)) for number in range(500)))
    for number in range(25):
        assert call.next_audio() == audio(number)
    assert call.hang_up() == 1000
    gateway.wait_for_line(f"ECHO_REPORT call={call.tag} frames_in=500 ")
    assert metric(gateway.port, "gateway_frames_dropped_total", why="queue_full") == before


def test_silence_is_audio(gateway: GunicornProcess, call: EchoCall) -> None:
    for _ in range(10):
        call.ws.send(call.media(b"\xff" * FRAME_BYTES))
        assert call.next_audio() == b"\xff" * FRAME_BYTES


# Too much of what would be right


def test_1000_keys_at_once_are_pressed(gateway: GunicornProcess, call: EchoCall) -> None:
    call.ws.send(event("dtmf", streamSid=call.stream_sid, dtmf={"digit": "5"}) * 1000)
    call.echoes()


def test_1000_marks_that_were_never_sent_are_borne(gateway: GunicornProcess, call: EchoCall) -> None:
    call.ws.send(*(call.mark(f"g1:{number}") for number in range(1000)))
    call.echoes()


def test_marks_that_were_never_sent_tell_nothing_about_the_line(
    gateway: GunicornProcess, call: EchoCall
) -> None:
    call.echoes()
    call.ws.send(call.mark("never sent") * 20)
    call.echoes()
    call.hang_up()
    gateway.wait_for_line(f"ECHO_REPORT call={call.tag} .*round_trip_ms=unknown")


def test_10_000_marks_at_once_are_too_many(gateway: GunicornProcess, call: EchoCall) -> None:
    call.ws.try_send(call.mark("m") * 10_000)
    assert call.ws.closed_with() == 1008


def test_a_mark_of_a_megabyte_is_too_big(gateway: GunicornProcess, call: EchoCall) -> None:
    call.ws.try_send(call.mark("m" * (1 << 20)))
    assert call.ws.closed_with() == 1009


def test_the_burst_after_a_stall_of_twilios_is_no_flood(gateway: GunicornProcess, call: EchoCall) -> None:
    """Twenty seconds of frames that waited somewhere come at once: they are all taken."""
    call.ws.send(*(call.media(audio(number)) for number in range(1000)))
    assert call.next_audio() == audio(0)
    assert call.hang_up() == 1000
    gateway.wait_for_line(f"ECHO_REPORT call={call.tag} frames_in=1000 ")
