"""How soon does the agent fall silent, and does the model learn where? `python -m bench.barge_in`

Real gunicorn between a scripted model and simulated callers who speak over it at random moments. Every
answer is noise of its own, so that the line tells to the frame how much of it was played. Three figures for
each interruption:

    clear     from the model's `speech_started` on the wire to `clear` at Twilio
    due       the same from when nothing was missing any more: `speech_started` was sent, and MIN_SPEECH_MS of
              the caller's voice was
    truncate  what the model was told the caller heard, less what the line had played

With MIN_SPEECH_MS=0 the first two are one; with the default of 200 the agent speaks on until the caller has
spoken so long, and the second is the gateway's own time.
"""

from __future__ import annotations

import argparse
import base64
import random
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.audio.ear import Ear
from server.audio.g711 import BYTES_PER_MS, SILENCE
from server.audio.wav import read_ulaw
from server.config import Settings
from server.simulator.realtime.event_log import SeenEvent
from server.simulator.realtime.server import RealtimeServer
from server.simulator.realtime.turn import Answer, Speech, Turn
from server.simulator.scenario.clips import RECORDINGS_FOLDER
from server.simulator.scenario.gateway_process import GatewayProcess
from server.simulator.scenario.hearing import Played
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.caller import Caller

A_CALL = 6
"""Interruptions of one call."""
AT_ONCE = 8
SOON_S = 1.0
"""A `clear` later than that has another cause than the speech before it."""
ANSWER_MS = 8000
DEFAULTS = Settings()
KEY = "sk-simulator-0123456789abcdef"


class Speaker(Caller):
    """Says it, and notes when so much voice of an utterance had been sent as the rule asks for."""

    def __init__(self, audio: bytes, min_speech_ms: int) -> None:
        super().__init__(audio, [])
        self.enough_at: list[float] = []
        """Monotonic, as the gateway's own detector counts."""
        self._min_speech_ms = min_speech_ms
        self._ear = Ear(DEFAULTS.voice_threshold, DEFAULTS.min_consecutive_voice_frames, gate=True)
        self._has_enough = False

    def frame(self, index: int) -> bytes:
        said = super().frame(index)
        self._ear.hear(said)
        has_enough = 0 < self._min_speech_ms <= self._ear.voiced_ms
        if has_enough and not self._has_enough:
            self.enough_at.append(time.monotonic())
        self._has_enough = has_enough
        return said


class Noise:
    """Answers every turn with a noise nobody has heard before, in deltas of random size."""

    def __init__(self) -> None:
        self._chance = random.Random(secrets.randbits(32))

    def answer(self, turn: Turn) -> Answer:
        loud = bytes(self._chance.choices(range(0x90, 0xA0), k=ANSWER_MS * BYTES_PER_MS))
        sizes = tuple(self._chance.randint(1, 6000) for _ in range(40))
        return (Speech(loud, "noise", sizes),)


@dataclass
class Figures:
    """Of all interruptions, in ms."""

    clear_ms: list[float] = field(default_factory=list)
    due_ms: list[float] = field(default_factory=list)
    truncate_off_ms: list[float] = field(default_factory=list)
    unanswered: int = 0
    """Speech that no `clear` followed: over nobody, or before the greeting was heard."""


class Run:
    """One gateway, one model, so many interruptions."""

    def __init__(self, min_speech_ms: int) -> None:
        self._min_speech_ms = min_speech_ms
        self._seen: list[SeenEvent] = []
        self._lock = threading.Lock()
        self._voice = read_ulaw(RECORDINGS_FOLDER / "hebrew_barge_in.ulaw")
        self.figures = Figures()

    def measure(self, interruptions: int) -> Figures:
        calls = -(-interruptions // A_CALL)
        with RealtimeServer(persona_factory=Noise, watch=self._seen.append, speed=4.0) as model:
            variables = {
                "OPENAI_REALTIME_URL": model.url,
                "OPENAI_API_KEY": KEY,
                "ALLOW_UNSIGNED_AI": "1",
                "TRANSCRIPTION_MODEL": "off",
                "DATABASE_URL": "sqlite://",
                "MIN_SPEECH_MS": str(self._min_speech_ms),
            }
            with GatewayProcess(variables) as gateway:
                left = list(range(calls))
                threads = [
                    threading.Thread(target=self._call_on, args=(left, gateway.url, model))
                    for _ in range(AT_ONCE)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        return self.figures

    def _call_on(self, left: list[int], url: str, model: RealtimeServer) -> None:
        while True:
            with self._lock:
                if not left:
                    return
                left.pop()
                session = model.sessions_total + 1
                call = self._caller(url)
                thread = threading.Thread(target=call.run)
                thread.start()
                while model.sessions_total < session and thread.is_alive():
                    time.sleep(0.01)
            thread.join()
            self._judge(call, session)

    def _caller(self, url: str) -> TwilioCall:
        """Speaks over the agent again and again, each time after another while."""
        said = b"".join(
            SILENCE * (random.randrange(1200, 3500) * BYTES_PER_MS) + self._voice for _ in range(A_CALL)
        )
        options = CallOptions(
            f"{url}/webhook/incoming_call",
            caller=Speaker(said + SILENCE * (1500 * BYTES_PER_MS), self._min_speech_ms),
            hangup_after_s=len(said) / 8000 + 1.0,
        )
        return TwilioCall(options)

    def _judge(self, call: TwilioCall, session: int) -> None:
        mine = [seen for seen in list(self._seen) if seen.session == session]
        started = [
            seen.at_s for seen in mine if seen.event.get("type") == "input_audio_buffer.speech_started"
        ]
        told = [seen for seen in mine if seen.event.get("type") == "conversation.item.truncate"]
        caller = call.options.caller
        enough_at = caller.enough_at if isinstance(caller, Speaker) else []
        clears = [call.call.answered_at + at_ms / 1000 for at_ms in call.call.tally.clears_ms]
        played = Played(call.line, call.call.now_ms())
        items: dict[str, bytearray] = {}
        for seen in mine:
            if seen.event.get("type") == "response.output_audio.delta":
                items.setdefault(seen.event["item_id"], bytearray()).extend(_audio(seen))
        with self._lock:
            for begun in started:
                soon = [at_s for at_s in clears if begun <= at_s <= begun + SOON_S]
                if soon:
                    due_at = max([begun, *(at_s for at_s in enough_at if begun <= at_s <= soon[0])])
                    self.figures.clear_ms.append((soon[0] - begun) * 1000)
                    self.figures.due_ms.append((soon[0] - due_at) * 1000)
                else:
                    self.figures.unanswered += 1
            for seen in told:
                heard_ms = played.heard_from(bytes(items.get(seen.event["item_id"], b"")))
                if heard_ms is not None:
                    self.figures.truncate_off_ms.append(seen.event["audio_end_ms"] - heard_ms)


def _audio(seen: SeenEvent) -> bytes:
    return base64.b64decode(seen.event["delta"])


def histogram(values: Sequence[float], edges: Sequence[float], unit: str = "ms") -> list[str]:
    """One line for each range, and the percentiles."""
    lines = []
    ordered = sorted(values)
    lows = [float("-inf"), *edges]
    highs = [*edges, float("inf")]
    for low, high in zip(lows, highs, strict=True):
        count = sum(low <= value < high for value in ordered)
        if count:
            name = f"{low:g} to {high:g} {unit}"
            lines.append(f"{name:>18} {count:5d}  {'█' * max(1, round(40 * count / len(ordered)))}")
    ranks = {p: ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 95, 99)}
    told = "  ".join(f"p{p} {value:.1f}" for p, value in ranks.items())
    lines.append(f"{len(ordered)} in all: {told}  min {ordered[0]:.1f}  max {ordered[-1]:.1f} {unit}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--interruptions", type=int, default=200)
    parser.add_argument("--min-speech-ms", type=int, nargs="+", default=(0, DEFAULTS.min_speech_ms))
    asked = parser.parse_args()
    for min_speech_ms in asked.min_speech_ms:
        figures = Run(min_speech_ms).measure(asked.interruptions)
        print(f"\nMIN_SPEECH_MS={min_speech_ms}")
        print(f"speech_started to clear ({figures.unanswered} more over nobody)")
        print("\n".join(histogram(figures.clear_ms, (1, 2, 5, 10, 20, 30, 50, 100, 200, 300))))
        if min_speech_ms:
            print(f"speech_started and {min_speech_ms} ms of voice to clear")
            print("\n".join(histogram(figures.due_ms, (1, 2, 5, 10, 20, 30, 50, 100))))
        print("truncate less what was played")
        print("\n".join(histogram(figures.truncate_off_ms, (-100, -50, -20, -10, -5, 0, 5, 10, 20, 50, 100))))


if __name__ == "__main__":
    main()
