"""What is broken, when, and how long the caller may hear nothing at most.

`silence_ms` of a case is a promise: tests hold it. It is counted from the fault, or from the stream's start
when the fault was there before the call, and it ends with the first sound of whatever kind: the agent, a
recorded prompt, a ringing tone, the beep.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.fault_rig import FaultyCall, Rig, Setting
from server.simulator.twilio.dialling import DialOutcome

MID_CALL_S = (0.6, 9.0)
"""Since the stream's start: in the greeting, the caller's question, the wait for an answer, the answer, or
the next question."""
FIRST_VOICE_MS = 6000.0
BRIDGED_MS = 2000.0
NO_ANSWER_MS = 3000.0
"""A model that may be thinking is given 2.5 s before somebody says "one moment"."""
FILLED_MS = 5000.0
"""Then it is said again every 5 s."""
KNOWN = "KAV-1(3|47|7)"
"""How the gateway's lines about a failing model begin."""

PLAIN = Setting()
Deed = Callable[[FaultyCall, random.Random], None]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    fault: str
    """For people."""
    setting: Setting = PLAIN
    before: Callable[[Rig], None] | None = None
    """Done before the call."""
    deed: Deed | None = None
    """Done in it; says so by `call.broken_now`."""
    silence_ms: float = BRIDGED_MS
    served_by: tuple[str, ...] = ("agent: ",)
    """Who serves the caller in the end: how that sound's name begins."""
    notices: bool = False
    """The gateway must have noticed; within `noticed_ms`."""
    noticed_ms: float = 200.0
    says_nothing: bool = False
    """Of the caller: not even a message."""


def _at_random(call: FaultyCall, dice: random.Random, breaks: Callable[[FaultyCall], None]) -> None:
    call.wait_until(dice.uniform(*MID_CALL_S))
    call.broken_now()
    breaks(call)


def _reset(call: FaultyCall) -> None:
    call.rig.model_wire.reset(only=call.connection)


def _fin(call: FaultyCall) -> None:
    call.rig.model_wire.half_close("down", only=call.connection)


def _close_1011(call: FaultyCall) -> None:
    call.rig.model.close_session(call.connection, 1011, "server had an error")


def _black_hole(call: FaultyCall) -> None:
    call.rig.model_wire.black_hole(only=call.connection)


def _garbage(call: FaultyCall) -> None:
    noise = random.Random(call.connection).randbytes(64)
    call.rig.model_wire.inject(b"\xf7" + noise, only=call.connection)  # no frame begins like that


def _stands_still(call: FaultyCall) -> None:
    call.rig.model_wire.stall(only=call.connection)


def _gone_for_good(call: FaultyCall) -> None:
    call.rig.model_wire.refuse()
    _reset(call)


def _frozen(call: FaultyCall) -> None:
    call.rig.model_wire.stall(only=call.connection)
    call.pause(1.0)
    call.rig.model_wire.resume(only=call.connection)


DROPS: dict[str, Callable[[FaultyCall], None]] = {
    "reset": _reset,
    "fin": _fin,
    "close-1011": _close_1011,
    "black-hole": _black_hole,
    "garbage": _garbage,
}
NOTICED_MS = {"black-hole": 6000.0}


def _media_reset(call: FaultyCall) -> None:
    call.rig.caller_wire.reset()


def _stalls(call: FaultyCall, dice: random.Random) -> None:
    """A second each, three times."""
    for number in range(3):
        call.wait_until(1.0 + 3.0 * number + dice.uniform(0, 1))
        if not number:
            call.broken_now()
        call.rig.caller_wire.stall()
        call.pause(1.0)
        call.rig.caller_wire.resume()


def _narrow(call: FaultyCall, dice: random.Random) -> None:
    """Half of what the media need, for four seconds."""
    call.wait_until(dice.uniform(1.0, 5.0))
    call.broken_now()
    call.rig.caller_wire.weather(bandwidth_bytes_s=8_000)
    call.pause(4.0)
    call.rig.caller_wire.weather(bandwidth_bytes_s=0)


def _late(rig: Rig) -> None:
    rig.caller_wire.weather(latency_ms=200, jitter_ms=100)


def _sliced(call: FaultyCall, dice: random.Random) -> None:
    """A second of it: 50,000 bytes one by one keep two processes busy."""
    call.wait_until(dice.uniform(1.0, 5.0))
    call.broken_now()
    call.rig.caller_wire.weather(slice_bytes=1)
    call.pause(1.0)
    call.rig.caller_wire.weather(slice_bytes=0)


NOBODY = DialOutcome("no-answer", rings_s=1.0)
RECORDED = ("recording",)
PIPELINE = ("pipeline: ",)
RINGING = ("ringing",)
NO_MODEL = ("refuse404",)


def _from_the_start() -> list[Case]:
    def case(name: str, fault: str, *faults: str, **more: object) -> Case:
        more.setdefault("silence_ms", FIRST_VOICE_MS)
        more.setdefault("served_by", RECORDED)
        setting = more.pop("setting", Setting(model_faults=faults))
        return Case(name, fault, setting, **more)  # type: ignore[arg-type]

    refused = {"silence_ms": BRIDGED_MS}
    return [
        case("tcp-refused", "the model's address refuses connections", setting=Setting(model_door="refused")),
        case(
            "no-name",
            "the name of the model's address is not known",
            setting=Setting(variables=(("OPENAI_REALTIME_URL", "ws://model.invalid/v1/realtime"),)),
        ),
        case("401", "401, the key is refused", "refuse401", **refused),
        case("429", "429, the quota is used up", "refuse429", **refused),
        case("quota", "the session opens with insufficient_quota", "quota", **refused),
        case("404", "404, no such model", "refuse404", **refused),
        case("connect-hangs", "the connection opens, then nothing", setting=Setting(model_door="silent")),
        case("no-session", "no session.created comes", "no_session"),
        case("no-update", "session.update is not answered", "no_update"),
        case("update-refused", "session.update is refused", "reject_update", **refused),
        case("mute", "no response is ever begun", "mute"),
        case("slow-greeting", "the first sound takes 3 s", "slow=3", served_by=("agent: ",)),
        case("responses-fail", "every response fails", "failed_response"),
    ]


def _in_mid_call() -> list[Case]:
    ways = {
        "reset": "the model's socket is reset",
        "fin": "the model's socket ends without a close frame",
        "close-1011": "the model closes with 1011",
        "black-hole": "the model's socket swallows everything",
        "garbage": "the model's socket sends garbage",
    }
    drops = [
        Case(
            name,
            ways[name],
            deed=partial(_at_random, breaks=DROPS[name]),
            silence_ms=BRIDGED_MS if name != "black-hole" else FIRST_VOICE_MS,
            notices=True,
            noticed_ms=NOTICED_MS.get(name, 200.0),
        )
        for name in DROPS
    ]
    return [
        *drops,
        Case("frozen", "the model's socket stands still for 1 s", deed=partial(_at_random, breaks=_frozen)),
        Case(
            "stands-still",
            "the model's socket stands still from then on",
            deed=partial(_at_random, breaks=_stands_still),
            silence_ms=FIRST_VOICE_MS,
            notices=True,
            noticed_ms=6000.0,
        ),
        Case(
            "session-ends",
            "the session reaches its longest time",
            Setting(model_faults=("session_expired=8",)),
        ),
        Case(
            "mute-later",
            "no response is begun after the second",
            Setting(model_faults=("mute_after=2",)),
            silence_ms=FILLED_MS,
        ),
        Case(
            "fails-midway",
            "a response fails half-way",
            Setting(model_faults=("error_midturn",)),
            silence_ms=3500,
        ),
        Case(
            "gone-pipeline",
            "the model is gone for good; a pipeline is there",
            Setting(services=()),
            deed=partial(_at_random, breaks=_gone_for_good),
            served_by=PIPELINE,
            notices=True,
        ),
        Case(
            "gone-message",
            "the model is gone for good; nothing else is there",
            deed=partial(_at_random, breaks=_gone_for_good),
            served_by=RECORDED,
            notices=True,
        ),
    ]


def _pipeline() -> list[Case]:
    kinds = {
        "500": "answers 500",
        "slow=5": "takes 5 s",
        "cut": "breaks off in the middle",
        "html": "answers with a page",
    }
    names = {"transcriptions": "transcription", "chat": "the chat model", "speech": "the voice"}
    found = [
        Case(
            "pipeline",
            "no model, a pipeline",
            Setting(model_faults=NO_MODEL, services=()),
            served_by=PIPELINE,
        )
    ]
    for endpoint, name in names.items():
        for fault, what in kinds.items():
            is_slow = fault.startswith("slow")
            found.append(
                Case(
                    f"{endpoint}-{fault.partition('=')[0]}",
                    f"no model; {name} {what}",
                    Setting(model_faults=NO_MODEL, services=(f"{endpoint}:{fault}",)),
                    silence_ms=FIRST_VOICE_MS if endpoint == "speech" else NO_ANSWER_MS,
                    served_by=PIPELINE if is_slow and endpoint != "speech" else RECORDED,
                )
            )
    return found


def _below() -> list[Case]:
    down = ("500",)
    return [
        Case(
            "person",
            "401; a person answers",
            Setting(model_faults=("refuse401",), has_person=True),
            served_by=RINGING,
        ),
        Case(
            "both-down-person",
            "no model, and the pipeline answers 500; a person answers",
            Setting(model_faults=NO_MODEL, services=down, has_person=True),
            silence_ms=FIRST_VOICE_MS,
            served_by=RINGING,
        ),
        Case(
            "nobody-answers",
            "401; the person does not answer",
            Setting(model_faults=("refuse401",), has_person=True, dial=NOBODY),
            served_by=RECORDED,
        ),
        Case(
            "both-down-message",
            "no model, and the pipeline answers 500",
            Setting(model_faults=NO_MODEL, services=down),
            silence_ms=FIRST_VOICE_MS,
            served_by=RECORDED,
        ),
        Case(
            "silent-message",
            "401; the caller says nothing after the beep",
            Setting(model_faults=("refuse401",)),
            served_by=("Twilio says: ",),
            says_nothing=True,
        ),
        Case(
            "rest-500",
            "401; a person is there, Twilio's REST API answers 500",
            Setting(model_faults=("refuse401",), has_person=True, rest_faults=("500",)),
            served_by=RINGING,
        ),
        Case(
            "rest-hangs",
            "401; a person is there, Twilio's REST API never answers",
            Setting(model_faults=("refuse401",), has_person=True, rest_faults=("timeout",)),
            silence_ms=5500,
            served_by=RINGING,
        ),
        Case(
            "all-down",
            "no model, no pipeline, no REST API, nobody answers",
            Setting(model_door="refused", services=down, has_person=True, rest_faults=("500",), dial=NOBODY),
            silence_ms=FIRST_VOICE_MS,
            served_by=RECORDED,
        ),
    ]


def _caller_side() -> list[Case]:
    return [
        Case(
            "latency",
            "Twilio's wire is late by 200 ± 100 ms",
            before=_late,
        ),
        Case("slices", "Twilio's wire carries one byte at a time for 1 s", deed=_sliced),
        Case("stalls", "Twilio's wire stands still for 1 s, three times", deed=_stalls, silence_ms=3000),
        Case("narrow", "Twilio's wire carries 8 kB/s for 4 s", deed=_narrow, silence_ms=6000),
        Case(
            "media-reset",
            "Twilio's media socket is reset",
            deed=partial(_at_random, breaks=_media_reset),
            silence_ms=3000,
        ),
    ]


CASES = {
    "From the start of the call": _from_the_start(),
    "In mid-call": _in_mid_call(),
    "The pipelined mode": _pipeline(),
    "A person, a message": _below(),
    "Twilio's side": _caller_side(),
}
