from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.wire.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Binary,
    Close,
    CloseCode,
    Ping,
    Pong,
    Receiver,
    Text,
    Violation,
    accept_key,
    apply_mask,
    encode,
    encode_close,
    mask_python,
)

KEY = b"\x37\xfa\x21\x3d"
LIMIT = 1 << 20
HEBREW = "שלום, מתי אתם פתוחים?".encode()


def frame(opcode, payload=b"", *, final=True, reserved=0, key=KEY, form=None) -> bytes:
    """A frame written after the RFC's picture, not with the code under test. `form`: bits of its length."""
    n = len(payload)
    form = form or (7 if n < 126 else 16 if n < 65536 else 64)
    bit = 0x80 if key else 0
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    if form == 7:
        head += bytes([bit | n])
    elif form == 16:
        head += bytes([bit | 126]) + n.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + n.to_bytes(8, "big")
    if not key:
        return head + payload
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def server(max_message_bytes=LIMIT, max_fragments=64) -> Receiver:
    return Receiver(expect_mask=True, max_message_bytes=max_message_bytes, max_fragments=max_fragments)


def client() -> Receiver:
    return Receiver(expect_mask=False, max_message_bytes=LIMIT)


def only(events):
    assert len(events) == 1, events
    return events[0]


def assert_violates(data: bytes, code: CloseCode, receiver: Receiver | None = None) -> None:
    event = only((receiver or server()).feed(data))
    assert isinstance(event, Violation), event
    assert event.code == code
    assert event.reason


# -- the examples of RFC 6455, sections 1.3 and 5.7


def test_the_accept_key_of_the_rfc():
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("hexadecimal", "events"),
    [
        ("81 05 48 65 6c 6c 6f", [Text(b"Hello")]),
        ("01 03 48 65 6c 80 02 6c 6f", [Text(b"Hello")]),
        ("89 05 48 65 6c 6c 6f", [Ping(b"Hello")]),
        ("8a 05 48 65 6c 6c 6f", [Pong(b"Hello")]),
        ("82 7e 01 00" + "aa" * 256, [Binary(b"\xaa" * 256)]),
        ("82 7f 00 00 00 00 00 01 00 00" + "bb" * 65536, [Binary(b"\xbb" * 65536)]),
    ],
)
def test_the_unmasked_frames_of_the_rfc(hexadecimal, events):
    assert client().feed(bytes.fromhex(hexadecimal)) == events


@pytest.mark.parametrize(
    ("hexadecimal", "events"),
    [
        ("81 85 37 fa 21 3d 7f 9f 4d 51 58", [Text(b"Hello")]),
        ("8a 85 37 fa 21 3d 7f 9f 4d 51 58", [Pong(b"Hello")]),
    ],
)
def test_the_masked_frames_of_the_rfc(hexadecimal, events):
    assert server().feed(bytes.fromhex(hexadecimal)) == events


# -- masking


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_server_refuses_a_frame_without_mask(opcode):
    assert_violates(frame(opcode, b"", key=None), CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_client_refuses_a_masked_frame(opcode):
    assert_violates(frame(opcode), CloseCode.PROTOCOL_ERROR, client())


@given(data=st.binary(max_size=4096), key=st.binary(min_size=4, max_size=4))
@settings(deadline=None)
def test_every_mask_routine_is_the_xor_of_the_rfc(data, key):
    expected = bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    assert mask_python(data, key) == expected
    assert apply_mask(data, key) == expected


@given(data=st.binary(max_size=1024), key=st.binary(min_size=4, max_size=4))
@settings(deadline=None)
def test_masking_twice_gives_the_data_back(data, key):
    assert mask_python(mask_python(data, key), key) == data


def test_a_client_masks_each_frame_with_a_key_of_its_own():
    keys = {encode(TEXT, b"the same words", masked=True)[2:6] for _ in range(20)}
    assert len(keys) > 1


# -- first bytes


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("reserved", range(0x10, 0x80, 0x10))
def test_a_reserved_bit_is_a_violation_because_no_extension_is_spoken(opcode, reserved):
    assert_violates(frame(opcode, reserved=reserved), CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("final", [True, False])
def test_a_reserved_opcode_is_a_violation(opcode, final):
    assert_violates(frame(opcode, final=final), CloseCode.PROTOCOL_ERROR)


def test_two_bytes_are_enough_to_refuse():
    assert_violates(b"\xc1\x80", CloseCode.PROTOCOL_ERROR)
    assert_violates(b"\x83\x80", CloseCode.PROTOCOL_ERROR)
    assert_violates(b"\x81\x00", CloseCode.PROTOCOL_ERROR)
    assert server().feed(b"\xc1") == []


# -- lengths


@pytest.mark.parametrize("n", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_what_one_end_encodes_the_other_receives(n, masked, opcode):
    payload = (b"kav " * (n // 4 + 1))[:n]
    receiver = Receiver(expect_mask=masked, max_message_bytes=LIMIT)
    expected = Text(payload) if opcode == TEXT else Binary(payload)
    assert receiver.feed(encode(opcode, payload, masked=masked)) == [expected]


@pytest.mark.parametrize(
    ("n", "head_bytes"), [(0, 2), (1, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (70000, 10)]
)
def test_a_length_is_written_in_its_shortest_form(n, head_bytes):
    payload = b"\x55" * n
    assert encode(BINARY, payload) == frame(BINARY, payload, key=None)
    assert len(encode(BINARY, payload)) == head_bytes + n
    assert len(encode(BINARY, payload, masked=True)) == head_bytes + 4 + n


@pytest.mark.parametrize(
    ("n", "form"), [(0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64)]
)
def test_a_length_in_a_longer_form_is_a_violation(n, form):
    assert_violates(frame(BINARY, bytes(n), form=form), CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, (1 << 63) | 65536])
def test_a_length_with_its_top_bit_set_is_a_violation(length):
    assert_violates(b"\x82\xff" + length.to_bytes(8, "big"), CloseCode.PROTOCOL_ERROR)


# -- size limits


def test_an_announced_gigabyte_is_refused_at_its_header():
    receiver = server(65536)
    assert receiver.feed(b"\x81\xff" + (1 << 30).to_bytes(8, "big")[:-1]) == []
    assert_violates((1 << 30).to_bytes(8, "big")[-1:], CloseCode.TOO_BIG, receiver)
    assert not receiver.is_mid_message


@pytest.mark.parametrize(("n", "passes"), [(999, True), (1000, True), (1001, False)])
def test_a_message_may_be_as_long_as_the_limit_and_no_longer(n, passes):
    event = only(server(1000).feed(frame(TEXT, b"a" * n)))
    assert isinstance(event, Text) == passes
    assert passes or event.code == CloseCode.TOO_BIG


def test_the_limit_counts_over_all_fragments():
    receiver = server(1000)
    assert receiver.feed(frame(TEXT, b"a" * 600, final=False)) == []
    assert_violates(frame(CONTINUATION, b"a" * 401), CloseCode.TOO_BIG, receiver)


def test_fragments_up_to_the_limit_pass_and_the_next_message_starts_from_nothing():
    receiver = server(1000)
    for _ in range(3):
        receiver.feed(frame(TEXT, b"a" * 600, final=False))
        assert receiver.feed(frame(CONTINUATION, b"a" * 400)) == [Text(b"a" * 1000)]


def test_a_ping_inside_a_full_message_does_not_count_into_its_limit():
    receiver = server(1000)
    receiver.feed(frame(TEXT, b"a" * 1000, final=False))
    assert receiver.feed(frame(PING, b"p" * 125)) == [Ping(b"p" * 125)]
    assert receiver.feed(frame(CONTINUATION)) == [Text(b"a" * 1000)]


@pytest.mark.parametrize(("fragments", "passes"), [(1, True), (7, True), (8, True), (9, False), (100, False)])
def test_a_message_of_too_many_fragments_is_refused(fragments, passes):
    receiver = server(max_fragments=8)
    events = receiver.feed(frame(TEXT, b"a", final=fragments == 1))
    for at in range(1, fragments):
        events += receiver.feed(frame(CONTINUATION, b"a", final=at == fragments - 1))
    event = only(events)
    assert event == Text(b"a" * fragments) if passes else event.code == CloseCode.TOO_BIG


def test_a_flood_of_empty_fragments_is_refused_too():
    receiver = server(max_fragments=64)
    events = receiver.feed(frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 100_000)
    assert only(events).code == CloseCode.TOO_BIG


# -- fragmentation


def test_a_ping_between_fragments_comes_at_once_and_the_message_after_it():
    receiver = server()
    assert receiver.feed(frame(TEXT, b'{"event":', final=False)) == []
    assert receiver.feed(frame(PING, b"there?")) == [Ping(b"there?")]
    assert receiver.feed(frame(CONTINUATION, b'"med', final=False)) == []
    assert receiver.feed(frame(PONG)) == [Pong(b"")]
    assert receiver.feed(frame(CONTINUATION, b'ia"}')) == [Text(b'{"event":"media"}')]


def test_a_close_between_fragments_ends_it():
    receiver = server()
    receiver.feed(frame(TEXT, b"half", final=False))
    assert receiver.feed(frame(CLOSE)) == [Close(CloseCode.NO_STATUS, "")]
    assert not receiver.is_mid_message


@pytest.mark.parametrize("final", [True, False])
def test_a_continuation_without_a_message_is_a_violation(final):
    assert_violates(frame(CONTINUATION, b"x", final=final), CloseCode.PROTOCOL_ERROR)


def test_a_continuation_after_a_whole_message_is_a_violation():
    receiver = server()
    receiver.feed(frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b"))
    assert_violates(frame(CONTINUATION, b"c"), CloseCode.PROTOCOL_ERROR, receiver)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("final", [True, False])
def test_a_new_message_inside_a_fragmented_one_is_a_violation(opcode, final):
    receiver = server()
    receiver.feed(frame(TEXT, b"a", final=False))
    assert_violates(frame(opcode, b"b", final=final), CloseCode.PROTOCOL_ERROR, receiver)


def test_a_fragmented_binary_message_stays_binary():
    receiver = server()
    receiver.feed(frame(BINARY, b"\xff", final=False))
    assert receiver.feed(frame(CONTINUATION, b"\xfe")) == [Binary(b"\xff\xfe")]


# -- control frames


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_fragmented_control_frame_is_a_violation(opcode):
    assert_violates(frame(opcode, final=False), CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("n", [126, 65536])
def test_a_control_frame_over_125_bytes_is_a_violation(opcode, n):
    assert_violates(frame(opcode, bytes(n)), CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("n", [0, 1, 125])
def test_a_ping_carries_up_to_125_bytes_of_anything(n):
    assert server().feed(frame(PING, b"\xff" * n)) == [Ping(b"\xff" * n)]


# -- text


@pytest.mark.parametrize("cut", range(1, len(HEBREW)))
def test_hebrew_may_be_cut_anywhere_between_fragments(cut):
    receiver = server()
    receiver.feed(frame(TEXT, HEBREW[:cut], final=False))
    assert receiver.feed(frame(CONTINUATION, HEBREW[cut:])) == [Text(HEBREW)]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\x80",
        b"\xc0\xaf",  # overlong
        b"\xed\xa0\x80",  # a surrogate
        b"\xf4\x90\x80\x80",  # beyond U+10FFFF
        HEBREW[:-1] + b"\xd7",  # ends in half a letter
        b"ok then \xfe",
    ],
)
def test_text_that_is_not_utf8_is_refused_with_its_own_code(data):
    assert_violates(frame(TEXT, data), CloseCode.BAD_UTF8)
    receiver = server()
    receiver.feed(frame(TEXT, data[:1], final=False))
    assert_violates(frame(CONTINUATION, data[1:]), CloseCode.BAD_UTF8, receiver)


def test_binary_data_may_hold_anything():
    assert server().feed(frame(BINARY, b"\xff\xc0\xaf")) == [Binary(b"\xff\xc0\xaf")]


# -- close


def test_the_close_codes_a_peer_may_send():
    allowed = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}
    accepted = set()
    for code in range(65536):
        match server().feed(frame(CLOSE, code.to_bytes(2, "big"))):
            case [Close(code=seen, reason="")]:
                assert seen == code
                accepted.add(code)
            case [Violation(code=CloseCode.PROTOCOL_ERROR)]:
                pass
            case other:
                pytest.fail(f"{code}: {other}")
    assert accepted == allowed


def test_a_close_without_a_code_reads_as_no_status():
    assert server().feed(frame(CLOSE)) == [Close(1005, "")]


def test_a_close_body_of_one_byte_is_a_violation():
    assert_violates(frame(CLOSE, b"\x03"), CloseCode.PROTOCOL_ERROR)


def test_a_close_reason_is_text():
    body = (1001).to_bytes(2, "big") + "להתראות".encode()
    assert server().feed(frame(CLOSE, body)) == [Close(1001, "להתראות")]
    assert_violates(frame(CLOSE, body[:-1]), CloseCode.BAD_UTF8)


@pytest.mark.parametrize("last", [frame(CLOSE), frame(3), frame(TEXT, b"\xff")])
def test_nothing_counts_after_the_end(last):
    receiver = server()
    assert len(receiver.feed(last + frame(TEXT, b"late"))) == 1
    assert receiver.feed(frame(TEXT, b"later")) == []
    assert receiver.feed(b"\x00" * 1000) == []
    assert not receiver.is_mid_message


def test_what_came_before_the_end_in_the_same_bytes_counts():
    data = frame(TEXT, b"a") + frame(PING, b"b") + frame(TEXT, b"\xff")
    assert [type(event) for event in server().feed(data)] == [Text, Ping, Violation]


@pytest.mark.parametrize("code", [1005, 1006])
def test_codes_that_never_travel_are_sent_as_an_empty_close(code):
    assert client().feed(encode_close(code, "unsaid")) == [Close(1005, "")]


@pytest.mark.parametrize("reason", ["", "bye", "x" * 123, "x" * 200, "ש" * 100, "x" + "ש" * 100, "🙂" * 60])
@pytest.mark.parametrize("masked", [True, False])
def test_a_long_reason_is_cut_between_letters_to_what_a_control_frame_holds(reason, masked):
    receiver = Receiver(expect_mask=masked, max_message_bytes=LIMIT)
    event = only(receiver.feed(encode_close(1008, reason, masked=masked)))
    assert isinstance(event, Close) and event.code == 1008
    assert reason.startswith(event.reason)
    cut_bytes = len(event.reason.encode())
    assert cut_bytes <= 123
    assert event.reason == reason or cut_bytes > 119  # no more is lost than half a letter


# -- delivery


def test_a_receiver_knows_that_a_peer_stopped_in_the_middle():
    receiver = server()
    assert not receiver.is_mid_message
    whole = frame(TEXT, b"hello")
    for at in range(1, len(whole)):
        receiver = server()
        receiver.feed(whole[:at])
        assert receiver.is_mid_message
    receiver.feed(whole[-1:])
    assert not receiver.is_mid_message
    receiver.feed(frame(TEXT, b"h", final=False))
    assert receiver.is_mid_message
    receiver.feed(frame(CONTINUATION, b"i"))
    assert not receiver.is_mid_message


control_frames = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def messages(draw) -> bytes:
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    body = draw(st.text(max_size=80)).encode() if opcode == TEXT else draw(st.binary(max_size=200))
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
    parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    data = b""
    for at, part in enumerate(parts):
        data += frame(opcode if at == 0 else CONTINUATION, part, final=at == len(parts) - 1)
        data += b"".join(draw(st.lists(control_frames, max_size=1)))
    return data


closes = st.sampled_from([b"", frame(CLOSE), frame(CLOSE, b"\x03\xe8bye")])
valid_streams = st.builds(lambda parts, end: b"".join(parts) + end, st.lists(messages(), max_size=5), closes)


def sliced(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(data=valid_streams, cuts=st.lists(st.integers(0, 100_000), max_size=20))
@settings(deadline=None)
def test_any_slicing_of_a_valid_stream_gives_the_same_events(data, cuts):
    whole, slices, byte_by_byte = server(), server(), server()
    events = whole.feed(data)
    assert not any(isinstance(event, Violation) for event in events)
    assert [event for part in sliced(data, cuts) for event in slices.feed(part)] == events
    assert [event for at in range(len(data)) for event in byte_by_byte.feed(data[at : at + 1])] == events


@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda a, b: a + b, valid_streams, st.binary(max_size=50)),
    ),
    cuts=st.lists(st.integers(0, 100_000), max_size=20),
    is_server=st.booleans(),
)
@settings(deadline=None)
def test_any_slicing_of_any_bytes_ends_alike_and_raises_nothing(data, cuts, is_server):
    whole = Receiver(expect_mask=is_server, max_message_bytes=200, max_fragments=4)
    slices = Receiver(expect_mask=is_server, max_message_bytes=200, max_fragments=4)
    events = whole.feed(data)
    assert [event for part in sliced(data, cuts) for event in slices.feed(part)] == events
    assert whole.is_mid_message == slices.is_mid_message
    assert all(not isinstance(event, Close | Violation) for event in events[:-1])


@given(text=st.text(max_size=300), masked=st.booleans())
@settings(deadline=None)
def test_text_comes_out_as_it_went_in(text, masked):
    receiver = Receiver(expect_mask=masked, max_message_bytes=LIMIT)
    assert receiver.feed(encode(TEXT, text.encode(), masked=masked)) == [Text(text.encode())]
