"""`python -m server messages` in a shell, on the file that a gateway writes meanwhile."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from server.store.caller_messages import CallerMessage
from server.store.sqlite_file import SqliteFile
from tests.integration.calls import eventually, gateway
from tests.integration.gunicorn_process import ROOT, GunicornProcess

FSI, PDI = "\u2068", "\u2069"


def shell(
    *arguments: str, database: Path | str = "", cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """With pipes that know no Hebrew; `database`: a path, or a whole URL."""
    url = f"sqlite:///{database}" if isinstance(database, Path) else database
    return subprocess.run(
        [sys.executable, "-m", "server", "messages", *arguments],
        cwd=cwd,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONIOENCODING": "latin-1",
            "TZ": "IST-2IDT,M3.4.4/26,M10.5.0",
            "PYTHONPATH": str(ROOT),
        }
        | {"DATABASE_URL": url}
        | env,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def note(path: Path, *messages: CallerMessage) -> None:
    """As another process writes them."""
    with closing(SqliteFile(str(path), 600.0)) as file:
        for message in messages:
            report = file.note(message)
            assert (report.waiting, report.problem) == (0, "")


def post(process: GunicornProcess, path: str, **form: str) -> None:
    data = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(process.base_url + path, data, timeout=10) as answer:
        assert answer.status == 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kav.sqlite3"


def test_messages_are_read_beside_a_running_gateway(path: Path) -> None:
    with gateway(DATABASE_URL=f"sqlite:///{path}") as process:
        post(
            process,
            "/webhook/message_left",
            CallSid="CA" + "1" * 32,
            From="+972501234567",
            RecordingUrl="https://api.twilio.com/RE1",
        )
        eventually(lambda: "https://api.twilio.com/RE1" in shell(database=path).stdout, 10.0)
        note(path, CallerMessage("שיחזרו אליי מחר", "CA2", "1", 4e9, "דנה", "+972509998888"))
        result = shell(database=path)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines() == [
            f"2096-10-02 10:06  {FSI}דנה{PDI}  +••••••••8888  [1]",
            f"    {FSI}שיחזרו אליי מחר{PDI}",
            *result.stdout.splitlines()[2:3],
            "    recording: https://api.twilio.com/RE1",
        ]
        assert result.stdout.splitlines()[2].endswith("  +••••••••4567  [1]")
        post(
            process,
            "/webhook/message_left",
            CallSid="CA" + "3" * 32,
            From="+972501111111",
            RecordingUrl="https://api.twilio.com/RE3",
        )
        eventually(lambda: "RE3" in shell(database=path).stdout, 10.0)
        assert "KAV-184" not in process.output(), "the gateway goes on writing"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_the_latest_come_first_and_are_limited(path: Path) -> None:
    note(path, *(CallerMessage(f"text {at}", "CA1", "1", 1e9 + at) for at in (3, 1, 2)))
    told = json.loads(shell("--json", "--limit", "2", database=path).stdout)
    assert [message["text"] for message in told] == ["text 3", "text 2"]
    assert told[0]["noted_at"] == "2001-09-09T01:46:43+00:00"


def test_numbers_are_whole_for_who_asks(path: Path) -> None:
    note(path, CallerMessage("call 03-1234567", "CA1", "1", 1e9, "", "+972501234567"))
    for arguments in ((), ("--json",)):
        assert "0123456" not in shell(*arguments, database=path).stdout.replace("-", "")
        shown = shell(*arguments, "--show-numbers", database=path).stdout
        assert "03-1234567" in shown and "+972501234567" in shown


def test_none_are_told_as_none(path: Path) -> None:
    SqliteFile(str(path), 600.0).close()
    result = shell(database=path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "no messages\n", "")
    assert json.loads(shell("--json", database=path).stdout) == []


def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    result = shell(cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.startswith("no kav.sqlite3 here: ")
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_the_file_in_the_working_directory(tmp_path: Path) -> None:
    note(tmp_path / "kav.sqlite3", CallerMessage("hello", "CA1", "1", 1e9))
    assert "hello" in shell(cwd=tmp_path).stdout


def test_memory_cannot_be_read_from_outside() -> None:
    result = shell(database="sqlite://")
    assert result.returncode == 3
    assert "memory only" in result.stderr


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.write_bytes(os.urandom(4096))
    result = shell(database=path)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("KAV-184 ")


def test_another_database_is_told_without_its_password(tmp_path: Path) -> None:
    note(tmp_path / "kav.sqlite3", CallerMessage("hello", "CA1", "1", 1e9))
    result = shell(cwd=tmp_path, database="postgres://kav:secret-password@db/kav")
    assert result.returncode == 0
    assert result.stdout.splitlines()[1] == "    hello"
    assert result.stderr.count("KAV-185") == 1
    assert "secret-password" not in result.stderr


def test_a_redis_that_is_away_is_told_and_the_file_is_read(path: Path) -> None:
    note(path, CallerMessage("hello", "CA1", "1", 1e9))
    result = shell(database=path, REDIS_URL="redis://:secret-password@127.0.0.1:1/0")
    assert result.returncode == 3
    assert "hello" in result.stdout
    assert result.stderr.startswith("KAV-186 ")
    assert "secret-password" not in result.stderr


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A database of its own in a Redis on 127.0.0.1:6379; where CI is set, a missing one is a failure."""
    url = "redis://127.0.0.1:6379/13"
    client = redis.Redis.from_url(url, socket_timeout=5)
    try:
        client.delete("kav:messages")
    except redis.RedisError as error:
        reason = f"no Redis at {url}: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield url
    client.delete("kav:messages")
    client.close()


def test_messages_of_redis_and_of_the_file_are_one_list(path: Path, redis_url: str) -> None:
    note(path, CallerMessage("from the file", "CA1", "1", 1e9))
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.lpush("kav:messages", CallerMessage("מרדיס", "CA2", "1", 2e9).to_json(), "broken")
    result = shell(database=path, REDIS_URL=redis_url)
    assert result.returncode == 0
    assert result.stdout.splitlines()[1::2] == [f"    {FSI}מרדיס{PDI}", "    from the file"]
    assert result.stderr.startswith("KAV-188 "), "a record that cannot be read is told"


def test_a_lock_of_another_process_keeps_nobody_from_reading(path: Path) -> None:
    note(path, CallerMessage("hello", "CA1", "1", 1e9))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        result = shell(database=path)
        db.execute("ROLLBACK")
    assert (result.returncode, result.stderr) == (0, "")
    assert "hello" in result.stdout


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--limit", "x"], ["more"]], ids=str)
def test_usage_errors_are_2(arguments: list[str]) -> None:
    assert shell(*arguments).returncode == 2
