"""A caller's end of a call on a bench: what they say, who hears it, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.audio.vad import VoiceDetector

if TYPE_CHECKING:
    from tests.unit.realtime.bench_call import BenchCall

FRAME_S = 0.02
NOTICES_END_S = 0.5
"""The model's voice detection tells the end of speech after so much silence."""
VOICE_RMS, NO_VOICE_RMS, LINE_RMS = 1000, 0, 30.0


@dataclass(slots=True)
class Utterance:
    began_at: float
    ends_at: float
    text: str | None
    """None: it cannot be written down."""
    words_after_s: float | None
    """From the end as the model hears it; None: its words never come."""
    lag_s: float
    """Until the model has heard that it began."""
    is_loud: bool
    """Our own detector hears it."""
    item_id: str = ""
    """Of the model's, as soon as it hears it."""


class CallerEnd:
    """The voice of one caller, as our own detector and the model hear it."""

    def __init__(self, call: BenchCall) -> None:
        self.utterance: Utterance | None = None
        self._call = call
        self._detector = VoiceDetector(200, 5)
        self._frame_in_s = FRAME_S

    @property
    def is_silent(self) -> bool:
        """Also to our own detector."""
        return self.utterance is None and not self._detector.is_voice

    def says(
        self, ms: int, text: str | None, words_after_s: float | None, lag_s: float, *, is_loud: bool
    ) -> None:
        """From now on. Before the model has heard the end of what was said last, it is one utterance."""
        now_s, ends_at = self._call.now_s, self._call.now_s + ms / 1000
        if self.utterance is not None:
            self.utterance.ends_at = max(self.utterance.ends_at, ends_at)
        else:
            self.utterance = Utterance(now_s, ends_at, text, words_after_s, lag_s, is_loud)

    def meets_another_session(self) -> None:
        """Which hears what is being said as if it had begun now."""
        if self.utterance is not None:
            self.utterance.item_id = ""

    def step(self, step_s: float) -> None:
        """So much time has passed."""
        self._frame_in_s -= step_s
        if self._frame_in_s <= 1e-9:
            self._frame_in_s += FRAME_S
            self._frame()
        call, said = self._call, self.utterance
        if said is None:
            return
        if not call.has_session:
            if call.now_s >= said.ends_at:
                self.utterance = None
            return
        if not said.item_id and call.now_s >= said.began_at + said.lag_s:
            said.item_id = call.model.hears_start()
        if said.item_id and call.now_s >= said.ends_at + NOTICES_END_S:
            call.model.hears_end(said.item_id, said.text, said.words_after_s)
            self.utterance = None

    def _frame(self) -> None:
        """20 ms of the caller's line came to us."""
        said, now_s = self.utterance, self._call.now_s
        is_loud = said is not None and said.is_loud and said.began_at < now_s <= said.ends_at
        self._detector.judge(VOICE_RMS if is_loud else NO_VOICE_RMS, LINE_RMS)
        if self._detector.is_voice:
            conversation = self._call.conversation
            conversation.voice(self._detector.voiced_ms, self._detector.quiet_ms, now_s)
