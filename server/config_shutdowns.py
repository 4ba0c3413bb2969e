"""Until when does OpenAI serve a model of the pipelined mode?

By the deprecations page of 2026-11 and the notes in OpenAI's own client library. Past that day the
service answers 404. Current at that time: gpt-transcribe to write down, gpt-6-luna to answer. For the
voice there is no successor on /v1/audio/speech: every model of OpenAI's there ends on 2027-01-06.
"""

from __future__ import annotations

from server.faults import FAULTS

SPEECH_SHUTDOWNS = {
    "tts-1": "2027-01-06",
    "tts-1-hd": "2027-01-06",
    "gpt-4o-mini-tts": "2027-01-06",
    "gpt-4o-mini-tts-2025-12-15": "2027-01-06",
    "whisper-1": "2027-02-26",
    "gpt-4o-transcribe": "2027-02-26",
    "gpt-4o-transcribe-diarize": "2027-02-26",
    "gpt-4o-mini-transcribe": "2027-02-26",
    "gpt-4o-mini-transcribe-2025-12-15": "2027-02-26",
    "gpt-5": "2026-12-11",
    "gpt-5-2025-08-07": "2026-12-11",
    "gpt-5-mini": "2026-12-11",
    "gpt-5-mini-2025-08-07": "2026-12-11",
    "gpt-5-nano": "2026-12-11",
    "gpt-5-nano-2025-08-07": "2026-12-11",
    "o3": "2026-12-11",
    "o3-2025-04-16": "2026-12-11",
    "gpt-4.1": "2027-01-14",
    "gpt-4.1-2025-04-14": "2027-01-14",
    "gpt-4.1-mini": "2027-01-14",
    "gpt-4.1-mini-2025-04-14": "2027-01-14",
    "gpt-4o": "2027-01-14",
    "gpt-4o-2024-08-06": "2027-01-14",
    "gpt-4o-2024-11-20": "2027-01-14",
    "gpt-4o-mini": "2027-01-14",
    "gpt-4o-mini-2024-07-18": "2027-01-14",
    "gpt-5.1": "2027-04-01",
    "gpt-5.1-2025-11-13": "2027-04-01",
    "gpt-5.4-nano": "2027-04-01",
    "gpt-5.4-nano-2026-03-17": "2027-04-01",
    "gpt-4.1-nano": "2026-10-23",
    "gpt-4.1-nano-2025-04-14": "2026-10-23",
    "o4-mini": "2026-10-23",
    "o3-mini": "2026-10-23",
    "o1": "2026-10-23",
    "gpt-4-turbo": "2026-10-23",
    "gpt-4": "2026-10-23",
    "gpt-3.5-turbo": "2026-10-23",
}
"""Model to the day of its end."""


def shutdown_warning(variable: str, model: str) -> str:
    """The line for the start when `model`, the value of `variable`, has an announced end; else empty."""
    day = SPEECH_SHUTDOWNS.get(model)
    return FAULTS["KAV-179"].line(f"{variable}={model} ends {day}") if day else ""
