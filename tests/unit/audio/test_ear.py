import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.ear import Ear
from server.audio.g711 import FRAME_BYTES, FRAME_MS, SILENT_FRAME, rms

LOUD = b"\x90\x10" * 80
QUIET = b"\xf8\x78" * 80


def ear(*, gate=True, threshold=200) -> Ear:
    return Ear(threshold, 5, gate=gate)


def lost_frames(clip) -> list[tuple[int, int]]:
    """Labelled frames that the model would hear as silence: (ms into the clip, RMS)."""
    heard = ear().hear(clip.audio)
    return [(n * FRAME_MS, heard[n].voice.rms) for n in clip.speech_frames() if heard[n].is_gated]


def test_no_labelled_speech_is_lost(heard_clip):
    """The frame of every onset, and every frame up to the end of its speech."""
    assert lost_frames(heard_clip) == []


def test_a_caller_who_speaks_from_the_first_frame_loses_no_loud_frame(clip_begun_in_speech):
    """A frame over the fixed threshold is speech whatever came before it: nothing did."""
    assert [(ms, level) for ms, level in lost_frames(clip_begun_in_speech) if level > 200] == []


def test_what_passes_is_the_callers_own_bytes(heard_clip):
    for heard, frame in zip(ear().hear(heard_clip.audio), heard_clip.frames(), strict=True):
        assert heard.payload == (SILENT_FRAME if heard.is_gated else frame)
        assert heard.voice.rms == rms(frame)


def test_line_noise_alone_goes_as_silence(line_noise):
    heard = ear().hear(line_noise.audio)
    assert len(heard) == 250
    assert {frame.payload for frame in heard} == {SILENT_FRAME}
    assert all(frame.is_gated and not frame.voice.is_voice for frame in heard)


def test_noise_after_a_turn_goes_as_silence_again_within_a_second(line_noise):
    from_speech = ear()
    from_speech.hear(line_noise.audio + LOUD * 50)
    heard = from_speech.hear(line_noise.audio)
    assert all(frame.is_gated for frame in heard[50:])


def test_without_the_gate_everything_passes_as_it_came(heard_clip):
    heard = ear(gate=False).hear(heard_clip.audio)
    assert b"".join(frame.payload for frame in heard) == heard_clip.audio
    assert not any(frame.is_gated for frame in heard)


def test_the_gate_does_not_change_who_speaks(heard_clip):
    gated, open_ = ear().hear(heard_clip.audio), ear(gate=False).hear(heard_clip.audio)
    assert [frame.voice for frame in gated] == [frame.voice for frame in open_]


def test_while_somebody_speaks_the_gate_is_open():
    heard = ear().hear(QUIET * 10 + LOUD * 20 + QUIET * 15)
    assert all(not frame.is_gated for frame in heard if frame.voice.is_voice)


@given(
    sizes=st.lists(st.sampled_from([1, 20, 159, 160, 161, 320, 1600]), max_size=40),
    gate=st.booleans(),
)
@settings(deadline=None)
def test_silence_replaces_frames_and_never_leaves_a_gap(sizes, gate):
    audio = ((QUIET * 7 + LOUD * 5) * 30)[: sum(sizes)]
    listener, whole, at, heard = ear(gate=gate), ear(gate=gate), 0, []
    for size in sizes:
        heard += listener.hear(audio[at : at + size])
        at += size
    assert len(heard) == len(audio) // FRAME_BYTES
    assert all(len(frame.payload) == FRAME_BYTES for frame in heard)
    assert heard == whole.hear(audio)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\xff" * 159])
def test_less_than_a_frame_waits(payload):
    listener = ear()
    assert listener.hear(payload) == []
    assert len(listener.hear(b"\xff" * (FRAME_BYTES - len(payload)))) == 1
