"""How does this text sound? PCM16 at 24 kHz, from what is at hand.

The words of a recorded prompt sound as recorded, in Hebrew and English. Other English is spoken by
espeak-ng where it is installed. What is left, unpointed Hebrew above all, becomes a melody: one tone a
word, always the same one for the same word, so that a test can tell answers apart.
"""

from __future__ import annotations

import io
import math
import re
import shutil
import struct
import subprocess
import wave
import zlib
from functools import lru_cache

import numpy as np
import soxr

from server.audio.g711 import SAMPLE_RATE_HZ, to_pcm16
from server.prompts import load_prompts

RATE_HZ = 24000
BYTES_PER_MS = RATE_HZ // 1000 * 2
_ESPEAK_S = 10.0
_LETTER_MS, _LONGEST_TONE_MS, _GAP_MS, _FADE_MS = 70, 600, 60, 8
_AMPLITUDE = 6000
_NO_LETTER = re.compile(r"[^\w]+")
_LATIN = re.compile(r"[A-Za-z]")


class Voice:
    """Reads the prompts once; `use_espeak` False leaves espeak-ng out, whether installed or not."""

    def __init__(self, *, use_espeak: bool = True) -> None:
        prompts = load_prompts()
        self._prompts = {
            _words(prompts.get(language, name).text): prompts.get(language, name).payload
            for language in prompts.languages
            for name in prompts.names(language)
        }
        self._longest = max(map(len, self._prompts), default=0)
        self._espeak = shutil.which("espeak-ng") if use_espeak else None
        self.speak = lru_cache(maxsize=64)(self._speak)
        """The sound of a text, and by what it was made: prompt, espeak-ng, tones, or several of them."""

    def _speak(self, text: str) -> tuple[bytes, str]:
        words = text.split()
        parts = self._parts(words, 1)
        if not all(is_prompt for is_prompt, _ in parts):
            parts = self._parts(words, 2)  # a digit within a sentence is not read out as one
        sound = b""
        makers: list[str] = []
        for is_prompt, part in parts:
            if is_prompt:
                sound += _resampled(to_pcm16(self._prompts[_words(" ".join(part))]), SAMPLE_RATE_HZ)
                makers.append("prompt")
            else:
                sound += self._unrecorded(part, makers)
        return sound, "+".join(dict.fromkeys(makers)) or "nothing"

    def _parts(self, words: list[str], least: int) -> list[tuple[bool, list[str]]]:
        """Prompts of at least so many words, the longest that fit, and what lies between them."""
        parts: list[tuple[bool, list[str]]] = []
        at = 0
        while at < len(words):
            lengths = range(min(self._longest, len(words) - at), least - 1, -1)
            length = next((n for n in lengths if _words(" ".join(words[at : at + n])) in self._prompts), 0)
            if not length and parts and not parts[-1][0]:
                parts[-1][1].append(words[at])
            else:
                parts.append((bool(length), words[at : at + max(length, 1)]))
            at += max(length, 1)
        return parts

    def _unrecorded(self, words: list[str], makers: list[str]) -> bytes:
        text = " ".join(words)
        if not _words(text):
            return b""
        if self._espeak and _LATIN.search(text) and (spoken := _espeak(self._espeak, text)):
            makers.append("espeak-ng")
            return spoken
        makers.append("tones")
        return b"".join(_tone(word) for word in _words(text))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in _NO_LETTER.sub(" ", text.casefold()).split() if word)


def _espeak(program: str, text: str) -> bytes:
    """Empty when it fails: then there are tones."""
    try:
        done = subprocess.run(
            [program, "-v", "en-us", "-s", "160", "--stdin", "--stdout"],
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            timeout=_ESPEAK_S,
            check=True,
        )
        with wave.open(io.BytesIO(done.stdout)) as reader:
            return _resampled(reader.readframes(-1), reader.getframerate())
    except (OSError, subprocess.SubprocessError, wave.Error, EOFError):
        return b""


def _resampled(pcm: bytes, rate_hz: int) -> bytes:
    samples = np.frombuffer(pcm[: len(pcm) - len(pcm) % 2], "<i2").astype(np.float32)
    out: bytes = np.rint(soxr.resample(samples, rate_hz, RATE_HZ)).clip(-32768, 32767).astype("<i2").tobytes()
    return out


@lru_cache(maxsize=256)
def _tone(word: str) -> bytes:
    """One of 48 pitches from 300 Hz upwards, and a pause."""
    frequency_hz = 300 * 2 ** (zlib.crc32(word.encode("utf-8", "replace")) % 48 / 24)
    count = RATE_HZ * min(len(word) * _LETTER_MS, _LONGEST_TONE_MS) // 1000
    fade = RATE_HZ * _FADE_MS // 1000
    step = 2 * math.pi * frequency_hz / RATE_HZ
    samples = [
        round(_AMPLITUDE * min(1, n / fade, (count - n) / fade) * math.sin(step * n)) for n in range(count)
    ]
    return struct.pack(f"<{count}h", *samples) + bytes(_GAP_MS * BYTES_PER_MS)
