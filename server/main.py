"""`gunicorn … server.main:app`. The worker has patched the standard library before this is imported."""

from __future__ import annotations

import gc
import os

from server import green, logs
from server.app_factory import create_app
from server.config import Settings

settings = Settings.from_env(os.environ)
logs.configure(settings.log_level, green.start_native_thread)
app = create_app(settings)

# What is here now stays: with it out of the collector's sight a full collection during calls takes
# a tenth of the time, and all calls wait for it.
gc.collect()
gc.freeze()
