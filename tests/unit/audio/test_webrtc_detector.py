import subprocess
import sys
from itertools import groupby

import pytest

from server.audio.g711 import SILENT_FRAME, to_pcm16
from server.audio.webrtc_detector import WebrtcDetector, least_rms


def verdicts(clip, aggressiveness=2) -> list[bool]:
    detector = WebrtcDetector(aggressiveness)
    return [detector.is_speech(to_pcm16(frame)) for frame in clip.frames()]


def test_digital_silence_is_no_speech():
    detector = WebrtcDetector()
    assert not any(detector.is_speech(to_pcm16(SILENT_FRAME)) for _ in range(50))


@pytest.mark.parametrize("name", ["human_command", "human_long", "hebrew_question", "quiet_caller"])
def test_most_of_labelled_speech_is_speech(clip_named, name):
    clip = clip_named(name)
    heard, labelled = verdicts(clip), clip.speech_frames()
    assert sum(heard[n] for n in labelled) > 0.8 * len(labelled)


@pytest.mark.parametrize("name", ["noise/hum", "noise/loud_hum", "noise/vacuum_cleaner", "noise/idle_line"])
def test_a_machine_is_not_taken_for_a_voice(clip_named, name):
    """Where it runs from the start of the call: never five frames in a row, which would be speech."""
    runs = (len(list(run)) for is_speech, run in groupby(verdicts(clip_named(name))) if is_speech)
    assert max(runs, default=0) < 5


def test_a_less_aggressive_one_hears_voice_in_a_vacuum_cleaner(clip_named):
    assert sum(verdicts(clip_named("noise/vacuum_cleaner"), aggressiveness=0)) > 100


def test_each_call_learns_its_own_line(clip_named):
    frames = [to_pcm16(frame) for frame in clip_named("human_long").frames()]
    noise = [to_pcm16(frame) for frame in clip_named("noise/vacuum_cleaner").frames()]
    alone, beside, other = WebrtcDetector(), WebrtcDetector(), WebrtcDetector()
    expected = [alone.is_speech(frame) for frame in frames]
    heard = []
    for frame, hiss in zip(frames, noise, strict=True):
        heard.append(beside.is_speech(frame))
        other.is_speech(hiss)
    assert heard == expected


@pytest.mark.parametrize("aggressiveness", [-1, 4, 35])
def test_an_aggressiveness_there_is_not_is_refused(aggressiveness):
    with pytest.raises(ValueError, match="not one of 0, 1, 2, 3"):
        WebrtcDetector(aggressiveness)


@pytest.mark.parametrize(("threshold", "least"), [(200, 100), (201, 100), (2, 1), (1, 1)])
def test_half_the_loudness_must_agree(threshold, least):
    assert least_rms(threshold) == least


def test_the_library_imports_without_a_warning():
    """Its ancestor asked setuptools for its own version, which warns and then fails."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import webrtcvad; webrtcvad.Vad(2)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
