"""A gateway between two far ends that can be broken, and calls through it.

    caller ─ caller_wire ─ gunicorn ─┬─ model_wire ─ Realtime server
    (Twilio)                         ├─ the three services of the pipelined mode
                                     └─ Twilio's REST API, the business's own computer

Everything is real but the far ends, and they are servers of ours on loopback. What each of them says is a
recording of its own, so that a line can be read off by its bytes.
"""

from __future__ import annotations

import re
import secrets
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from bench.fault_caller import PatientCaller
from server.audio.g711 import from_pcm16
from server.audio.resample import TelephoneDownsampler
from server.audio.wav import read_ulaw
from server.prompts import load_prompts
from server.realtime.words import WORDS
from server.simulator.faults_tcp.proxy import FaultProxy
from server.simulator.openai_http.script import Script, Text, Words
from server.simulator.openai_http.server import OpenAIHttpServer
from server.simulator.openai_http.voice import RATE_HZ, Voice
from server.simulator.realtime.event_log import SeenEvent
from server.simulator.realtime.server import RealtimeServer
from server.simulator.realtime.turn import Answer, Listener, Persona, Speech, Spoken, Transcript, Turn
from server.simulator.scenario.clips import RECORDINGS_FOLDER, Clip
from server.simulator.scenario.gateway_process import GatewayProcess
from server.simulator.scenario.receivers import Receivers, Reply, Request
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.dialling import DialOutcome
from server.simulator.twilio.rest_server import RestServer

KEY = "sk-simulator-0123456789abcdef"
"""Passes for a key; only a simulator ever sees it."""
PERSON = "+97239876543"
LANGUAGE = "he"
PROMPTS = load_prompts()
QUESTION = Clip(
    "question", read_ulaw(RECORDINGS_FOLDER / "hebrew_question.ulaw"), "שלום, מתי אתם פתוחים היום?"
)
GREETING = PROMPTS.get(LANGUAGE, "greeting_short")
ANSWER = Clip(
    "agent: answer",
    read_ulaw(RECORDINGS_FOLDER / "human_sentence.ulaw"),
    "אנחנו פתוחים היום משמונה בבוקר ועד שבע בערב.",
)
GOES_ON = PROMPTS.get(LANGUAGE, "continuing")
LONGEST_CALL_S = 45.0
TOLD_WITHIN_S = 5.0
CLOCKS_MS = 20.0
"""By which the log's clock and ours may differ."""
MODEL_FAULTS = ("slow=0.3",)
"""A model at its best takes so long to its first sound."""
RINGS = DialOutcome("answered", rings_s=0.5, talks_s=1.0)


class Agent(Persona, Listener):
    """The model's side: greets, goes on after a break, answers; always in the same words."""

    def answer(self, turn: Turn) -> Answer:
        if GREETING.text in turn.own_instructions:
            return (Speech(GREETING.payload, GREETING.text),)
        if WORDS[LANGUAGE].continuing == turn.own_instructions:
            return (Speech(GOES_ON.payload, GOES_ON.text),)
        if turn.own_instructions:
            still_there = PROMPTS.get(LANGUAGE, "still_there")
            return (Speech(still_there.payload, still_there.text),)
        return (Speech(ANSWER.payload, ANSWER.words),)

    def transcript(self, spoken: Spoken) -> Transcript | None:
        return Transcript(QUESTION.words)


@dataclass(frozen=True, slots=True)
class Setting:
    """What stands around the gateway, and what is wrong with it from the start."""

    model_door: Literal["open", "refused", "silent"] = "open"
    """Of the way to the model: `silent` takes connections, with nobody behind."""
    model_faults: tuple[str, ...] = ()
    services: tuple[str, ...] | None = None
    """Faults of the pipelined mode's services; None: there are none, and no such rung."""
    has_person: bool = False
    dial: DialOutcome = RINGS
    rest_faults: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


class Rig:
    """Runs inside `with`. Raises GatewayFailed when the gateway does not come up."""

    def __init__(self, setting: Setting = Setting()) -> None:
        self.setting = setting
        self.seen: list[SeenEvent] = []
        """What went over the model's sockets."""
        self.told: list[Request] = []
        """What the business was told of."""
        self._stack = ExitStack()
        self._calls = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        setting, enter = self.setting, self._stack.enter_context
        self.model = enter(
            RealtimeServer(
                persona_factory=Agent,
                faults=(*MODEL_FAULTS, *setting.model_faults),
                delta_bytes=(400, 1600),
                watch=self.seen.append,
            )
        )
        self.model_wire = enter(FaultProxy("127.0.0.1", self.model.port))
        if setting.model_door == "refused":
            self.model_wire.refuse()
        elif setting.model_door == "silent":
            self.model_wire.accept_but_silent()
        self.rest = enter(RestServer(auth_token=secrets.token_hex(16), faults=setting.rest_faults))
        office = enter(Receivers({"office": (Reply(),)}, self.told.append)).urls["office"]
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="kav-faults-")))
        business = folder / "businesses.toml"
        business.write_text(self._business(office), "utf-8")
        variables = {
            "CALL_LANGUAGE": LANGUAGE,
            "GREETING": GREETING.text,
            "TWILIO_ACCOUNT_SID": self.rest.account_sid,
            "TWILIO_AUTH_TOKEN": self.rest.auth_token,
            "TWILIO_API_URL": self.rest.url,
            "OPENAI_REALTIME_URL": f"ws://127.0.0.1:{self.model_wire.port}/v1/realtime",
            "OPENAI_API_KEY": KEY,
            "BUSINESSES_FILE": str(business),
            "DATABASE_URL": f"sqlite:///{folder}/kav.sqlite3",
        }
        if setting.services is not None:
            self.services = enter(
                OpenAIHttpServer(
                    script=Script(hears=(Words(QUESTION.words),) * 20, answers=((Text(ANSWER.words),),)),
                    faults=setting.services,
                    use_espeak=False,
                )
            )
            variables["OPENAI_BASE_URL"] = self.services.base_url
        self.database = folder / "kav.sqlite3"
        self.gateway = enter(GatewayProcess(variables | dict(setting.variables)))
        self.caller_wire = enter(FaultProxy("127.0.0.1", self.gateway.port))

    def _business(self, office: str) -> str:
        person = f'[business.transfers]\n"נציג" = "{PERSON}"\n' if self.setting.has_person else ""
        return f'[[business]]\nid = "bakery"\nnotify_url = "{office}/messages"\n{person}'

    def call(self, rounds: int = 2) -> FaultyCall:
        """A call that is not begun, in which so many questions are asked."""
        return FaultyCall(self, rounds)


class FaultyCall:
    """One call, and where it stands among the model's connections."""

    def __init__(self, rig: Rig, rounds: int) -> None:
        self.rig = rig
        self.caller = PatientCaller(QUESTION, rounds)
        self.twilio = TwilioCall(
            CallOptions(
                url=f"http://127.0.0.1:{rig.caller_wire.port}/webhook/incoming_call",
                caller=self.caller,
                auth_token=rig.rest.auth_token,
                hangup_after_s=LONGEST_CALL_S,
                rest=rig.rest,
                dial_outcomes=(rig.setting.dial,),
            )
        )
        self.caller.meet(self.twilio.line, self.twilio.hang_up)
        self.connection = 0
        """The number of the connection that was opened to the model for it; 0: none."""
        self.fault_ms: float | None = None
        """When the fault was done, on the call's clock; None: it was there from the start."""
        self.ended_ms = 0.0
        """On the call's clock."""
        self._thread = threading.Thread(target=self._run)

    @property
    def sid(self) -> str:
        return self.twilio.call.call_sid

    @property
    def start_ms(self) -> float:
        """When the stream's `start` went out, on the call's clock."""
        return self.twilio.call.tally.start_sent_ms or 0.0

    def begin(self) -> Self:
        """Returns when the gateway has a connection to the model for it, or knows that it has none: of calls
        that are begun one after another each has its own."""
        before = self.rig.model_wire.counts.connections
        self._thread.start()
        until = time.monotonic() + TOLD_WITHIN_S
        while self._thread.is_alive() and time.monotonic() < until:
            if any(_CONNECTED.search(line) for line in self.log()):
                self.connection = before + 1
                break
            time.sleep(0.01)
        return self

    def _run(self) -> None:
        self.ended_ms = self.twilio.run().duration_ms

    def wait_until(self, after_start_s: float) -> bool:
        """False when the call has ended by then."""
        call = self.twilio.call
        while self._thread.is_alive():
            started_ms = call.tally.start_sent_ms
            if started_ms is not None and call.now_ms() >= started_ms + after_start_s * 1000:
                return True
            time.sleep(0.005)
        return False

    def pause(self, seconds: float) -> None:
        """As long as a fault shall last."""
        time.sleep(seconds)

    def broken_now(self) -> None:
        """The fault has just been done."""
        self.fault_ms = self.twilio.call.now_ms()

    def end(self) -> Self:
        """Wait for its end."""
        self._thread.join(LONGEST_CALL_S + 20)
        if self._thread.is_alive():
            self.twilio.hang_up()
            self._thread.join()
        return self

    @property
    def tag(self) -> str:
        """As the gateway's lines call it."""
        return self.sid[:8]

    def log(self) -> list[str]:
        """The gateway's lines about it."""
        return [line for line in self.rig.gateway.lines if self.tag in line]

    def logged_ms(self, pattern: str) -> float | None:
        """When the first such line of this call was written after the fault, on the call's clock."""
        answered_s = _second_of_day(self.twilio.call.answered_at)
        for line in self.log():
            if (stamp := _STAMP.match(line)) and re.search(pattern, line):
                of_day_s = (int(stamp[1]) * 60 + int(stamp[2])) * 60 + float(stamp[3])
                at_ms = ((of_day_s - answered_s + 43_200) % 86_400 - 43_200) * 1000
                if at_ms >= (self.fault_ms or 0.0) - CLOCKS_MS:
                    return at_ms
        return None


_CONNECTED = re.compile(r"connected to model|\[FALLBACK\]")
_STAMP = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) ")


def _second_of_day(monotonic_s: float) -> float:
    """Of the local day, as log lines have it."""
    unix_s = time.time() - (time.monotonic() - monotonic_s)
    local = time.localtime(unix_s)
    return (local.tm_hour * 60 + local.tm_min) * 60 + local.tm_sec + unix_s % 1


@lru_cache(maxsize=1)
def known_clips() -> tuple[Clip, ...]:
    """Everything that can be heard on a line of this rig, by who says it."""
    clips = [ANSWER, Clip("agent: greeting", GREETING.payload), Clip("agent: goes on", GOES_ON.payload)]
    clips.append(Clip("agent: still there?", PROMPTS.get(LANGUAGE, "still_there").payload))
    for name in ("one_moment", "connect_agent", "leave_message", "apology"):
        clips.append(Clip(f"prompt: {name}", PROMPTS.get(LANGUAGE, name).payload))
    voice = Voice(use_espeak=False)
    for name, text in (("greeting", GREETING.text), ("goes on", GOES_ON.text), ("answer", ANSWER.words)):
        clips.append(Clip(f"pipeline: {name}", _as_played(voice.speak(text)[0])))
    return tuple(clips)


def _as_played(pcm16: bytes) -> bytes:
    """As the gateway makes telephone audio of it."""
    downsampler = TelephoneDownsampler(RATE_HZ)
    return b"".join(from_pcm16(part) for part in (downsampler.push(pcm16), downsampler.flush()))
