import audioop

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio.ear import DETECTORS, Ear
from server.audio.g711 import FRAME_BYTES, FRAME_MS, SILENT_FRAME, from_pcm16, rms, to_pcm16

LOUD = b"\x90\x10" * 80
QUIET = b"\xf8\x78" * 80


def ear(*, gate=True, threshold=200, detector="rms") -> Ear:
    return Ear(threshold, 5, gate=gate, detector=detector)


@pytest.fixture(params=DETECTORS)
def detector(request) -> str:
    return request.param


def times(share, clip) -> bytes:
    """The clip's audio, so much softer or louder."""
    return from_pcm16(audioop.mul(to_pcm16(clip.audio), 2, share))


def starts(listener, audio) -> list[int]:
    """The frames with which speech was noticed."""
    return [n for n, heard in enumerate(listener.hear(audio)) if heard.voice.started]


def lost_frames(clip, detector="rms") -> list[tuple[int, int]]:
    """Labelled frames that the model would hear as silence: (ms into the clip, RMS)."""
    heard = ear(detector=detector).hear(clip.audio)
    return [(n * FRAME_MS, heard[n].voice.rms) for n in clip.speech_frames() if heard[n].is_gated]


def test_no_labelled_speech_is_lost(heard_clip, detector):
    """The frame of every onset, and every frame up to the end of its speech."""
    assert lost_frames(heard_clip, detector) == []


def test_a_caller_who_speaks_from_the_first_frame_loses_no_loud_frame(clip_begun_in_speech):
    """A frame over the fixed threshold is speech whatever came before it: nothing did."""
    assert [(ms, level) for ms, level in lost_frames(clip_begun_in_speech) if level > 200] == []


def test_what_passes_is_the_callers_own_bytes(heard_clip):
    for heard, frame in zip(ear().hear(heard_clip.audio), heard_clip.frames(), strict=True):
        assert heard.payload == (SILENT_FRAME if heard.is_gated else frame)
        assert heard.voice.rms == rms(frame)


def test_line_noise_alone_goes_as_silence(line_noise, detector):
    heard = ear(detector=detector).hear(line_noise.audio)
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


def test_the_gate_does_not_change_who_speaks(heard_clip, detector):
    gated = ear(detector=detector).hear(heard_clip.audio)
    open_ = ear(gate=False, detector=detector).hear(heard_clip.audio)
    assert [frame.voice for frame in gated] == [frame.voice for frame in open_]


def test_while_somebody_speaks_the_gate_is_open():
    heard = ear().hear(QUIET * 10 + LOUD * 20 + QUIET * 15)
    assert all(not frame.is_gated for frame in heard if frame.voice.is_voice)


@given(
    sizes=st.lists(st.sampled_from([1, 20, 159, 160, 161, 320, 1600]), max_size=40),
    gate=st.booleans(),
    detector=st.sampled_from(DETECTORS),
)
@settings(deadline=None)
def test_silence_replaces_frames_and_never_leaves_a_gap(sizes, gate, detector):
    audio = ((QUIET * 7 + LOUD * 5) * 30)[: sum(sizes)]
    listener, whole = (ear(gate=gate, detector=detector) for _ in range(2))
    at, heard = 0, []
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


# -- the library beside the loudness


def test_a_detector_there_is_not_is_refused():
    with pytest.raises(ValueError, match="'silero' is not one of rms, webrtc"):
        ear(detector="silero")


def test_each_labelled_turn_is_noticed_with_the_library_too(heard_clip):
    noticed = starts(ear(detector="webrtc"), heard_clip.audio)
    assert len(noticed) == len(heard_clip.turn_starts_ms)
    for turn_ms, n in zip(heard_clip.turn_starts_ms, noticed, strict=True):
        assert turn_ms <= n * FRAME_MS <= turn_ms + 240


def test_what_is_loud_and_no_voice_is_heard_by_loudness_alone(clip_named):
    audio = clip_named("noise/vacuum_cleaner").audio
    assert starts(ear(detector="rms"), audio) == [4]
    assert starts(ear(detector="webrtc"), audio) == []


def test_what_is_a_voice_and_not_half_as_loud_is_nobody(clip_named):
    """Somebody across the room: the library would call it speech all the same."""
    audio = times(1 / 30, clip_named("human_command"))
    assert starts(ear(detector="webrtc"), audio) == []
    assert starts(ear(detector="webrtc", threshold=100), audio) != []


def test_the_library_hears_one_who_is_too_faint_for_loudness_alone(clip_named):
    audio = clip_named("noise/hebrew_faint").audio
    assert starts(ear(detector="rms"), audio) == []
    assert starts(ear(detector="webrtc"), audio) != []


def test_the_lines_noise_raises_the_librarys_bound_as_well(clip_named):
    listener = ear(detector="webrtc")
    bounds = [heard.voice.threshold for heard in listener.hear(times(2.5, clip_named("line_noise")))]
    assert bounds[0] == 100
    assert bounds[-1] > 200


# -- how much of it was voice


def voiced_ms(listener, frames) -> list[int]:
    told = []
    for frame in frames:
        listener.is_gated(frame)
        told.append(listener.voiced_ms)
    return told


def test_the_frames_that_make_a_voice_count_from_the_moment_it_is_one():
    assert voiced_ms(ear(), [QUIET] * 3 + [LOUD] * 8) == [0] * 7 + [100, 120, 140, 160]


def test_quiet_frames_within_speech_do_not_count():
    frames = [LOUD] * 6 + [QUIET] * 5 + [LOUD] * 2
    assert voiced_ms(ear(), frames)[5:] == [120] * 6 + [140, 160]


def test_nothing_is_voiced_once_the_hang_over_has_passed():
    told = voiced_ms(ear(), [LOUD] * 6 + [QUIET] * 21)
    assert told[6:] == [120] * 19 + [0, 0]


def test_the_next_utterance_counts_from_its_own_onset():
    frames = [LOUD] * 50 + [QUIET] * 20 + [LOUD] * 6
    assert voiced_ms(ear(), frames)[-6:] == [0, 0, 0, 0, 100, 120]


def test_four_loud_frames_in_a_row_count_as_nothing():
    assert set(voiced_ms(ear(), ([LOUD] * 4 + [QUIET]) * 30)) == {0}


def test_most_of_a_labelled_turn_is_voiced(clip_named, detector):
    clip = clip_named("human_command")
    labelled_ms = len(clip.speech_frames()) * FRAME_MS
    assert 0.75 * labelled_ms <= max(voiced_ms(ear(detector=detector), clip.frames())) <= 1.2 * labelled_ms
