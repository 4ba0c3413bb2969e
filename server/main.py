"""`gunicorn … server.main:app`. The worker has patched the standard library before this is imported."""

from __future__ import annotations

import os

from server import green, logs
from server.app_factory import create_app
from server.config import Settings

settings = Settings.from_env(os.environ)
logs.configure(settings.log_level, green.start_native_thread)
app = create_app(settings)
