import logging
import subprocess
import sys
from pathlib import Path

import pytest

import server
from server.store.memory_store import MemoryStore
from server.store.open_store import open_store


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


def test_a_url_that_is_no_database_is_told_when_the_store_is_opened(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    store = open_store("postgres://kav:secret-password@db/kav", "")
    store.close()
    [line] = caplog.messages
    assert line.startswith("KAV-185 ")


def test_without_a_redis_its_library_is_not_imported():
    code = (
        "import sys; from server.store.open_store import open_store; open_store('sqlite://', '');"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'redis']"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(server.__file__).parents[1], check=True)
