"""What a terminal, or a pipe, is told."""

from __future__ import annotations

import sys


def speak_utf8() -> None:
    """Hebrew arrives whole even where the locale says ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
