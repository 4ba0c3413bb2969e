"""Until when a model is served, as it is told at start."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openai.types import audio_model
from openai.types.audio import speech_model
from openai.types.shared import chat_model

from server.config import variables
from server.config_shutdowns import SPEECH_SHUTDOWNS, shutdown_warning


def test_a_model_that_ends_is_named_with_its_variable_its_day_and_a_cure():
    line = shutdown_warning("TTS_MODEL", "tts-1")
    assert line.startswith("KAV-179 ")
    assert "TTS_MODEL=tts-1 ends 2027-01-06" in line
    assert "Fix: " in line


def test_where_no_successor_is_the_way_out_is_another_service():
    (tts,) = (spec.default for spec in variables() if spec.metadata["variable"] == "TTS_MODEL")
    line = shutdown_warning("TTS_MODEL", tts)
    assert "where it offers none, as OpenAI for TTS_MODEL, set OPENAI_BASE_URL" in line


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-transcribe", "", "piper"])
def test_of_others_nothing_is_said(model):
    assert shutdown_warning("LLM_MODEL", model) == ""


def test_every_day_is_one():
    assert all(date.fromisoformat(day) for day in SPEECH_SHUTDOWNS.values())


def announced(module: Any) -> dict[str, str]:
    """Model to day, from the notes that OpenAI's client library carries beside its types."""
    source = Path(module.__file__).read_text("utf-8")
    days: dict[str, str] = {}
    for names, day in re.findall(
        r"- ((?:\"[\w.-]+\",?\s*)+):\s+Announced\s+shutdown\s+date:\s+([\d-]+)", source
    ):
        days |= dict.fromkeys(re.findall(r"\"([\w.-]+)\"", names), day)
    return days


@pytest.mark.parametrize("module", [audio_model, speech_model, chat_model])
def test_what_openai_s_own_library_says_agrees(module):
    days = announced(module)
    assert days
    both = days.keys() & SPEECH_SHUTDOWNS.keys()
    assert {model: SPEECH_SHUTDOWNS[model] for model in both} == {model: days[model] for model in both}
    assert module is chat_model or both == days.keys()
