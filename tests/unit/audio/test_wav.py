import struct
import wave

import pytest

from server.audio.g711 import from_pcm16, to_pcm16
from server.audio.wav import parse_ulaw, read_ulaw, write_pcm16
from server.errors import AudioFileError

SPEECH = bytes(range(0x80, 0xFF)) + bytes(range(0x7E))


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    padding = b"\0" * (len(body) % 2)
    return kind + struct.pack("<I", len(body) if size is None else size) + body + padding


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(tag=1, channels=1, rate_hz=8000, bits=16, tail=b"") -> bytes:
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits) + tail)


def extensible(tag: int, bits: int) -> bytes:
    guid = struct.pack("<H", tag) + bytes.fromhex("0000000010008000 00aa00389b71")
    return fmt(0xFFFE, bits=bits, tail=struct.pack("<HHI", 22, bits, 4) + guid)


PCM = to_pcm16(SPEECH)


@pytest.mark.parametrize(
    "data",
    [
        riff(fmt(7, bits=8), chunk(b"data", SPEECH)),
        riff(fmt(7, bits=8, tail=b"\0\0"), chunk(b"fact", b"\0\0\0\0"), chunk(b"data", SPEECH)),
        riff(fmt(), chunk(b"data", PCM)),
        riff(extensible(1, 16), chunk(b"data", PCM)),
        riff(extensible(7, 8), chunk(b"data", SPEECH)),
        riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"junk", b"x"), chunk(b"data", PCM)),
        riff(fmt(), chunk(b"data", PCM), chunk(b"LIST", b"after")),
        riff(fmt(), chunk(b"data", PCM + b"\x01")),
        riff(fmt(), chunk(b"data", PCM, size=0xFFFFFFFF)),
    ],
    ids=[
        "ulaw", "ulaw with fact", "pcm", "extensible pcm", "extensible ulaw",
        "chunks before", "chunks after", "half a sample at the end", "streamed length",
    ],
)  # fmt: skip
def test_telephone_wavs_of_every_layout_become_the_same_ulaw(data):
    assert parse_ulaw(data) == SPEECH


@pytest.mark.parametrize(
    ("form", "seen"),
    [
        (fmt(rate_hz=16000), "16000 Hz"),
        (fmt(rate_hz=44100, channels=2), "2 channel"),
        (fmt(channels=2), "2 channel"),
        (fmt(bits=8), "8 bit"),
        (fmt(bits=24), "24 bit"),
        (fmt(6, bits=8), "format 6"),
        (fmt(3, bits=32), "32 bit"),
        (extensible(3, 32), "format 3"),
    ],
)
def test_any_other_format_is_refused_with_what_was_seen_and_how_to_convert(form, seen):
    with pytest.raises(AudioFileError) as caught:
        parse_ulaw(riff(form, chunk(b"data", PCM)), "hello.wav")
    message = str(caught.value)
    assert seen in message
    assert "8000 Hz" in message
    assert "sox hello.wav -r 8000 -c 1" in message


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"ID3\x04" + bytes(100), b"RIFF\0\0\0\0AVI " + bytes(50), SPEECH]
)
def test_what_is_no_wav_is_called_so(data):
    with pytest.raises(AudioFileError, match="not a WAV"):
        parse_ulaw(data)


def test_a_wav_without_audio_or_without_a_format_is_refused():
    with pytest.raises(AudioFileError, match="no audio"):
        parse_ulaw(riff(fmt()))
    with pytest.raises(AudioFileError, match="no format"):
        parse_ulaw(riff(chunk(b"data", PCM)))
    with pytest.raises(AudioFileError, match="no format"):
        parse_ulaw(riff(chunk(b"fmt ", b"\1\0"), chunk(b"data", PCM)))


def test_a_truncated_file_gives_what_is_there_or_an_audio_file_error():
    whole = riff(fmt(), chunk(b"data", PCM))
    header = len(whole) - len(PCM)
    for length in range(len(whole)):
        if length < header:
            with pytest.raises(AudioFileError):
                parse_ulaw(whole[:length])
        else:
            assert parse_ulaw(whole[:length]) == SPEECH[: (length - header) // 2]


@pytest.mark.parametrize("suffix", [".ulaw", ".ul", ".raw"])
def test_headerless_files_are_taken_as_they_are(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(SPEECH)
    assert read_ulaw(path) == SPEECH


def test_a_missing_file_is_an_audio_file_error_that_names_it(tmp_path):
    with pytest.raises(AudioFileError, match=r"gone\.wav"):
        read_ulaw(tmp_path / "gone.wav")
    with pytest.raises(AudioFileError, match="nowhere"):
        write_pcm16(tmp_path / "nowhere" / "a.wav", [SPEECH])


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "mono.wav"
    write_pcm16(path, [SPEECH])
    assert read_ulaw(path) == SPEECH


def test_two_channels_lie_side_by_side_and_the_shorter_ends_in_silence(tmp_path):
    left, right = SPEECH, SPEECH[::-1][:100]
    path = tmp_path / "stereo.wav"
    write_pcm16(path, [left, right])
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        assert file.getnframes() == len(left)
        samples = struct.unpack(f"<{2 * len(left)}h", file.readframes(len(left)))
    assert from_pcm16(struct.pack(f"<{len(left)}h", *samples[0::2])) == left
    assert from_pcm16(struct.pack(f"<{len(left)}h", *samples[1::2])) == right + b"\xff" * (len(left) - 100)


@pytest.mark.parametrize("channels", [[b""], [b"", b""]])
def test_an_empty_recording_is_still_a_wav(tmp_path, channels):
    path = tmp_path / "empty.wav"
    write_pcm16(path, channels)
    with wave.open(str(path)) as file:
        assert file.getnframes() == 0
