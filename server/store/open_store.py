"""Which store is meant by DATABASE_URL and REDIS_URL? Never a reason not to start."""

from __future__ import annotations

import logging
from urllib.parse import unquote, urlsplit

from server.faults import FAULTS
from server.logs import clean
from server.store.call_store import PARKED_TTL_S, CallStore
from server.store.memory_store import MemoryStore
from server.store.sqlite_store import SqliteStore

log = logging.getLogger(__name__)

DEFAULT_PATH = "kav.sqlite3"
IN_MEMORY = ":memory:"


def open_store(
    database_url: str, redis_url: str, *, ttl_s: float = PARKED_TTL_S, key_prefix: str = "kav:"
) -> CallStore:
    """Returns at once, for the serving process: in the hub's thread, after the worker's fork.

    A URL that cannot be used becomes a warning and the default: SQLite in the working directory.
    """
    path = sqlite_path(database_url)
    store: CallStore = MemoryStore(ttl_s=ttl_s) if path == IN_MEMORY else SqliteStore(path, ttl_s=ttl_s)
    if not redis_url.strip():
        return store
    try:
        from server.store.redis_store import RedisStore  # only here: most have no Redis

        return RedisStore(redis_url.strip(), store, ttl_s=ttl_s, key_prefix=key_prefix)
    except (ImportError, ValueError) as error:
        # The URL itself may hold a password.
        log.warning("%s", FAULTS["KAV-187"].line(clean(str(error), 120)))
        return store


def sqlite_path(database_url: str) -> str:
    """`sqlite:///relative`, `sqlite:////absolute`, and `sqlite://` for none at all."""
    text = database_url.strip()
    if not text:
        return DEFAULT_PATH
    scheme, _, rest = text.partition("://")
    kind = scheme.lower().partition("+")[0]
    if kind != "sqlite" or not text.startswith(f"{scheme}://"):
        seen = "this version keeps messages and interrupted calls in SQLite or Redis"
        if kind in ("postgres", "postgresql"):
            seen = f"{kind}://…: {seen}, not in PostgreSQL"
        log.warning("%s", FAULTS["KAV-185"].line(seen))
        return DEFAULT_PATH
    path = unquote(urlsplit(f"sqlite://{rest}").path).removeprefix("/")
    return path if path else IN_MEMORY
