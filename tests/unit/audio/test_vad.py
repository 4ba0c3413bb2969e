import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.g711 import FRAME_MS, rms
from server.audio.vad import FLOOR_LIMIT, NOISE_MARGIN, NoiseFloor, NoiseGate, VoiceDetector

THRESHOLD, MIN_FRAMES = 200, 5


def detector() -> VoiceDetector:
    return VoiceDetector(THRESHOLD, MIN_FRAMES)


def started_at(levels, vad=None) -> list[int]:
    vad = vad or detector()
    return [n for n, level in enumerate(levels) if vad.update(level).started]


def voiced(levels, vad=None) -> list[bool]:
    vad = vad or detector()
    return [vad.update(level).is_voice for level in levels]


# -- somebody speaks


def test_five_loud_frames_in_a_row_are_speech_and_four_are_a_click():
    assert started_at([20] * 10 + [1500] * 4 + [20] * 40) == []
    assert started_at([20] * 10 + [1500] * 5 + [20] * 40) == [14]


def test_loud_frames_apart_do_not_add_up():
    assert started_at([20] * 5 + [1500, 1500, 1500, 1500, 20] * 20) == []


def test_a_start_is_told_once_and_again_after_silence():
    speech, pause, silence = [1500] * 30, [20] * 10, [20] * 30
    assert started_at([20] * 5 + speech + pause + speech + silence + speech) == [9, 109]


def test_speech_ends_400_ms_after_its_last_loud_frame():
    vad = detector()
    voiced([20] * 5 + [1500] * 10, vad)
    assert voiced([20] * 25, vad) == [True] * 19 + [False] * 6


def test_the_threshold_itself_is_not_voice():
    assert started_at([20, *[200] * 50]) == []
    assert started_at([20, *[201] * 50]) == [5]


def test_a_judgement_shows_its_level_and_its_threshold():
    voice = detector().update(150)
    assert (voice.rms, voice.threshold >= THRESHOLD, voice.is_voice, voice.started) == (
        150,
        True,
        False,
        False,
    )


@pytest.mark.parametrize("min_frames", [1, 2, 5, 10])
def test_the_number_of_frames_is_the_operators_choice(min_frames):
    vad = VoiceDetector(THRESHOLD, min_frames)
    assert started_at([20] * 3 + [1500] * 20, vad) == [3 + min_frames - 1]


def test_each_labelled_turn_is_noticed_within_a_quarter_of_a_second(heard_clip):
    noticed_ms = [n * FRAME_MS for n in started_at(rms(frame) for frame in heard_clip.frames())]
    assert len(noticed_ms) == len(heard_clip.turn_starts_ms)
    for turn_ms, seen_ms in zip(heard_clip.turn_starts_ms, noticed_ms, strict=True):
        assert turn_ms <= seen_ms <= turn_ms + (2 * MIN_FRAMES + 2) * FRAME_MS


def test_no_labelled_turn_falls_apart(heard_clip):
    """Pauses inside a turn are under the hang-over, or the agent would answer into a sentence."""
    assert len(started_at(rms(frame) for frame in heard_clip.frames())) == len(heard_clip.turn_starts_ms)


def test_a_caller_who_speaks_from_the_first_frame_is_noticed(clip_begun_in_speech):
    noticed = started_at(rms(frame) for frame in clip_begun_in_speech.frames())
    assert noticed
    assert noticed[0] <= 2 * MIN_FRAMES + 2


def test_line_noise_is_louder_than_35_and_never_than_200(line_noise):
    """Why 35 was the wrong fixed threshold: every frame of a quiet line is over it."""
    levels = [rms(frame) for frame in line_noise.frames()]
    assert min(levels) > 35
    assert max(levels) < 200


@pytest.mark.parametrize("threshold", [150, 200, 250])
def test_line_noise_is_never_voice(line_noise, threshold):
    assert not any(
        voiced((rms(frame) for frame in line_noise.frames()), VoiceDetector(threshold, MIN_FRAMES))
    )


def test_the_lines_own_floor_keeps_even_a_threshold_of_35_from_hearing_noise(line_noise):
    levels = [rms(frame) for frame in line_noise.frames()]
    assert not any(voiced(levels, VoiceDetector(35, MIN_FRAMES)))
    assert all(level > 35 for level in levels)


def test_a_threshold_of_800_loses_the_quiet_caller(spoken):
    noticed = started_at((rms(frame) for frame in spoken.frames()), VoiceDetector(800, MIN_FRAMES))
    assert bool(noticed) == (spoken.name != "quiet_caller")


# -- the line's noise


def test_the_floor_falls_at_once_and_rises_slowly():
    floor = NoiseFloor()
    floor.update(100)
    assert floor.update(10) == 10
    assert floor.update(1000) < 11


def test_the_floor_doubles_in_about_a_second_and_a_half_of_steady_noise():
    floor = NoiseFloor()
    for _ in range(300):  # the line shows its noise
        floor.update(50)
    frames = next(n for n in range(1, 1000) if floor.update(5000) >= 100)
    assert 1300 <= frames * FRAME_MS <= 1500


@given(levels=st.lists(st.integers(1, 32124), min_size=2, max_size=400))
@settings(deadline=None)
def test_the_floor_is_never_above_the_frame_nor_above_what_a_line_can_be(levels):
    floor = NoiseFloor()
    floor.update(20)
    for level in levels:
        assert 1 <= floor.update(level) <= min(level, FLOOR_LIMIT)


def test_digital_silence_tells_nothing_of_the_lines_noise():
    """A gate upstream, or a network that sends none of it: the noise comes again as it was."""
    floor = NoiseFloor()
    for _ in range(500):
        noise = floor.update(150)
    assert floor.update(0) == noise == floor.update(150) == 150


def test_a_loud_first_frame_is_not_taken_for_the_lines_noise():
    assert NoiseFloor().update(3000) <= FLOOR_LIMIT


def test_steady_loud_noise_stops_being_voice_within_some_seconds():
    judged = voiced([20] * 5 + [350] * 1000)
    assert judged[20]
    assert not any(judged[400:])


def test_speech_stands_out_of_a_noisy_line_by_the_margin():
    just_under, well_over = int(140 * NOISE_MARGIN), int(140 * NOISE_MARGIN * 1.2)
    assert started_at([140] * 300 + [just_under] * 10) == []
    assert started_at([140] * 300 + [well_over] * 10) == [304]


# -- the gate


def test_the_gate_opens_on_the_very_first_loud_frame_and_closes_after_600_ms():
    gate = NoiseGate(THRESHOLD)
    levels = [20] * 10 + [1500] + [20] * 40
    assert [gate.is_open(level) for level in levels] == [False] * 10 + [True] * 31 + [False] * 10


def test_the_gate_opens_below_the_detectors_threshold():
    gate, vad = NoiseGate(THRESHOLD), detector()
    assert [gate.is_open(20), gate.is_open(150)] == [False, True]
    assert not any(voiced([20] + [150] * 20, vad))


def test_the_gate_stays_shut_to_line_noise(line_noise):
    gate = NoiseGate(THRESHOLD)
    assert not any(gate.is_open(rms(frame)) for frame in line_noise.frames())
