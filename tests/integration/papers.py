"""Throw-away certificates for tests, where there is the command that makes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.simulator.load.certificates import Certificates, make


def need_openssl() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command")


def make_papers(folder: Path) -> Certificates:
    """An authority and a certificate of its for 127.0.0.1, as PEM files in `folder`."""
    need_openssl()
    return make(folder)
