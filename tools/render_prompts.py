"""Renders everything Kav can say by itself, from tools/prompts.toml into static/prompts/.

A build-time tool: espeak-ng (GPL-3) and SoX run as programs here and nowhere in the server, which
only reads the files made. Rendering is deterministic, so `--check` can prove that the committed
sound is what the committed words give.

The way of a prompt: espeak-ng at 22 050 Hz -> SoX (low-pass and decimate to 8 kHz, remove what lies
below the telephone band) -> here: cut silence, set the level, G.711 μ-law.

Samples are plain lists of int on the 16-bit scale, 8 kHz mono: 8 samples are one millisecond.
"""

from __future__ import annotations

import argparse
import array
import hashlib
import itertools
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RATE_HZ = 8000
SAMPLES_PER_MS = 8
FRAME_SAMPLES = 160
"""20 ms: the unit in which a Twilio stream carries μ-law, one byte a sample."""
ULAW_SILENCE = 0xFF

SPEECH_RMS = 1500
"""Active speech level: -20.4 dBm0, the middle of what telephone networks carry."""
PEAK_LIMIT = 24000
SILENCE_RMS = 30
"""Below this, at SPEECH_RMS, a 5 ms window holds no speech (34 dB down)."""
LEAD_MS = 5
TAIL_MS = 40
LONGEST_PAUSE_MS = 180
"""espeak-ng pauses up to 400 ms between clauses; on a telephone that invites an answer."""

TOOLS_DIR = Path(__file__).resolve().parent
TABLE = TOOLS_DIR / "prompts.toml"
PROMPTS_DIR = TOOLS_DIR.parent / "static" / "prompts"
LANGUAGES = ("he", "en")

# What espeak-ng must answer, in IPA, for each mnemonic prompts.toml may use. A mnemonic the voice does not
# know vanishes without a word, so pronounce() compares the whole utterance with this table.
HEBREW_IPA = {c: c for c in "abdefhijklmnopstuvz"} | {
    "?": "ʔ",
    "g": "ɡ",
    "X": "χ",
    "S": "ʃ",
    "Z": "ʒ",
    'Q"': "ʁ",
    "ts": "ts",
    "tS": "tʃ",
    "dZ": "dʒ",
}
HEBREW_VOWELS = frozenset("aeiou")
_MNEMONIC = re.compile("'|" + "|".join(re.escape(m) for m in sorted(HEBREW_IPA, key=len, reverse=True)))
_CLAUSE = re.compile(r"(.+?)([,.?])(?:\s+|$)")


class RenderError(Exception):
    """The table asks for something that cannot be rendered as written."""


# --- samples ---------------------------------------------------------------------------------------------


def rms(samples: Sequence[float]) -> float:
    return math.sqrt(sum(s * s for s in samples) / len(samples)) if samples else 0.0


def window_rms(samples: Sequence[int], window: int) -> list[float]:
    """RMS of each whole window, in order."""
    return [rms(samples[i : i + window]) for i in range(0, len(samples) - window + 1, window)]


def active_rms(samples: Sequence[int]) -> float:
    """RMS of the 20 ms frames that carry speech: those within 20 dB of the loudest."""
    frames = window_rms(samples, FRAME_SAMPLES) or [rms(samples)]
    floor = max(frames) / 10
    active = [f * f for f in frames if f >= floor]
    return math.sqrt(sum(active) / len(active))


def set_level(samples: Sequence[int], target_rms: float) -> list[int]:
    """Scale to `target_rms` of active speech, less if a peak would come near clipping."""
    gain = min(target_rms / active_rms(samples), PEAK_LIMIT / max(abs(s) for s in samples))
    return [round(s * gain) for s in samples]


def fade(samples: Sequence[int], in_ms: int, out_ms: int) -> list[int]:
    """Straight ramps at both ends, so that a cut does not click."""
    faded = list(samples)
    n_in, n_out = in_ms * SAMPLES_PER_MS, out_ms * SAMPLES_PER_MS
    for i in range(min(n_in, len(faded))):
        faded[i] = faded[i] * i // n_in
    for i in range(min(n_out, len(faded))):
        faded[-1 - i] = faded[-1 - i] * i // n_out
    return faded


def trim(samples: Sequence[int], threshold_rms: float = SILENCE_RMS) -> list[int]:
    """Cut to LEAD_MS before the first sound and TAIL_MS after the last; shorten long pauses between."""
    window = 5 * SAMPLES_PER_MS
    loud = [i for i, level in enumerate(window_rms(samples, window)) if level >= threshold_rms]
    if not loud:
        raise RenderError("no sound came out")
    start = max(0, loud[0] * window - LEAD_MS * SAMPLES_PER_MS)
    end = min(len(samples), (loud[-1] + 1) * window + TAIL_MS * SAMPLES_PER_MS)
    kept: list[int] = []
    at = start
    for before, after in itertools.pairwise(loud):
        excess = (after - before - 1) * window - LONGEST_PAUSE_MS * SAMPLES_PER_MS
        if excess > 0:
            middle = (before + 1) * window + LONGEST_PAUSE_MS * SAMPLES_PER_MS // 2
            kept += samples[at:middle]
            at = middle + excess
    return fade([*kept, *samples[at:end]], in_ms=3, out_ms=15)


def ulaw_byte(sample: int) -> int:
    """One sample in G.711 μ-law (ITU-T G.711, table 2a, on the 16-bit scale)."""
    sign = 0x80 if sample < 0 else 0
    # The standard works on 14 bits; a negative value is floored first, as a shift does.
    magnitude = min(-(sample >> 2) if sample < 0 else sample >> 2, 8158) + 33
    segment = magnitude.bit_length() - 6
    return ~(sign | segment << 4 | (magnitude >> (segment + 1)) & 0x0F) & 0xFF


def ulaw_encode(samples: Sequence[int]) -> bytes:
    return bytes(map(ulaw_byte, samples))


def pad_frames(payload: bytes) -> bytes:
    """Fill the last 20 ms frame with silence."""
    return payload + bytes([ULAW_SILENCE]) * (-len(payload) % FRAME_SAMPLES)


def wav_ulaw(payload: bytes) -> bytes:
    """A WAV file (format 7) around μ-law bytes; its sound is the .ulaw file's, sample for sample."""
    fmt = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 7, 1, RATE_HZ, RATE_HZ, 1, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(payload))
    return _riff(fmt + fact, payload)


def wav_pcm16(samples: Sequence[int]) -> bytes:
    """A WAV file of 16-bit PCM, 8 kHz mono."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    return _riff(fmt, struct.pack(f"<{len(samples)}h", *samples))


def _riff(chunks: bytes, data: bytes) -> bytes:
    body = b"WAVE" + chunks + struct.pack("<4sI", b"data", len(data)) + data + b"\0" * (len(data) % 2)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


# --- outside programs ------------------------------------------------------------------------------------


def require_programs() -> None:
    """Raises RenderError naming the packages of whatever is missing."""
    missing = [name for name in ("espeak-ng", "sox") if shutil.which(name) is None]
    if missing:
        names = " ".join(missing)
        raise RenderError(f"not installed: {names}. On Debian or Ubuntu: apt-get install {names}")


def versions() -> str:
    """As `rendered_with` in prompts.toml has it; other versions may give other bytes."""
    speaker = re.search(r"\d+\.[\d.]*\d", _run(["espeak-ng", "--version"]).decode())
    sox = re.search(r"v(\d[\d.]*\d)", _run(["sox", "--version"]).decode())
    return f"espeak-ng {speaker and speaker[0]}, SoX {sox and sox[1]}"


def _run(command: Sequence[str], stdin: bytes | None = None) -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise RenderError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def to_8khz(sound: bytes, source: Sequence[str]) -> list[int]:
    """Any sound to telephone samples. `source` describes it to sox ("-t", "wav").

    32-bit in between and no dither (`-D`), so that nothing is rounded twice or drawn at random;
    `gain -6` leaves room for the filters' overshoot and is undone by set_level().
    """
    raw = ["-t", "raw", "-r", str(RATE_HZ), "-e", "signed-integer", "-b", "32", "-c", "1", "-L", "-"]
    effects = ["gain", "-6", "rate", "-h", str(RATE_HZ), "highpass", "180"]
    samples = array.array("i", _run(["sox", "-D", *source, "-", *raw, *effects], sound))
    if sys.byteorder == "big":
        samples.byteswap()
    return [(s + 0x8000) >> 16 for s in samples]


def speak(text: str, voice: Mapping[str, Any]) -> list[int]:
    """Synthesise at SPEECH_RMS with silence cut. `text` may hold [[phonemes]]."""
    # Amplitude 60: at the default of 100 espeak-ng's own output reaches full scale.
    command = ["espeak-ng", "-v", voice["name"], "-s", str(voice["speed"]), "-p", str(voice["pitch"])]
    sound = _run([*command, "-a", "60", "--stdin", "--stdout"], text.encode())
    return trim(set_level(to_8khz(sound, ["-t", "wav"]), SPEECH_RMS))


# --- the table -------------------------------------------------------------------------------------------


def pronounce(phonemes: str) -> str:
    """Turn a `phonemes` entry into espeak-ng input, having proved that each one is spoken.

    Raises:
        RenderError: a mnemonic is unknown, a stress is missing, or espeak-ng says something else.
    """
    clauses = _CLAUSE.findall(phonemes)
    if "".join(body + mark for body, mark in clauses) != re.sub(r"(?<=[,.?])\s+", "", phonemes):
        raise RenderError(f"does not end in one of , . ?: {phonemes}")
    spoken = " ".join(f"[[{body}]]{mark}" for body, mark in clauses)
    answer = _run(["espeak-ng", "-v", "he", "-q", "--ipa", "--stdin"], spoken.encode()).decode().split()
    words = [word for body, _ in clauses for word in body.split()]
    wanted = [_ipa(word) for word in words]
    # A lone short word may be stressed by the voice itself; where we marked stress, it must agree.
    got = [a if "ˈ" in w else a.replace("ˈ", "") for a, w in zip(answer, wanted, strict=False)]
    if got != wanted or len(answer) != len(wanted):
        raise RenderError(f"espeak-ng says {' '.join(answer)!r}, wanted {' '.join(wanted)!r}")
    return spoken


def _ipa(word: str) -> str:
    parts = _MNEMONIC.findall(word)
    if "".join(parts) != word:
        raise RenderError(f"unknown mnemonic in {word!r}")
    if sum(p in HEBREW_VOWELS for p in parts) > 1 and parts.count("'") != 1:
        raise RenderError(f"{word!r} needs one stress mark")
    return "".join("ˈ" if p == "'" else HEBREW_IPA[p] for p in parts)


def load_table() -> dict[str, Any]:
    with TABLE.open("rb") as file:
        return tomllib.load(file)


def render_entry(entry: Mapping[str, str], voice: Mapping[str, Any]) -> list[int]:
    """Samples of one prompt or clip, whichever way its entry says it."""
    if recording := entry.get("recording"):
        path = TOOLS_DIR / recording
        return trim(set_level(to_8khz(path.read_bytes(), ["-t", path.suffix.lstrip(".")]), SPEECH_RMS))
    if phonemes := entry.get("phonemes"):
        return speak(pronounce(phonemes), voice)
    return speak(entry.get("spoken", entry["text"]), voice)


def render_all(table: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file below static/prompts/ that this script owns, by relative path."""
    files: dict[str, bytes] = {}
    index: dict[str, dict[str, dict[str, str | int]]] = {language: {} for language in LANGUAGES}
    for name, entries in table["prompt"].items():
        for language in LANGUAGES:
            try:
                samples = render_entry(entries[language], table["voice"][language])
            except (RenderError, KeyError, OSError) as error:
                raise RenderError(f"{name}.{language}: {error}") from error
            payload = pad_frames(ulaw_encode(samples))
            path = f"{language}/{name}.ulaw"
            files[path] = payload
            index[language][name] = {
                "text": entries[language]["text"],
                "file": path,
                "duration_ms": len(payload) // SAMPLES_PER_MS,
                "sha256": hashlib.sha256(payload).hexdigest(),
            }
            if name in table["wav"]:
                wav_path = f"{language}/{name}.wav"
                files[wav_path] = wav_ulaw(payload)
                index[language][name]["wav"] = wav_path
    files["prompts.json"] = (json.dumps(index, ensure_ascii=False, indent=2) + "\n").encode()
    return files


def committed(root: Path) -> dict[str, bytes]:
    """What lies there now of the files this script owns, by relative path."""
    found = [p for language in LANGUAGES for p in (root / language).glob("*") if p.is_file()]
    index = root / "prompts.json"
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in [*found, *([index] * index.exists())]}


def differences(made: Mapping[str, bytes], there: Mapping[str, bytes]) -> list[str]:
    """One line for each file which is missing, left over or different."""
    lines = [f"missing: {path}" for path in made.keys() - there.keys()]
    lines += [f"not in the table: {path}" for path in there.keys() - made.keys()]
    lines += [f"differs: {path}" for path in made.keys() & there.keys() if made[path] != there[path]]
    return sorted(lines)


def write(root: Path, files: Mapping[str, bytes]) -> None:
    for relative, content in files.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Render static/prompts/ from tools/prompts.toml.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    options = parser.parse_args(arguments)
    try:
        require_programs()
        table = load_table()
        files = render_all(table)
        used, expected = versions(), table["rendered_with"]
    except RenderError as error:
        print(f"render_prompts: {error}", file=sys.stderr)
        return 1
    if used != expected:
        print(f"note: rendering with {used}; prompts.toml says {expected}", file=sys.stderr)
    there = committed(PROMPTS_DIR)
    changes = differences(files, there)
    if options.check:
        print("\n".join(changes) or f"{len(files)} files are as rendered")
        return 1 if changes else 0
    for path in there.keys() - files.keys():
        (PROMPTS_DIR / path).unlink()
    write(PROMPTS_DIR, files)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes, {len(changes)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
