"""The simulated HTTP API's parts: what it refuses, hears and answers, how it sounds, what goes wrong."""

from __future__ import annotations

import io
import json
import shutil
import struct
import wave
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from server.errors import ConfigError
from server.prompts import load_prompts
from server.services.chat_deltas import ChatDecoder, Done, TextDelta, ToolCall
from server.simulator.openai_http import chat_stream, checks
from server.simulator.openai_http.checks import Refused
from server.simulator.openai_http.faults import ENDPOINTS, FAULTS, parse_faults
from server.simulator.openai_http.script import Call, Persona, Text, Wait, Words, load_script, read_script
from server.simulator.openai_http.voice import BYTES_PER_MS, Voice

SPEECH = {"model": "tts-1", "voice": "alloy", "input": "שלום", "response_format": "pcm"}
CHAT: dict[str, Any] = {
    "model": "gpt-6-luna",
    "stream": True,
    "messages": [{"role": "user", "content": "שלום"}],
}
FORM = {"model": "gpt-transcribe", "language": "he", "response_format": "json"}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "book", "arguments": "{}"}}],
}
ANSWERED = {"role": "tool", "tool_call_id": "call_1", "content": "ok"}


def wav(rate_hz: int = 8000, channels: int = 1, width: int = 2, ms: int = 500) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate_hz)
        writer.writeframes(bytes(rate_hz * channels * width * ms // 1000))
    return file.getvalue()


# What it refuses


def test_a_telephone_wav_is_heard():
    utterance = checks.transcription(FORM, ("a.wav", wav(ms=1200)))
    assert (utterance.ms, utterance.model, utterance.language) == (1200, "gpt-transcribe", "he")


@pytest.mark.parametrize(
    ("fields", "file", "message"),
    [
        (FORM, None, "provide a file"),
        ({"language": "he"}, ("a.wav", wav()), "model"),
        (FORM | {"colour": "red"}, ("a.wav", wav()), "Unrecognized request argument supplied: colour"),
        (FORM | {"language": "Hebrew"}, ("a.wav", wav()), "ISO-639-1"),
        (FORM | {"response_format": "srt"}, ("a.wav", wav()), "json only"),
        (FORM, ("a", wav()), "Unrecognized file format"),
        (FORM, ("wav", wav()), "Unrecognized file format"),
        (FORM, ("a.ulaw", wav()), "Unrecognized file format"),
        (FORM, ("a.wav", wav(ms=90)), "too short"),
        (FORM, ("a.wav", wav(rate_hz=16000)), "16000 Hz"),
        (FORM, ("a.wav", wav(channels=2)), "2 channels"),
        (FORM, ("a.wav", wav(width=1)), "8 bit"),
        (FORM, ("a.wav", bytes(8000)), "could not be decoded"),
        (FORM, ("a.wav", wav()[:-2]), "could not be decoded"),
        (FORM, ("a.wav", wav()[:36] + b"LIST" + wav()[40:]), "could not be decoded"),
        (FORM, ("a.wav", wav()[:40] + struct.pack("<I", 7) + wav()[44:]), "could not be decoded"),
        (FORM, ("a.wav", b""), "could not be decoded"),
    ],
)
def test_a_form_that_openai_would_refuse(fields, file, message):
    with pytest.raises(Refused, match=message):
        checks.transcription(fields, file)


def test_a_text_to_speak_is_taken():
    assert checks.speech(SPEECH) == ("שלום", "alloy")
    assert checks.speech(SPEECH | {"voice": {"id": "voice_12"}}) == ("שלום", "voice_12")
    assert checks.speech(SPEECH | {"model": "gpt-4o-mini-tts", "instructions": "slowly"})


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": ""}, "input"),
        ({"input": "א" * 4097}, "input"),
        ({"voice": "bob"}, "voice"),
        ({"voice": {"id": "bob"}}, "voice"),
        ({"voice": {"name": "alloy"}}, "voice"),
        ({"response_format": "mp3"}, "response_format"),
        ({"stream_format": "sse"}, "stream_format"),
        ({"instructions": "slowly"}, "instructions"),
        ({"language": "he"}, "language"),
    ],
)
def test_a_request_to_speak_that_openai_would_refuse(change, param):
    with pytest.raises(Refused) as caught:
        checks.speech(SPEECH | change)
    assert caught.value.param == param
    assert caught.value.status == 400


def test_a_conversation_with_an_answered_call_is_taken():
    messages = [*CHAT["messages"], CALLED, ANSWERED]
    assert checks.chat(CHAT | {"messages": messages, "max_completion_tokens": 5}) == messages
    assert checks.chat(CHAT | {"model": "gpt-4o", "max_tokens": 5})


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": ""}, "model"),
        ({"stream": False}, "stream"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"modality": "audio"}, "modality"),
        ({"stream_options": {"usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "caller", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [ANSWERED]}, "messages[0].role"),
        ({"messages": [CALLED]}, "messages"),
        ({"messages": [CALLED, {"role": "user", "content": "hi"}]}, "messages"),
        ({"messages": [CALLED, ANSWERED, ANSWERED]}, "messages[2].role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls"),
        ({"tools": [{"name": "book"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": {}}, "tools"),
    ],
)
def test_a_chat_that_openai_would_refuse(change, param):
    with pytest.raises(Refused) as caught:
        checks.chat(CHAT | change)
    assert caught.value.param == param


# What it hears and answers


def persona(**script: Any) -> Persona:
    return Persona(read_script(script))


def utterance(ms: int = 1200) -> checks.Utterance:
    return checks.Utterance(bytes(ms * 16), "gpt-transcribe", "he")


def said(*texts: str) -> list[dict[str, Any]]:
    """A conversation in which the agent answered all but the last."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "be brief"}]
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "…"}]
    return messages[:-1]


def test_words_come_from_the_script_and_then_there_is_only_the_length():
    ear = persona(hears=["ראשון", {"text": "שני", "delay": 0.5}])
    assert ear.hear(utterance()) == ("script", Words("ראשון"))
    assert ear.hear(utterance()) == ("script", Words("שני", 0.5))
    assert ear.hear(utterance(1230)) == ("length", Words("[speech 1.2 s]"))


def test_each_conversation_has_its_own_place_in_the_answers():
    agent = persona(answers=[[{"text": "one"}], [{"text": "two"}]])
    assert agent.answer(said("a")) == (Text("one"),)
    assert agent.answer(said("a", "b")) == (Text("two"),)
    assert agent.answer(said("a")) == (Text("one"),)
    assert agent.answer(said("a", "b", "c")) == (Text("two"),)
    assert persona(answers=[[{"text": "one"}]], after_last="none").answer(said("a", "b")) == ()


def test_a_tool_s_result_is_answered_next():
    agent = persona(answers=[[{"call": "book", "arguments": {"day": "א"}}], [{"text": "booked"}]])
    assert agent.answer(said("a")) == (Call("book", '{"day": "א"}'),)
    assert agent.answer([*said("a"), CALLED, ANSWERED]) == (Text("booked"),)


def test_an_answer_may_have_its_cause():
    rule = {"when": "תור|book", "answer": [{"wait": 0.2}, {"prompt": "he/one_moment"}]}
    agent = persona(answers=[[{"text": "one"}]], match=[rule])
    prompt = load_prompts().get("he", "one_moment").text
    assert agent.answer(said("אפשר תור?")) == (Wait(0.2), Text(prompt))
    assert agent.answer([{"role": "user", "content": [{"type": "text", "text": "book it"}]}])[1] == Text(
        prompt
    )
    assert agent.answer(said("שלום")) == (Text("one"),)


def test_without_a_script_what_was_said_is_repeated():
    assert persona().answer(said("שלום לך")) == (Text("אמרתם: שלום לך"),)
    assert persona().answer(said("hello")) == (Text("You said: hello"),)


@pytest.mark.parametrize(
    "script",
    [
        [],
        {"answer": []},
        {"answers": {}},
        {"answers": ["text"]},
        {"answers": [[{"say": "hi"}]]},
        {"answers": [[{"text": 5}]]},
        {"answers": [[{"text": "a", "call": "b"}]]},
        {"answers": [[{"wait": -1}]]},
        {"answers": [[]], "after_last": "stop"},
        {"hears": [5]},
        {"hears": [{"text": "a", "fail": True}]},
        {"match": [{"when": "("}]},
        {"match": [{"when": "(", "answer": []}]},
    ],
)
def test_a_script_that_says_nothing_known_is_refused(script):
    with pytest.raises(ConfigError):
        read_script(script)


def test_a_script_is_a_file(tmp_path):
    path = tmp_path / "script.json"
    path.write_text('{"hears": ["שלום"]}', "utf-8")
    assert load_script(path).hears == (Words("שלום"),)
    path.write_text("{", "utf-8")
    with pytest.raises(ConfigError, match="not JSON"):
        load_script(path)
    with pytest.raises(ConfigError, match="No such file"):
        load_script(tmp_path / "nothing.json")


# How an answer goes over the wire


@pytest.mark.parametrize("has_usage", [True, False])
def test_its_chunks_are_those_that_openai_s_types_and_our_decoder_know(has_usage):
    request = CHAT | ({"stream_options": {"include_usage": True}} if has_usage else {})
    answer = (Text("שלום, מה שלומך?"), Wait(0.1), Call("book", '{"day": "ראשון"}'), Call("end_call", "{}"))
    pieces = list(chat_stream.events(answer, request, seed=3))
    assert [piece for piece in pieces if isinstance(piece, float)] == [0.1]
    stream = [piece for piece in pieces if isinstance(piece, bytes)]
    *chunks, done = [piece.removeprefix(b"data: ").strip() for piece in stream]
    assert done == b"[DONE]"
    adapter = TypeAdapter(ChatCompletionChunk)
    typed = [adapter.validate_json(chunk, strict=True) for chunk in chunks]
    assert len({chunk.id for chunk in typed}) == 1
    assert typed[0].choices[0].delta.role == "assistant"
    assert (typed[-1].choices == [] and typed[-1].usage is not None) == has_usage
    assert all(("usage" in json.loads(chunk)) == has_usage for chunk in chunks)
    decoder = ChatDecoder()
    deltas = [delta for piece in stream for delta in decoder.feed(piece)]
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "שלום, מה שלומך?"
    assert [(d.name, d.arguments) for d in deltas if isinstance(d, ToolCall)] == [
        ("book", '{"day": "ראשון"}'),
        ("end_call", "{}"),
    ]
    assert isinstance(deltas[-1], Done) and deltas[-1].finish_reason == "tool_calls"
    assert bool(deltas[-1].output_tokens) == has_usage


def test_a_limit_of_tokens_is_kept():
    stream = chat_stream.events((Text("word " * 100),), CHAT | {"max_completion_tokens": 3}, seed=1)
    decoder = ChatDecoder()
    deltas = [delta for piece in stream if isinstance(piece, bytes) for delta in decoder.feed(piece)]
    assert len(deltas) == 4
    assert deltas[-1] == Done("length")


# How it sounds


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice(use_espeak=False)


@pytest.mark.parametrize(("language", "name"), [("he", "greeting"), ("en", "greeting"), ("he", "digit_7")])
def test_the_words_of_a_prompt_sound_as_recorded(voice, language, name):
    prompt = load_prompts().get(language, name)
    sound, made_by = voice.speak(prompt.text)
    assert made_by == "prompt"
    assert len(sound) == len(prompt.payload) * 6
    assert voice.speak(prompt.text.rstrip(".!?").swapcase() + " ")[0] == sound, "only words make a difference"


def test_prompts_within_a_text_are_found(voice):
    pressed = load_prompts().get("he", "you_pressed")
    seven = load_prompts().get("he", "digit_7")
    sound, made_by = voice.speak(f"{pressed.text} {seven.text}")
    assert made_by == "prompt"
    assert len(sound) == (len(pressed.payload) + len(seven.payload)) * 6
    greeting = load_prompts().get("he", "greeting_short")
    sound, made_by = voice.speak(f"{greeting.text} {seven.text} מילים")
    assert made_by == "prompt+tones"
    assert sound[: len(greeting.payload) * 6] == voice.speak(greeting.text)[0]


def test_other_words_are_a_melody_of_their_own(voice):
    first, made_by = voice.speak("תספורת מחר")
    assert made_by == "tones"
    assert voice.speak("תספורת, מחר!")[0] == first
    assert voice.speak("תספורת היום")[0] != first
    assert 300 * BYTES_PER_MS < len(first) < 1500 * BYTES_PER_MS
    assert voice.speak("…") == (b"", "nothing")


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_english_is_spoken_where_espeak_ng_is():
    sound, made_by = Voice().speak("We open at nine tomorrow.")
    assert made_by == "espeak-ng"
    assert 1000 * BYTES_PER_MS < len(sound) < 3000 * BYTES_PER_MS
    assert max(abs(sample) for (sample,) in struct.iter_unpack("<h", sound)) > 3000


# What goes wrong


def test_a_fault_is_for_one_endpoint_or_for_all_and_so_many_times():
    faults = parse_faults(["speech:slow=0.5", "500x1", "chat:429=1.5x2", "transcriptions:404"])
    assert faults.take("speech") == {"slow": 0.5, "500": None}
    assert faults.take("speech") == {"slow": 0.5}
    assert faults.take("chat") == faults.take("chat") == {"429": 1.5}
    assert faults.take("chat") == {}
    assert faults.take("transcriptions") == {"404": None}


def test_a_fault_may_wait_for_a_later_request():
    faults = parse_faults(["speech:500@3x2", "chat:slow=0.5@2"])
    assert [faults.take("speech") for _ in range(5)] == [{}, {}, {"500": None}, {"500": None}, {}]
    assert [faults.take("chat") for _ in range(3)] == [{}, {"slow": 0.5}, {"slow": 0.5}]


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_can_be_named(name):
    word = "slow=1" if name == "slow" else name
    assert all(name in parse_faults([word]).take(endpoint) for endpoint in ENDPOINTS)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "slow",
        "slow=",
        "slow=x",
        "slow=1.2.3",
        "cut=1",
        "video:cut",
        "nix",
        "cutx",
        "cut x1",
        "429=-1",
        "cut@",
        "cut@0",
    ],
)
def test_a_fault_nobody_knows_is_refused_with_those_there_are(word):
    with pytest.raises(ConfigError, match=r"fault"):
        parse_faults([word])
