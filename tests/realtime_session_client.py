"""A client of one simulated Realtime session: no sockets, and the time is an argument."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from server.simulator.realtime.dialects import GA, Dialect
from server.simulator.realtime.faults import parse_faults
from server.simulator.realtime.floor import Voice
from server.simulator.realtime.persona import ScriptPersona
from server.simulator.realtime.session import RealtimeSession
from server.simulator.realtime.turn import Answer, Speech
from tests.openai_types import parse_server_event

DATA = Path(__file__).resolve().parent / "data"
PCMU = {"type": "audio/pcmu"}
HELLO = Speech(bytes(range(256)) * 25, "one two three four")  # 800 ms
ALL_AT_ONCE = 1e9


class Client:
    """A client of one session; every event it gets is judged by the openai package."""

    def __init__(
        self,
        *answers: Answer,
        dialect: Dialect = GA,
        faults: tuple[str, ...] = (),
        speed: float = ALL_AT_ONCE,
        delta_bytes: tuple[int, int] = (1, 4000),
        persona: Any = None,
        configured: bool = True,
    ) -> None:
        self.now_s = 100.0
        self.dialect = dialect
        self.session = RealtimeSession(
            persona or ScriptPersona(answers or ((HELLO,),)),
            now_s=self.now_s,
            unix_s=1_700_000_000.7,
            dialect=dialect,
            faults=parse_faults(faults),
            voice=Voice(speed, delta_bytes),
        )
        self.created = self._judged(self.session.open())
        self._sent = 0
        if configured and dialect is GA:
            self.configure()

    def _judged(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.dialect is GA:
            for event in events:
                parse_server_event(event)
        return events

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        self._sent += 1
        event = {"type": kind, "event_id": f"c{self._sent}"} | fields
        return self._judged(self.session.receive(json.dumps(event), self.now_s))

    def configure(self, **audio_input: Any) -> list[dict[str, Any]]:
        audio = {"input": {"format": PCMU} | audio_input, "output": {"format": PCMU}}
        return self.send("session.update", session={"type": "realtime", "audio": audio})

    def append(self, payload: bytes, chunk_bytes: int = 160) -> list[dict[str, Any]]:
        events = []
        for at in range(0, len(payload), chunk_bytes):
            audio = base64.b64encode(payload[at : at + chunk_bytes]).decode("ascii")
            events += self.send("input_audio_buffer.append", audio=audio)
        return events

    def wait(self, seconds: float = 0.0) -> list[dict[str, Any]]:
        self.now_s += seconds
        events: list[dict[str, Any]] = []
        while (at := self.session.next_at_s) is not None and at <= self.now_s:
            events += self._judged(self.session.tick(self.now_s))
        return events

    def say_something(self) -> list[dict[str, Any]]:
        return self.send("response.create") + self.wait(1.0)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Types in order, repeated deltas told once."""
    found: list[str] = []
    for event in events:
        if not (event["type"].endswith(".delta") and event["type"] in found[-2:]):
            found.append(event["type"])
    return found


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def audio_of(events: list[dict[str, Any]], kind: str = "response.output_audio.delta") -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in of(events, kind))


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert [event["type"] for event in events] == ["error"], events
    error: dict[str, Any] = events[0]["error"]
    return error


def clip(name: str) -> bytes:
    return (DATA / f"{name}.ulaw").read_bytes()
