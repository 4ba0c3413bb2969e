"""What a simulated session makes of the caller's audio, and of the items it holds."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from server.simulator.realtime.hearing import threshold_rms
from server.simulator.realtime.turn import Answer, Speech, Spoken, Turn
from tests.realtime_session_client import (
    DATA,
    HELLO,
    Client,
    audio_of,
    clip,
    error_of,
    kinds,
    of,
)

LABELS = json.loads((DATA / "labels.json").read_text("utf-8"))


class TestHearing:
    def detect(self, **fields: Any) -> dict[str, Any]:
        return {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300} | fields

    @pytest.mark.parametrize(
        "name", [name for name in LABELS if LABELS[name]["turns"] and name != "quiet_caller"]
    )
    def test_turns_are_found_where_people_labelled_them(self, name: str) -> None:
        client = Client()
        client.configure(turn_detection=self.detect(silence_duration_ms=600))
        events = client.append(clip(name))
        turns = LABELS[name]["turns"]
        started = of(events, "input_audio_buffer.speech_started")
        stopped = of(events, "input_audio_buffer.speech_stopped")
        assert len(started) == len(stopped) == len(turns)
        for begin, end, turn in zip(started, stopped, turns, strict=True):
            assert turn["start_ms"] - 300 - 20 <= begin["audio_start_ms"] <= max(turn["start_ms"] - 180, 0)
            assert turn["end_ms"] + 600 - 150 <= end["audio_end_ms"] <= turn["end_ms"] + 600 + 40
            assert begin["item_id"] == end["item_id"]

    def test_a_quiet_caller_is_heard_and_a_hissing_line_is_not(self) -> None:
        client = Client()
        assert of(client.append(clip("quiet_caller")), "input_audio_buffer.speech_started")
        assert Client().append(clip("line_noise")) == []

    def test_a_turn_becomes_an_item_and_an_answer(self) -> None:
        events = Client().append(clip("hebrew_question"))
        assert kinds(events) == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "rate_limits.updated",
        ]

    def test_the_audio_clock_counts_what_was_appended_however_late_it_came(self) -> None:
        live, late = Client(), Client()
        expected = live.append(clip("hebrew_question"))
        late.now_s += 1000
        assert late.append(clip("hebrew_question"), 27_200)[:1] == expected[:1]

    def test_a_turn_s_audio_is_exactly_what_lies_between_the_two_positions(self) -> None:
        heard: list[Turn] = []

        class Listener:
            def answer(self, turn: Turn) -> Answer:
                heard.append(turn)
                return ()

        client = Client(persona=Listener())
        sound = clip("hebrew_two_turns")
        events = client.append(sound, 333)
        for turn, begin, end in zip(
            heard,
            of(events, "input_audio_buffer.speech_started"),
            of(events, "input_audio_buffer.speech_stopped"),
            strict=True,
        ):
            (spoken,) = turn.heard
            assert isinstance(spoken, Spoken)
            assert spoken.payload == sound[begin["audio_start_ms"] * 8 : end["audio_end_ms"] * 8]
        assert len(heard) == 2

    def test_speech_interrupts_the_answer(self) -> None:
        client = Client((Speech(HELLO.payload * 20, "long"),), speed=1.0)
        client.send("response.create")
        client.wait(1.0)
        events = client.append(clip("hebrew_barge_in"))
        assert events[0]["type"] == "input_audio_buffer.speech_started"
        (done,) = of(events, "response.done")
        assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert kinds(events).index("response.done") < kinds(events).index("input_audio_buffer.speech_stopped")

    def test_without_interrupt_response_the_answer_goes_on(self) -> None:
        client = Client((Speech(HELLO.payload * 20, "long"),), speed=1.0)
        client.configure(turn_detection=self.detect(interrupt_response=False))
        client.send("response.create")
        events = client.append(clip("hebrew_barge_in"))
        assert of(events, "response.done") == []
        assert of(events, "error")[0]["error"]["code"] == "conversation_already_has_active_response"

    def test_without_create_response_only_the_events_come(self) -> None:
        client = Client()
        client.configure(turn_detection=self.detect(create_response=False))
        assert "response.created" not in kinds(client.append(clip("human_sentence")))

    def test_without_turn_detection_the_client_commits(self) -> None:
        client = Client()
        client.configure(turn_detection=None)
        assert client.append(clip("human_command")) == []
        assert kinds(client.send("input_audio_buffer.commit")) == [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert error_of(client.send("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"

    def test_less_than_100_ms_is_nothing_to_commit(self) -> None:
        client = Client()
        client.append(b"\xff" * 799)
        assert error_of(client.send("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"
        client.append(b"\xff")
        assert kinds(client.send("input_audio_buffer.commit"))[0] == "input_audio_buffer.committed"
        client.append(b"\xff" * 1600)
        assert kinds(client.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
        assert error_of(client.send("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"

    @pytest.mark.parametrize("audio", ["not base64!", "QUJD=", "€", 7, None])
    def test_what_is_no_base64_is_refused(self, audio: Any) -> None:
        error = error_of(Client().send("input_audio_buffer.append", audio=audio))
        assert error["param"] == "audio"

    def test_transcription_is_honest_and_only_on_request(self) -> None:
        client = Client()
        client.append(clip("human_command"))
        assert not [e for e in client.wait(5) if "transcription" in e["type"]]
        client.configure(transcription={"model": "gpt-transcribe", "languages": ["he"]})
        item_id = of(client.append(clip("human_command")), "input_audio_buffer.committed")[0]["item_id"]
        (done,) = of(client.wait(5), "conversation.item.input_audio_transcription.completed")
        assert done["item_id"] == item_id
        seconds = float(done["transcript"].removeprefix("[speech ").removesuffix(" s]"))
        assert seconds == pytest.approx(1.68, abs=0.15)

    def test_a_silent_caller_is_prompted_after_the_audio_has_been_heard(self) -> None:
        client = Client()
        client.configure(turn_detection=self.detect(idle_timeout_ms=5000))
        client.say_something()  # 800 ms of audio, sent at once
        client.append(b"\xff" * 8000)
        assert client.wait(5.7) == []
        events = client.wait(0.2)
        assert kinds(events)[:2] == ["input_audio_buffer.timeout_triggered", "input_audio_buffer.committed"]
        assert events[0]["audio_end_ms"] - events[0]["audio_start_ms"] == 1000
        assert "response.created" in kinds(events)

    def test_other_formats_are_converted(self) -> None:
        client = Client(configured=False)  # PCM at 24 kHz, both ways
        said = audio_of(client.say_something())
        assert abs(len(said) - 6 * len(HELLO.payload)) <= 6
        client.configure()
        sound = Speech(clip("human_command"), "")
        pcm = Client((sound,), configured=False)
        wide = audio_of(pcm.say_something())
        other = Client(configured=False)
        assert "response.created" in kinds(other.append(wide, 4801))

    def test_a_higher_threshold_needs_louder_speech(self) -> None:
        assert threshold_rms(0.0) < threshold_rms(0.5) < 300 < threshold_rms(1.0)
        client = Client()
        client.configure(turn_detection=self.detect(threshold=1.0))
        assert client.append(clip("quiet_caller")) == []


class TestItems:
    def spoken_item(self, client: Client) -> str:
        item_id: str = of(client.say_something(), "response.output_item.done")[0]["item"]["id"]
        return item_id

    def truncate(self, client: Client, item_id: str, audio_end_ms: Any) -> list[dict[str, Any]]:
        return client.send(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=audio_end_ms
        )

    def test_truncating_is_bounded_by_the_item_s_own_audio(self) -> None:
        client = Client()
        item_id = self.spoken_item(client)
        error = error_of(self.truncate(client, item_id, 801))
        assert error["message"] == "Audio content of 800ms is already shorter than 801ms"
        assert (error["type"], error["code"]) == ("invalid_request_error", None)
        assert error_of(self.truncate(client, item_id, -1))["code"] == "integer_below_min_value"
        assert error_of(self.truncate(client, item_id, 10.5))["code"] == "invalid_type"
        assert error_of(self.truncate(client, "item_x", 10))["code"] == "item_truncate_invalid_item_id"
        assert kinds(self.truncate(client, item_id, 800)) == ["conversation.item.truncated"]
        assert kinds(self.truncate(client, item_id, 300)) == ["conversation.item.truncated"]
        assert error_of(self.truncate(client, item_id, 301))["message"].startswith("Audio content of 300ms")

    def test_truncating_forgets_the_words(self) -> None:
        client = Client()
        item_id = self.spoken_item(client)
        self.truncate(client, item_id, 100)
        (found,) = client.send("conversation.item.retrieve", item_id=item_id)
        (part,) = found["item"]["content"]
        assert part["transcript"] == ""
        assert base64.b64decode(part["audio"]) == HELLO.payload[:800]

    def test_a_cancelled_item_is_as_long_as_what_was_sent(self) -> None:
        client = Client(speed=1.0, delta_bytes=(160, 160))
        client.send("response.create")
        item_id = of(client.wait(0.3), "response.output_audio.delta")[0]["item_id"]
        client.send("response.cancel")
        error = error_of(self.truncate(client, item_id, 800))
        assert error["message"].startswith("Audio content of 3")

    def test_created_items_stand_where_they_were_put(self) -> None:
        client = Client()

        def create(item_id: str, after: str | None) -> dict[str, Any]:
            content = [{"type": "input_text", "text": item_id}]
            item = {"type": "message", "role": "user", "id": item_id, "content": content}
            return client.send("conversation.item.create", item=item, previous_item_id=after)[0]

        assert create("a", None)["previous_item_id"] is None
        assert create("b", "a")["previous_item_id"] == "a"
        assert create("c", "root")["previous_item_id"] is None
        assert create("d", "a")["previous_item_id"] == "a"
        assert create("b", None)["error"]["code"] == "invalid_value"
        assert create("e", "nobody")["error"]["param"] == "previous_item_id"
        assert kinds(client.send("conversation.item.delete", item_id="d")) == ["conversation.item.deleted"]
        error = error_of(client.send("conversation.item.retrieve", item_id="d"))
        assert error["code"] == "item_retrieve_invalid_item_id"
        error = error_of(client.send("conversation.item.delete", item_id="d"))
        assert error["code"] == "item_delete_invalid_item_id"

    def test_a_client_cannot_make_the_assistant_s_audio(self) -> None:
        content = [{"type": "output_audio", "audio": "AAAA"}]
        item = {"type": "message", "role": "assistant", "content": content}
        assert error_of(Client().send("conversation.item.create", item=item))["code"] == "invalid_value"
        content = [{"type": "output_text", "text": "as I said"}]
        assert "error" not in kinds(
            Client().send("conversation.item.create", item=item | {"content": content})
        )
