"""Who has the floor: which response is being given, and when may the next begin?

One response at a time writes to the default conversation; some may run beside it, out of band. The
floor asks the persona what to say, paces its responses and watches for a caller who says nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.audio.g711 import BYTES_PER_MS, ms
from server.simulator.realtime.checks import Rejected, invalid_value
from server.simulator.realtime.config import SessionConfig, check_same_voice
from server.simulator.realtime.conversation import Conversation, heard_in
from server.simulator.realtime.faults import Faults
from server.simulator.realtime.formats import Decoder
from server.simulator.realtime.parsing import sound_of
from server.simulator.realtime.response import Pace, ResponseRun, Settings
from server.simulator.realtime.turn import Persona, Turn

Event = dict[str, Any]

MAX_OUT_OF_BAND = 4
"""Responses beside the default conversation at a time; the real limit is not published."""
EVENTS_PER_TICK = 16
"""About 1 ms of work."""
_BYTES_PER_TOKEN_HEARD = 100 * BYTES_PER_MS


@dataclass(frozen=True, slots=True)
class Voice:
    """How answers are delivered. Speed is a multiple of real time, deltas are bytes of μ-law."""

    speed: float = 8.0
    delta_bytes: tuple[int, int] = (1, 4000)


class Floor:
    """The responses of one session. Methods return the events they cause, in order."""

    def __init__(
        self,
        persona: Persona,
        config: SessionConfig,
        conversation: Conversation,
        *,
        faults: Faults,
        voice: Voice,
        make_id: Callable[[str], str],
        chance: random.Random,
    ) -> None:
        self.has_spoken = False
        """Audio of the assistant's has gone out: the voice is fixed from now on."""
        self.idle_at_s: float | None = None
        """When the caller's silence becomes a reason to speak."""
        self._persona = persona
        self._config = config
        self._conversation = conversation
        self._faults = faults
        self._voice = voice
        self._make_id = make_id
        self._chance = chance
        self._active: ResponseRun | None = None
        self._out_of_band: list[ResponseRun] = []
        self._responses = 0

    @property
    def is_busy(self) -> bool:
        """A response is writing to the default conversation."""
        return self._active is not None

    @property
    def next_at_s(self) -> float | None:
        times = [at for run in self._runs() if (at := run.next_at_s) is not None]
        if self.idle_at_s is not None:
            times.append(self.idle_at_s)
        return min(times, default=None)

    def respond(self, asked: Mapping[str, Any], now_s: float, *, is_idle: bool = False) -> list[Event]:
        """Begin a response as response.create asks, in GA shape. Raises Rejected if it may not begin."""
        limit = 0 if self._faults.mute else self._faults.mute_after
        if limit is not None and self._responses >= limit:
            return []
        is_default = asked.get("conversation", "auto") == "auto"
        self._check_free(is_default)
        output = self._config.output | (asked.get("audio", {}).get("output", {}))
        if self.has_spoken:
            check_same_voice(self._config.output["voice"], output)
        turn = self._turn(asked, is_idle=is_idle, is_default=is_default)
        run = ResponseRun(
            self._persona.answer(turn),
            self._settings(asked, output, turn.instructions),
            self._pace(),
            self._conversation if is_default else None,
            self._make_id,
            self._chance,
            now_s,
        )
        self._responses += 1
        events = run.begin()
        if self._responses <= self._faults.failed_response:
            return events + run.fail(
                "rate_limit_exceeded", "Rate limit reached for this model. Retry in 20s."
            )
        if is_default:
            self._active, self.idle_at_s = run, None
        else:
            self._out_of_band.append(run)
        return events

    def advance(self, now_s: float) -> list[Event]:
        """What is due by now, in portions of about `EVENTS_PER_TICK`."""
        events = []
        for run in self._runs():
            events += run.advance(now_s, EVENTS_PER_TICK)
            self._after(run, now_s)
        return events

    def interrupt(self, now_s: float) -> list[Event]:
        """The caller speaks into the active response, if there is one."""
        return self._stop(self._active, "turn_detected", now_s) if self._active else []

    def cancel(self, response_id: str | None, now_s: float) -> list[Event]:
        """Raises Rejected when there is nothing to cancel."""
        runs = self._runs() if response_id else [self._active] if self._active else []
        found = [run for run in runs if response_id in (None, run.id)]
        if not found:
            raise Rejected("response_cancel_not_active", "Cancellation failed: no active response found")
        return self._stop(found[0], "client_cancelled", now_s)

    def _check_free(self, is_default: bool) -> None:
        if is_default and self._active is not None:
            raise Rejected(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._active.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        if not is_default and len(self._out_of_band) >= MAX_OUT_OF_BAND:
            raise invalid_value("response.conversation", f"{MAX_OUT_OF_BAND} out-of-band responses already.")

    def _turn(self, asked: Mapping[str, Any], *, is_idle: bool, is_default: bool) -> Turn:
        config = self._config
        if "input" in asked:
            given = []
            for item in asked["input"]:
                sound = sound_of(item, "response.input")
                payload = Decoder(config.input["format"]).decode(sound) if sound is not None else None
                given.append(heard_in(item, payload))
            heard = tuple(h for h in given if h is not None)
        else:
            heard = self._conversation.unanswered(answer=is_default)
        tools = asked.get("tools", config.ga["tools"])
        choice = asked.get("tool_choice", config.ga["tool_choice"])
        names = frozenset(tool["name"] for tool in tools) if choice != "none" else frozenset()
        instructions = asked.get("instructions", config.ga["instructions"])
        return Turn(heard, instructions, config.language, names, is_idle, asked.get("instructions", ""))

    def _settings(self, asked: Mapping[str, Any], output: Event, instructions: str) -> Settings:
        config = self._config.ga
        return Settings(
            output_format=output["format"],
            voice=output["voice"],
            modality=asked.get("output_modalities", config["output_modalities"])[0],
            max_output_tokens=asked.get("max_output_tokens", config["max_output_tokens"]),
            metadata=asked.get("metadata"),
            input_text_tokens=(len(instructions) + self._conversation.text_chars()) // 4,
            input_audio_tokens=self._conversation.audio_bytes() // _BYTES_PER_TOKEN_HEARD,
        )

    def _pace(self) -> Pace:
        faults = self._faults
        broken = "failed" if faults.error_midturn else "incomplete" if faults.incomplete_response else None
        return Pace(
            speed=self._voice.speed,
            delta_bytes=(1, 1) if faults.tiny_deltas else self._voice.delta_bytes,
            first_audio_s=self._first_audio_s(),
            is_big_delta=faults.big_delta and self._responses == 0,
            has_late_deltas=faults.late_deltas,
            breaks_with=broken,
        )

    def _first_audio_s(self) -> float:
        answers, slow_s = self._faults.slow_after or (0, 0.0)
        return max(self._faults.slow, slow_s if self._responses >= answers else 0.0)

    def _stop(self, run: ResponseRun, reason: str, now_s: float) -> list[Event]:
        events = run.cancel(reason)
        self._after(run, now_s)
        return events

    def _after(self, run: ResponseRun, now_s: float) -> None:
        """Note that audio went out, and free the floor when the response is over."""
        self.has_spoken = self.has_spoken or run.audio_bytes > 0
        if not run.is_over:
            return
        if run is not self._active:
            self._out_of_band.remove(run)
            return
        self._active = None
        idle_ms = (self._config.turn_detection or {}).get("idle_timeout_ms")
        if idle_ms is not None:
            self.idle_at_s = now_s + (ms(run.audio_bytes) + idle_ms) / 1000

    def _runs(self) -> list[ResponseRun]:
        return [*([self._active] if self._active else []), *self._out_of_band]
