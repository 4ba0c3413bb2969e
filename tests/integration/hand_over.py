"""Calls that change their stream, their process or their session while they last: the rig of such tests."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis

from server.audio.g711 import BYTES_PER_MS
from server.realtime.words import WORDS
from server.simulator.realtime.persona import Persona, Speech, Transcript
from server.simulator.realtime.server import RealtimeServer
from server.simulator.realtime.turn import Answer, Listener, Spoken, Turn
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.caller import Caller, Key
from server.simulator.twilio.speech_spans import Span, spans
from server.simulator.twilio.virtual_line import AUDIBLE_RMS
from tests.integration.calls import KEY, eventually, speech
from tests.integration.gunicorn_process import GunicornProcess
from tests.integration.switch import Switch

HEBREW = WORDS["he"]
GREETING = "שלום, הגעתם למאפייה של דנה."
WELCOME = Speech(speech("human_command"), GREETING)
"""2.9 s."""
BACK = Speech(speech("human_sentence"), "סליחה על ההפרעה, אני כאן שוב.")
"""3.8 s."""
ANSWER = Speech(speech("human_long"), "יש לחם מחמצת, חלות, עוגות שמרים ועוגיות, ואפשר גם להזמין מראש.")
"""6.0 s."""
QUESTION = "מה יש לכם היום?"
TOKEN = "a-token-of-the-tests-0123456789ab"
SAID_CHARS_PER_S = 12.0


class Agent(Persona, Listener):
    """Says what it was asked for: the greeting, that it is back, or an answer. Callers ask it what it has
    today, and name the number of the session, so that nobody's words pass for another's."""

    def __init__(self, number: int) -> None:
        self.question = f"{QUESTION} {number}"

    def answer(self, turn: Turn) -> Answer:
        asked = turn.own_instructions
        if GREETING in asked:
            return (WELCOME,)
        return (BACK,) if asked in (HEBREW.continuing, HEBREW.continuing_blank) else (ANSWER,)

    def transcript(self, spoken: Spoken) -> Transcript | None:
        return Transcript(self.question)


def agents() -> Callable[[], Agent]:
    numbers = count(1)
    return lambda: Agent(next(numbers))


class Talker(Caller):
    """A caller whose line can be made to break."""

    def __init__(self, audio: bytes, pressed: list[Key], speak_at_s: float | None) -> None:
        super().__init__(audio, pressed, speak_at_s)
        self._drop = threading.Event()

    def drop(self) -> None:
        """The media stream breaks, without `stop`; the call goes on at Twilio."""
        self._drop.set()

    def takes_drop(self) -> bool:
        if self._drop.is_set():
            self._drop.clear()
            return True
        return False


@dataclass
class RunningCall:
    """One call in a thread of its own."""

    call: TwilioCall
    talker: Talker
    reports: list[CallReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=lambda: self.reports.append(self.call.run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> CallReport:
        self.call.hang_up()
        self._thread.join(15)
        assert not self._thread.is_alive(), "the call did not end"
        return self.reports[0]

    @property
    def now_ms(self) -> float:
        return self.call.call.now_ms()

    @property
    def streams(self) -> int:
        return self.call.call.tally.streams

    @property
    def breaks_ms(self) -> list[float]:
        return self.call.call.tally.stream_ends_ms

    def is_back(self) -> bool:
        """The agent has said something, of a second at least, since the stream broke."""
        if not self.breaks_ms or self.streams == len(self.breaks_ms):
            return False
        since = [arrival for arrival in self.call.line.arrivals if arrival.arrived_ms > self.breaks_ms[-1]]
        return len(since) >= 50

    def voices(self, from_ms: float = 0.0, *, agent_only: bool = False) -> list[Span]:
        """What the caller heard from then on: frames that are no silence, and Twilio's own voice."""
        first_ms = ceil(from_ms)
        heard = spans(
            self.call.line.heard()[first_ms * BYTES_PER_MS :], threshold_rms=AUDIBLE_RMS, hangover_ms=0
        )
        found = [Span(span.start_ms + first_ms, span.end_ms + first_ms) for span in heard]
        tally = self.call.call.tally
        told = iter(tally.said)
        for verb, at_ms in zip(tally.verbs, tally.verbs_ms, strict=True):
            if verb == "Say":
                span = Span(round(at_ms), round(at_ms + len(next(told)) / SAID_CHARS_PER_S * 1000))
                if span.end_ms > from_ms and not agent_only:
                    found.append(span)
        return sorted(found, key=lambda span: span.start_ms)

    def voice_after_ms(self, at_ms: float, *, agent_only: bool = False) -> float:
        """Milliseconds of waiting from then until a voice is heard: an agent is silent while the caller
        speaks, and that is no waiting. `agent_only`: not Twilio's."""
        voice_ms = self.voices(at_ms, agent_only=agent_only)[0].start_ms
        own = [span.end_ms for span in self.talker.spoken() if span.start_ms < voice_ms]
        return max(0.0, voice_ms - max([at_ms, *own]))

    def longest_silence_ms(self, from_ms: float, to_ms: float) -> float:
        """Of the longest stretch in which nobody spoke, the caller included."""
        silent_since, longest = from_ms, 0.0
        spoken = [span for span in self.talker.spoken() if span.end_ms > from_ms]
        for span in sorted([*self.voices(from_ms), *spoken], key=lambda span: span.start_ms):
            if span.start_ms < to_ms:
                longest = max(longest, span.start_ms - silent_since)
                silent_since = max(silent_since, span.end_ms)
        return max(longest, to_ms - silent_since)

    def heard(self, clip: Speech) -> int:
        """How often the whole of it was heard by now."""
        return self.call.line.played(self.now_ms).count(clip.payload)


@dataclass
class Sessions:
    """The model's server, and what each of its sessions was told."""

    server: RealtimeServer
    log_path: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text("utf-8").splitlines()]

    def events(self, session: int, kind: str, direction: str = "in") -> list[dict[str, Any]]:
        return [
            line["event"]
            for line in self.lines()
            if line["session"] == session and line["dir"] == direction and line["event"].get("type") == kind
        ]

    def asked(self, session: int) -> list[str]:
        """The instructions of each request for a response, "" for a plain answer."""
        requests = self.events(session, "response.create")
        return [event.get("response", {}).get("instructions", "") for event in requests]

    def told(self, session: int) -> list[tuple[str, str]]:
        """(role, text) of what it was told in text."""
        items = [event["item"] for event in self.events(session, "conversation.item.create")]
        return [(item["role"], item["content"][0]["text"]) for item in items if item["type"] == "message"]

    def heard(self, session: int) -> list[tuple[float, str]]:
        """(when, in ms of the machine's monotonic clock, words) of what it said the caller said."""
        kind = "conversation.item.input_audio_transcription.completed"
        return [
            (line["ms"], line["event"]["transcript"])
            for line in self.lines()
            if line["session"] == session and line["event"].get("type") == kind
        ]

    def voice(self, session: int) -> str:
        (update,) = self.events(session, "session.update")
        voice: str = update["session"]["audio"]["output"]["voice"]
        return voice

    @property
    def count(self) -> int:
        return self.server.sessions_total


GREETS = HEBREW.exactly.format(text=GREETING)
"""The instruction by which the agent greets."""


class Rig:
    """A model, an address, and gateways behind it that share a store."""

    def __init__(
        self, stack: ExitStack, tmp_path: Path, switch: Switch, faults: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self._stack = stack
        log_path = tmp_path / "model.jsonl"
        server = RealtimeServer(persona_factory=agents(), log_path=log_path, faults=faults)
        self.model = Sessions(stack.enter_context(server), log_path)
        self.base_url = f"http://127.0.0.1:{switch.port}"
        self._env = {
            "OPENAI_REALTIME_URL": self.model.server.url,
            "OPENAI_API_KEY": KEY,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "PUBLIC_BASE_URL": self.base_url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/kav.sqlite3",
            "GREETING": GREETING,
        } | dict(env)
        self._calls: list[RunningCall] = []

    def gateway(self, args: tuple[str, ...] = (), **env: str) -> GunicornProcess:
        """One more of them."""
        return self._stack.enter_context(GunicornProcess(env=self._env | env, args=args))

    def call(
        self,
        audio: bytes = b"",
        *,
        pressed: tuple[Key, ...] = (),
        speak_at_s: float | None = None,
        **options: Any,
    ) -> RunningCall:
        """Begin a call; it lasts until it is ended."""
        talker = Talker(audio, list(pressed), speak_at_s)
        options = {"quiet_after_s": 60.0, "timeout_s": 60.0, "say_chars_per_s": SAID_CHARS_PER_S} | options
        url = f"{self.base_url}/webhook/incoming_call"
        call = TwilioCall(CallOptions(url, caller=talker, auth_token=TOKEN, **options))
        running = RunningCall(call, talker)
        self._calls.append(running)
        running.start()
        return running

    def hang_up(self) -> None:
        for running in self._calls:
            running.call.hang_up()


@contextmanager
def rig(tmp_path: Path, switch: Switch, faults: Sequence[str] = (), **env: str) -> Iterator[Rig]:
    """`switch`: what stands in front, not entered; `faults`: the model's."""
    with ExitStack() as stack:
        stack.enter_context(switch)
        made = Rig(stack, tmp_path, switch, faults, env)
        stack.callback(made.hang_up)
        yield made


def redis_url() -> str:
    """Where Redis listens here. Without one the test is skipped; where CI is set, that would go unnoticed."""
    url = "redis://127.0.0.1:6379/9"
    try:
        redis.Redis.from_url(url, socket_timeout=5).ping()
    except redis.RedisError as error:
        reason = f"no Redis on 127.0.0.1:6379: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return url


WELCOME_MS = len(WELCOME.payload) / BYTES_PER_MS


def live_calls(process: GunicornProcess) -> int:
    """As a process tells it, be it ready or too busy to be."""
    try:
        answer = urlopen(process.base_url + "/readyz", timeout=5)
    except HTTPError as error:
        answer = error
    with answer:
        told = re.search(rb"(\d+) (?:of \d+ )?calls", answer.read())
    assert told is not None
    return int(told[1])


@contextmanager
def one_gateway(
    tmp_path: Path, faults: Sequence[str] = (), **env: str
) -> Iterator[tuple[Rig, GunicornProcess, Switch]]:
    switch = Switch()
    with rig(tmp_path, switch, faults, **env) as office:
        process = office.gateway()
        switch.lead_to(process.port)
        yield office, process, switch


def until_heard(call: RunningCall, ms: float) -> None:
    """So much of the agent, from the call's begin on."""
    eventually(lambda: call.call.line.heard_bytes(call.now_ms) >= ms * BYTES_PER_MS, 20)


def in_the_answer(office: Rig) -> RunningCall:
    """A call, greeted, heard, and two seconds into its answer."""
    call = office.call(speech("hebrew_question"))
    until_heard(call, WELCOME_MS + 2000)
    return call
