"""A call that listens for the greeting, and hangs up as soon as it knows.

Recordings that stand in for an agent who does not speak (“one moment”, the apology) are no greeting, however
early they come. They are known by their bytes: a prompt travels as it is stored, in frames of 20 ms.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from server.audio.g711 import BYTES_PER_MS, FRAME_BYTES, rms
from server.cli.canary_verdict import ANSWER_MIN_MS, ECHO_SHARE, Limits, Seen
from server.prompts import Prompts
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.caller import Caller, CallerSide
from server.simulator.twilio.live_call import HangupRule
from server.simulator.twilio.virtual_line import AUDIBLE_RMS, Arrival, VirtualLine

FROM_NUMBER = "+15005550006"
"""Nobody's: one of Twilio's own numbers for tests."""
CALL_SID_HEAD = "CA000000"
"""What log lines show of a CallSid: those of canaries are told apart by it."""

FILLERS = frozenset({"one_moment", "still_there"})
LAST_WORDS = frozenset({"connect_agent", "leave_message", "apology"})
"""After these nobody comes, or a person is rung: a canary is gone by then."""

SILENT_S = 8.0
"""So long is listened for a greeting that does not come: the gateway promises some voice within 6 s."""
LATE_S = 2.0
"""Longer than a limit, to tell late from never."""
BROKEN_OFF_S = 1.5
"""Of silence after too short a greeting."""
LONGEST_S = 60.0
ASKING_S = 30.0
"""On top, when something is asked: a greeting is heard to its end first."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A frame that a caller can hear."""

    start_ms: float
    end_ms: float
    prompt: str
    """The name of the recording that stands in for an agent; empty: the agent speaks."""


def stand_ins(prompts: Prompts) -> dict[bytes, str]:
    """Audible frame to the name of its prompt, in all languages."""
    found = {}
    for language in prompts.languages:
        for name in (FILLERS | LAST_WORDS).intersection(prompts.names(language)):
            payload = prompts.get(language, name).payload
            for at in range(0, len(payload), FRAME_BYTES):
                if rms(frame := payload[at : at + FRAME_BYTES]) > AUDIBLE_RMS:
                    found[frame] = name
    return found


class Listener:
    """What is to be heard on one line. Asked 50 times a second, so it looks at each message once."""

    def __init__(self, known: Mapping[bytes, str]) -> None:
        self.prompts: dict[str, float] = {}
        """Those that came, and when each was to begin: a hang-up does not undo that they came."""
        self._known = known
        self._looked_at: list[tuple[Arrival, list[Sound]]] = []

    def sounds(self, line: VirtualLine) -> list[Sound]:
        """Everything audible that was or will be played, in order."""
        for index, arrival in enumerate(line.arrivals):
            if index == len(self._looked_at):
                self._looked_at.append((arrival, self._look(line, arrival)))
            elif self._looked_at[index][0] is not arrival:
                self._looked_at[index] = (arrival, _cut(self._looked_at[index][1], arrival.end_ms))
        return [sound for _, sounds in self._looked_at for sound in sounds]

    def _look(self, line: VirtualLine, arrival: Arrival) -> list[Sound]:
        sounds = []
        payload = line.between(arrival.start_ms, arrival.end_ms)
        for at in range(0, len(payload), FRAME_BYTES):
            if rms(frame := payload[at : at + FRAME_BYTES]) > AUDIBLE_RMS:
                start_ms = arrival.start_ms + at / BYTES_PER_MS
                end_ms = start_ms + len(frame) / BYTES_PER_MS
                if prompt := self._known.get(frame, ""):
                    self.prompts.setdefault(prompt, start_ms)
                sounds.append(Sound(start_ms, end_ms, prompt))
        return sounds


def _cut(sounds: list[Sound], end_ms: float) -> list[Sound]:
    """What a `clear` left of them."""
    return [replace(sound, end_ms=min(sound.end_ms, end_ms)) for sound in sounds if sound.start_ms < end_ms]


@dataclass(frozen=True, slots=True)
class Heard:
    """The agent in a call up to a time, as the caller would tell of it."""

    greeting_ms: float | None = None
    sound_ms: float = 0.0
    """Before the caller's first word."""
    last_ms: float = 0.0
    """The end of the latest sound; 0 for none."""
    answer_ms: float | None = None
    answer_sound_ms: float = 0.0


def heard(sounds: list[Sound], caller: CallerSide, now_ms: float) -> Heard:
    """`now_ms` on the call's clock, as everything here."""
    spoken = caller.spoken()
    first_word_ms, last_word_ms = (spoken[0].start_ms, spoken[-1].end_ms) if spoken else (inf, inf)
    agent = [sound for sound in sounds if not sound.prompt and sound.start_ms < now_ms]
    greeting = [sound for sound in agent if sound.start_ms < first_word_ms]
    answer = [sound for sound in agent if sound.end_ms > last_word_ms]
    return Heard(
        greeting_ms=greeting[0].start_ms if greeting else None,
        sound_ms=sum(min(sound.end_ms, now_ms) - sound.start_ms for sound in greeting),
        last_ms=agent[-1].end_ms if agent else 0.0,
        answer_ms=max(0.0, answer[0].start_ms - last_word_ms) if answer else None,
        answer_sound_ms=sum(min(sound.end_ms, now_ms) - sound.start_ms for sound in answer),
    )


class PatientCaller(Caller):
    """Says nothing before the greeting has passed; then, when it is over. Is gone when its stream has ended:
    whatever follows, a person who is rung or a message that is recorded, is for real callers."""

    may_speak = False

    def __init__(self, audio: bytes, hang_up: Callable[[], None] = lambda: None) -> None:
        super().__init__(audio, [], None)
        self.hang_up = hang_up
        self._has_begun = False

    def begin(self, now_ms: float) -> int:
        if self._has_begun:
            self.hang_up()
        self._has_begun = True
        return super().begin(now_ms)

    def elsewhere(self, now_ms: float) -> None:
        if self._has_begun:
            self.hang_up()

    def listen(self, index: int, now_ms: float, audible_until_ms: float) -> None:
        if self.may_speak:
            super().listen(index, now_ms, audible_until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhenItKnows(HangupRule):
    """Hangs up as soon as the verdict cannot change any more."""

    limits: Limits
    listener: Listener

    def reason(self, now_ms: float, caller: CallerSide, line: VirtualLine) -> str:
        """Why to hang up now; empty to stay."""
        limits, so_far = self.limits, heard(self.listener.sounds(line), caller, now_ms)
        if self.after_s is not None and now_ms >= self.after_s * 1000:
            return "time"
        if not LAST_WORDS.isdisjoint(self.listener.prompts):
            return "no agent"
        if so_far.greeting_ms is None:
            return self._why_give_up(now_ms, line)
        if so_far.greeting_ms > limits.first_audio_s * 1000:
            return "late"
        if so_far.sound_ms < limits.greeting_s * 1000:
            return "broken off" if now_ms - so_far.last_ms >= BROKEN_OFF_S * 1000 else ""
        if limits.answer_s is None:
            return "greeted"
        if isinstance(caller, PatientCaller):
            caller.may_speak = True
        if so_far.answer_sound_ms >= ANSWER_MIN_MS:
            return "answered"
        waits_ms = (limits.answer_s + LATE_S) * 1000
        return "no answer" if now_ms >= caller.last_word_ms + waits_ms else ""

    def _why_give_up(self, now_ms: float, line: VirtualLine) -> str:
        limit_ms = self.limits.first_audio_s * 1000
        if now_ms >= max(SILENT_S * 1000, limit_ms + LATE_S * 1000):
            return "silence"
        is_echo = line.received_bytes >= now_ms * BYTES_PER_MS * ECHO_SHARE
        return "echo" if is_echo and now_ms >= limit_ms else ""


def after_stream(verbs: Sequence[str], verbs_ms: Sequence[float]) -> tuple[tuple[str, ...], float]:
    """The verbs that followed the first stream, all of them when there was none; and when they began: what is
    heard from there on, as a ringing tone, is no agent."""
    if "Connect" not in verbs:
        return tuple(verbs), inf
    at = verbs.index("Connect") + 1
    return tuple(verbs[at:]), verbs_ms[at] if at < len(verbs) else inf


class CanaryCall:
    """One call. `run` once; `hang_up` from any thread, or a signal's handler, ends it early."""

    def __init__(
        self,
        webhook: str,
        limits: Limits,
        known: Mapping[bytes, str],
        *,
        question: bytes = b"",
        auth_token: str = "",
        public_url: str = "",
        to_number: str = "",
    ) -> None:
        """`known`: see `stand_ins`. `question`: μ-law, said after the greeting if an answer is expected."""
        self._is_signed = bool(auth_token)
        self._listener = Listener(known)
        self._caller = PatientCaller(question)
        longest_s = LONGEST_S if limits.answer_s is None else LONGEST_S + ASKING_S + limits.answer_s
        self._call = TwilioCall(
            CallOptions(
                webhook,
                caller=self._caller,
                auth_token=auth_token,
                public_url=public_url,
                from_number=FROM_NUMBER,
                to_number=to_number,
                call_sid=CALL_SID_HEAD + secrets.token_hex(13),
            )
        )
        self._caller.hang_up = self._call.hang_up
        self._call.call.hangup = WhenItKnows(after_s=longest_s, limits=limits, listener=self._listener)

    def hang_up(self) -> None:
        self._call.hang_up()

    def run(self) -> Seen:
        """Blocks until the call has ended; raises nothing that a far end causes."""
        report = self._call.run()
        call = self._call.call
        tally = call.tally
        followed, over_ms = after_stream(tally.verbs, tally.verbs_ms)
        so_far = heard(self._listener.sounds(call.line), self._caller, over_ms)
        prompts = sorted(self._listener.prompts.items(), key=lambda prompt: prompt[0] in FILLERS)
        stand_in, stand_in_ms = prompts[0] if prompts else ("", 0.0)
        refused_at = ""
        if tally.refused_status:
            refused_at = "webhook" if report.webhook_status == 403 else "stream"
        return Seen(
            call_sid=report.call_sid,
            webhook_status=report.webhook_status,
            webhook_ms=report.webhook_ms,
            upgrade_ms=report.handshake_ms,
            greeting_ms=so_far.greeting_ms,
            sound_ms=so_far.sound_ms,
            stand_in=stand_in,
            stand_in_ms=stand_in_ms,
            has_asked=bool(self._caller.spoken()),
            answer_ms=so_far.answer_ms if so_far.answer_sound_ms >= ANSWER_MIN_MS else None,
            frames_sent=report.frames_sent,
            frames_received=report.frames_received,
            said=report.said,
            followed=followed,
            refused_at=refused_at,
            is_signed=self._is_signed,
            unreachable=tally.unreachable,
            findings=report.findings,
        )
