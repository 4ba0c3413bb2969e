"""WAV files in and out, as telephone audio.

The standard library's `wave` reads linear PCM only, while telephone recordings are often μ-law
(format 7), so the chunks are read here. Everything becomes G.711 μ-law, 8 kHz mono.
"""

from __future__ import annotations

import struct
from pathlib import Path

from server.audio.g711 import SAMPLE_RATE_HZ, SILENCE, from_pcm16, to_pcm16
from server.errors import AudioFileError

_PCM, _ULAW, _EXTENSIBLE = 1, 7, 0xFFFE


def read_ulaw(path: Path) -> bytes:
    """μ-law samples of a telephone WAV, or of a headerless `.ulaw`, `.ul` or `.raw` file.

    Raises AudioFileError, which says how to convert, for any other rate, width or layout.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
    if path.suffix in (".ulaw", ".ul", ".raw"):
        return data
    return parse_ulaw(data, str(path))


def parse_ulaw(data: bytes, name: str = "audio") -> bytes:
    """μ-law samples of the bytes of a WAV file. Raises AudioFileError."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise AudioFileError(f"{name}: not a WAV file")
    at, fmt = 12, b""
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if kind == b"fmt ":
            fmt = body
        elif kind == b"data":
            return _samples(fmt, body, name)
        at += 8 + size + size % 2
    raise AudioFileError(f"{name}: no audio data in the WAV file")


def _samples(fmt: bytes, body: bytes, name: str) -> bytes:
    if len(fmt) < 16:
        raise AudioFileError(f"{name}: no format in the WAV file")
    tag, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = int.from_bytes(fmt[24:26], "little")
    if channels == 1 and rate_hz == SAMPLE_RATE_HZ:
        if tag == _ULAW:
            return body
        if tag == _PCM and bits == 16:
            return from_pcm16(body[: len(body) - len(body) % 2])
    raise AudioFileError(
        f"{name}: {rate_hz} Hz, {channels} channel(s), {bits} bit, format {tag}; a telephone carries 8000 Hz "
        f"mono. Convert it: sox {name} -r 8000 -c 1 -b 16 telephone.wav"
    )


def write_pcm16(path: Path, channels: list[bytes]) -> None:
    """Write μ-law `channels` (one: mono; two: left and right) as a 16-bit PCM WAV.

    Channels of unequal length are filled with silence. Raises AudioFileError.
    """
    longest = max((len(channel) for channel in channels), default=0)
    linear = [to_pcm16(channel.ljust(longest, SILENCE)) for channel in channels]
    count = len(linear)
    frames = bytearray(2 * count * longest)
    for index, pcm16 in enumerate(linear):
        frames[2 * index :: 2 * count] = pcm16[0::2]
        frames[2 * index + 1 :: 2 * count] = pcm16[1::2]
    rate = SAMPLE_RATE_HZ
    fmt = struct.pack("<HHIIHH", _PCM, count, rate, rate * 2 * count, 2 * count, 16)
    body = b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", len(frames)) + frames
    try:
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
