"""Whole calls through real gunicorn: our Twilio on one side, our Realtime server on the other."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, SILENCE
from server.simulator.realtime.persona import Speech, ToolCall
from server.simulator.twilio.caller import keys
from tests.integration.calls import (
    calling,
    eventually,
    gateway,
    make_call,
    model_server,
    say,
    speech,
    whole_frames,
)
from tests.openai_types import validate_client_event


def test_every_byte_the_model_says_is_heard_in_order(tmp_path: Path) -> None:
    answers = [
        [
            say("human_sentence", 1, 159, 161, 7, 4000),
            Speech(speech("hebrew_question")[:1001], "שאלה", (1,)),
            Speech(speech("human_command"), "", (1_000_000,)),
        ]
    ]
    with model_server(tmp_path, answers) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=9.0)
        report = call.run()
        assert report.findings == ()
        expected = b"".join(whole_frames(item.payload) for item in answers[0])
        assert call.line.played(1e9) == expected
        assert report.odd_frames == 0
        assert report.marks_received >= 12, "one per half second, one per item"
        assert model.audio("out") == b"".join(item.payload for item in answers[0])


def test_all_that_the_caller_says_reaches_the_model_and_its_clock(tmp_path: Path) -> None:
    said, greeting = speech("human_command"), say("human_command")
    with model_server(tmp_path, [[greeting]]) as model, gateway(model, NOISE_GATE="0") as process:
        call = make_call(process, said, hangup_after_s=6.0)
        report = call.run()
        eventually(lambda: len(model.audio("in")) // FRAME_BYTES >= report.frames_sent - 3)
        assert model.audio("in").startswith(said)
        for event in model.events("in"):
            if event["type"] != "input_audio_buffer.append":
                validate_client_event(event)


def test_line_noise_reaches_the_model_as_silence_and_starts_no_turn(tmp_path: Path) -> None:
    with model_server(tmp_path, [[]]) as model, gateway(model) as process:
        make_call(process, speech("line_noise"), hangup_after_s=5.0).run()
        assert set(model.audio("in")) == set(SILENCE)
        assert not model.of_type("out", "input_audio_buffer.speech_started")


@pytest.mark.parametrize(
    ("settings", "clip", "heard"),
    [
        ({}, "hebrew_question", r"\[REAL_VOICE\] rms=\d+ > 200 \(voice detected\)"),
        ({"VOICE_THRESHOLD": "1000"}, "hebrew_question", r"\[REAL_VOICE\] rms=\d+ > 1000 "),
        ({"VOICE_THRESHOLD": "9000"}, "hebrew_question", ""),
        ({"MIN_CONSECUTIVE_VOICE_FRAMES": "50"}, "hebrew_question", ""),
        ({}, "noise/hebrew_faint", ""),
        ({"VOICE_DETECTOR": "webrtc"}, "noise/hebrew_faint", r"\[REAL_VOICE\] rms=\d+ > 100 "),
    ],
)
def test_what_counts_as_a_voice_is_set_by_its_variables(
    tmp_path: Path, settings: dict[str, str], clip: str, heard: str
) -> None:
    with model_server(tmp_path, [[]]) as model, gateway(model, **settings) as process:
        make_call(process, speech(clip), hangup_after_s=5.0).run()
        process.wait_for_line("WS_END")
        assert bool(re.search(r"\[REAL_VOICE\]", process.output())) == bool(heard)
        assert re.search(heard, process.output())


def test_a_healthy_call_leaves_its_lines(tmp_path: Path) -> None:
    with model_server(tmp_path, [[say("human_command")]]) as model:
        with gateway(model, REALTIME_VOICE="shimmer", GREETING="שלום, כאן המאפייה") as process:
            report = make_call(process, hangup_after_s=6.0).run()
            tag = report.call_sid[:8]
            for pattern in (
                r"WS_CONNECTED",
                r"\[VOICE\] Using voice=shimmer for entire call \(business=1\)",
                r"\[GREETING\] max_tokens=\d+ for greeting length=17 chars",
                rf"\[REALTIME\] got audio chunk from OpenAI: bytes=\d+, call_sid={tag}",
                rf"\[REALTIME\] enqueue audio to tx_q: bytes=\d+, total_frames=\d+, call_sid={tag}",
                rf"\[REALTIME\] sending frame to Twilio: len=160, first10=\S{{16}}, call_sid={tag}",
                rf"\[REALTIME\] sent media frame to Twilio: bytes=\d+, total_sent=\d+, call_sid={tag}",
                r"response\.create sent! OpenAI=\d+ms, T0→speak=\d+ms",
                r"\[REALTIME\] AI said: human_command",
                r"STREAM_STATUS call=CA\S+ stream=MZ\S+ event=stream-started",
                r"STREAM_STATUS call=CA\S+ stream=MZ\S+ event=stream-stopped",
                r"STREAM_ENDED call=CA\S+ stream=\S* status=completed",
                r"WS_END",
            ):
                process.wait_for_line(pattern)
            stop = process.wait_for_line(r"WS_STOP sid=MZ\S+ rx=(\d+) tx=(\d+)")
            assert int(stop[1]) == report.frames_sent
            assert int(stop[2]) == report.frames_received == len(speech("human_command")) // FRAME_BYTES
            created = model.of_type("in", "session.update")[0]["session"]
            assert created["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "shimmer"}
            greeting = model.of_type("in", "response.create")[0]["response"]
            assert "שלום, כאן המאפייה" in greeting["instructions"]
            assert "[REALTIME] RAW EVENT TYPE" not in process.output()
            assert report.call_sid not in process.output()


def test_the_log_can_name_every_event_and_every_frame(tmp_path: Path) -> None:
    with model_server(tmp_path, [[say("human_command")]]) as model:
        with gateway(model, LOG_LEVEL="debug", CALL_TRACE="1") as process:
            report = make_call(process, hangup_after_s=6.0).run()
            process.wait_for_line("WS_END")
            lines = process.output()
            assert lines.count("[REALTIME] sending frame to Twilio: len=160") == report.frames_received
            named = set(re.findall(r"RAW EVENT TYPE: (\S+)", lines))
            assert {event["type"] for event in model.events("out") if "type" in event} <= named


@pytest.mark.parametrize("delta_bytes", [(1, 300), (800, 800), (4000, 4000)])
def test_a_barge_in_cuts_where_the_caller_stopped_hearing(
    tmp_path: Path, delta_bytes: tuple[int, int]
) -> None:
    answers = [[Speech(speech("human_long"), "a long greeting")], [say("human_command")]]
    with model_server(tmp_path, answers, delta_bytes=delta_bytes) as model, gateway(model) as process:
        call = make_call(process, speech("hebrew_barge_in"), hangup_after_s=8.0)
        report = call.run()
        assert report.clears == 1 and report.findings == ()
        clear_ms = call.call.tally.clears_ms[0]
        truncate = model.of_type("in", "conversation.item.truncate")[0]
        played_ms = call.line.heard_bytes(clear_ms) / BYTES_PER_MS
        assert abs(truncate["audio_end_ms"] - played_ms) <= 60, "two clocks, and two threads that share them"
        assert not list(model.of_type("out", "error"))
        # After the clear nothing of the interrupted answer is heard, and the next one whole.
        heard = call.line.played(1e9)
        assert heard.endswith(speech("human_command"))
        cut_bytes = int(played_ms * BYTES_PER_MS)
        assert heard[:cut_bytes] == speech("human_long")[:cut_bytes]
        assert len(heard) == cut_bytes + len(speech("human_command"))


def test_speech_before_anything_was_heard_deletes_the_item(tmp_path: Path) -> None:
    """The model still prepares its answer when the caller goes on speaking."""
    answers = [[], [say("human_long")], [say("human_command")]]
    with model_server(tmp_path, answers, faults=["late_deltas"]) as model, gateway(model) as process:
        said = speech("hebrew_barge_in")[: 2900 * BYTES_PER_MS] + SILENCE * (560 * BYTES_PER_MS)
        report = make_call(process, said + speech("human_command"), hangup_after_s=11.0).run()
        assert report.findings == ()
        cut = model.of_type("in", "conversation.item.truncate") + model.of_type(
            "in", "conversation.item.delete"
        )
        assert cut, "the unheard answer is taken out of the conversation"


def test_late_audio_of_an_interrupted_answer_is_not_heard(tmp_path: Path) -> None:
    answers = [[Speech(speech("human_long"), "")], [say("human_command")]]
    with model_server(tmp_path, answers, faults=["late_deltas"]) as model, gateway(model) as process:
        call = make_call(process, speech("hebrew_barge_in"), hangup_after_s=8.0)
        report = call.run()
        assert report.clears == 1
        assert call.line.played(1e9).endswith(speech("human_command"))
        assert len(call.line.played(1e9)) < len(speech("human_long"))


def test_the_older_dialect_speaks_to_an_endpoint_of_its_kind(tmp_path: Path) -> None:
    with model_server(tmp_path, [[say("human_command")]], dialect="beta") as model:
        with gateway(model, REALTIME_DIALECT="beta") as process:
            call = make_call(process, hangup_after_s=6.0)
            call.run()
            assert call.line.played(1e9) == speech("human_command")
            assert "input_audio_format" in model.of_type("in", "session.update")[0]["session"]


def test_keys_are_told_to_the_model_as_text(tmp_path: Path) -> None:
    answers = [[say("human_long")], [say("human_command")]]
    with model_server(tmp_path, answers) as model, gateway(model) as process:
        call = make_call(process, keys=tuple(keys("12*", 0.5)), hangup_after_s=6.0)
        call.run()
        (item,) = [event["item"] for event in model.of_type("in", "conversation.item.create")]
        assert item["content"] == [{"type": "input_text", "text": "[keys] 12*"}]
        assert call.line.played(1e9).endswith(speech("human_command")), "the keys cut the greeting short"
        assert len(call.line.played(1e9)) < len(speech("human_long"))


def test_the_agent_hangs_up_only_after_its_goodbye_was_heard(tmp_path: Path) -> None:
    answers = [[say("human_command"), ToolCall("end_call", "{}")]]
    with model_server(tmp_path, answers) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=10.0)
        report = call.run()
        assert report.closed_by == "server" and report.close_code == 1000
        assert report.unplayed_ms == 0
        assert call.line.played(1e9) == speech("human_command")
        assert report.verbs[-1] == "Hangup"
        process.wait_for_line("reason=agent_hangup")
        eventually(lambda: model.server.sessions_open == 0, 3.0)


def test_the_models_session_ends_with_the_call(tmp_path: Path) -> None:
    with model_server(tmp_path, [[say("human_long")]]) as model, gateway(model) as process:
        with calling(make_call(process)):
            eventually(lambda: model.server.sessions_open == 1)
        eventually(lambda: model.server.sessions_open == 0, 3.0)
        process.wait_for_line("WS_END .* reason=stop")


def test_a_stall_shorter_than_the_lead_is_not_heard(tmp_path: Path) -> None:
    """The worker stands still for 100 ms in the middle of a sentence: Twilio plays what it has."""
    with model_server(tmp_path, [[say("human_long")]]) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=8.0)
        (worker,) = process.worker_pids()
        with calling(call) as reports:
            for second in (1, 2, 3):
                eventually(lambda at=second: call.line.heard_bytes(call.call.now_ms()) > at * 8000, 6.0)
                os.kill(worker, signal.SIGSTOP)
                time.sleep(0.1)  # the stall itself
                os.kill(worker, signal.SIGCONT)
            call.call.hung_up.wait(9)
        assert reports[0].underruns == 0
        assert call.line.played(1e9) == speech("human_long")


def test_two_calls_do_not_hear_each_other(tmp_path: Path) -> None:
    with model_server(tmp_path, persona=None) as model, gateway(model) as process:
        first = make_call(process, speech("human_command"), hangup_after_s=11)
        second = make_call(process, speech("hebrew_question"), hangup_after_s=11)
        with calling(first), calling(second):
            first.call.hung_up.wait(12)
            second.call.hung_up.wait(12)
        assert model.server.sessions_total == 2
        for call, said in ((first, "human_command"), (second, "hebrew_question")):
            middle = speech(said)[8000:16000]
            other = speech("hebrew_question" if said == "human_command" else "human_command")[8000:16000]
            assert middle in call.line.played(1e9)
            assert other not in call.line.played(1e9)


def test_sigterm_ends_a_live_call_at_a_pause_and_the_process_with_0(tmp_path: Path) -> None:
    with model_server(tmp_path, [[say("human_command")]]) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=20.0)
        with calling(call) as reports:
            eventually(lambda: call.line.received_bytes > 0)
            process.terminate(signal.SIGTERM)
            assert process.wait(10) == 0
        assert reports[0].closed_by == "server" and reports[0].close_code == 1001
        assert call.line.played(1e9) == speech("human_command"), "the sentence was heard to its end"
        assert "WS_END" in process.output() and "reason=drain" in process.output()
        assert model.server.sessions_open == 0
