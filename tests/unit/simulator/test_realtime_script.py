"""A scripted model in a session: what it hears, when it answers, and when it is told only."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import ConfigError
from server.simulator.realtime.dialects import BETA
from server.simulator.realtime.faults import first_and_later, parse_faults
from server.simulator.realtime.persona import ScriptPersona
from server.simulator.realtime.turn import Speech, ToolCall, Transcript, Wait
from tests.realtime_session_client import HELLO, Client, clip, error_of, kinds, of

TRANSCRIPTION = "conversation.item.input_audio_transcription"
GPT = {"model": "gpt-transcribe", "languages": ["he"]}
DETECT = {"type": "server_vad", "silence_duration_ms": 500}


def hearing(*hears: Transcript | None) -> Client:
    client = Client(persona=ScriptPersona([()], hears=hears))
    client.configure(transcription=GPT, turn_detection=DETECT)
    return client


class TestTranscription:
    def test_the_script_s_words_come_as_if_they_had_been_recognised(self) -> None:
        client = hearing(Transcript("מתי אתם פתוחים היום?"))
        client.append(clip("hebrew_question"))
        assert not [event for event in client.wait(0.09) if event["type"].startswith(TRANSCRIPTION)]
        events = client.wait(0.02)
        assert of(events, f"{TRANSCRIPTION}.delta")[0]["delta"] == "מתי אתם פתוחים היום?"
        assert of(events, f"{TRANSCRIPTION}.completed")[0]["transcript"] == "מתי אתם פתוחים היום?"

    def test_no_words_are_completed_without_a_delta(self) -> None:
        client = hearing(Transcript(""))
        client.append(clip("hebrew_question"))
        events = client.wait(1)
        assert of(events, f"{TRANSCRIPTION}.completed")[0]["transcript"] == ""
        assert not of(events, f"{TRANSCRIPTION}.delta")

    def test_a_transcription_can_fail(self) -> None:
        client = hearing(Transcript("lost", has_failed=True))
        client.append(clip("hebrew_question"))
        events = [event for event in client.wait(1) if event["type"].startswith(TRANSCRIPTION)]
        assert kinds(events) == [f"{TRANSCRIPTION}.failed"]
        assert events[0]["error"]["message"]

    def test_a_slow_one_is_overtaken_by_the_next(self) -> None:
        client = hearing(Transcript("first", 5.0), Transcript("second", 0.5))
        client.append(clip("hebrew_two_turns"))
        done = f"{TRANSCRIPTION}.completed"
        assert [event["transcript"] for event in of(client.wait(1), done)] == ["second"]
        assert [event["transcript"] for event in of(client.wait(5), done)] == ["first"]

    def test_an_utterance_nobody_writes_down_uses_up_its_words(self) -> None:
        client = Client(persona=ScriptPersona([()], hears=[Transcript("one"), Transcript("two")]))
        client.configure(turn_detection=DETECT)
        client.append(clip("human_command"))
        client.wait(1)
        client.configure(transcription=GPT, turn_detection=DETECT)
        client.append(clip("human_command"))
        assert of(client.wait(1), f"{TRANSCRIPTION}.completed")[0]["transcript"] == "two"

    def test_words_nobody_wrote_are_told_honestly(self) -> None:
        client = hearing(None)
        client.append(clip("human_command"))
        assert of(client.wait(1), f"{TRANSCRIPTION}.completed")[0]["transcript"].startswith("[speech ")


class TestDetectionAlone:
    """create_response and interrupt_response off: the client decides."""

    def test_only_the_events_come_and_the_answer_goes_on_until_the_client_acts(self) -> None:
        client = Client((Speech(HELLO.payload * 20, "long"),), (HELLO,), speed=1.0)
        client.configure(
            turn_detection=DETECT | {"create_response": False, "interrupt_response": False}, transcription=GPT
        )
        client.send("response.create")
        client.wait(0.5)
        events = client.append(clip("hebrew_barge_in"))
        assert kinds(events) == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert of(client.wait(1.0), "response.output_audio.delta"), "the answer goes on"
        (done,) = of(client.send("response.cancel"), "response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        events = client.send("response.create") + client.wait(5)
        assert of(events, "response.done")[0]["response"]["output"][0]["content"][0]["transcript"] == (
            HELLO.transcript
        )

    def test_interrupting_without_answering(self) -> None:
        client = Client((Speech(HELLO.payload * 20, "long"),), (HELLO,), speed=1.0)
        client.configure(turn_detection=DETECT | {"create_response": False})
        client.send("response.create")
        events = client.append(clip("hebrew_barge_in"))
        (done,) = of(events, "response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        assert "response.created" not in kinds(events + client.wait(3))


class TestAnswers:
    def test_an_answer_waits_where_its_script_says_so(self) -> None:
        client = Client((Wait(2.0), HELLO, Wait(1.0), HELLO), speed=1e9)
        assert "response.created" in kinds(client.send("response.create"))
        assert not of(client.wait(1.99), "response.output_audio.delta")
        first = client.wait(0.02)
        assert len(of(first, "response.output_item.done")) == 1
        rest = client.wait(1.01)
        assert [e["output_index"] for e in of(first + rest, "response.output_item.done")] == [0, 1]
        assert of(rest, "response.done")

    def test_a_call_and_what_follows_its_output(self) -> None:
        client = Client((ToolCall("opening_hours", '{"day": "א"}'),), (HELLO,))
        call = of(client.say_something(), "response.function_call_arguments.done")[0]
        assert (call["name"], call["arguments"]) == ("opening_hours", '{"day": "א"}')
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"open": "8"}'}
        client.send("conversation.item.create", item=output)
        assert of(client.say_something(), "response.output_audio_transcript.done")[0]["transcript"] == (
            HELLO.transcript
        )

    def test_a_rule_sees_the_request_s_own_instructions(self) -> None:
        script = {
            "answers": [[{"base64": "AAAA", "transcript": "listed"}]],
            "match": [{"when": "still there", "answer": [{"base64": "AAAA", "transcript": "matched"}]}],
        }
        client = Client(persona=ScriptPersona.from_json(script))
        session = {"type": "realtime", "instructions": "Ask silent callers whether they are still there."}
        client.send("session.update", session=session)
        said = []
        for asked in ({"instructions": "are they still there?"}, {}):
            events = client.send("response.create", response=asked) + client.wait(1)
            said += [e["transcript"] for e in of(events, "response.output_audio_transcript.done")]
        assert said == ["matched", "listed"]


class TestFaults:
    def test_answers_after_the_nth_are_slow(self) -> None:
        client = Client(faults=("slow_after=1:3.5",))
        assert of(client.say_something(), "response.done")
        client.send("response.create")
        assert not of(client.wait(3.4), "response.output_audio.delta")
        assert of(client.wait(0.2), "response.done")

    @pytest.mark.parametrize("argument", ["", "=", "=2", "=2:", "=:3", "=x:3", "=1:-2"])
    def test_slow_after_says_how_it_is_written(self, argument: str) -> None:
        with pytest.raises(ConfigError, match=r"slow_after=2:4\.5"):
            parse_faults([f"slow_after{argument}"])

    def test_a_fault_that_comes_once_is_the_first_connections(self) -> None:
        first, later = first_and_later(["once:drop=3", "slow=2", "once:mute"])
        assert (first.drop, first.slow, first.mute) == (3.0, 2.0, True)
        assert (later.drop, later.slow, later.mute) == (None, 2.0, False)
        with pytest.raises(ConfigError, match="no fault 'dorp'"):
            first_and_later(["once:dorp=3"])

    def test_a_refused_transcription_refuses_the_whole_update(self) -> None:
        client = Client(faults=("refuse_transcription",))
        error = error_of(client.configure(transcription=GPT, noise_reduction={"type": "far_field"}))
        assert (error["code"], error["param"]) == ("invalid_value", "session.audio.input.transcription")
        (updated,) = client.configure(transcription=None)
        assert updated["session"]["audio"]["input"]["noise_reduction"] is None

    def test_and_in_the_older_dialect_under_its_own_name(self) -> None:
        client = Client(faults=("refuse_transcription",), dialect=BETA)
        session: dict[str, Any] = {"input_audio_transcription": {"model": "whisper-1"}}
        error = error_of(client.send("session.update", session=session))
        assert error["param"] == "session.input_audio_transcription"

    def test_a_short_session_says_so_from_its_start(self) -> None:
        client = Client(faults=("session_expired=90",))
        assert client.created[0]["session"]["expires_at"] == 1_700_000_090
        assert client.session.next_at_s == pytest.approx(190.0)
        assert kinds(client.wait(90)) == ["error"]
