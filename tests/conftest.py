"""What all tests share: which of them one Python is enough for, and which are played again."""

from __future__ import annotations

import pytest

ON_EVERY_PYTHON = {
    "test_channel",
    "test_echo_call",
    "test_media_door",
    "test_native_worker",
    "test_pages",
    "test_realtime_call",
    "test_sqlite_store",
    "test_start_scripts",
    "test_worker",
}
"""Of the integration tests those that meet what differs between Pythons: sockets, threads, processes, the
patched standard library. The others play calls in real time or hold a far end to its letter, for minutes."""

AGAIN = 2
"""The integration and the hostile tests run processes, play calls by the clock and hold what is heard to its
milliseconds. A machine that stands still for half a second makes a good call a bad one: so one that fails is
played again, up to twice, and pytest says so. What is wrong with the code is wrong every time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "unit" in item.path.parts:
            continue
        if item.path.stem not in ON_EVERY_PYTHON:
            item.add_marker(pytest.mark.once)
        if item.get_closest_marker("flaky") is None:  # a leak that is full grows no more: once is the test
            item.add_marker(pytest.mark.flaky(reruns=AGAIN, reruns_delay=2))
