"""A gateway with a model of ours behind it, and calls to it: what most tests of whole calls need."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.audio.g711 import FRAME_BYTES, SILENCE
from server.audio.wav import read_ulaw
from server.simulator.realtime.persona import Persona, ScriptPersona, Speech, Transcript
from server.simulator.realtime.server import RealtimeServer
from server.simulator.twilio.call import CallOptions, TwilioCall
from server.simulator.twilio.call_report import CallReport
from server.simulator.twilio.caller import Key
from tests.integration.gunicorn_process import ROOT, GunicornProcess

DATA = ROOT / "tests" / "data"
KEY = "sk-test-0123456789abcdef"
"""Passes for a key; only a simulator ever sees it."""


def speech(name: str) -> bytes:
    """A clip of tests/data as μ-law."""
    return read_ulaw(DATA / f"{name}.ulaw")


def whole_frames(payload: bytes) -> bytes:
    """As it is heard: padded with silence to whole frames."""
    return payload.ljust(-(-len(payload) // FRAME_BYTES) * FRAME_BYTES, SILENCE)


@dataclass
class Model:
    """A Realtime server in this process, and what it wrote down."""

    server: RealtimeServer
    log_path: Path

    def events(self, direction: str) -> list[dict[str, Any]]:
        """What it got ("in") or said ("out"), as the log tells it."""
        lines = [json.loads(line) for line in self.log_path.read_text("utf-8").splitlines()]
        return [line["event"] for line in lines if line["dir"] == direction]

    def of_type(self, direction: str, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events(direction) if event.get("type") == kind]

    def audio(self, direction: str) -> bytes:
        """All audio of its first session, byte for byte."""
        return (self.log_path.parent / f"session-1-{direction}.ulaw").read_bytes()


@contextmanager
def model_server(
    tmp_path: Path,
    answers: Sequence[Sequence[Any]] | None = None,
    *,
    persona: Callable[[], Persona] | None = None,
    hears: Sequence[str] = (),
    **options: Any,
) -> Iterator[Model]:
    """`answers`: what a scripted model says, turn by turn; without, the demo's persona. `hears`: what it
    takes the caller's utterances for, in each session anew."""
    log_path = tmp_path / "model.jsonl"
    if answers is not None:
        script = [tuple(answer) for answer in answers]
        words = [Transcript(text) for text in hears]
        persona = lambda: ScriptPersona(script, after_last="none", hears=words)  # noqa: E731
    with RealtimeServer(persona_factory=persona, log_path=log_path, audio_dir=tmp_path, **options) as server:
        yield Model(server, log_path)


@contextmanager
def gateway(model: Model | None = None, **env: str) -> Iterator[GunicornProcess]:
    """Real gunicorn; with `model`, in realtime mode against it."""
    if model is not None:
        env = {"OPENAI_REALTIME_URL": model.server.url, "OPENAI_API_KEY": KEY, "ALLOW_UNSIGNED_AI": "1"} | env
    with GunicornProcess(env=env) as process:
        yield process


def make_call(
    process: GunicornProcess, audio: bytes = b"", *, keys: tuple[Key, ...] = (), **options: Any
) -> TwilioCall:
    return TwilioCall(
        CallOptions(f"{process.base_url}/webhook/incoming_call", audio=audio, keys=keys, **options)
    )


@contextmanager
def calling(call: TwilioCall) -> Iterator[list[CallReport]]:
    """Run a call beside the test; its report is in the list after the block."""
    reports: list[CallReport] = []
    thread = threading.Thread(target=lambda: reports.append(call.run()))
    thread.start()
    try:
        yield reports
    finally:
        call.hang_up()
        thread.join(15)
        assert not thread.is_alive(), "the call did not end"


def eventually(holds: Callable[[], bool], timeout_s: float = 3.0) -> None:
    """Wait for a fact of another process, which has no event to wait on."""
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"not so within {timeout_s} s"
        time.sleep(0.01)


def say(name: str, *delta_bytes: int) -> Speech:
    """One item of a scripted model's answer: a clip, cut into deltas of these sizes."""
    return Speech(speech(name), name, delta_bytes)
