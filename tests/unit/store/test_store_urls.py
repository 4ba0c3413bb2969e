import subprocess
import sys
from pathlib import Path

import pytest

import server
from server.store.store_urls import database_warning, path_of, redis_warning


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
def test_which_file_a_url_means(url, path):
    assert path_of(url) == path
    assert database_warning(url) == ""


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
def test_another_database_is_told_and_the_default_is_used(url):
    assert path_of(url) == "kav.sqlite3"
    line = database_warning(url)
    assert line.startswith("KAV-185 ")
    assert "keeps messages and interrupted calls in SQLite or Redis" in line
    assert ("PostgreSQL" in line) == url.startswith("postgres")
    assert "secret-password" not in line


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "http://:secret-password@redis",
        "redis://:secret-password@redis:port/0",
        "redis://127.0.0.1?foo=1",
        "rediss://127.0.0.1?ssl_cert_reqs=maybe",
        "redis://user:secret#password@redis",
        "redis://user:secret/password@redis",
        "redis://user:secret?password@redis",
        "redis://user:1?secret=password@redis",
    ],
)
def test_what_is_no_redis_is_told_without_its_password(url):
    line = redis_warning(url)
    assert line.startswith("KAV-187 ")
    assert "secret" not in line and "password@redis" not in line
    assert "write /, # and ? as %2F, %23 and %3F" in line


@pytest.mark.parametrize("url", ["", " ", "redis://127.0.0.1:1/0", "rediss://h:6380?ssl_cert_reqs=none"])
def test_a_url_of_redis_is_not_asked_whether_anybody_is_there(url):
    assert redis_warning(url) == ""


def test_nothing_is_opened_and_no_hub_is_needed():
    code = (
        "import sys; from server.store.store_urls import database_warning, redis_warning;"
        "assert database_warning('postgres://a/b') and redis_warning('foo');"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('eventlet', 'sqlite3')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(server.__file__).parents[1], check=True)
