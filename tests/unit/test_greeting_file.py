"""A recorded greeting is played only if a caller's Twilio would get it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from server import app_factory
from server.app_factory import _greeting_path
from server.config import Settings

BASE_URL = "https://kav.example"


def app(folder: Path) -> Flask:
    return Flask("test", static_folder=str(folder), static_url_path="/static")


def test_without_a_file_nothing_is_played(tmp_path: Path) -> None:
    assert _greeting_path(app(tmp_path)) is None


def test_a_file_that_is_served_is_played(tmp_path: Path) -> None:
    (tmp_path / "greeting.wav").write_bytes(b"RIFF")
    assert _greeting_path(app(tmp_path)) == "/static/greeting.wav"


def test_a_file_that_is_not_served_is_not_played(tmp_path: Path) -> None:
    (tmp_path / "greeting.mp3").write_bytes(b"x")
    refusing = app(tmp_path)
    refusing.before_request(lambda: ("no", 403))
    assert _greeting_path(refusing) is None


def test_an_app_that_plays_one_is_made_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greeting.mp3").write_bytes(b"x")
    monkeypatch.setattr(app_factory, "STATIC_DIR", tmp_path)
    made = app_factory.create_app(Settings.from_env({"CALL_MODE": "echo", "PUBLIC_BASE_URL": BASE_URL}))
    client = made.test_client()
    with client.get("/static/greeting.mp3") as file:
        assert file.data == b"x"
    answer = client.post("/webhook/incoming_call", data={"CallSid": "CA1", "CallStatus": "ringing"})
    assert f"<Play>{BASE_URL}/static/greeting.mp3</Play><Connect" in answer.text
