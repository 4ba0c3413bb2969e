"""gunicorn.conf.py: what is checked before anybody listens, in a process that nothing has patched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = (
    "import runpy, sys; runpy.run_path('gunicorn.conf.py')['_check_settings']();"
    "assert 'eventlet' not in sys.modules; print('well')"
)


def start(**env: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | env
    return subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (None, "No such file"),
        ("[[business]]\ngreting = 1\n", "did you mean greeting?"),
        ("[[business", "not TOML"),
    ],
)
def test_a_businesses_file_that_cannot_be_used_ends_the_start_with_2_and_without_a_traceback(
    tmp_path: Path, text: str | None, seen: str
) -> None:
    path = tmp_path / "businesses.toml"
    if text is not None:
        path.write_text(text, "utf-8")
    done = start(BUSINESSES_FILE=str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("KAV-169 ") and seen in done.stderr
    assert "Traceback" not in done.stderr


def test_variables_that_cannot_be_read_do_so_too() -> None:
    done = start(MAX_CALLS="many")
    assert done.returncode == 2
    assert done.stderr.startswith("KAV-101 ")


def test_what_can_be_used_is_let_through_without_the_hub() -> None:
    done = start()
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
