import logging
import subprocess
import sys
from pathlib import Path

import pytest

import server
from server.store.memory_store import MemoryStore
from server.store.open_store import open_store, sqlite_path


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "kav.sqlite3"),
        ("  ", "kav.sqlite3"),
        ("sqlite:///kav.sqlite3", "kav.sqlite3"),
        ("sqlite:///data/kav.sqlite3", "data/kav.sqlite3"),
        ("sqlite:////var/lib/kav.sqlite3", "/var/lib/kav.sqlite3"),
        ("SQLite:////var/lib/kav.sqlite3", "/var/lib/kav.sqlite3"),
        ("sqlite+pysqlite:////var/lib/kav.sqlite3", "/var/lib/kav.sqlite3"),
        ("sqlite:////var/my%20lib/%D7%A7%D7%95.sqlite3", "/var/my lib/קו.sqlite3"),
        ("sqlite:////var/lib/קו.sqlite3", "/var/lib/קו.sqlite3"),
        ("sqlite:////var/lib/kav.sqlite3?mode=ro", "/var/lib/kav.sqlite3"),
        ("sqlite://", ":memory:"),
        ("sqlite:///", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
    ],
)
def test_which_file_a_url_means(url, path, caplog):
    assert sqlite_path(url) == path
    assert "KAV" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "postgres://kav:secret-password@db:5432/kav",
        "postgresql+psycopg2://kav:secret-password@db/kav",
        "mysql://kav:secret-password@db/kav",
        "sqlite:kav.sqlite3",
        "kav.sqlite3",
        "://",
        "secret-password",
    ],
)
def test_another_database_is_told_and_the_default_is_used(url, caplog):
    assert sqlite_path(url) == "kav.sqlite3"
    [line] = caplog.messages
    assert line.startswith("KAV-185 ")
    assert "keeps messages and interrupted calls in SQLite or Redis" in line
    assert ("PostgreSQL" in line) == url.startswith("postgres")
    assert "secret-password" not in line


@pytest.mark.parametrize(
    "url",
    ["http://:secret-password@redis", "secret-password", "redis://:secret-password@redis:port/0"],
)
def test_a_url_that_is_none_of_redis_is_told_and_the_database_is_used(url, caplog):
    with caplog.at_level(logging.WARNING):
        store = open_store("sqlite://", url)
    assert isinstance(store, MemoryStore)
    [line] = caplog.messages
    assert line.startswith("KAV-187 ")
    assert "secret-password" not in line


def test_without_a_redis_its_library_is_not_imported():
    code = (
        "import sys; from server.store.open_store import open_store; open_store('sqlite://', '');"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'redis']"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(server.__file__).parents[1], check=True)
