"""Which recording is meant by this name?

    he/greeting        a prompt of ours, in Hebrew or English (static/prompts)
    greeting           the same, in the scenario's language
    hebrew_question    a recording of a caller (tests/data)
    voices/dana.wav    a file, beside the scenario

Everything is G.711 μ-law, 8 kHz mono.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from server.audio.g711 import from_pcm16
from server.audio.wav import read_ulaw
from server.errors import AudioFileError
from server.prompts import Prompts, load_prompts
from server.simulator.scenario.sounds import at_speech_level, trimmed
from server.simulator.scenario.yaml_text import suggestion

RECORDINGS_FOLDER = Path(__file__).resolve().parents[3] / "tests" / "data"
FILE_ENDINGS = (".wav", ".ulaw", ".ul", ".raw")
SPEECH_RMS = 1500
"""Active telephone speech, as the recordings and prompts have it."""
RENDER_S = 20.0
_WAV_HEADER_BYTES = 44


@dataclass(frozen=True, slots=True)
class Clip:
    name: str
    """As failures tell it: a prompt's with its language."""
    payload: bytes
    words: str = ""
    """What is said in it, if that is known."""


class ClipShelf:
    """The recordings that one scenario may name."""

    def __init__(self, folder: Path, language: str, recordings: Path = RECORDINGS_FOLDER) -> None:
        self._folder = folder
        self._language = language
        self._recordings = recordings
        self._prompts: Prompts | None = None
        self._used: dict[str, Clip] = {}

    @property
    def used(self) -> list[Clip]:
        """All that were asked for."""
        return list(self._used.values())

    def get(self, name: str) -> Clip:
        """Raises AudioFileError, which says what there is."""
        clip = self._used.get(name)
        if clip is None:
            clip = self._used[name] = self._find(name)
        return clip

    def speech(self, text: str, voice: str = "") -> Clip:
        """`text` said by espeak-ng, in the scenario's language unless a voice is named.

        Raises AudioFileError.
        """
        key = f"{voice or self._language}: {text}"
        clip = self._used.get(key)
        if clip is None:
            clip = self._used[key] = spoken(text, voice or self._language)
        return clip

    def all_prompts(self) -> list[Clip]:
        """Every prompt in each language."""
        names = [
            (language, name) for language in self.prompts.languages for name in self.prompts.names(language)
        ]
        return [self._prompt(language, name) for language, name in names]

    @property
    def prompts(self) -> Prompts:
        if self._prompts is None:
            self._prompts = load_prompts()
        return self._prompts

    def _find(self, name: str) -> Clip:
        if name.endswith(FILE_ENDINGS):
            return Clip(name, read_ulaw(self._folder / name))
        language, slash, prompt = name.partition("/")
        if slash and language in self.prompts.languages:
            return self._prompt(language, prompt)
        if (self._recordings / f"{name}.ulaw").is_file() and not slash:
            return Clip(name, read_ulaw(self._recordings / f"{name}.ulaw"), self._label(name))
        names = self.prompts.names(self._language)
        if name in names:
            return self._prompt(self._language, name)
        recordings = sorted(path.stem for path in self._recordings.glob("*.ulaw"))
        raise AudioFileError(
            f"no clip {name[:60]!r}{suggestion(name, [*names, *recordings])} "
            f"(a file's name ends in {', '.join(FILE_ENDINGS)})"
        )

    def _prompt(self, language: str, name: str) -> Clip:
        prompt = self.prompts.get(language, name)
        return Clip(f"{language}/{name}", prompt.payload, prompt.text)

    def _label(self, name: str) -> str:
        try:
            labels = json.loads((self._recordings / "labels.json").read_text("utf-8"))
            return str(labels[name]["text"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def spoken(text: str, voice: str) -> Clip:
    """`text` said by espeak-ng, in the telephone's band and at its level. Takes about 50 ms.

    Raises AudioFileError when espeak-ng is not installed or says nothing. Hebrew without vowel signs
    it cannot read; phonemes in double brackets it can: `[[Sal'om]]`.
    """
    from server.audio.resample import MAX_PUSH_BYTES, TelephoneDownsampler  # numpy: 50 ms to import

    program = shutil.which("espeak-ng")
    if program is None:
        raise AudioFileError(
            "espeak-ng is not installed here; install it (apt-get install espeak-ng), or record a clip"
        )
    command = [program, "-v", voice, "--stdin", "--stdout"]
    try:
        done = subprocess.run(
            command, input=text.encode("utf-8"), capture_output=True, timeout=RENDER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AudioFileError(f"espeak-ng failed: {error}") from error
    header, pcm = done.stdout[:_WAV_HEADER_BYTES], done.stdout[_WAV_HEADER_BYTES:]
    if done.returncode or header[:4] != b"RIFF" or not any(pcm):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise AudioFileError(f"espeak-ng said nothing: {said[0] if said else 'no sound came out'}")
    downsampler = TelephoneDownsampler(int.from_bytes(header[24:28], "little"))
    pieces = [pcm[at : at + MAX_PUSH_BYTES] for at in range(0, len(pcm), MAX_PUSH_BYTES)]
    narrow = b"".join(downsampler.push(piece) for piece in pieces) + downsampler.flush()
    return Clip(f"“{text[:40]}”", trimmed(at_speech_level(from_pcm16(narrow), SPEECH_RMS)), text)
