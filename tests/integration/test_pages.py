"""What a browser, a platform and Prometheus get."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.integration.gunicorn_process import ROOT, GunicornProcess, http_status


@pytest.fixture(scope="module")
def process() -> Iterator[GunicornProcess]:
    with GunicornProcess(env={"PUBLIC_BASE_URL": "kav.example", "MAX_CALLS": "7"}) as running:
        yield running


def get(process: GunicornProcess, path: str) -> tuple[str, dict[str, str]]:
    with urllib.request.urlopen(process.base_url + path, timeout=5) as answer:
        return answer.read().decode("utf-8"), {name.lower(): value for name, value in answer.headers.items()}


def test_the_home_page_is_hebrew_and_says_where_twilio_shall_call(process: GunicornProcess) -> None:
    page, headers = get(process, "/")
    assert '<html lang="he" dir="rtl">' in page
    assert "https://kav.example/webhook/incoming_call" in page
    assert "הגדירו OPENAI_API_KEY" in page
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_every_file_the_page_names_is_served(process: GunicornProcess) -> None:
    page, _ = get(process, "/")
    for path in re.findall(r'(?:href|src)="(/[^"]+)"', page):
        assert http_status(process.port, path) == 200


def test_health_and_readiness(process: GunicornProcess) -> None:
    assert get(process, "/healthz")[0] == "ok\n"
    assert get(process, "/readyz")[0] == "ready, 0 of 7 calls\n"


def test_metrics_name_their_units_and_hold_no_calls(process: GunicornProcess) -> None:
    text, headers = get(process, "/metrics")
    for name in (
        "gateway_active_calls",
        "gateway_hub_lag_seconds",
        "gateway_frames_total",
        "gateway_calls_started_total",
    ):
        assert f"# TYPE {name} " in text
    assert headers["content-type"].startswith("text/plain")


def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", *words],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", **env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_config_shows_every_variable_and_no_secret() -> None:
    done = command("config", "--json", OPENAI_API_KEY="sk-secret-0123456789", CALL_LANGUAGE="en")
    variables = json.loads(done.stdout)["variables"]
    assert variables["CALL_LANGUAGE"] == {
        "value": "en",
        "source": "CALL_LANGUAGE",
        "unit": "",
        "meaning": variables["CALL_LANGUAGE"]["meaning"],
    }
    assert variables["VOICE_THRESHOLD"]["source"] == "default"
    assert "sk-secret" not in done.stdout + done.stderr


def test_config_ends_with_2_and_every_problem_at_once() -> None:
    done = command("config", PORT="many", MAX_CALLS="-1")
    assert done.returncode == 2
    assert "PORT" in done.stderr and "MAX_CALLS" in done.stderr and "Traceback" not in done.stderr


def test_explain_knows_our_ids_and_twilios_codes() -> None:
    assert "call token" in command("explain", "KAV-114").stdout
    assert "KAV-112" in command("explain", "31920").stdout
    assert command("explain", "KAV-999").returncode == 1


def test_help_lists_every_command() -> None:
    text = command("--help").stdout
    for name in ("bench", "call", "config", "explain", "simulate"):
        assert name in text
