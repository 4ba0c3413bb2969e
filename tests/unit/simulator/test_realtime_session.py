"""The protocol of one simulated session: no sockets, and the time is an argument."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.simulator.realtime.dialects import BETA, GA
from server.simulator.realtime.persona import ScriptPersona
from server.simulator.realtime.session import RealtimeSession
from server.simulator.realtime.turn import Speech, ToolCall
from tests.openai_types import parse_server_event, validate_client_event
from tests.realtime_session_client import (
    DATA,
    HELLO,
    PCMU,
    Client,
    audio_of,
    clip,
    error_of,
    kinds,
    of,
)

LABELS = json.loads((DATA / "labels.json").read_text("utf-8"))


class TestTheJudge:
    def test_an_unknown_type_a_missing_a_wrong_and_an_extra_field_are_refused(self) -> None:
        good = {"type": "input_audio_buffer.cleared", "event_id": "e"}
        parse_server_event(good)
        for bad in (
            good | {"type": "input_audio_buffer.melted"},
            {"type": "input_audio_buffer.cleared"},
            good | {"event_id": 5},
            good | {"colour": "red"},
        ):
            with pytest.raises(ValueError, match=r"."):
                parse_server_event(bad)

    def test_a_beta_session_is_no_client_event(self) -> None:
        validate_client_event({"type": "session.update", "session": {"type": "realtime"}})
        with pytest.raises(ValueError, match="voice"):
            validate_client_event({"type": "session.update", "session": {"type": "realtime", "voice": "ash"}})


class TestSession:
    def test_begins_with_every_default(self) -> None:
        (created,) = Client(configured=False).created
        assert created["type"] == "session.created"
        session = created["session"]
        assert session["expires_at"] == 1_700_003_600
        assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert session["output_modalities"] == ["audio"]

    def test_an_update_keeps_what_it_does_not_name(self) -> None:
        client = Client()
        client.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
        detection = {"type": "server_vad", "silence_duration_ms": 700}
        (updated,) = client.configure(turn_detection=detection)
        session = updated["session"]
        assert session["instructions"] == "Be brief."
        assert session["audio"]["output"] == {"format": PCMU, "voice": "marin", "speed": 1.0}
        assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.5
        assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 700

    @pytest.mark.parametrize(
        ("session", "code", "param"),
        [
            ({}, "missing_required_parameter", "session.type"),
            ({"input_audio_format": "g711_ulaw"}, "missing_required_parameter", "session.type"),
            (
                {"type": "realtime", "input_audio_format": "g711_ulaw"},
                "unknown_parameter",
                "session.input_audio_format",
            ),
            ({"type": "realtime", "modalities": ["audio"]}, "unknown_parameter", "session.modalities"),
            ({"type": "realtime", "voice": "marin"}, "unknown_parameter", "session.voice"),
            ({"type": "realtime", "temperature": 0.8}, "unknown_parameter", "session.temperature"),
            ({"type": "realtime", "audio": {"output": {"voice": "alloy-ha-fast"}}}, "invalid_value", None),
            ({"type": "realtime", "output_modalities": ["audio", "text"]}, "invalid_value", None),
            ({"type": "realtime", "max_output_tokens": 5000}, "invalid_value", "session.max_output_tokens"),
            ({"type": "realtime", "max_output_tokens": "100"}, "invalid_value", "session.max_output_tokens"),
            (
                {"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcm"}}}},
                "missing_required_parameter",
                "session.audio.output.format.rate",
            ),
            (
                {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}},
                "unknown_parameter",
                "session.audio.input.format.rate",
            ),
            (
                {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
                "invalid_value",
                "session.audio.input.format.rate",
            ),
            (
                {
                    "type": "realtime",
                    "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": "0.5"}}},
                },
                "invalid_type",
                "session.audio.input.turn_detection.threshold",
            ),
            (
                {
                    "type": "realtime",
                    "audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}},
                },
                "unknown_parameter",
                "session.audio.input.turn_detection.threshold",
            ),
            ({"type": "realtime", "tools": [{"type": "function", "function": {}}]}, None, None),
        ],
    )
    def test_a_wrong_update_is_refused_as_a_whole(
        self, session: dict[str, Any], code: str | None, param: str | None
    ) -> None:
        client = Client()
        error = error_of(client.send("session.update", session={"instructions": "changed"} | session))
        assert error["code"] == code or (code is None and error["code"] == "missing_required_parameter")
        assert param is None or error["param"] == param
        assert error["event_id"] == "c2"
        (unchanged,) = client.send("session.update", session={"type": "realtime"})
        assert unchanged["session"]["instructions"] != "changed"

    def test_custom_voices_and_null_turn_detection_are_taken(self) -> None:
        client = Client()
        audio = {"input": {"turn_detection": None}, "output": {"voice": {"id": "voice_42"}}}
        (updated,) = client.session.receive(
            json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}}), 1.0
        )
        assert updated["session"]["audio"]["output"]["voice"] == {"id": "voice_42"}

    def test_the_voice_is_fixed_once_audio_has_gone_out(self) -> None:
        client = Client()

        def update(voice: str) -> list[dict[str, Any]]:
            audio = {"output": {"voice": voice}}
            return client.send("session.update", session={"type": "realtime", "audio": audio})

        assert kinds(update("ash")) == ["session.updated"]
        client.say_something()
        assert error_of(update("coral"))["code"] == "cannot_update_voice"
        assert kinds(update("ash")) == ["session.updated"]

    def test_it_expires_and_says_how_to_close(self) -> None:
        client = Client()
        assert client.wait(3599) == []
        assert error_of(client.wait(2))["code"] == "session_expired"
        assert client.session.ending is not None
        assert client.session.ending.code == 1001
        assert client.session.next_at_s is None

    def test_tokens_of_a_model_that_does_not_reason(self) -> None:
        session = RealtimeSession(ScriptPersona(()), now_s=0, unix_s=0, model="gpt-realtime-1.5")
        wanted = {"type": "realtime", "reasoning": {"effort": "low"}}
        (error,) = session.receive(json.dumps({"type": "session.update", "session": wanted}), 0)
        assert error["error"]["code"] == "unknown_parameter"


class TestResponse:
    def test_comes_in_the_documented_order(self) -> None:
        events = Client().say_something()
        assert kinds(events) == [
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert audio_of(events) == HELLO.payload
        assert "".join(e["delta"] for e in of(events, "response.output_audio_transcript.delta")) == (
            HELLO.transcript
        )
        response = events[-1]["response"]
        assert response["status"] == "completed"
        assert [item["content"] for item in response["output"]] == [
            [{"type": "output_audio", "transcript": HELLO.transcript}]
        ]

    def test_usage_adds_up(self) -> None:
        client = Client()
        client.append(clip("human_command"))
        usage = client.wait(1)[-1]["response"]["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        for side in ("input", "output"):
            details = usage[f"{side}_token_details"]
            assert usage[f"{side}_tokens"] == details["text_tokens"] + details["audio_tokens"] > 0
        assert usage["output_token_details"]["audio_tokens"] == 800 // 50

    def test_audio_is_paced_at_a_multiple_of_real_time(self) -> None:
        client = Client(speed=2.0, delta_bytes=(160, 160))
        client.send("response.create")
        assert len(audio_of(client.wait())) == 160  # the first delta comes at once
        assert len(audio_of(client.wait(0.2001))) == 400 * 8
        assert len(audio_of(client.wait(0.2))) == len(HELLO.payload) - 160 - 400 * 8

    def test_several_audio_items_and_explicit_delta_sizes(self) -> None:
        first = Speech(b"\x11" * 500, "first", (100, 7))
        client = Client((first, Speech(b"\x22" * 80, "second")))
        events = client.say_something()
        deltas = of(events, "response.output_audio.delta")
        assert [len(base64.b64decode(d["delta"])) for d in deltas[:3]] == [100, 7, 7]
        assert {d["output_index"]: d["item_id"] for d in deltas}.keys() == {0, 1}
        assert len({d["item_id"] for d in deltas}) == 2
        assert len(events[-1]["response"]["output"]) == 2

    def test_only_one_at_a_time_writes_to_the_conversation(self) -> None:
        client = Client(speed=1.0)
        client.send("response.create")
        error = error_of(client.send("response.create"))
        assert error["code"] == "conversation_already_has_active_response"
        beside = client.send("response.create", response={"conversation": "none", "metadata": {"a": "b"}})
        assert beside[0]["response"]["conversation_id"] is None
        assert beside[0]["response"]["metadata"] == {"a": "b"}
        assert len(of(client.wait(5), "response.done")) == 2
        assert kinds(client.send("response.create"))[0] == "response.created"

    @pytest.mark.parametrize(
        ("response", "code", "param"),
        [
            ({"modalities": ["audio"]}, "unknown_parameter", "response.modalities"),
            ({"voice": "ash"}, "unknown_parameter", "response.voice"),
            ({"output": [{"type": "output_audio"}]}, "unknown_parameter", "response.output"),
            ({"output_modalities": "audio"}, "invalid_type", "response.output_modalities"),
            ({"conversation": "other"}, "invalid_value", "response.conversation"),
            ({"metadata": {"k" * 65: "v"}}, "invalid_value", "response.metadata"),
            ({"max_output_tokens": 0}, "invalid_value", "response.max_output_tokens"),
        ],
    )
    def test_fields_of_another_shape_are_refused(
        self, response: dict[str, Any], code: str, param: str
    ) -> None:
        error = error_of(Client().send("response.create", response=response))
        assert (error["code"], error["param"], error["event_id"]) == (code, param, "c2")

    def test_cancelling_ends_the_open_item_first(self) -> None:
        client = Client(speed=1.0, delta_bytes=(160, 160))
        client.send("response.create")
        said = audio_of(client.wait(0.3))
        events = client.send("response.cancel")
        assert kinds(events) == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert events[-1]["response"]["status_details"] == {
            "type": "cancelled",
            "reason": "client_cancelled",
        }
        assert events[3]["item"]["status"] == "incomplete"
        assert len(said) < len(HELLO.payload)
        assert client.wait(10) == []
        assert error_of(client.send("response.cancel"))["code"] == "response_cancel_not_active"

    def test_text_only_sessions_get_text(self) -> None:
        events = Client().send("response.create", response={"output_modalities": ["text"]})
        client = Client()
        events = client.send("response.create", response={"output_modalities": ["text"]}) + client.wait()
        assert audio_of(events) == b""
        assert of(events, "response.output_text.done")[0]["text"] == HELLO.transcript

    def test_a_function_call_waits_for_its_output_and_a_new_response(self) -> None:
        client = Client((HELLO, ToolCall("end_call", '{"why": "done"}')), (HELLO,))
        done = client.say_something()[-1]["response"]
        call = done["output"][1]
        assert (call["name"], json.loads(call["arguments"])) == ("end_call", {"why": "done"})
        assert len(call["call_id"]) <= 32
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
        created = client.send("conversation.item.create", item=output)
        assert kinds(created) == ["conversation.item.added", "conversation.item.done"]
        assert client.wait(5) == []
        assert audio_of(client.say_something()) == HELLO.payload
        unknown = client.send("conversation.item.create", item=output | {"call_id": "call_x"})
        assert error_of(unknown)["code"] == "invalid_tool_call_id"


class TestJunk:
    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("NaN", "invalid_json"),
            ('{"type": NaN}', "invalid_json"),
            ("[" * 100_000, "invalid_json"),
            ('{"type": "session.update", "a": ' + "[" * 70 + "]" * 70 + "}", "invalid_json"),
            ('{"type": "\\ud800"}', "invalid_json"),
            ("[]", "invalid_type"),
            ("{}", "missing_required_parameter"),
            ('{"type": 5}', "invalid_type"),
            ('{"type": "response.telepathy"}', "invalid_value"),
            ('{"type": "output_audio_buffer.clear"}', "invalid_value"),
            ('{"type": "response.cancel", "event_id": {}}', "invalid_type"),
        ],
    )
    def test_is_answered_by_an_error(self, message: str, code: str) -> None:
        (event,) = Client().session.receive(message, 1.0)
        parse_server_event(event)
        assert event["error"]["code"] == code

    @settings(max_examples=400, deadline=None)
    @given(data=st.data())
    def test_never_crashes_a_session_and_every_answer_is_valid(self, data: st.DataObject) -> None:
        client = Client(speed=4.0)
        for _ in range(data.draw(st.integers(1, 8))):
            message = data.draw(_MESSAGES)
            client._judged(client.session.receive(message, client.now_s))
            client.wait(data.draw(st.sampled_from([0.0, 0.01, 2.0])))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    "session type audio input output format voice item item_id response response_id content role text "
    "audio_end_ms content_index previous_item_id turn_detection instructions tools metadata event_id "
    "call_id arguments name max_output_tokens output_modalities conversation threshold".split()
)
_WORDS = st.sampled_from(
    "realtime audio text message user assistant system input_text input_audio function_call root auto none "
    "function_call_output server_vad semantic_vad audio/pcmu audio/pcm inf marin AAAA a b".split()
)
_NEARLY = st.recursive(
    _WORDS | _JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=12,
)
_EVENTS = st.builds(
    lambda kind, fields: fields | {"type": kind},
    st.sampled_from(sorted(GA.client_events)),
    st.dictionaries(_NAMES, _NEARLY, max_size=6),
)
_VALID = st.sampled_from(
    [
        {"type": "response.create"},
        {"type": "response.cancel"},
        {"type": "response.create", "response": {"conversation": "none"}},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(clip("human_command")).decode()},
        {
            "type": "conversation.item.create",
            "item": {"id": "a", "type": "message", "role": "user", "content": []},
        },
        {"type": "conversation.item.delete", "item_id": "a"},
    ]
)
_MESSAGES = st.one_of(
    st.text(max_size=40), st.binary(max_size=40), st.one_of(_JSON, _EVENTS, _VALID).map(json.dumps)
)


class TestFaults:
    def test_late_deltas_follow_a_cancelled_response(self) -> None:
        client = Client(speed=1.0, delta_bytes=(160, 160), faults=("late_deltas",))
        client.send("response.create")
        client.wait(0.1)
        events = client.send("response.cancel")
        after = events[[e["type"] for e in events].index("response.done") + 1 :]
        assert [e["type"] for e in after] == ["response.output_audio.delta"] * 3

    def test_a_failed_response_says_why_in_response_done(self) -> None:
        client = Client(faults=("failed_response=1",))
        done = client.say_something()[-1]["response"]
        assert (done["status"], done["status_details"]["error"]["code"]) == ("failed", "rate_limit_exceeded")
        assert client.say_something()[-1]["response"]["status"] == "completed"

    def test_an_error_in_mid_turn(self) -> None:
        events = Client(faults=("error_midturn",)).say_something()
        assert of(events, "error")[0]["error"]["type"] == "server_error"
        assert events[-1]["response"]["status"] == "failed"
        assert len(HELLO.payload) // 2 <= len(audio_of(events)) < len(HELLO.payload)

    def test_an_incomplete_response(self) -> None:
        done = Client(faults=("incomplete_response",)).say_something()[-1]["response"]
        assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}

    def test_tiny_and_big_deltas(self) -> None:
        tiny = Client(faults=("tiny_deltas",)).say_something()
        assert len(of(tiny, "response.output_audio.delta")) == len(HELLO.payload)
        assert audio_of(tiny) == HELLO.payload
        big = Client(faults=("big_delta",))
        (delta,) = of(big.say_something() + big.wait(200), "response.output_audio.delta")
        assert len(delta["delta"]) == 1024 * 1024
        assert audio_of(big.say_something()) == HELLO.payload

    def test_the_first_update_is_rejected_once(self) -> None:
        client = Client(faults=("reject_update",), configured=False)
        assert error_of(client.configure())["code"] == "unknown_parameter"
        assert kinds(client.configure()) == ["session.updated"]

    def test_a_mute_model_hears_but_never_answers(self) -> None:
        client = Client(faults=("mute",))
        assert kinds(client.append(clip("human_command")))[-1] == "conversation.item.done"
        assert client.say_something() == []

    def test_a_slow_model(self) -> None:
        client = Client(faults=("slow=2",))
        client.send("response.create")
        assert audio_of(client.wait(1.9)) == b""
        assert audio_of(client.wait(0.2)) == HELLO.payload


class TestBeta:
    SESSION = {
        "modalities": ["audio", "text"],
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_ulaw",
        "voice": "shimmer",
        "temperature": 0.7,
        "max_response_output_tokens": 500,
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
    }

    def test_speaks_the_flat_session(self) -> None:
        client = Client(dialect=BETA)
        assert client.created[0]["session"]["input_audio_format"] == "pcm16"
        (updated,) = client.send("session.update", session=self.SESSION)
        shown = updated["session"]
        detection = {"prefix_padding_ms": 300, "threshold": 0.5, "idle_timeout_ms": None}
        detection |= {"create_response": True, "interrupt_response": True}
        expected = self.SESSION | {"turn_detection": self.SESSION["turn_detection"] | detection}
        assert {name: shown[name] for name in expected} == expected

    @pytest.mark.parametrize("session", [{"type": "realtime"}, {"audio": {}}, {"output_modalities": []}])
    def test_refuses_the_ga_session(self, session: dict[str, Any]) -> None:
        error = error_of(Client(dialect=BETA).send("session.update", session=session))
        assert (error["code"], error["param"]) == ("unknown_parameter", f"session.{next(iter(session))}")

    def test_speaks_by_the_old_names(self) -> None:
        client = Client(dialect=BETA)
        client.send("session.update", session=self.SESSION)
        events = client.send("response.create", response={"modalities": ["audio", "text"]}) + client.wait(1)
        assert kinds(events) == [
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.created",
            "response.content_part.added",
            "response.audio.delta",
            "response.audio_transcript.delta",
            "response.audio.done",
            "response.audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        assert audio_of(events, "response.audio.delta") == HELLO.payload
        response = events[-1]["response"]
        assert response["output"][0]["content"][0]["type"] == "audio"
        assert (response["voice"], response["modalities"]) == ("shimmer", ["audio", "text"])

    def test_takes_assistant_text_by_its_old_name(self) -> None:
        item = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]}
        (created,) = Client(dialect=BETA).send("conversation.item.create", item=item)
        assert created["type"] == "conversation.item.created"
        assert created["item"]["content"] == [{"type": "text", "text": "hi"}]
