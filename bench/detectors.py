"""What do the voice detectors hear of the labelled speech, and what else do they take for speech?

    python -m bench.detectors           # two tables, the same on every run and every machine
    python -m bench.detectors --cost    # and what a frame costs, on this machine at this hour

Each setting judges every clip of tests/data and tests/data/noise with an ear of its own, as a call does.
An utterance is heard when voice starts inside it: a detector that was open before, because it took the
noise for voice, has not heard it, and no barge-in would follow. Noise is played for a minute, round and
round.
"""

from __future__ import annotations

import argparse
import audioop
import json
import platform
import statistics
import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.audio.ear import Ear
from server.audio.g711 import FRAME_BYTES, FRAME_MS, from_pcm16, to_pcm16
from server.audio.webrtc_detector import least_rms
from server.config import Settings

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
RMS_THRESHOLDS = (35, 100, 150, 200, 250, 400, 800)
WEBRTC_MODES = (0, 1, 2, 3)
NOISE_FRAMES = 60_000 // FRAME_MS
DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Clip:
    """μ-law with its labels."""

    name: str
    audio: bytes
    noise: str
    """The class of what is heard beside the speech, or alone."""
    is_hard: bool
    """Speech that some detector is expected to miss."""
    turns_ms: tuple[tuple[int, int], ...]
    speech_ms: tuple[tuple[int, int], ...]

    def frames(self) -> list[bytes]:
        return [self.audio[at : at + FRAME_BYTES] for at in range(0, len(self.audio), FRAME_BYTES)]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row."""

    detector: str
    value: int
    """rms: the threshold. webrtc: the library's aggressiveness, beside the default threshold."""

    def __str__(self) -> str:
        if self.detector == "rms":
            return f"over {self.value}"
        return f"mode {self.value}, over {least_rms(DEFAULTS.voice_threshold)}"

    def ear(self) -> Ear:
        min_frames = DEFAULTS.min_consecutive_voice_frames
        if self.detector == "rms":
            return Ear(self.value, min_frames, gate=False)
        return Ear(
            DEFAULTS.voice_threshold, min_frames, gate=False, detector="webrtc", aggressiveness=self.value
        )


SETTINGS = (
    *(Setting("rms", threshold) for threshold in RMS_THRESHOLDS),
    *(Setting("webrtc", mode) for mode in WEBRTC_MODES),
)


@dataclass(slots=True)
class SpeechScore:
    """What was heard of some clips in which somebody speaks."""

    utterances: int = 0
    missed: tuple[str, ...] = ()
    """The clip's name, once for each utterance of it that was not heard."""
    delays_ms: tuple[int, ...] = ()
    """From the labelled onset to the end of the frame at which voice started; of what was heard."""
    frames: int = 0
    silent_frames: int = 0
    """Labelled speech during which the detector said silence. The first 80 ms of each utterance are among
    them: five frames make a voice."""

    @property
    def missed_share(self) -> float:
        return self.silent_frames / self.frames


@dataclass(slots=True)
class NoiseScore:
    """What was taken for speech in a class of noise."""

    frames: int = 0
    alarms: int = 0
    voice_frames: int = 0

    @property
    def alarms_a_minute(self) -> float:
        return self.alarms * NOISE_FRAMES / self.frames

    @property
    def voice_share(self) -> float:
        return self.voice_frames / self.frames


def read_clips() -> list[Clip]:
    """Every clip of the set; the clean speech of tests/data a second time, over its line noise."""
    clips = [clip for folder in (DATA, DATA / "noise") for clip in _read_folder(folder)]
    line_noise = next(clip for clip in clips if clip.name == "line_noise")
    noisy = [_over(clip, line_noise) for clip in clips if clip.turns_ms and clip.noise == "silence"]
    return clips + noisy


def _read_folder(folder: Path) -> Iterable[Clip]:
    labels: dict[str, dict[str, Any]] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    for name, label in labels.items():
        yield Clip(
            name,
            (folder / f"{name}.ulaw").read_bytes(),
            label.get("noise") or ("silence" if label["turns"] else "line"),
            label.get("is_hard", False),
            tuple((span["start_ms"], span["end_ms"]) for span in label["turns"]),
            tuple((span["start_ms"], span["end_ms"]) for span in label["speech"]),
        )


def _over(clip: Clip, noise: Clip) -> Clip:
    bed = (noise.audio * (len(clip.audio) // len(noise.audio) + 1))[: len(clip.audio)]
    mixed = from_pcm16(audioop.add(to_pcm16(clip.audio), to_pcm16(bed), 2))
    return Clip(
        f"{clip.name} over {noise.name}", mixed, noise.noise, clip.is_hard, clip.turns_ms, clip.speech_ms
    )


def judge(ear: Ear, frames: Iterable[bytes]) -> tuple[list[int], list[bool]]:
    """The frames at which voice started, and for each frame whether there was voice."""
    starts, is_voice = [], []
    for n, frame in enumerate(frames):
        ear.is_gated(frame)
        if ear.has_started:
            starts.append(n)
        is_voice.append(ear.detector.is_voice)
    return starts, is_voice


def score_speech(setting: Setting, clips: Iterable[Clip]) -> SpeechScore:
    score = SpeechScore()
    for clip in clips:
        starts, is_voice = judge(setting.ear(), clip.frames())
        for begin_ms, end_ms in clip.turns_ms:
            score.utterances += 1
            inside = [n for n in starts if begin_ms <= n * FRAME_MS < end_ms]
            if inside:
                score.delays_ms += ((inside[0] + 1) * FRAME_MS - begin_ms,)
            else:
                score.missed += (clip.name,)
        for begin_ms, end_ms in clip.speech_ms:
            heard = is_voice[begin_ms // FRAME_MS : end_ms // FRAME_MS]
            score.frames += len(heard)
            score.silent_frames += heard.count(False)
    return score


def score_noise(setting: Setting, clips: Iterable[Clip]) -> dict[str, NoiseScore]:
    """By class. Each clip is played for a minute."""
    scores: dict[str, NoiseScore] = {}
    for clip in clips:
        frames = clip.frames()
        minute = (frames * (NOISE_FRAMES // len(frames) + 1))[:NOISE_FRAMES]
        starts, is_voice = judge(setting.ear(), minute)
        score = scores.setdefault(clip.noise, NoiseScore())
        score.frames += len(minute)
        score.alarms += len(starts)
        score.voice_frames += is_voice.count(True)
    return scores


def speech_table(clips: Sequence[Clip]) -> list[list[str]]:
    head = ["detector", "setting"]
    for line in ("usual", "hard"):
        head += [f"{line}: heard", "onset, median", "worst", "speech missed"]
    rows = [head]
    for setting in SETTINGS:
        row = [setting.detector, str(setting)]
        for is_hard in (False, True):
            score = score_speech(
                setting, (clip for clip in clips if clip.turns_ms and clip.is_hard == is_hard)
            )
            row += [
                f"{len(score.delays_ms)}/{score.utterances}",
                f"{statistics.median_low(score.delays_ms)} ms" if score.delays_ms else "-",
                f"{max(score.delays_ms)} ms" if score.delays_ms else "-",
                f"{100 * score.missed_share:.1f} %",
            ]
        rows.append(row)
    return rows


def noise_table(clips: Sequence[Clip]) -> list[list[str]]:
    noise = [clip for clip in clips if not clip.turns_ms]
    classes = list(dict.fromkeys(clip.noise for clip in noise))
    rows = [["detector", "setting", *classes]]
    for setting in SETTINGS:
        scores = score_noise(setting, noise)
        rows.append([setting.detector, str(setting), *(_cell(scores[name]) for name in classes)])
    return rows


def _cell(score: NoiseScore) -> str:
    if not score.alarms:
        return "0"
    return f"{score.alarms_a_minute:.1f} ({100 * score.voice_share:.0f} %)"


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are also even in a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cost_us(make_ear: Callable[[], Ear], frames: Sequence[bytes], runs: int = 60) -> float:
    """The best of `runs`, a frame: what disturbs a run only ever makes it longer."""

    def listen() -> None:
        is_gated = make_ear().is_gated
        for frame in frames:
            is_gated(frame)

    return min(timeit.repeat(listen, number=1, repeat=runs)) / len(frames) * 1e6


def print_cost(clips: Sequence[Clip]) -> None:
    frames = [frame for clip in clips if clip.turns_ms for frame in clip.frames()]
    print(f"\nEar.is_gated with the noise gate, Python {platform.python_version()}, best of 60 runs:")
    for detector in ("rms", "webrtc"):
        us = cost_us(
            lambda name=detector: Ear(  # type: ignore[misc]
                DEFAULTS.voice_threshold,
                DEFAULTS.min_consecutive_voice_frames,
                gate=DEFAULTS.noise_gate,
                detector=name,
            ),
            frames,
        )
        print(f"{detector:8}{us:6.2f} μs a frame, {us * 50 * 100 / 1e6:.2%} of a core at 100 calls")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.detectors", description=__doc__.splitlines()[0])
    parser.add_argument("--cost", action="store_true", help="also time a frame; differs from run to run")
    options = parser.parse_args()
    clips = read_clips()
    print("Speech: utterances heard, from onset to voice, share of speech taken for silence\n")
    print(as_text(speech_table(clips)))
    print("\nNoise: false alarms a minute (and the share of the time that was taken for voice)\n")
    print(as_text(noise_table(clips)))
    if options.cost:
        print_cost(clips)


if __name__ == "__main__":
    main()
