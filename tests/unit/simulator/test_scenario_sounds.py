"""Sounds and clips of a scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.audio.g711 import SILENCE, rms
from server.errors import AudioFileError
from server.prompts import load_prompts
from server.simulator.scenario import clips, sounds
from server.simulator.scenario.clips import ClipShelf, spoken

DATA = Path(__file__).resolve().parents[2] / "data"
SHELF = ClipShelf(DATA, "he")


def test_noise_and_coughs_have_their_level_and_are_the_same_each_time() -> None:
    for sound in (sounds.noise(0.5, 800), sounds.cough(0.5, 800)):
        assert len(sound) == 4000
        assert rms(sound) == pytest.approx(800, rel=0.02)
    assert sounds.noise(0.1, 800) == sounds.noise(0.1, 800) != sounds.noise(0.1, 800, seed=1)
    assert sounds.noise(0, 800) == sounds.cough(0) == b""


def test_a_cough_is_loud_at_once_and_dies_away() -> None:
    cough = sounds.cough(0.4, 1500)
    assert rms(cough[160:320]) > 3 * rms(cough[1200:1440])


def test_a_clip_begins_and_ends_with_its_sound() -> None:
    clip = (DATA / "hebrew_barge_in.ulaw").read_bytes()
    start, end = sounds.sounding(clip)
    assert (start // 8, end // 8) == (1200, 2840), "as labels.json has it"
    assert sounds.trimmed(clip) == clip[start:end]
    assert sounds.sounding(SILENCE * 800) == (0, 0)
    assert sounds.trimmed(SILENCE * 800) == SILENCE * 800


def test_a_quiet_caller_is_the_same_caller_softer() -> None:
    clip = sounds.trimmed((DATA / "human_command.ulaw").read_bytes())
    soft = sounds.at_speech_level(clip, 300)
    quiet = sounds.trimmed((DATA / "quiet_caller.ulaw").read_bytes())
    assert rms(soft) == pytest.approx(rms(quiet), rel=0.15)
    assert sounds.at_speech_level(SILENCE * 160, 300) == SILENCE * 160


def test_two_sounds_at_once_are_both_there() -> None:
    first, second = sounds.noise(0.2, 600), sounds.noise(0.1, 800, seed=9)
    both = sounds.mixed(first, second)
    assert len(both) == len(first)
    assert rms(both[:800]) == pytest.approx(1000, rel=0.1)
    assert rms(both[800:]) == pytest.approx(600, rel=0.1)


def test_a_name_means_a_prompt_a_recording_or_a_file(tmp_path: Path) -> None:
    prompts = load_prompts()
    (tmp_path / "mine.ulaw").write_bytes(b"\x01" * 160)
    shelf = ClipShelf(tmp_path, "en")
    assert shelf.get("greeting").payload == prompts.get("en", "greeting").payload
    assert shelf.get("he/greeting").name == "he/greeting"
    assert shelf.get("hebrew_question").words == "שלום, מתי אתם פתוחים היום?"
    assert shelf.get("mine.ulaw").payload == b"\x01" * 160
    assert {clip.name for clip in shelf.used} == {
        "en/greeting",
        "he/greeting",
        "hebrew_question",
        "mine.ulaw",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hebrew_qestion", "did you mean hebrew_question?"),
        ("grreting", "did you mean greeting?"),
        ("he/greting", "no prompt 'greting' in 'he'; there are greeting"),
        ("nowhere.wav", "No such file"),
        ("../data/human_command", "no clip"),
    ],
)
def test_a_wrong_name_is_told_with_what_there_is(name: str, words: str) -> None:
    with pytest.raises(AudioFileError) as caught:
        SHELF.get(name)
    assert words in str(caught.value)


@pytest.mark.skipif(clips.shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize(("text", "voice"), [("Good morning", "en"), ("[[Sal'om]]", "he")])
def test_text_is_said_at_the_level_of_telephone_speech(text: str, voice: str) -> None:
    clip = spoken(text, voice)
    assert 300 < len(clip.payload) / 8 < 1500
    assert 700 < rms(clip.payload) < 2000
    assert sounds.trimmed(clip.payload) == clip.payload
    assert clip.words == text


def test_without_espeak_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioFileError, match="espeak-ng is not installed here; install it"):
        SHELF.speech("hello")


def test_a_program_that_says_nothing_is_no_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\necho no such voice >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(AudioFileError, match="espeak-ng said nothing: no such voice"):
        spoken("hello", "xx")
