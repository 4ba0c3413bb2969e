"""The results of scenarios in a few lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from server.logs import mask
from server.simulator.scenario.runner import Result, Status

_INDENT = "    "


def lines(result: Result, label: str) -> list[str]:
    """`✓ barge_in  8,120 ms  What it is about`, and below it why it failed."""
    sign = "✓" if result.status is Status.PASSED else "✗"
    about = f"  {_printable(result.about)}" if result.about else ""
    told = [f"{sign} {label:<28} {result.duration_ms:>7,.0f} ms{about}"]
    for failure in result.failures:
        first, *more = failure.split("\n")
        told += [_INDENT + _printable(first), *(_INDENT + _printable(line) for line in more)]
    if result.failures and result.heard:
        told.append(_INDENT + _printable(result.heard))
    return [mask(line) for line in told]


def summary(results: Sequence[Result]) -> str:
    passed = sum(result.status is Status.PASSED for result in results)
    failed = len(results) - passed
    return f"{passed} passed" + (f", {failed} failed" if failed else "")


def _printable(line: str) -> str:
    """Without control characters, which a terminal obeys."""
    return "".join(c if c >= " " and not "\x7f" <= c <= "\x9f" else "�" for c in line)
