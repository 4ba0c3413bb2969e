"""The WebSocket protocol, rule by rule, on a live echo call over a raw socket.

Groups as in the usual conformance suites: framing, pings, reserved bits, opcodes, fragmentation,
UTF-8, closing, limits, compression. A Twilio stream has no message that is echoed as such, so "the
connection still works" is proven by audio that comes back byte for byte.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest

from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    EchoCall,
    Ended,
    RawWebSocket,
    audio,
    close,
    fragments,
    frame,
    start_call,
    text,
)

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FRAGMENTS = 64
LENGTHS = [0, 1, 2, 125, 126, 127, 128, 1000, 65534, 65535, 65536]
HEBREW = "שלום, איך אפשר לעזור?"


@pytest.fixture(scope="module")
def gateway() -> Iterator[GunicornProcess]:
    with GunicornProcess(env={"ECHO_TEST": "1"}) as process:
        yield process
        assert "Traceback" not in process.output()


@pytest.fixture
def call(gateway: GunicornProcess) -> Iterator[EchoCall]:
    with start_call(gateway.port) as call:
        yield call


def message_of(n_bytes: int) -> bytes:
    """Text of this length: an event nobody knows where there is room for one, else what is no JSON."""
    head, tail = b'{"event":"weather","sky":"', b'"}'
    room = n_bytes - len(head) - len(tail)
    return head + b"b" * room + tail if room >= 0 else b"x" * n_bytes


def media_of(call: EchoCall, payload: bytes, n_bytes: int) -> bytes:
    """A media message of exactly this length, by a field nobody knows."""
    bare = call.media_message(payload) | {"note": ""}
    room = n_bytes - len(json.dumps(bare))
    return json.dumps(bare | {"note": "n" * room}).encode()


def split(data: bytes, parts: int) -> list[bytes]:
    size = -(-len(data) // parts)
    return [data[at : at + size] for at in range(0, len(data), size)]


# Framing


@pytest.mark.parametrize("n_bytes", LENGTHS)
def test_text_of_every_length_form_leaves_the_call_alive(call: EchoCall, n_bytes: int) -> None:
    call.ws.send(text(message_of(n_bytes)))
    call.echoes()


@pytest.mark.parametrize("n_bytes", LENGTHS)
def test_binary_of_every_length_form_is_ignored(call: EchoCall, n_bytes: int) -> None:
    call.ws.send(frame(BINARY, b"\xfe" * n_bytes))
    call.echoes()


@pytest.mark.parametrize("n_bytes", [400, 1000, 4096, 65535, 65536])
@pytest.mark.parametrize("slice_bytes", [997, 65536], ids=["in slices of 997", "whole"])
def test_audio_comes_back_from_messages_of_every_length(
    call: EchoCall, n_bytes: int, slice_bytes: int
) -> None:
    message = media_of(call, audio(1), n_bytes)
    assert len(message) == n_bytes
    call.ws.send_sliced(text(message), slice_bytes)
    assert call.next_audio() == audio(1)


def test_audio_comes_back_from_a_message_sent_byte_by_byte(call: EchoCall) -> None:
    call.ws.send_sliced(call.media(audio(1)))
    assert call.next_audio() == audio(1)


def test_many_messages_in_one_write_come_back_in_order(call: EchoCall) -> None:
    call.ws.send(b"".join(call.media(audio(number)) for number in range(15)))
    assert [call.next_audio() for _ in range(15)] == [audio(number) for number in range(15)]


def test_the_slices_of_the_wire_are_not_those_of_messages(call: EchoCall) -> None:
    data = b"".join(call.media(audio(number)) for number in range(10))
    call.ws.send_sliced(data, 137)
    assert [call.next_audio() for _ in range(10)] == [audio(number) for number in range(10)]


def test_what_the_server_sends_is_final_unmasked_and_without_reserved_bits(call: EchoCall) -> None:
    call.ws.send(frame(PING, b"?"), call.media(audio(1)))
    for got in (call.ws.read_frame(), call.ws.read_frame()):
        assert got.opcode in (PONG, TEXT)
        assert got.is_final
        assert not got.is_masked
        assert got.reserved == 0


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_frame_without_a_mask_is_a_protocol_error(call: EchoCall, opcode: int) -> None:
    call.ws.send(frame(opcode, struct.pack("!H", 1000), masked=False))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize(("form", "n_bytes"), [(126, 0), (126, 125), (127, 0), (127, 125), (127, 65535)])
def test_a_length_not_in_its_shortest_form_is_a_protocol_error(
    call: EchoCall, form: int, n_bytes: int
) -> None:
    call.ws.send(text(message_of(n_bytes), length_form=form))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("announced", [1 << 63, (1 << 64) - 1])
def test_a_length_with_its_top_bit_set_is_a_protocol_error(call: EchoCall, announced: int) -> None:
    call.ws.send(frame(TEXT, announced=announced))
    assert call.ws.closed_with() == 1002


# Pings and pongs


@pytest.mark.parametrize(
    "payload",
    [b"", b"a", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", HEBREW.encode(), b"\xfe" * 125],
    ids=["empty", "one byte", "text", "binary", "Hebrew", "125 bytes"],
)
@pytest.mark.parametrize("slice_bytes", [1, 1000], ids=["byte by byte", "whole"])
def test_a_ping_is_answered_with_its_payload(call: EchoCall, payload: bytes, slice_bytes: int) -> None:
    call.ws.send_sliced(frame(PING, payload), slice_bytes)
    assert call.ws.read_until(PONG).payload == payload
    call.echoes()


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_control_frame_of_126_bytes_is_a_protocol_error(call: EchoCall, opcode: int) -> None:
    call.ws.send(frame(opcode, b"\xfe" * 126))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("payload", [b"", b"unasked", b"\xfe" * 125], ids=["empty", "text", "125 bytes"])
def test_an_unsolicited_pong_is_ignored(call: EchoCall, payload: bytes) -> None:
    call.ws.send(frame(PONG, payload))
    call.echoes()
    call.ws.send(frame(PONG, payload), frame(PING, b"after"))
    assert call.ws.read_until(PONG).payload == b"after"


@pytest.mark.parametrize("slice_bytes", [1, 7, 10_000])
def test_ten_pings_are_answered_in_order(call: EchoCall, slice_bytes: int) -> None:
    payloads = [b"payload-%d" % number for number in range(10)]
    call.ws.send_sliced(b"".join(frame(PING, payload) for payload in payloads), slice_bytes)
    assert [call.ws.read_until(PONG).payload for _ in payloads] == payloads


# Reserved bits


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_reserved_bit_is_a_protocol_error(call: EchoCall, bits: int, opcode: int) -> None:
    call.ws.send(frame(opcode, struct.pack("!H", 1000), reserved=bits))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_a_reserved_bit_is_an_error_behind_good_frames_and_byte_by_byte(call: EchoCall, bits: int) -> None:
    call.echoes()
    bad = frame(PING, b"bad", reserved=bits)
    call.ws.send_sliced(frame(PING, b"good") + bad[:2], 1)
    assert call.ws.read_until(PONG).payload == b"good"
    assert call.ws.closed_with() == 1002


# Opcodes


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"words"], ids=["empty", "with payload"])
def test_a_reserved_opcode_is_a_protocol_error(call: EchoCall, opcode: int, payload: bytes) -> None:
    call.ws.send(frame(opcode, payload))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
def test_nothing_behind_a_reserved_opcode_is_read(call: EchoCall, opcode: int) -> None:
    call.ws.send(frame(opcode) + frame(PING, b"never") + call.media(audio(1)))
    frames = call.ws.read_to_end()
    assert [got.opcode for got in frames] == [CLOSE]
    assert frames[0].payload[:2] == struct.pack("!H", 1002)


# Fragmentation


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_fragmented_control_frame_is_a_protocol_error(call: EchoCall, opcode: int) -> None:
    call.ws.send(frame(opcode, struct.pack("!H", 1000), final=False), frame(CONTINUATION, b"rest"))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("parts", [2, 3, 5, 60])
@pytest.mark.parametrize("how", ["one write", "a write a frame", "byte by byte"])
def test_audio_comes_back_from_a_fragmented_message(call: EchoCall, parts: int, how: str) -> None:
    frames = fragments(TEXT, *split(call.media_json(audio(1)), parts))
    if how == "one write":
        call.ws.send(*frames)
    elif how == "byte by byte":
        call.ws.send_sliced(b"".join(frames))
    else:
        for part in frames:
            call.ws.send(part)
    assert call.next_audio() == audio(1)


def test_empty_fragments_are_fragments(call: EchoCall) -> None:
    call.ws.send(*fragments(TEXT, b"", call.media_json(audio(1)), b""))
    assert call.next_audio() == audio(1)
    call.ws.send(*fragments(TEXT, b"", b"", b""))
    call.echoes()


@pytest.mark.parametrize("slice_bytes", [1, 100_000], ids=["byte by byte", "whole"])
def test_pings_between_fragments_are_answered_before_the_message_ends(
    call: EchoCall, slice_bytes: int
) -> None:
    *first, last = fragments(TEXT, *split(call.media_json(audio(1)), 5))
    for number, part in enumerate(first):
        call.ws.send_sliced(part + frame(PING, b"between %d" % number), slice_bytes)
        assert call.ws.read_frame().payload == b"between %d" % number
    call.ws.send_sliced(last, slice_bytes)
    assert call.next_audio() == audio(1)


def test_fragmented_binary_is_ignored(call: EchoCall) -> None:
    call.ws.send(*fragments(BINARY, b"\xff" * 300, b"\xfe" * 300, b""))
    call.echoes()


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("before", ["first", "after a whole message", "after a fragmented message"])
def test_a_continuation_of_nothing_is_a_protocol_error(call: EchoCall, final: bool, before: str) -> None:
    if before == "after a whole message":
        call.echoes()
    elif before == "after a fragmented message":
        call.ws.send(*fragments(TEXT, *split(call.media_json(audio(1)), 2)))
        assert call.next_audio() == audio(1)
    call.ws.send(frame(CONTINUATION, b"of what?", final=final), call.media(audio(2)))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("final", [True, False])
def test_a_new_message_inside_a_fragmented_one_is_a_protocol_error(
    call: EchoCall, opcode: int, final: bool
) -> None:
    call.ws.send(frame(TEXT, b'{"event":', final=False), frame(opcode, b'"x"}', final=final))
    assert call.ws.closed_with() == 1002


# UTF-8

VALID_UTF8 = {
    "ASCII": b"hello",
    "Hebrew": HEBREW.encode(),
    "Hebrew with points": "שָׁלוֹם".encode(),
    "bidi controls": "\u202eabc\u202c\u2067".encode(),
    "Greek": "κόσμε".encode(),
    "Chinese": "你好".encode(),
    "emoji": "👋🏽".encode(),
    "first of two bytes": b"\xc2\x80",
    "last of two bytes": b"\xdf\xbf",
    "first of three bytes": b"\xe0\xa0\x80",
    "last before surrogates": b"\xed\x9f\xbf",
    "first after surrogates": b"\xee\x80\x80",
    "byte order mark inside": b"a\xef\xbb\xbfb",
    "replacement character": b"\xef\xbf\xbd",
    "noncharacter FFFE": b"\xef\xbf\xbe",
    "noncharacter FFFF": b"\xef\xbf\xbf",
    "first of four bytes": b"\xf0\x90\x80\x80",
    "noncharacter 1FFFF": b"\xf0\x9f\xbf\xbf",
    "last of all": b"\xf4\x8f\xbf\xbf",
}
INVALID_UTF8 = {
    "lone continuation": b"\x80",
    "lone continuations": b"\xbf\x80\xbf",
    "start of two, alone": b"\xc3 ",
    "start of three, alone": b"\xe2 ",
    "start of four, alone": b"\xf0 ",
    "two of three": b"\xe2\x82 ",
    "three of four": b"\xf0\x9f\x98 ",
    "overlong slash, two": b"\xc0\xaf",
    "overlong slash, three": b"\xe0\x80\xaf",
    "overlong slash, four": b"\xf0\x80\x80\xaf",
    "overlong NUL": b"\xc0\x80",
    "overlong 7F": b"\xc1\xbf",
    "overlong 7FF": b"\xe0\x9f\xbf",
    "overlong FFFF": b"\xf0\x8f\xbf\xbf",
    "surrogate D800": b"\xed\xa0\x80",
    "surrogate DFFF": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "above 10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "Latin-1": "é".encode("latin-1"),
    "Windows Hebrew": HEBREW.encode("cp1255"),
    "Greek broken in the middle": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
}


def saying(words: bytes) -> bytes:
    return b'{"event":"weather","words":"' + words + b'"}'


@pytest.mark.parametrize("words", VALID_UTF8.values(), ids=VALID_UTF8)
@pytest.mark.parametrize("how", ["whole", "a fragment a byte"])
def test_valid_utf8_passes(call: EchoCall, words: bytes, how: str) -> None:
    if how == "whole":
        call.ws.send(text(saying(words)))
    else:
        head, tail = saying(b"").split(b'""')
        parts = [bytes([byte]) for byte in words[:50]] if len(words) <= 50 else split(words, 50)
        call.ws.send(*fragments(TEXT, head + b'"', *parts, b'"' + tail))
    call.echoes()


@pytest.mark.parametrize("words", INVALID_UTF8.values(), ids=INVALID_UTF8)
@pytest.mark.parametrize("how", ["whole", "a fragment a byte", "byte by byte"])
def test_invalid_utf8_is_refused(call: EchoCall, words: bytes, how: str) -> None:
    if how == "whole":
        call.ws.send(text(saying(words)))
    elif how == "byte by byte":
        call.ws.send_sliced(text(saying(words)))
    else:
        call.ws.send(*fragments(TEXT, b'"', *(bytes([byte]) for byte in words), b'"'))
    assert call.ws.closed_with() == 1007


@pytest.mark.parametrize("at", range(1, 5))
def test_hebrew_may_be_cut_inside_a_letter(call: EchoCall, at: int) -> None:
    words = json.dumps(call.media_message(audio(1)) | {"note": HEBREW}, ensure_ascii=False).encode()
    middle = words.index(HEBREW.encode()) + at
    call.ws.send(*fragments(TEXT, words[:middle], words[middle:]))
    assert call.next_audio() == audio(1)


@pytest.mark.parametrize("words", [b"\xd7", b"\xe2\x82", b"\xf0\x9f\x98"])
def test_text_that_ends_inside_a_character_is_refused(call: EchoCall, words: bytes) -> None:
    call.ws.send(text(b"{} " + words))
    assert call.ws.closed_with() == 1007


def test_a_character_does_not_go_on_in_the_next_message(call: EchoCall) -> None:
    first, second = "ש".encode()[:1], "ש".encode()[1:]
    call.ws.send(text(first) + text(second))
    assert call.ws.closed_with() == 1007


def test_binary_need_not_be_utf8(call: EchoCall) -> None:
    call.ws.send(frame(BINARY, b"\xff\xfe\xed\xa0\x80"))
    call.echoes()


# Closing

GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", GOOD_CODES)
def test_a_close_is_answered_with_its_own_code(call: EchoCall, code: int) -> None:
    call.ws.send(close(code, "bye"))
    assert call.ws.closed_with() == code


@pytest.mark.parametrize("code", BAD_CODES)
def test_a_code_that_may_not_be_sent_is_a_protocol_error(call: EchoCall, code: int) -> None:
    call.ws.send(close(code))
    assert call.ws.closed_with() == 1002


def test_a_close_without_a_code_is_answered_without_one(call: EchoCall) -> None:
    call.ws.send(frame(CLOSE))
    assert call.ws.closed_with() == 1005


def test_a_close_of_one_byte_is_a_protocol_error(call: EchoCall) -> None:
    call.ws.send(frame(CLOSE, b"\x03"))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("reason", ["", HEBREW, "r" * 123], ids=["none", "Hebrew", "123 bytes"])
def test_a_reason_of_up_to_123_bytes_is_good(call: EchoCall, reason: str) -> None:
    call.ws.send(close(1000, reason))
    assert call.ws.closed_with() == 1000


def test_a_reason_of_124_bytes_is_a_protocol_error(call: EchoCall) -> None:
    call.ws.send(close(1000, "r" * 124))
    assert call.ws.closed_with() == 1002


@pytest.mark.parametrize("words", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"ok \xd7"])
def test_a_reason_that_is_not_utf8_is_refused(call: EchoCall, words: bytes) -> None:
    call.ws.send(close(1000, words))
    assert call.ws.closed_with() == 1007


def test_a_close_byte_by_byte_is_a_close(call: EchoCall) -> None:
    call.ws.send_sliced(close(1001, "byte by byte"))
    assert call.ws.closed_with() == 1001


def test_whatever_follows_a_close_is_ignored(call: EchoCall) -> None:
    call.ws.send(close(1000) + frame(PING, b"late") + call.media(audio(1)) + close(1001) + frame(3))
    frames = call.ws.read_to_end()
    assert [got.opcode for got in frames] == [CLOSE]
    assert frames[0].payload[:2] == struct.pack("!H", 1000)


def test_a_close_inside_a_fragmented_message_is_answered(call: EchoCall) -> None:
    call.ws.send(frame(TEXT, b'{"event":', final=False), close(1000))
    assert call.ws.closed_with() == 1000


def test_a_close_behind_a_big_message_is_answered(call: EchoCall) -> None:
    call.ws.send(text(message_of(MAX_MESSAGE_BYTES)), close(1000))
    assert call.ws.closed_with() == 1000


def test_the_server_ends_tcp_after_the_closing_handshake(call: EchoCall) -> None:
    call.ws.send(close(1000))
    call.ws.read_close()
    with pytest.raises(Ended):
        call.ws.read_frame(1.0)


def test_the_server_ends_tcp_although_its_close_is_not_answered(call: EchoCall) -> None:
    call.ws.send(frame(3))
    assert call.ws.read_close()[0] == 1002
    with pytest.raises(Ended):
        call.ws.read_frame(1.5)


# Limits


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_over_the_limit_is_too_big(call: EchoCall, opcode: int) -> None:
    call.ws.send(frame(opcode, b" " * (MAX_MESSAGE_BYTES + 1)))
    assert call.ws.closed_with() == 1009


@pytest.mark.parametrize("part_bytes", [1100, 8192, 32769, 65536])
def test_the_limit_holds_over_all_fragments(call: EchoCall, part_bytes: int) -> None:
    parts = split(b" " * (MAX_MESSAGE_BYTES + 1), -(-(MAX_MESSAGE_BYTES + 1) // part_bytes))
    call.ws.send(*fragments(TEXT, *parts))
    assert call.ws.closed_with() == 1009


@pytest.mark.parametrize("announced", [MAX_MESSAGE_BYTES + 1, 1 << 30, (1 << 63) - 1])
def test_a_frame_that_announces_too_much_is_refused_before_its_payload(
    call: EchoCall, announced: int
) -> None:
    head = frame(TEXT, announced=announced)
    call.ws.send(head[:10])  # not even its mask
    assert call.ws.closed_with(1.0) == 1009


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_message_of_too_many_fragments_is_too_big(call: EchoCall, size: int) -> None:
    call.ws.send(*fragments(TEXT, *[b"x" * size] * (MAX_FRAGMENTS + 1)))
    assert call.ws.closed_with() == 1009


def test_100_000_fragments_are_too_many(call: EchoCall) -> None:
    call.ws.send(frame(TEXT, b"", final=False))
    hundred = frame(CONTINUATION, b"x" * 100, final=False) * 100
    for _ in range(1000):
        if not call.ws.try_send(hundred):
            break
    try:
        assert call.ws.closed_with() == 1009
    except Ended:  # the server left while we were still writing: our kernel may drop what it said
        pytest.fail("the connection was reset before its close frame could be read")


def test_as_many_fragments_as_allowed_are_a_message(call: EchoCall) -> None:
    words = call.media_json(audio(1))
    parts = split(words, MAX_FRAGMENTS)
    parts += [b""] * (MAX_FRAGMENTS - len(parts))
    call.ws.send(*fragments(TEXT, *parts))
    assert call.next_audio() == audio(1)


# Compression


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10, permessage-deflate",
        "x-webkit-deflate-frame",
        "permessage-deflate; server_max_window_bits=99",
        ", ;;=",
    ],
)
def test_an_offered_extension_is_not_taken(gateway: GunicornProcess, offer: str) -> None:
    with RawWebSocket.open(gateway.port, headers={"Sec-WebSocket-Extensions": offer}) as ws:
        assert "sec-websocket-extensions" not in ws.answer.headers
        ws.send(frame(PING, b"plain"))
        assert ws.read_frame().payload == b"plain"
        ws.send(frame(TEXT, b"\xaa\x56\x4a\x2d\x4b\xcd\x2b\x51\xb2\x52\x50\x00", reserved=4))
        assert ws.closed_with() == 1002
