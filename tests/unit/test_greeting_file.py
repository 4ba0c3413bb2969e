"""A recorded greeting is played only if a caller's Twilio would get it."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from server.app_factory import _greeting_path


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
