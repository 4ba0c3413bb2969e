"""The app behind the tests of `openai_speech` in a real worker: conversations, and what they cost the hub.

Variables: SPEECH_URL, the simulated service's; SPEECH_CA, the file of its authority when it speaks TLS.
"""

from __future__ import annotations

import gc
import os
import ssl
import time
from typing import Any

from flask import Flask, request

from server import green
from server.audio.g711 import from_pcm16, to_pcm16
from server.audio.resample import TelephoneDownsampler
from server.errors import SpeechError
from server.services.chat_deltas import Done, TextDelta
from server.services.openai_speech import OpenAISpeech, SpeechEndpoint
from server.turns.sentences import SentenceCutter
from tests.integration.calls import KEY, speech

TICK_S = 0.002
ca = os.environ.get("SPEECH_CA")
tls = ssl.create_default_context(cafile=ca) if ca else None
api = OpenAISpeech(
    SpeechEndpoint(os.environ["SPEECH_URL"], KEY, "gpt-transcribe", "llm", "tts", "marin", tls)
)
app = Flask(__name__)


class Ticker:
    """Runs every 2 ms when the hub lets it: what was computed between two ticks held the hub.

    CPU time of this one thread, so that other processes' work does not count, and the clock, for what
    blocks without computing.
    """

    def __init__(self) -> None:
        self.worst_cpu_ms = self.worst_late_ms = 0.0
        self._cpu_s, self._now_s = time.thread_time(), time.monotonic()
        self._thread = green.spawn(self._run)

    def _run(self) -> None:
        while True:
            self._tick()
            green.sleep(TICK_S)

    def _tick(self) -> None:
        cpu_s, now_s = time.thread_time(), time.monotonic()
        self.worst_cpu_ms = max(self.worst_cpu_ms, (cpu_s - self._cpu_s) * 1000)
        self.worst_late_ms = max(self.worst_late_ms, (now_s - self._now_s - TICK_S) * 1000)
        self._cpu_s, self._now_s = cpu_s, now_s

    def stop(self) -> dict[str, float]:
        self._tick()
        self._thread.kill()
        return {"cpu_ms": self.worst_cpu_ms, "late_ms": self.worst_late_ms}


@app.get("/healthz")
def healthz() -> str:
    return "ok"


@app.get("/conversations/<int:count>")
def conversations(count: int) -> dict[str, Any]:
    """So many side by side, from a caller's μ-law to the agent's."""
    results: list[dict[str, Any]] = []
    ticker = Ticker()
    began_at = time.monotonic()
    threads = [green.spawn(converse, results) for _ in range(count)]
    for thread in threads:
        thread.wait()
    return {"held": ticker.stop(), "conversations": results, "seconds": time.monotonic() - began_at}


def converse(results: list[dict[str, Any]]) -> None:
    result: dict[str, Any] = {"pieces": [], "ulaw_bytes": 0, "error": ""}
    results.append(result)
    try:
        result["heard"] = api.transcribe(to_pcm16(speech("hebrew_question")), "he")
        cutter, pieces = SentenceCutter(), []
        for delta in api.chat([{"role": "user", "content": result["heard"]}]):
            if isinstance(delta, TextDelta):
                pieces += cutter.push(delta.text)
            elif isinstance(delta, Done):
                pieces += cutter.flush()
        for piece in pieces:
            down = TelephoneDownsampler(24000)
            for chunk in api.speak(piece, language="he"):
                result["ulaw_bytes"] += len(from_pcm16(down.push(chunk)))
            result["ulaw_bytes"] += len(from_pcm16(down.flush()))
        result["pieces"] = pieces
    except SpeechError as error:
        result["error"] = f"{error.fault_id} {error}"


@app.get("/backlog")
def backlog() -> dict[str, Any]:
    """Read speech of which much has come already."""
    down = TelephoneDownsampler(24000)
    with api.speak("backlog " * 500) as sound:
        read_bytes = len(next(sound))
        green.sleep(0.5)
        ticker = Ticker()
        green.sleep(0)
        for chunk in sound:
            read_bytes += len(chunk)
            from_pcm16(down.push(chunk))
    return {"read_bytes": read_bytes, **ticker.stop()}


class Reading:
    """A stream, and the green thread that reads it."""

    def __init__(self, what: str) -> None:
        self.stream: Any = (
            api.chat([{"role": "user", "content": "שלום"}]) if what == "chat" else api.speak("שלום לכם")
        )
        self.how: str | None = None
        self.ended_at: float | None = None
        self.thread = green.spawn(self._run)

    def _run(self) -> None:
        try:
            list(self.stream)
            self.how = "without an error"
        except SpeechError as error:
            self.how = str(error)
        finally:
            self.ended_at = time.monotonic()


readings: list[Reading] = []


@app.get("/read/<what>")
def read(what: str) -> dict[str, Any]:
    readings.append(Reading(what))
    return {}


@app.get("/give_up/<how>")
def give_up(how: str) -> dict[str, Any]:
    """From this green thread, `close` the stream another one reads, or `kill` that one."""
    reading = readings.pop()
    gave_up_at = time.monotonic()
    if how == "close":
        reading.stream.close()
    else:
        reading.thread.kill()
    while reading.ended_at is None and time.monotonic() < gave_up_at + 2:
        green.sleep(0.001)
    took_ms = ((reading.ended_at or gave_up_at + 2) - gave_up_at) * 1000
    return {"how": reading.how, "ms": took_ms, "at": gave_up_at}


@app.get("/ask/<what>")
def ask(what: str) -> dict[str, Any]:
    deadline_s = float(request.args["deadline_s"])
    ticker = Ticker()
    began_at = time.monotonic()
    fault = answer = ""
    try:
        if what == "transcriptions":
            answer = api.transcribe(bytes(16000), "he", deadline_s)
        else:
            one = OpenAISpeech(api.endpoint, first_byte_s=deadline_s)
            answer = str(list(one.chat([{"role": "user", "content": "שלום"}])))
    except SpeechError as error:
        fault = error.fault_id
    return {"answer": answer, "fault": fault, "seconds": time.monotonic() - began_at, **ticker.stop()}


gc.collect()
gc.freeze()  # as server.main does: a collection of all that was imported would hold the hub
