import base64
import json
import types
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent

from server.errors import RealtimeProtocolError
from server.realtime import events
from server.realtime.events import (
    AgentTranscript,
    AudioDelta,
    AudioDone,
    CallerTranscript,
    ErrorKind,
    Event,
    FunctionCall,
    Other,
    ResponseCreated,
    ResponseDone,
    ServerError,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    Unknown,
    classify,
    decode,
)

OLDER_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}


def read(kind: str, **fields) -> Event:
    seen, event = decode(json.dumps({"type": kind, "event_id": "event_1"} | fields))
    assert seen == kind
    return event


def both_names(kind: str):
    return pytest.mark.parametrize("kind", [kind, OLDER_NAMES[kind]])


def documented_types(union=RealtimeServerEvent) -> set[str]:
    """Every event type that the vendor's own library knows."""
    if typing.get_origin(union) is typing.Annotated:
        return documented_types(typing.get_args(union)[0])
    if typing.get_origin(union) in (typing.Union, types.UnionType):
        return {name for part in typing.get_args(union) for name in documented_types(part)}
    return set(typing.get_args(union.model_fields["type"].annotation))


# -- the events a call lives on


def test_session_created():
    assert read("session.created", session={"id": "sess_1", "expires_at": 1_800_000_000}) == SessionCreated(
        "sess_1", 1_800_000_000
    )
    assert read("session.created", session={}) == SessionCreated("", None)


def test_session_updated():
    assert read("session.updated", session={"type": "realtime"}) == SessionUpdated()


def test_speech_started_and_stopped():
    started = read("input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=640)
    stopped = read("input_audio_buffer.speech_stopped", item_id="item_1", audio_end_ms=1980)
    assert (started, stopped) == (SpeechStarted("item_1", 640), SpeechStopped("item_1", 1980))


def test_response_created():
    response = {"id": "resp_1", "status": "in_progress", "output": []}
    assert read("response.created", response=response) == ResponseCreated("resp_1")


@both_names("response.output_audio.delta")
@pytest.mark.parametrize("n", [0, 1, 159, 160, 161, 4000, 1_000_000])
def test_audio_of_any_length_is_bytes(kind, n):
    payload = (bytes(range(256)) * (n // 256 + 1))[:n]
    delta = base64.b64encode(payload).decode()
    event = read(kind, response_id="resp_1", item_id="item_1", output_index=0, content_index=0, delta=delta)
    assert event == AudioDelta("resp_1", "item_1", payload)


@both_names("response.output_audio.delta")
@pytest.mark.parametrize(
    "delta",
    [None, 7, [], {}, "A", "AAA", "AA=A", "AA==AA==", "_-_-", "A A=", "AAAA\n", "שלום", "\ud800", "b'AAAA'"],
)
def test_audio_that_is_not_base64_breaks_the_protocol(kind, delta):
    with pytest.raises(RealtimeProtocolError, match="audio delta is not"):
        read(kind, response_id="r", item_id="i", delta=delta)


@both_names("response.output_audio.done")
def test_audio_done(kind):
    assert read(kind, response_id="resp_1", item_id="item_1") == AudioDone("resp_1", "item_1")


@both_names("response.output_audio_transcript.done")
def test_what_the_agent_said(kind):
    assert read(kind, item_id="item_1", transcript="שלום") == AgentTranscript("item_1", "שלום")


def test_what_the_caller_said():
    kind = "conversation.item.input_audio_transcription.completed"
    assert read(kind, item_id="item_1", transcript="מתי?") == CallerTranscript("item_1", "מתי?")


# -- the end of a response


def test_a_completed_response_with_a_function_call():
    response = {
        "id": "resp_1",
        "status": "completed",
        "status_details": None,
        "output": [
            {"type": "message", "id": "item_1"},
            {"type": "function_call", "name": "end_call", "call_id": "call_1", "arguments": "{}"},
        ],
        "usage": {"total_tokens": 321},
    }
    calls = (FunctionCall("end_call", "call_1", "{}"),)
    assert read("response.done", response=response) == ResponseDone(
        "resp_1", "completed", "", calls, None, 321
    )


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("cancelled", "turn_detected"),
        ("cancelled", "client_cancelled"),
        ("incomplete", "max_output_tokens"),
        ("incomplete", "content_filter"),
    ],
)
def test_a_response_cut_short_says_why(status, reason):
    details = {"type": status, "reason": reason}
    done = read(
        "response.done", response={"id": "r", "status": status, "status_details": details, "output": []}
    )
    assert (done.status, done.reason, done.error) == (status, reason, None)


def test_a_failed_response_carries_its_error():
    error = {"type": "server_error", "code": "insufficient_quota", "message": "You exceeded your quota."}
    response = {"id": "r", "status": "failed", "status_details": {"type": "failed", "error": error}}
    done = read("response.done", response=response)
    assert done.error == ServerError("server_error", "insufficient_quota", "You exceeded your quota.", "", "")
    assert classify(done.error) is ErrorKind.FATAL


@pytest.mark.parametrize("arguments", ["", "{", "[]", '{"a":', "שלום"])
def test_broken_arguments_are_passed_on_as_written(arguments):
    item = {"type": "function_call", "name": "f", "call_id": "c", "arguments": arguments}
    assert read("response.done", response={"output": [item]}).function_calls[0].arguments == arguments


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"id": 7, "status": None, "status_details": [], "output": {}, "usage": 3},
        {"output": [None, 7, "x", [], {"type": "function_call"}], "usage": {"total_tokens": "9"}},
        {"status_details": {"error": "text", "reason": 3}},
    ],
)
def test_a_response_done_of_odd_shape_still_ends_the_response(response):
    assert isinstance(read("response.done", response=response), ResponseDone)


# -- errors


def test_an_error_is_told_apart_by_the_event_it_answers():
    error = {
        "type": "invalid_request_error",
        "code": "unknown_parameter",
        "message": "Unknown parameter: 'session.temperature'.",
        "param": "session.temperature",
        "event_id": "kav_1",
    }
    event = read("error", error=error)
    assert event == ServerError(
        "invalid_request_error",
        "unknown_parameter",
        "Unknown parameter: 'session.temperature'.",
        "session.temperature",
        "kav_1",
    )


def test_an_error_may_leave_fields_out_or_null():
    error = {"type": "server_error", "code": None, "message": "x", "param": None, "event_id": None}
    assert read("error", error=error) == ServerError("server_error", "", "x", "", "")
    assert read("error", error={}) == ServerError("", "", "", "", "")


BENIGN, REFUSED, FATAL, TRANSIENT = ErrorKind.BENIGN, ErrorKind.REFUSED, ErrorKind.FATAL, ErrorKind.TRANSIENT
INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("type_", "code", "message", "kind"),
    [
        (INVALID, "response_cancel_not_active", "Cancellation failed: no active response found", BENIGN),
        (INVALID, "input_audio_buffer_commit_empty", "buffer too small", BENIGN),
        (
            INVALID,
            "conversation_already_has_active_response",
            "in progress: resp_1",
            ErrorKind.ACTIVE_RESPONSE,
        ),
        (INVALID, "", "Audio content of 9250ms is already shorter than 57340ms", BENIGN),
        (INVALID, "item_retrieve_invalid_item_id", "Item not found", BENIGN),
        (INVALID, "item_truncate_invalid_item_id", "Item 'item_1' does not exist", BENIGN),
        (INVALID, "item_delete_invalid_item_id", "Item with item_id not found", BENIGN),
        (INVALID, "", "Error truncating: Item with id 'x' does not exist.", BENIGN),
        (INVALID, "unknown_parameter", "Unknown parameter: 'session.x'.", REFUSED),
        (INVALID, "missing_required_parameter", "Missing: 'session.type'.", REFUSED),
        (INVALID, "invalid_value", "Invalid value", REFUSED),
        (INVALID, "cannot_update_voice", "Cannot update a conversation's voice", REFUSED),
        (INVALID, "integer_below_min_value", "audio_end_ms", REFUSED),
        (INVALID, "", "something new is wrong", REFUSED),
        (INVALID, "session_expired", "Your session hit the maximum duration", ErrorKind.SESSION_OVER),
        (INVALID, "beta_api_shape_disabled", "use the general shape", FATAL),
        ("insufficient_quota", "insufficient_quota", "quota", FATAL),
        (INVALID, "invalid_api_key", "Incorrect API key provided", FATAL),
        ("authentication_error", "account_deactivated", "deactivated", FATAL),
        ("billing", "billing_hard_limit_reached", "limit", FATAL),
        ("tokens", "rate_limit_exceeded", "Rate limit reached", TRANSIENT),
        ("rate_limit_error", "", "slow down", TRANSIENT),
        ("server_error", "", "The server had an error", TRANSIENT),
        ("server_error", "internal_error", "The server had an error", TRANSIENT),
        ("never_heard_of", "", "", TRANSIENT),
        ("", "", "", TRANSIENT),
    ],
)
def test_what_an_error_asks_of_us(type_, code, message, kind):
    assert classify(ServerError(type_, code, message, "", "")) is kind


# -- what needs no action, what is new, what is broken


def test_every_documented_event_is_known():
    documented = documented_types()
    assert len(documented) > 40
    sample = {"session": {}, "response": {"id": "r"}, "error": {}, "delta": ""}
    unknown = [kind for kind in sorted(documented) if isinstance(read(kind, **sample), Unknown)]
    assert unknown == []


@pytest.mark.parametrize("kind", sorted(OLDER_NAMES.values()))
def test_every_older_name_is_known(kind):
    assert not isinstance(read(kind, delta=""), Unknown)


@pytest.mark.parametrize("newer", sorted(OLDER_NAMES))
def test_both_names_of_an_event_mean_the_same_kind_of_thing(newer):
    fields = {"item_id": "i", "response_id": "r", "delta": "AAAA", "transcript": "t"}
    assert type(read(newer, **fields)) is type(read(OLDER_NAMES[newer], **fields))


@pytest.mark.parametrize("kind", sorted(events.OTHER_TYPES))
def test_an_event_that_needs_no_action_needs_no_fields(kind):
    assert decode(json.dumps({"type": kind})) == (kind, Other(kind))


@pytest.mark.parametrize(
    "kind", ["", "response.thought.delta", "response.output_audio.Delta", "אירוע", "\ud800"]
)
def test_a_new_event_ends_nothing(kind):
    assert read(kind, anything=[1, {}]) == Unknown(kind)


def test_the_name_of_a_new_event_is_bounded():
    assert len(read("x" * 100_000).type) <= 100


@pytest.mark.parametrize(
    "text", ["", "hello", "{", "[" * 10_000, '{"type":' * 10_000, b"\xff\xfe\xfd", '{"a":' + "9" * 5000 + "}"]
)
def test_what_is_not_json_breaks_the_protocol(text):
    with pytest.raises(RealtimeProtocolError, match="not JSON"):
        decode(text)


@pytest.mark.parametrize(
    "text", ["[]", "null", "7", '"error"', "{}", '{"type":null}', '{"type":7}', '{"type":["a"]}']
)
def test_json_without_a_type_breaks_the_protocol(text):
    with pytest.raises(RealtimeProtocolError, match="type"):
        decode(text)


@pytest.mark.parametrize("kind", ["session.created", "response.created", "response.done", "error"])
@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_known_event_without_its_object_breaks_the_protocol(kind, body):
    with pytest.raises(RealtimeProtocolError, match=kind):
        read(kind, session=body, response=body, error=body)


@pytest.mark.parametrize("response", [{}, {"id": ""}, {"id": None}, {"id": 7}])
def test_a_created_response_without_an_id_breaks_the_protocol(response):
    with pytest.raises(RealtimeProtocolError, match="'id'"):
        read("response.created", response=response)


@pytest.mark.parametrize("value", [None, "640", [], {}, 1.5])
def test_a_time_that_is_no_integer_counts_as_zero(value):
    event = read("input_audio_buffer.speech_started", item_id="i", audio_start_ms=value)
    assert event == SpeechStarted("i", 0)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
names = st.sampled_from(
    (
        "id type status output usage error delta item_id response_id reason name status_details "
        "total_tokens session response call_id arguments code message transcript"
    ).split()
)
values = st.recursive(
    scalars | st.just("function_call"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=12,
)


@given(st.dictionaries(names, values, max_size=8), st.sampled_from(sorted(documented_types())))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_an_event_or_breaks_the_protocol(message, kind):
    try:
        seen, event = decode(json.dumps(message | {"type": kind}))
    except RealtimeProtocolError as error:
        assert len(str(error)) < 200
    else:
        assert seen == kind
        assert isinstance(event, Event)


@given(*(st.text(max_size=40) for _ in range(5)))
@settings(deadline=None)
def test_every_error_has_a_class(type_, code, message, param, event_id):
    assert isinstance(classify(ServerError(type_, code, message, param, event_id)), ErrorKind)
