import base64
import dataclasses
import json

import pytest
from openai.types.realtime import RealtimeClientEventParam
from pydantic import ConfigDict, TypeAdapter, ValidationError

from server.config import Dialect
from server.config_defaults import VOICES
from server.realtime.commands import (
    AUDIO_FORMATS,
    Commands,
    SessionSettings,
    append_audio,
)
from server.realtime.words import WORDS, greeting_tokens
from server.turns.tools import built_in

# The vendor's own types, with every field forbidden that they do not name.
VENDOR: TypeAdapter = TypeAdapter(RealtimeClientEventParam, config=ConfigDict(extra="forbid"))

PLAIN = SessionSettings(voice="marin", instructions="ענו בקצרה")
END_CALL = built_in(())[0]
END_CALL_WIRE = {
    "type": "function",
    "name": "end_call",
    "description": END_CALL.description,
    "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
}

FULL = SessionSettings(
    voice="cedar",
    instructions="be brief",
    max_response_output_tokens=1024,
    vad_threshold=0.7,
    prefix_padding_ms=200,
    silence_duration_ms=600,
    transcription_model="gpt-transcribe",
    language="he",
    tools=(END_CALL,),
)


def general() -> Commands:
    return Commands(Dialect.GA)


def older() -> Commands:
    return Commands(Dialect.BETA)


def commands_of(maker: Commands) -> dict[str, str]:
    return {
        "answer": maker.create_response(),
        "answer with instructions": maker.create_response("say hello"),
        "greeting": maker.create_response(WORDS["he"].exactly.format(text="שלום"), greeting_tokens("שלום")),
        "cancel": maker.cancel_response("resp_1"),
        "truncate": maker.truncate("item_1", 1234),
        "delete": maker.delete_item("item_1"),
        "without tools": maker.create_response("goodbye", may_use_tools=False),
        "earlier words": maker.say_as_agent("שלום, איך אפשר לעזור?"),
        "note": maker.note("השיחה נמשכת"),
        "keys": maker.say_as_caller("הלקוח הקיש 1"),
        "tool answer": maker.function_output("call_1", {"ok": True, "text": "בסדר"}),
        "audio": append_audio(base64.b64encode(b"\xff" * 160)),
    }


EVERY_GENERAL = commands_of(general()) | {
    "settings": general().configure(PLAIN),
    "all settings": general().configure(FULL),
    "own voice": general().configure(SessionSettings(voice="voice_123", instructions="x")),
    "a-law": general().configure(SessionSettings("marin", "x", "g711_alaw", "g711_alaw")),
    "linear": general().configure(SessionSettings("marin", "x", "pcm16", "pcm16")),
}


@pytest.mark.parametrize("name", EVERY_GENERAL)
def test_every_command_is_one_the_vendors_types_allow(name):
    VENDOR.validate_python(json.loads(EVERY_GENERAL[name]))


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ((), "extra"),
        (("session",), "temperature"),
        (("session",), "modalities"),
        (("session", "audio", "input", "turn_detection"), "extra"),
        (("session", "audio", "output"), "extra"),
    ],
)
def test_the_vendors_types_do_refuse_what_is_too_much(path, field):
    """Or the test above would prove nothing."""
    event = json.loads(general().configure(FULL))
    at = event
    for name in path:
        at = at[name]
    at[field] = 1
    with pytest.raises(ValidationError):
        VENDOR.validate_python(event)


def test_the_settings_in_the_general_shape():
    text = general().configure(FULL)
    event_id = text.event_id
    assert json.loads(text) == {
        "type": "session.update",
        "event_id": event_id,
        "session": {
            "type": "realtime",
            "instructions": "be brief",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "gpt-transcribe", "language": "he"},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.7,
                        "prefix_padding_ms": 200,
                        "silence_duration_ms": 600,
                        "create_response": False,
                        "interrupt_response": False,
                    },
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": "cedar"},
            },
            "max_output_tokens": 1024,
            "tools": [END_CALL_WIRE],
            "tool_choice": "auto",
        },
    }


def test_the_settings_in_the_older_shape():
    text = older().configure(FULL)
    event_id = text.event_id
    assert json.loads(text) == {
        "type": "session.update",
        "event_id": event_id,
        "session": {
            "modalities": ["audio", "text"],
            "instructions": "be brief",
            "voice": "cedar",
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "gpt-transcribe", "language": "he"},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.7,
                "prefix_padding_ms": 200,
                "silence_duration_ms": 600,
                "create_response": False,
                "interrupt_response": False,
            },
            "max_response_output_tokens": 1024,
            "tools": [END_CALL_WIRE],
            "tool_choice": "auto",
        },
    }


@pytest.mark.parametrize("maker", [general, older])
def test_what_was_not_asked_for_is_not_sent(maker):
    session = json.loads(maker().configure(PLAIN))["session"]
    assert not {"tools", "tool_choice", "temperature", "input_audio_transcription"} & set(session)
    assert "transcription" not in session.get("audio", {}).get("input", {})


@pytest.mark.parametrize("voice", VOICES)
def test_a_voice_goes_by_its_name(voice):
    session = json.loads(general().configure(SessionSettings(voice, "x")))["session"]
    assert session["audio"]["output"]["voice"] == voice


def test_a_voice_of_ones_own_goes_by_its_id():
    session = json.loads(general().configure(SessionSettings("voice_123", "x")))["session"]
    assert session["audio"]["output"]["voice"] == {"id": "voice_123"}


def test_linear_audio_names_its_rate_and_telephone_audio_none():
    assert AUDIO_FORMATS["pcm16"] == {"type": "audio/pcm", "rate": 24000}
    assert AUDIO_FORMATS["g711_ulaw"] == {"type": "audio/pcmu"}


def test_an_unknown_format_is_our_own_fault():
    with pytest.raises(KeyError):
        general().configure(SessionSettings("marin", "x", "mp3"))


def test_the_shortest_request_for_a_response():
    assert set(json.loads(general().create_response())) == {"type", "event_id"}
    assert json.loads(older().create_response())["response"] == {"modalities": ["audio", "text"]}


def test_a_token_budget_has_the_dialects_name():
    assert json.loads(general().create_response("hi", 300))["response"] == {
        "instructions": "hi",
        "max_output_tokens": 300,
    }
    assert json.loads(older().create_response("hi", 300))["response"] == {
        "instructions": "hi",
        "max_response_output_tokens": 300,
        "modalities": ["audio", "text"],
    }


@pytest.mark.parametrize(("asked", "sent"), [(-1, 0), (-9250, 0), (0, 0), (1234, 1234)])
def test_a_truncation_is_never_negative(asked, sent):
    event = json.loads(general().truncate("item_1", asked))
    assert (event["item_id"], event["content_index"], event["audio_end_ms"]) == ("item_1", 0, sent)


@pytest.mark.parametrize("maker", [general, older])
def test_every_event_but_audio_has_an_id_of_its_own(maker):
    commands = maker()
    events = [json.loads(text) for text in commands_of(commands).values()]
    ids = [event["event_id"] for event in events if event["type"] != "input_audio_buffer.append"]
    ids.append(commands.configure(PLAIN).event_id)
    assert len(set(ids)) == len(ids) == 12


def test_the_id_by_which_the_settings_would_be_refused_is_the_one_sent():
    commands = general()
    commands.create_response()
    text = commands.configure(PLAIN)
    event_id = text.event_id
    assert json.loads(text)["event_id"] == event_id


def test_audio_goes_as_it_came():
    payload_b64 = base64.b64encode(bytes(range(160)))
    assert json.loads(append_audio(payload_b64)) == {
        "type": "input_audio_buffer.append",
        "audio": payload_b64.decode(),
    }


def test_the_answer_to_a_function_is_text_of_json_in_its_own_letters():
    event = json.loads(general().function_output("call_1", {"text": "בסדר"}))
    assert event["item"] == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": '{"text": "בסדר"}',
    }


@pytest.mark.parametrize("text", ['say "hi"', "a\nb", "«שלום»", "🙂", "\\", "\u202e"])
@pytest.mark.parametrize("language", ["he", "en"])
def test_a_greeting_is_quoted_whole(text, language):
    instructions = WORDS[language].exactly.format(text=text)
    assert f"«{text}»" in instructions
    assert json.loads(general().create_response(instructions))["response"]["instructions"] == instructions


def test_what_is_asked_for_is_asked_for_in_the_calls_language():
    for field in dataclasses.fields(WORDS["he"]):
        hebrew, english = (getattr(WORDS[language], field.name) for language in ("he", "en"))
        for he, en in zip(_texts(hebrew), _texts(english), strict=True):
            assert any("א" <= letter <= "ת" for letter in he)
            assert not any("א" <= letter <= "ת" for letter in en)


def _texts(value):
    return [value] if isinstance(value, str) else [value[key] for key in sorted(value)]


@pytest.mark.parametrize(
    ("chars", "tokens"),
    [(0, 256), (1, 256), (42, 256), (43, 258), (100, 600), (682, 4092), (683, 4096), (10_000, 4096)],
)
def test_a_greetings_budget_grows_with_its_length_within_what_the_model_allows(chars, tokens):
    assert greeting_tokens("א" * chars) == tokens
