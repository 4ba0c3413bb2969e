"""What do DATABASE_URL and REDIS_URL mean, and what is wrong with them? Opens nothing."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from server.faults import FAULTS
from server.logs import clean

DEFAULT_PATH = "kav.sqlite3"
IN_MEMORY = ":memory:"
NOT_REDIS = (
    "not an address of Redis, or one with an option that it does not have; in a password write /, # and ? "
    "as %2F, %23 and %3F"
)


def path_of(database_url: str) -> str:
    """`sqlite:///relative`, `sqlite:////absolute`, and `sqlite://` for none at all; else the default."""
    text = database_url.strip()
    if not text or database_warning(text):
        return DEFAULT_PATH
    path = unquote(urlsplit(f"sqlite://{text.partition('://')[2]}").path).removeprefix("/")
    return path if path else IN_MEMORY


def database_warning(database_url: str) -> str:
    """KAV-185 for what is no SQLite, without the password that may stand in it; else empty."""
    text = database_url.strip()
    scheme, separator, _ = text.partition("://")
    kind = scheme.lower().partition("+")[0]
    if not text or (kind == "sqlite" and separator):
        return ""
    seen = "this version keeps messages and interrupted calls in SQLite or Redis"
    if kind in ("postgres", "postgresql"):
        seen = f"{kind}://…: {seen}, not in PostgreSQL"
    return FAULTS["KAV-185"].line(seen)


def redis_warning(redis_url: str) -> str:
    """KAV-187 for what is no URL of Redis, or where its library is not installed; else empty."""
    if not redis_url.strip():
        return ""
    try:
        import redis  # only here: most have none

        from server.store.redis_client import make_client
    except ImportError as error:
        return FAULTS["KAV-187"].line(clean(str(error), 120))
    try:
        make_client(redis_url.strip()).connection_pool.make_connection()  # which connects when it is used
    except (redis.RedisError, TypeError, ValueError):  # whose text repeats parts of the URL: a password's too
        return FAULTS["KAV-187"].line(NOT_REDIS)
    return ""
