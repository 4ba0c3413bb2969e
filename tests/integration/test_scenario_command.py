"""`python -m server call --scenario` in a shell: real gunicorn, real sockets, and what is said of them."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from server.audio.wav import read_ulaw
from tests.integration.gunicorn_process import ROOT, GunicornProcess, descendants_of, is_running
from tests.integration.tiny_gateway import closed_port

GOOD = """\
about: נשמעת הברכה
model:
  answers: [he/greeting_short]
caller:
  - {when: agent_quiet, hang_up: }
expect:
  - heard: greeting_short
  - model_sessions: 1
"""
BAD = """\
max_seconds: 3
gateway: {PERSON_NUMBER: "+972501112222"}
model:
  answers: [he/greeting_short]
caller:
  - {when: cleared, say: hebrew_question}
expect:
  - {heard: he/goodbye}
  - {dialled: "+972501112222"}
  - {log: no such line}
"""
OPEN = """\
caller:
  - {when: agent_speaks, for: 0.5, hang_up: }
expect:
  - first_voice_within_ms: 3000
"""


def shell(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", "call", *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "default"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return folder


def test_a_scenario_that_holds_ends_with_0(tmp_path: Path) -> None:
    done = shell("--scenario", write(tmp_path, good=GOOD) / "good.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    line, last = done.stdout.splitlines()
    assert line.startswith("✓ good ") and line.endswith("נשמעת הברכה")
    assert last == "1 passed"
    assert done.stderr == ""


def test_one_that_does_not_ends_with_1_and_says_what_was_heard_instead(tmp_path: Path) -> None:
    write(tmp_path, bad=BAD, good=GOOD)
    keep = tmp_path / "kept"
    done = shell("--scenario", tmp_path, "--keep", keep, "--jobs", "2", "--json")
    assert done.returncode == 1
    for told in (
        "✗ bad ",
        "the call still went on after 3 s; end it with hang_up, or raise max_seconds",
        "step 1 (line 6): when a clear came → say hebrew_question was never begun",
        "line 8: he/goodbye was expected, whole; he/goodbye was not heard",
        "line 9: +972•••2222 was to be rung; it was nobody",
        "line 10: a line of the log was to fit 'no such line'",
        "s he/greeting_short",
        "✓ good ",
        "1 passed, 1 failed",
    ):
        assert told in done.stderr, done.stderr
    bad, good = json.loads(done.stdout)["scenarios"]
    assert (bad["status"], good["status"]) == ("failed", "passed")
    assert bad["heard"].endswith("he/greeting_short") and len(bad["failures"]) == 5
    assert good["report"]["verbs"] == ["Connect"] and good["report"]["closed_by"] == "caller"
    assert good["steps"][0]["start_ms"] > 1500
    names = {
        f"{name}.{kind}" for name in ("bad", "good") for kind in ("wav", "json", "gateway.log", "model.jsonl")
    }
    assert {path.name for path in keep.iterdir()} == names
    assert "WS_CONNECTED" in (keep / "good.gateway.log").read_text("utf-8")
    assert struct.unpack_from("<H", (keep / "good.wav").read_bytes(), 22) == (2,), "the caller and the agent"
    assert '"dir": "in"' in (keep / "good.model.jsonl").read_text("utf-8")


def test_a_gateway_that_does_not_start_is_heard_out(tmp_path: Path) -> None:
    write(tmp_path, odd="gateway: {VOICE_THRESHOLD: loud}\n" + GOOD)
    done = shell("--scenario", tmp_path)
    assert done.returncode == 1
    assert "the gateway ended with 2 at its start" in done.stdout
    assert "VOICE_THRESHOLD" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_the_examples_of_the_documentation_hold(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scenarios.md").read_text("utf-8"), re.DOTALL)
    first, second = (text for text in blocks if "\ncaller:" in text)
    done = shell("--scenario", write(tmp_path, first=first, second=second), "--jobs", "2")
    assert done.returncode == 0, done.stdout


def test_each_round_is_played_and_kept_by_itself(tmp_path: Path) -> None:
    done = shell("--scenario", write(tmp_path, good=GOOD), "--repeat", "2", "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("✓ good.") == 2 and "2 passed" in done.stdout
    assert (tmp_path / "kept" / "good.2.wav").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("caler: []\n" + GOOD, "talk.yaml:1: unknown key 'caler' of a scenario; did you mean caller?"),
        (GOOD.replace("heard:", "herd:"), "did you mean heard?"),
        ("caller: [", "not YAML"),
    ],
)
def test_a_mistake_in_a_file_ends_with_2_before_anything_is_played(
    tmp_path: Path, text: str, words: str
) -> None:
    done = shell("--scenario", write(tmp_path, talk=text, good=GOOD))
    assert done.returncode == 2
    assert words in done.stderr and "passed" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "nowhere.yaml"], "no such file or folder"),
        (["--scenario", "tests/scenarios", "--wav", "x.wav"], "--wav and --scenario do not go together"),
        (["--jobs", "2"], "--jobs goes with --scenario"),
        (["--keep", "x", "http://127.0.0.1:1"], "--keep goes with --scenario"),
        (["--scenario", "tests/scenarios", "--repeat", "0"], "repeat"),
        (["--scenario", "tests/scenarios", "ftp://x"], "no http://"),
        (["--scenario", "tests/scenarios", "http://127.0.0.1:1"], "model: needs a gateway started here"),
        (["--scenario", "tests/scenarios", "--keep", "README.md"], "--keep README.md"),
    ],
)
def test_usage_errors_end_with_2(arguments: list[str], words: str) -> None:
    done = shell(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_with_an_address_only_that_gateway_is_called_and_signed_for(tmp_path: Path) -> None:
    token = "0123456789abcdef0123456789abcdef"
    write(tmp_path, open=OPEN)
    with GunicornProcess(env={"TWILIO_AUTH_TOKEN": token}) as gateway:
        signed = shell("--scenario", tmp_path, gateway.base_url, env={"TWILIO_AUTH_TOKEN": token})
        assert signed.returncode == 0, signed.stdout + signed.stderr
        unsigned = shell("--scenario", tmp_path, gateway.base_url)
        assert unsigned.returncode == 4
        assert "the gateway refused the call with 403" in unsigned.stdout
        assert gateway.output().count("WS_CONNECTED") == 1


def test_an_address_where_nobody_is_ends_with_3(tmp_path: Path) -> None:
    done = shell("--scenario", write(tmp_path, open=OPEN), f"http://127.0.0.1:{closed_port()}")
    assert done.returncode == 3
    assert "nothing listens" in done.stdout


@pytest.mark.parametrize(
    ("number", "jobs"), [(signal.SIGINT, "1"), (signal.SIGTERM, "1"), (signal.SIGTERM, "2")]
)
def test_whoever_stops_it_leaves_no_gateway_behind(tmp_path: Path, number: int, jobs: str) -> None:
    long = GOOD.replace("{when: agent_quiet, hang_up: }", "{after: 50, hang_up: }")
    write(tmp_path, one=long, two=long)
    command = [sys.executable, "-m", "server", "call", "--scenario", str(tmp_path), "--jobs", jobs]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wanted = 2 * int(jobs)  # an arbiter and a worker for each, at the least
        family: list[int] = []
        until = time.monotonic() + 20
        while len(family) < wanted + (3 if jobs != "1" else 0):
            assert time.monotonic() < until, "no gateway was started"
            family = descendants_of(process.pid)
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(15) != 0
        until = time.monotonic() + 5
        while any(map(is_running, family)):
            assert time.monotonic() < until, "a process was left behind"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def test_what_the_json_says_of_a_recording_can_be_found_in_it(tmp_path: Path) -> None:
    """Times are of the call's clock, and the recording begins with it."""
    done = shell("--scenario", write(tmp_path, good=GOOD), "--keep", tmp_path / "kept", "--json")
    (result,) = json.loads(done.stdout)["scenarios"]
    told: dict[str, Any] = json.loads((tmp_path / "kept" / "good.json").read_text("utf-8"))
    assert told == result
    frames = (tmp_path / "kept" / "good.wav").read_bytes()[44:]
    agent = b"".join(frames[at + 2 : at + 4] for at in range(0, len(frames), 4))
    heard_from_ms = float(result["heard"].removeprefix("heard: ").partition("–")[0]) * 1000
    first = next(
        at
        for at in range(0, len(agent), 2)
        if abs(int.from_bytes(agent[at : at + 2], "little", signed=True)) > 200
    )
    assert first / 16 == pytest.approx(heard_from_ms, abs=25)
    assert read_ulaw(ROOT / "static" / "prompts" / "he" / "greeting_short.ulaw")
