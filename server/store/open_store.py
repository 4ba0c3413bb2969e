"""Which store is meant by DATABASE_URL and REDIS_URL? Never a reason not to start."""

from __future__ import annotations

import logging

from server.store.call_store import PARKED_TTL_S, CallStore
from server.store.memory_store import MemoryStore
from server.store.sqlite_store import SqliteStore
from server.store.store_urls import IN_MEMORY, database_warning, path_of, redis_warning

log = logging.getLogger(__name__)


def open_store(
    database_url: str, redis_url: str, *, ttl_s: float = PARKED_TTL_S, key_prefix: str = "kav:"
) -> CallStore:
    """Returns at once, for the serving process: in the hub's thread, after the worker's fork.

    A URL that cannot be used becomes a warning and the default: SQLite in the working directory.
    """
    no_redis = redis_warning(redis_url)
    for warning in filter(None, (database_warning(database_url), no_redis)):
        log.warning("%s", warning)
    path = path_of(database_url)
    store: CallStore = MemoryStore(ttl_s=ttl_s) if path == IN_MEMORY else SqliteStore(path, ttl_s=ttl_s)
    if not redis_url.strip() or no_redis:
        return store
    from server.store.redis_store import RedisStore  # only here: most have no Redis

    return RedisStore(redis_url.strip(), store, ttl_s=ttl_s, key_prefix=key_prefix)
