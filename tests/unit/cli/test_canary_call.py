"""What a canary hears on a line, and when it has heard enough. The time is an argument."""

from math import inf

import pytest

from server.audio.g711 import FRAME_BYTES, FRAME_MS, SILENCE
from server.cli.canary_call import (
    BROKEN_OFF_S,
    LAST_WORDS,
    LONGEST_S,
    SILENT_S,
    Listener,
    PatientCaller,
    WhenItKnows,
    after_stream,
    heard,
    stand_ins,
)
from server.cli.canary_verdict import Limits
from server.prompts import load_prompts
from server.simulator.twilio.virtual_line import AUDIBLE_RMS, VirtualLine

PROMPTS = load_prompts()
KNOWN = stand_ins(PROMPTS)
LOUD = b"\x10\x90" * (FRAME_BYTES // 2)
QUIET = SILENCE * FRAME_BYTES


def line(*items: tuple[float, bytes]) -> VirtualLine:
    """Each item in frames, as the gateway sends it, all at its time."""
    played = VirtualLine()
    for at_ms, audio in items:
        for at in range(0, len(audio), FRAME_BYTES):
            played.media(audio[at : at + FRAME_BYTES], at_ms)
    return played


def prompt(name: str, language: str = "he") -> bytes:
    return PROMPTS.get(language, name).payload


def rule(answer_s: float | None = None, greeting_s: float = 0.5, first_s: float = 2.5) -> WhenItKnows:
    limits = Limits(first_s, greeting_s, answer_s)
    return WhenItKnows(after_s=LONGEST_S, limits=limits, listener=Listener(KNOWN))


def caller(audio: bytes = LOUD * 50) -> PatientCaller:
    """Whose stream began as the call was answered."""
    patient = PatientCaller(audio)
    patient.begin(0.0)
    return patient


def test_a_greeting_is_measured_from_the_answer():
    played = line((412, QUIET * 2 + LOUD * 100))
    so_far = heard(Listener(KNOWN).sounds(played), caller(), 800.0)
    assert so_far.greeting_ms == 452.0
    assert so_far.sound_ms == pytest.approx(800 - 452), "what is queued was not heard yet"
    assert heard(Listener(KNOWN).sounds(played), caller(), 400.0).greeting_ms is None


def test_pauses_are_no_sound():
    played = line((0, LOUD * 5 + QUIET * 10 + LOUD * 5))
    assert heard(Listener(KNOWN).sounds(played), caller(), inf).sound_ms == 10 * FRAME_MS


@pytest.mark.parametrize("language", ["he", "en"])
@pytest.mark.parametrize("name", sorted(LAST_WORDS))
def test_prompts_that_stand_in_for_an_agent_are_no_greeting(name, language):
    listener = Listener(KNOWN)
    sounds = listener.sounds(line((300, prompt(name, language))))
    assert heard(sounds, caller(), inf).greeting_ms is None
    assert list(listener.prompts) == [name]
    assert 300 <= listener.prompts[name] < 400


def test_no_prompt_that_greets_is_taken_for_one_that_stands_in():
    greeting = [prompt(name, language) for language in ("he", "en") for name in ("greeting", "you_said")]
    sounds = Listener(KNOWN).sounds(line((0, b"".join(greeting))))
    assert sounds and not any(sound.prompt for sound in sounds)


def test_what_a_hang_up_cuts_off_is_neither_greeting_nor_forgotten():
    listener = Listener(KNOWN)
    played = line((300, prompt("apology")))
    listener.sounds(played)
    first_ms = listener.prompts["apology"]
    played.clear(first_ms + 5 * FRAME_MS + 13)
    assert heard(listener.sounds(played), caller(), inf).greeting_ms is None
    assert listener.prompts == {"apology": first_ms}


def test_a_greeting_that_was_cut_counts_as_far_as_it_was_heard():
    listener = Listener(KNOWN)
    played = line((100, LOUD * 50))
    listener.sounds(played)
    played.clear(610.0)
    assert heard(listener.sounds(played), caller(), inf).sound_ms == 510.0


def test_every_known_frame_can_be_heard_and_belongs_to_one_prompt():
    assert len(KNOWN) > 500
    for language in PROMPTS.languages:
        for name in LAST_WORDS:
            frames = [prompt(name, language)[at : at + FRAME_BYTES] for at in range(0, 8000, FRAME_BYTES)]
            assert {KNOWN[frame] for frame in frames if frame in KNOWN} == {name}
    assert AUDIBLE_RMS == 50


@pytest.mark.parametrize(
    ("verbs", "verbs_ms", "followed", "over_ms"),
    [
        ([], [], (), inf),
        (["Say", "Hangup"], [1.0, 2.0], ("Say", "Hangup"), inf),
        (["Play", "Connect"], [1.0, 2.0], (), inf),
        (["Play", "Connect", "Dial", "Hangup"], [1.0, 2.0, 3.0, 4.0], ("Dial", "Hangup"), 3.0),
        (["Connect", "Redirect", "Connect"], [1.0, 2.0, 3.0], ("Redirect", "Connect"), 2.0),
    ],
)
def test_a_stream_is_over_when_the_next_verb_begins(verbs, verbs_ms, followed, over_ms):
    assert after_stream(verbs, verbs_ms) == (followed, over_ms)


def test_a_canary_is_gone_when_its_stream_has_ended():
    gone: list[str] = []
    patient = PatientCaller(LOUD, lambda: gone.append("gone"))
    patient.elsewhere(0.0)
    patient.begin(20.0)
    assert gone == [], "a recorded greeting may come before the stream"
    patient.elsewhere(500.0)
    patient.begin(600.0)
    assert gone == ["gone", "gone"], "rung somebody; recorded, or another stream"


# When it hangs up


def test_it_leaves_as_soon_as_the_greeting_has_passed():
    asked, played = rule(), line((400, LOUD * 100))
    assert asked.reason(899.0, caller(), played) == ""
    assert asked.reason(900.0, caller(), played) == "greeted"


def test_it_waits_for_a_late_greeting_to_know_how_late():
    asked = rule()
    assert asked.reason(SILENT_S * 1000 - 1, caller(), line()) == ""
    assert asked.reason(SILENT_S * 1000, caller(), line()) == "silence"
    assert rule().reason(4100.0, caller(), line((4000, LOUD * 10))) == "late"
    patient = rule(first_s=20.0)
    assert patient.reason(21_999.0, caller(), line()) == ""
    assert patient.reason(22_000.0, caller(), line()) == "silence"


def test_it_is_gone_before_a_person_is_rung_or_a_message_taken():
    for name in LAST_WORDS:
        assert rule().reason(301.0, caller(), line((300, prompt(name)))) == "no agent"
    queued = line((300, LOUD * 20 + prompt("connect_agent")))
    assert rule(greeting_s=5.0).reason(320.0, caller(), queued) == "no agent", "it need not have begun"


def test_a_filler_is_waited_out():
    assert rule().reason(2000.0, caller(), line((300, prompt("one_moment")))) == ""


def test_a_greeting_that_broke_off_is_not_waited_for_for_ever():
    asked, played = rule(), line((400, LOUD * 10))
    assert asked.reason(600 + BROKEN_OFF_S * 1000 - 1, caller(), played) == ""
    assert asked.reason(600 + BROKEN_OFF_S * 1000, caller(), played) == "broken off"


def test_an_echo_of_silence_is_known_at_the_limit():
    played = line(*((at_ms, QUIET) for at_ms in range(0, 2500, FRAME_MS)))
    assert rule().reason(2499.0, caller(), played) == ""
    assert rule().reason(2500.0, caller(), played) == "echo"


def test_a_call_has_an_end():
    chatty = line((100, LOUD * 5000))
    assert rule(answer_s=4.0).reason(LONGEST_S * 1000, caller(), chatty) == "time"


# A question


def converse(asked: WhenItKnows, patient: PatientCaller, played: VirtualLine, until_ms: float) -> str:
    """Frame by frame until the rule hangs up, or `until_ms`."""
    for index in range(round(until_ms / FRAME_MS)):
        now_ms = index * FRAME_MS
        patient.listen(index, now_ms, played.audible_until_ms)
        patient.frame(index)
        if reason := asked.reason(now_ms, patient, played):
            return reason
    return ""


def test_nobody_asks_before_the_greeting_has_passed():
    patient = caller()
    assert converse(rule(answer_s=4.0), patient, line(), 7000.0) == ""
    assert patient.spoken() == []


def test_the_question_follows_the_greeting_and_an_answer_ends_the_call():
    asked, patient = rule(answer_s=4.0), caller()
    played = line((400, LOUD * 40))
    assert converse(asked, patient, played, 4000.0) == ""
    [spoken] = patient.spoken()
    assert spoken.start_ms == pytest.approx(1200 + 600, abs=2 * FRAME_MS)
    played.media(LOUD * 20, spoken.end_ms + 700.0)
    now_ms = spoken.end_ms + 700.0
    assert asked.reason(now_ms + 80.0, patient, played) == "", "a click is no answer"
    assert asked.reason(now_ms + 120.0, patient, played) == "answered"
    so_far = heard(asked.listener.sounds(played), patient, now_ms + 120.0)
    assert so_far.answer_ms == pytest.approx(700.0, abs=1)
    assert so_far.sound_ms == 800.0, "the greeting's alone"


def test_an_answer_that_does_not_come_is_given_up():
    asked, patient = rule(answer_s=2.0), caller()
    played = line((400, LOUD * 40))
    assert converse(asked, patient, played, 3000.0) == ""
    [spoken] = patient.spoken()
    assert asked.reason(spoken.end_ms + 3999.0, patient, played) == ""
    assert asked.reason(spoken.end_ms + 4000.0, patient, played) == "no answer"


def test_an_answer_that_began_before_the_last_word_is_at_once():
    patient, played = caller(), line((400, LOUD * 40))
    asked = rule(answer_s=2.0)
    converse(asked, patient, played, 3000.0)
    [spoken] = patient.spoken()
    for index in range(20):
        played.media(LOUD, spoken.end_ms - 100.0 + index * FRAME_MS)
    so_far = heard(asked.listener.sounds(played), patient, inf)
    assert so_far.answer_ms == 0.0
