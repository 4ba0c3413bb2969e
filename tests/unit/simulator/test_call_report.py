from server.audio.g711 import FRAME_BYTES, SILENCE
from server.simulator.twilio.call_report import BargeIn, Turn, barge_ins, turns
from server.simulator.twilio.speech_spans import Span, spans

LOUD = b"\x00" * FRAME_BYTES
QUIET = SILENCE * FRAME_BYTES


def test_speech_runs_from_its_first_loud_frame_to_its_last():
    audio = QUIET * 5 + LOUD * 10 + QUIET * 10 + LOUD * 5 + QUIET * 40 + LOUD * 5
    assert spans(audio, threshold_rms=200, hangover_ms=600) == [Span(100, 600), Span(1400, 1500)]


def test_a_click_is_no_speech():
    audio = QUIET * 5 + LOUD + QUIET * 50 + LOUD * 5
    assert spans(audio, threshold_rms=200, hangover_ms=600, min_loud_ms=60) == [Span(1120, 1220)]


def test_an_answer_is_measured_from_the_last_word():
    assert turns([Span(0, 1000)], [Span(1640, 3000)]) == (Turn(1000, 1640, 640),)


def test_an_answer_to_the_next_question_is_not_an_answer_to_this_one():
    found = turns([Span(0, 1000), Span(4000, 5000)], [Span(5400, 6000)])
    assert found == (Turn(1000, None, None), Turn(5000, 5400, 400))


def test_an_echo_answers_before_the_caller_stops():
    assert turns([Span(100, 1000)], [Span(140, 1040)]) == (Turn(1000, 140, 0),)


def test_an_agent_that_was_talking_before_does_not_count_as_answer():
    assert turns([Span(500, 1000)], [Span(0, 2000), Span(2500, 3000)]) == (Turn(1000, 2500, 1500),)


def test_a_barge_in_lasts_until_the_line_is_silent():
    assert barge_ins([Span(6100, 8000)], [Span(5000, 6220)], [6200]) == (BargeIn(6100, 6200, 6220, 120),)


def test_an_agent_that_speaks_on_is_reported():
    assert barge_ins([Span(1000, 2000)], [Span(0, 4000)], []) == (BargeIn(1000, None, None, None),)


def test_an_agent_that_was_just_ending_was_not_interrupted():
    assert barge_ins([Span(1000, 2000)], [Span(0, 1200)], []) == ()


def test_a_clear_that_did_not_silence_is_no_silence():
    assert barge_ins([Span(1000, 2000)], [Span(0, 4000)], [1100]) == (BargeIn(1000, 1100, None, None),)


def test_an_echo_is_no_agent_to_interrupt():
    assert barge_ins([Span(304, 2464)], [Span(300, 2460)], []) == ()
    assert barge_ins([Span(304, 2464)], [Span(340, 2500)], []) == ()
