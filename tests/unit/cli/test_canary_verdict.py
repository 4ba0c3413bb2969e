"""What a canary makes of a call: which complaint, with which exit code and which words."""

from dataclasses import replace

import pytest

from server.cli.canary_verdict import Complaint, Limits, Seen, judge, not_ready, unreachable
from server.simulator.twilio.call_report import Outcome
from server.simulator.twilio.findings import Finding

LIMITS = Limits(first_audio_s=2.5, greeting_s=0.5)
ASKING = replace(LIMITS, answer_s=4.0)
WELL = Seen(webhook_status=200, greeting_ms=400.0, sound_ms=500.0, frames_sent=60, frames_received=40)
SILENT = Seen(webhook_status=200, frames_sent=400)


def complaint(seen: Seen, limits: Limits = LIMITS) -> Complaint:
    found = judge(seen, limits)
    assert found is not None
    return found


def test_a_greeting_in_time_is_well():
    assert judge(WELL, LIMITS) is None
    assert judge(replace(WELL, greeting_ms=2500.0), LIMITS) is None, "the limit itself is in time"
    assert judge(replace(WELL, stand_in="one_moment"), LIMITS) is None, "a filler before it does no harm"


def test_a_late_greeting_is_told_with_both_times():
    found = complaint(replace(WELL, greeting_ms=4100.0))
    assert (found.outcome, found.id) == (Outcome.FAILED, "KAV-137")
    assert "4.1 s" in found.what and "2.5 s" in found.what


def test_half_a_word_is_no_greeting():
    found = complaint(replace(WELL, sound_ms=480.0))
    assert "broke off after 0.5 s" in found.what
    gone = (Finding(31903, "the connection broke without a close frame"),)
    assert complaint(replace(WELL, sound_ms=480.0, findings=gone)).id == "31903", "that is why"


def test_silence_is_told_from_an_echo():
    assert "nothing was heard" in complaint(SILENT).what
    echo = complaint(replace(SILENT, frames_received=398))
    assert "echo" in echo.what and "ECHO_TEST" in echo.fix
    few = replace(SILENT, frames_sent=20, frames_received=20)
    assert "echo" not in complaint(few).what


@pytest.mark.parametrize("prompt", ["apology", "leave_message", "connect_agent", "one_moment"])
def test_a_recorded_prompt_instead_of_an_agent_is_named(prompt):
    found = complaint(replace(SILENT, stand_in=prompt, stand_in_ms=4050.0))
    assert found.id == "KAV-137"
    assert f"“{prompt}”" in found.what and "4.0 s" in found.what


def test_twilios_own_voice_is_no_greeting():
    found = complaint(replace(SILENT, said=("מצטערים, יש תקלה",)))
    assert "מצטערים, יש תקלה" in found.line()


@pytest.mark.parametrize(
    ("followed", "words"),
    [
        (("Dial",), "passed on to a person"),
        (("Record",), "message"),
        (("Redirect", "Connect"), "another"),
        (("Hangup",), "hung up"),
    ],
)
def test_what_followed_the_stream_is_told(followed, words):
    assert words in complaint(replace(SILENT, followed=followed)).what


def test_why_there_was_no_stream_comes_before_the_silence():
    found = complaint(
        replace(SILENT, findings=(Finding(31920, "h/ws answered 404, not 101"), Finding(15003, "x")))
    )
    assert found.id == "31920"
    assert "404" in found.what and "(and 1 more)" in found.what
    assert "upgrades" in found.fix


def test_what_twilio_would_report_fails_a_call_that_was_greeted():
    found = complaint(replace(WELL, findings=(Finding(31951, "extra field media.track"),)))
    assert (found.outcome, found.id) == (Outcome.FAILED, "31951")


@pytest.mark.parametrize(("at", "fault_id"), [("webhook", "KAV-111"), ("stream", "KAV-112")])
def test_a_refusal_is_no_failure_of_the_greeting(at, fault_id):
    found = complaint(replace(SILENT, refused_at=at, findings=(Finding(31920, "403"),)))
    assert (found.outcome, found.id) == (Outcome.REFUSED, fault_id)
    assert "not signed" in found.what
    assert "not signed" not in complaint(replace(SILENT, refused_at=at, is_signed=True)).what


def test_a_busy_tone_is_that_of_a_full_gateway():
    assert complaint(Seen(webhook_status=200, followed=("Reject",))).id == "KAV-141"


def test_an_unreachable_webhook_keeps_twilios_number():
    found = complaint(Seen(unreachable="nothing listens on app.example (11205)"))
    assert (found.outcome, found.id) == (Outcome.UNREACHABLE, "11205")
    assert found.line().startswith("11205 nothing listens on app.example – Twilio gives up")
    assert unreachable("odd", 11220).fix.startswith("serve a complete chain")


def test_an_answer_in_time_is_well():
    asked = replace(WELL, has_asked=True, answer_ms=4000.0)
    assert judge(asked, ASKING) is None
    assert "4.1 s" in complaint(replace(asked, answer_ms=4100.0), ASKING).what


def test_a_question_without_an_answer_fails():
    assert "no answer" in complaint(replace(WELL, has_asked=True), ASKING).what
    handed_on = replace(WELL, has_asked=True, stand_in="leave_message")
    assert "“leave_message”" in complaint(handed_on, ASKING).what
    assert "never paused" in complaint(WELL, ASKING).what
    assert judge(WELL, LIMITS) is None, "nothing was to be asked"


@pytest.mark.parametrize(
    ("body", "fault_id", "words"),
    [
        ("draining, 3 calls left\n", "", "3 calls left"),
        ("full, 100 of 100 calls\n", "KAV-141", "100 of 100"),
        ("too slow (83 ms late), 40 of 100 calls\n", "KAV-143", "83 ms"),
    ],
)
def test_a_gateway_that_takes_no_calls_says_why(body, fault_id, words):
    found = not_ready(body)
    assert found is not None
    assert (found.outcome, found.id) == (Outcome.FAILED, fault_id)
    assert words in found.what


def test_a_503_of_somebody_else_says_nothing_of_the_gateway():
    assert not_ready("<html>Application error</html>") is None


def test_a_line_is_one_line_without_numbers_and_controls():
    found = Complaint(Outcome.FAILED, "KAV-1", "a\nb \x1b[2J\u202e +972501234567", "Means. ", "c\rd")
    line = found.line()
    assert line.count("\n") == 0 and "\x1b" not in line and "\u202e" not in line and "\r" not in line
    assert "+972501234567" not in line and "4567" in line
    assert "+972501234567" not in str(found.to_json())
