"""What the caller hears when the model fails, and what the operator reads."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from server.audio.g711 import BYTES_PER_MS, SILENCE
from server.prompts import load_prompts
from server.telephony.twiml import SPEECH
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

APOLOGY = SPEECH["he"].apology


PROMPTS = load_prompts()
AT_START = [
    (["refuse401"], "KAV-132", 1.5),
    (["quota"], "KAV-133", 1.5),
    (["reject_update"], "KAV-134", 1.5),
    (["no_session"], "KAV-131", 6),
    (["mute"], "KAV-137", 6),
    (["failed_response"], "KAV-137", 6),
]
"""What is wrong with the model, what the log says, and how soon the caller hears a voice (s)."""
IN_MID_CALL = ["close=1011", "drop=0.7"]


@pytest.mark.parametrize(
    ("faults", "fault_id", "within_s"),
    AT_START,
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_model_that_never_speaks_leads_to_a_message(
    tmp_path: Path, faults: list[str], fault_id: str, within_s: float
) -> None:
    with model_server(tmp_path, [[say("human_long")]], faults=faults) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=20.0)
        with calling(call) as reports:
            eventually(lambda: "Record" in call.call.tally.verbs, 15.0)
        (report,) = reports
        assert report.verbs == ("Connect", "Record")
        assert report.said == (), "the prompt said it already"
        assert report.first_audio_ms is not None and report.first_audio_ms < within_s * 1000
        assert whole_frames(PROMPTS.get("he", "leave_message").payload) in call.line.played(1e9)
        process.wait_for_line(rf"ERROR {fault_id} .* Fix: ")
        eventually(lambda: model.server.sessions_open == 0, 3.0)
        assert "Traceback" not in process.output()


@pytest.mark.parametrize("fault", IN_MID_CALL)
def test_a_model_that_breaks_off_again_and_again_is_tried_three_times(tmp_path: Path, fault: str) -> None:
    with model_server(tmp_path, [[say("human_long")]], faults=[fault]) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=30.0, quiet_after_s=10.0)
        with calling(call) as reports:
            eventually(lambda: "Record" in call.call.tally.verbs, 25.0)
        assert reports[0].verbs == ("Connect", "Record")
        assert model.server.sessions_total == 4
        assert process.output().count("ERROR KAV-135 ") == 4
        assert call.line.played(1e9).count(whole_frames(PROMPTS.get("he", "leave_message").payload)) == 1
        eventually(lambda: model.server.sessions_open == 0, 3.0)
        assert "Traceback" not in process.output()


def test_sessions_that_end_as_soon_as_they_are_renewed_end_in_a_message(tmp_path: Path) -> None:
    faults = ["session_expired=0.5"]
    with model_server(tmp_path, [[say("human_long")]], faults=faults) as model, gateway(model) as process:
        call = make_call(process, hangup_after_s=40.0, quiet_after_s=10.0)
        with calling(call) as reports:
            eventually(lambda: "Record" in call.call.tally.verbs, 35.0)
        assert reports[0].verbs == ("Connect", "Record")
        process.wait_for_line("ERROR KAV-135 ")
        eventually(lambda: model.server.sessions_open == 0, 3.0)


def test_a_caller_who_says_nothing_to_the_recorder_hears_an_apology(tmp_path: Path) -> None:
    with model_server(tmp_path, [[]], faults=["refuse401"]) as model, gateway(model) as process:
        report = make_call(process, hangup_after_s=20.0).run()
        assert report.verbs == ("Connect", "Record", "Say", "Hangup")
        assert report.said == (APOLOGY,)


def test_an_address_where_nobody_answers_is_named_with_its_cure(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{closed.getsockname()[1]}/v1/realtime"
        with model_server(tmp_path, [[]]) as model, gateway(model, OPENAI_REALTIME_URL=url) as process:
            call = make_call(process, hangup_after_s=20.0)
            with calling(call) as reports:
                eventually(lambda: "Record" in call.call.tally.verbs, 15.0)
            assert reports[0].first_audio_ms is not None and reports[0].first_audio_ms < 6000
            line = process.wait_for_line(r"KAV-131 .*")[0]
            assert "127.0.0.1" in line and "OPENAI_REALTIME_URL" in line


@pytest.mark.parametrize(
    "faults", [["garbage"], ["unknown_events"], ["tiny_deltas"], ["failed_response=1"]], ids=str
)
def test_a_strange_model_is_still_heard(tmp_path: Path, faults: list[str]) -> None:
    with (
        model_server(
            tmp_path,
            [[], [say("human_command")]] if "failed" in faults[0] else [[say("human_command")]],
            faults=faults,
        ) as model,
        gateway(model) as process,
    ):
        call = make_call(process, hangup_after_s=15.0)
        report = call.run()
        assert report.said == ()
        if "failed" not in faults[0]:
            assert call.line.played(1e9) == speech("human_command")
        assert "Traceback" not in process.output()
        assert process.output().count("unknown event type: ") == len(set(_unknown_types(process.output()))), (
            "each unknown type is said once"
        )


def _unknown_types(output: str) -> list[str]:
    return [
        line.split("unknown event type: ")[1].split()[0]
        for line in output.splitlines()
        if "unknown event type" in line
    ]


def test_a_megabyte_in_one_delta_is_played_and_bounded(tmp_path: Path) -> None:
    with (
        model_server(tmp_path, [[say("human_command")]], faults=["big_delta"]) as model,
        gateway(model) as process,
    ):
        call = make_call(process, hangup_after_s=6.0)
        report = call.run()
        assert report.findings == () and report.underruns == 0
        assert call.line.played(1e9).startswith(speech("human_command"))
        assert report.bytes_received < 7 * 8000, "no more than the lead goes ahead"


@pytest.mark.parametrize(
    ("env", "seen"),
    [
        ({"OPENAI_API_KEY": "sk-your-key-here", "ALLOW_UNSIGNED_AI": "1"}, "KAV-102"),
        ({"OPENAI_API_KEY": "sk-test-0123456789abcdef"}, "mode=demo"),
        ({"OPENAI_API_KEY": "", "REALTIME_VOICE": "alloy-ha-fast"}, "KAV-103"),
    ],
)
def test_odd_settings_are_told_and_the_phone_still_answers(env: dict[str, str], seen: str) -> None:
    with gateway(**env) as process:
        report = make_call(process, hangup_after_s=1.5).run()
        assert report.heard_ms > 500
        process.wait_for_line(seen)
        process.wait_for_line("mode=demo")
        assert env["OPENAI_API_KEY"] not in process.output() or not env["OPENAI_API_KEY"]


def test_the_base_url_may_lack_its_scheme_and_end_in_a_slash() -> None:
    with gateway(PUBLIC_BASE_URL="calls.example.co.il/", ECHO_TEST="1") as process:
        report = make_call(process, speech("human_command"), public_url="https://calls.example.co.il").run()
        assert report.verdict == "PASS", report.failures


def test_settings_that_contradict_end_the_start_with_one_message() -> None:
    from tests.integration.gunicorn_process import GunicornProcess

    env: dict[str, Any] = {"VOICE_THRESHOLD": "loud", "PUBLIC_BASE_URL": "ftp://x", "MAX_CALLS": "0"}
    process = GunicornProcess(env=env)
    process.start()
    try:
        assert process.wait(15) == 2
        for name in env:
            assert name in process.output()
        assert "Traceback" not in process.output()
    finally:
        process.close()


def test_a_model_that_falls_silent_in_the_middle_is_asked_again_and_then_another_session_is(
    tmp_path: Path,
) -> None:
    """It greets, hears the caller, and then answers with nothing at all, twice."""
    answers = [[say("human_command")], [say("human_sentence")]]
    with model_server(tmp_path, answers, faults=["mute_after=1"]) as model, gateway(model) as process:
        said = SILENCE * (3000 * BYTES_PER_MS) + speech("hebrew_question")
        report = make_call(process, said, hangup_after_s=24.0, quiet_after_s=8.0).run()
        assert report.verbs == ("Connect",)
        asked = [event.get("response", {}) for event in model.of_type("in", "response.create")]
        assert len(asked) == 4, "the greeting, the answer, once more, and the next session"
        assert "instructions" not in asked[-1], "it is asked what the first one owed"
        process.wait_for_line(r"ERROR KAV-137")
