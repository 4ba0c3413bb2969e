"""What docs/voice-detection.md says of the detectors, by `bench.detectors` on the labelled clips."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from bench.detectors import (
    DATA,
    DEFAULTS,
    Clip,
    Setting,
    SpeechScore,
    as_text,
    judge,
    noise_table,
    read_clips,
    score_noise,
    score_speech,
    speech_table,
)
from server.audio.g711 import BYTES_PER_MS, FRAME_MS, rms
from server.audio.webrtc_detector import AGGRESSIVENESS

DOCUMENT = Path(__file__).parents[3] / "docs" / "voice-detection.md"
CLIPS = read_clips()
DEFAULT, WEBRTC = Setting("rms", DEFAULTS.voice_threshold), Setting("webrtc", AGGRESSIVENESS)
NOTICED_WITHIN_MS = 400
NOBODYS_NOISE = {"line", "hum", "comfort", "idle", "silence", "click"}


def speech(setting, *, is_hard=False) -> SpeechScore:
    return score_speech(setting, (clip for clip in CLIPS if clip.turns_ms and clip.is_hard == is_hard))


def alarming(setting) -> set[str]:
    """The classes of noise that are taken for speech at least once in a minute."""
    scores = score_noise(setting, (clip for clip in CLIPS if not clip.turns_ms))
    return {name for name, score in scores.items() if score.alarms}


@pytest.fixture(params=[DEFAULT, WEBRTC], ids=str)
def chosen(request) -> Setting:
    """Each detector as VOICE_DETECTOR gives it."""
    return request.param


def test_every_usual_caller_is_noticed_within_400_ms(chosen):
    score = speech(chosen)
    assert (score.missed, score.utterances) == ((), 17)
    assert max(score.delays_ms) <= NOTICED_WITHIN_MS


@pytest.mark.parametrize("name", ["quiet_caller", "quiet_caller over line_noise", "hebrew_quiet"])
def test_a_quiet_caller_is_noticed_within_400_ms(chosen, name):
    score = score_speech(chosen, [clip for clip in CLIPS if clip.name == name])
    assert score.missed == ()
    assert max(score.delays_ms) <= NOTICED_WITHIN_MS


def test_a_minute_of_line_noise_hum_or_silence_raises_no_alarm(chosen):
    assert alarming(chosen) & NOBODYS_NOISE == set()


def test_little_of_usual_speech_is_taken_for_silence():
    assert speech(DEFAULT).missed_share < 0.09
    assert speech(WEBRTC).missed_share < 0.06


@pytest.mark.parametrize(
    ("threshold", "noise"), [(35, {"line", "hum"}), (100, {"line", "hum"}), (150, {"hum"})]
)
def test_a_lower_threshold_hears_the_line(threshold, noise):
    assert alarming(Setting("rms", threshold)) & NOBODYS_NOISE == noise


def test_a_higher_threshold_loses_quiet_callers():
    assert speech(Setting("rms", 400)).missed == ("hebrew_quiet",)
    assert {"quiet_caller", "hebrew_quiet"} <= set(speech(Setting("rms", 800)).missed)


def test_webrtc_hears_the_faint_caller_and_one_over_a_vacuum_cleaner():
    only_by_webrtc = set(speech(DEFAULT, is_hard=True).missed) - set(speech(WEBRTC, is_hard=True).missed)
    assert only_by_webrtc == {"hebrew_faint", "hebrew_over_vacuum"}


def test_webrtc_is_not_fooled_by_noise_that_was_there_first():
    assert alarming(DEFAULT) - alarming(WEBRTC) == {"loud hum", "vacuum"}


def test_no_detector_tells_these_from_speech(chosen):
    assert {"music", "babble", "cough", "switched on"} <= alarming(chosen)


@pytest.mark.parametrize("mode", [0, 1])
def test_a_less_aggressive_library_hears_a_hum(mode):
    assert {"hum", "loud hum", "vacuum"} <= alarming(Setting("webrtc", mode))


def test_the_most_aggressive_library_loses_twice_as_much_speech():
    assert speech(Setting("webrtc", 3)).missed_share > 2 * speech(WEBRTC).missed_share


def test_each_cough_counts_for_less_than_its_length():
    """By which MIN_SPEECH_MS is set; the second is two coughs."""
    frames = next(clip for clip in CLIPS if clip.name == "coughs").frames()
    counted_ms = {}
    for setting in (DEFAULT, WEBRTC):
        ear, told = setting.ear(), []
        for frame in frames:
            ear.is_gated(frame)
            told.append(ear.voiced_ms)
        counted_ms[setting.detector] = [one for one, after in pairwise(told) if after < one]
    assert counted_ms == {"rms": [120, 320, 120], "webrtc": [220, 480, 240]}


def test_the_document_shows_a_real_run():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert as_text(speech_table(CLIPS)) in text
    assert as_text(noise_table(CLIPS)) in text


# -- the scores


def clip_of(levels, turns_ms=()) -> Clip:
    frames = {"loud": b"\x90\x10" * 80, "quiet": b"\xf8\x78" * 80}
    audio = b"".join(frames[level] for level in levels)
    return Clip("made", audio, "made", False, tuple(turns_ms), tuple(turns_ms))


def test_an_utterance_is_heard_where_voice_starts_inside_it():
    clip = clip_of(["quiet"] * 10 + ["loud"] * 20 + ["quiet"] * 30, [(200, 600)])
    score = score_speech(DEFAULT, [clip])
    assert (score.utterances, score.missed, score.delays_ms) == (1, (), (100,))
    assert (score.frames, score.silent_frames) == (20, 4)


def test_a_detector_that_was_open_before_has_not_heard_it():
    clip = clip_of(["loud"] * 30, [(200, 600)])
    assert score_speech(DEFAULT, [clip]).missed == ("made",)


def test_noise_is_played_for_a_minute():
    score = score_noise(DEFAULT, [clip_of(["loud"] * 10 + ["quiet"] * 40)])["made"]
    assert score.frames == 3000
    assert score.alarms_a_minute == 60
    assert score.voice_share == pytest.approx((6 + 19) / 50)


def test_judging_twice_gives_the_same():
    clip = next(clip for clip in CLIPS if clip.name == "hebrew_over_vacuum")
    assert judge(WEBRTC.ear(), clip.frames()) == judge(WEBRTC.ear(), clip.frames())


# -- the labels


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_every_clip_is_whole_frames_and_its_spans_lie_in_it(clip):
    length_ms = len(clip.audio) // BYTES_PER_MS
    assert len(clip.audio) % (BYTES_PER_MS * FRAME_MS) == 0
    for begin_ms, end_ms in (*clip.turns_ms, *clip.speech_ms):
        assert 0 <= begin_ms < end_ms <= length_ms
        assert begin_ms % FRAME_MS == end_ms % FRAME_MS == 0


def test_noise_is_as_loud_as_its_label_says():
    labels = json.loads((DATA / "noise" / "labels.json").read_text(encoding="utf-8"))
    for name, label in labels.items():
        if not label["turns"]:
            audio = (DATA / "noise" / f"{name}.ulaw").read_bytes()
            assert label["duration_ms"] * BYTES_PER_MS == len(audio)
            assert rms(audio) == pytest.approx(label["rms"], rel=0.02, abs=3), name
