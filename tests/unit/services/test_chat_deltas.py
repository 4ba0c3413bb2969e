"""A streamed chat completion, from bytes to typed deltas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SpeechError, SpeechRefused, SpeechUnreachable, SpeechUnusable
from server.services.chat_deltas import MAX_LINE_BYTES, MAX_TOOL_CALLS, ChatDecoder, Done, TextDelta, ToolCall

DONE = b"data: [DONE]\n\n"


def event(*choices: Any, **more: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": list(choices)} | more
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def text(content: str | None, finish_reason: str | None = None) -> bytes:
    return event({"index": 0, "delta": {"content": content}, "finish_reason": finish_reason})


def call(index: int, **function: str) -> bytes:
    more = {"id": function.pop("id"), "type": "function"} if "id" in function else {}
    return event({"index": 0, "delta": {"tool_calls": [{"index": index, "function": function} | more]}})


def end(reason: str) -> bytes:
    return event({"index": 0, "delta": {}, "finish_reason": reason})


def decode(data: bytes, size: int = 0) -> list[Any]:
    decoder = ChatDecoder()
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    deltas = [delta for piece in pieces for delta in decoder.feed(piece)]
    return deltas + decoder.finish()


ANSWER = (
    event({"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}})
    + text("שלום, ")
    + text("בשמחה.")
    + call(0, id="call_a", name="book", arguments="")
    + call(0, arguments='{"day": "יום')
    + call(1, id="call_b", name="end_call", arguments="")
    + call(0, arguments=' ראשון"}')
    + end("tool_calls")
    + event(usage={"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19})
    + DONE
)
DELTAS = [
    TextDelta("שלום, "),
    TextDelta("בשמחה."),
    ToolCall("call_a", "book", '{"day": "יום ראשון"}'),
    ToolCall("call_b", "end_call", "{}"),
    Done("tool_calls", 12, 7),
]


def test_text_then_whole_calls_then_the_end():
    assert decode(ANSWER) == DELTAS


@given(st.integers(1, 200))
def test_it_does_not_matter_how_the_bytes_are_cut(size):
    assert decode(ANSWER, size) == DELTAS


def test_line_ends_comments_and_names_of_events_are_as_the_standard_allows():
    stream = b": keep-alive\r\n\r\nevent: message\r\nid: 7\r\n" + ANSWER.replace(b"\n", b"\r\n")
    assert decode(stream.replace(b"data: ", b"data:")) == DELTAS


def test_a_refusal_of_the_model_is_said_too():
    stream = event({"index": 0, "delta": {"refusal": "I cannot."}}) + end("stop") + DONE
    assert decode(stream) == [TextDelta("I cannot."), Done("stop")]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_call_that_was_cut_short_is_not_made(reason):
    stream = call(0, id="call_a", name="book", arguments='{"day"') + end(reason) + DONE
    assert decode(stream) == [Done(reason)]


def test_a_service_that_forgets_to_say_it_is_done():
    assert decode(text("hi", "stop")) == [TextDelta("hi"), Done("stop")]
    assert decode(text("hi", "stop").removesuffix(b"\n\n")) == [TextDelta("hi"), Done("stop")]


def test_a_service_that_ends_calls_with_stop_and_gives_no_ids():
    stream = call(0, name="end_call", arguments="{}") + end("stop") + DONE
    assert decode(stream) == [ToolCall("", "end_call", "{}"), Done("stop")]


@pytest.mark.parametrize("stream", [b"", text("half a"), call(0, id="call_a", name="book", arguments="{")])
def test_a_stream_that_ends_without_an_end_broke_off(stream):
    with pytest.raises(SpeechUnreachable) as caught:
        decode(stream)
    assert (caught.value.fault_id, caught.value.code) == ("KAV-177", "broken_off")


def test_after_the_end_nothing_counts():
    decoder = ChatDecoder()
    assert decoder.feed(text("hi", "stop") + DONE + text("more")) == [TextDelta("hi"), Done("stop")]
    assert decoder.is_done
    assert decoder.feed(b"data: garbage\n\n") == decoder.finish() == []


@pytest.mark.parametrize(
    ("error", "kind", "fault_id"),
    [
        ({"message": "busy", "code": "server_error"}, SpeechUnreachable, "KAV-171"),
        ({"message": "no money", "code": "insufficient_quota"}, SpeechRefused, "KAV-173"),
        ("plain", SpeechUnreachable, "KAV-171"),
    ],
)
def test_an_error_in_the_middle(error, kind, fault_id):
    with pytest.raises(kind) as caught:
        decode(text("so far") + event(error=error))
    assert caught.value.fault_id == fault_id


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {not json}\n\n",
        b"data: [1, 2]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        event({"index": 0, "delta": {"tool_calls": ["book"]}}),
        event({"index": 0, "delta": {"tool_calls": [{"index": "0", "function": {}}]}}),
        b"".join(call(n, id=f"c{n}", name="f", arguments="") for n in range(MAX_TOOL_CALLS + 1)),
    ],
    ids=["no json", "list", "deep", "call", "index", "calls"],
)
def test_what_makes_no_sense_is_an_error_of_its_own(stream):
    with pytest.raises(SpeechUnusable) as caught:
        decode(stream)
    assert caught.value.fault_id == "KAV-177"


def test_a_line_without_end_is_not_collected_for_ever():
    with pytest.raises(SpeechUnusable, match="a line of more than"):
        ChatDecoder().feed(b"data: " + b"x" * MAX_LINE_BYTES)


@pytest.mark.parametrize(
    "chunk",
    [
        event(),
        event(None),
        event({"index": 1, "delta": {"content": "the other choice"}}),
        event({"index": 0}),
        event({"index": 0, "delta": None}),
        event({"index": 0, "delta": {"content": 5, "tool_calls": None}}),
        event(usage=None),
        event(usage={"prompt_tokens": None, "completion_tokens": -1}),
        b"data: {}\n\n",
        b'data: {"choices": "none", "usage": 7}\n\n',
    ],
)
def test_what_says_nothing_is_passed_over(chunk):
    assert decode(chunk + text("hi", "stop") + DONE) == [TextDelta("hi"), Done("stop")]


@given(st.binary(max_size=400))
def test_garbage_raises_nothing_else(data):
    try:
        decode(b"data: " + data + b"\n" + data)
    except SpeechError:
        pass
