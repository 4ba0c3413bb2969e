"""What was measured, as a table for people and as records for programs."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.simulator.load.load import MAX_OTHERS_PERCENT, MAX_OWN_CORE_PERCENT, MAX_OWN_LATE_P99_MS
from server.simulator.load.relays import ROOT

Record = dict[str, Any]
GATEWAY = "gateway"


def header(arguments: Sequence[str], cores: tuple[int | None, int | None]) -> Record:
    """Under which circumstances."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "relay_core": cores[0],
        "load_core": cores[1],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "command": shlex.join(["python", "-m", "server", "bench", *arguments]),
        "commit": _commit(),
    }


def header_lines(about: Record) -> list[str]:
    shared = (
        "sharing one core"
        if about["relay_core"] is None
        else (f"relay on core {about['relay_core']}, load on core {about['load_core']}")
    )
    commit = f", commit {about['commit']}" if about["commit"] else ""
    return [
        f"{about['date']}  {about['command']}",
        f"{about['cpu']}, {about['cores']} cores ({shared}), Linux {about['kernel']}, "
        f"Python {about['python']}{commit}",
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.machine()


def _commit() -> str | None:
    try:
        git = ["git", "rev-parse", "--short", "HEAD"]
        done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# The table of a load

_COLUMNS = (
    "relay", "calls", "CPU s/call-min", "core", "to model p50/p99/max ms", "to caller p50/p99/max ms",
    "lost", "reord", "late", "RSS/call", "hub lag", "load core", "load late p99",
)  # fmt: skip


def load_lines(records: Sequence[Record], absent: Mapping[str, str]) -> list[str]:
    """A row for each relay and number of calls: over several rounds, the median of each figure.

    `absent`: relays that cannot run here, and why.
    """
    rows = [
        list(_COLUMNS),
        *map(_row, _grouped(records)),
        *([name, "-", why] for name, why in absent.items()),
    ]
    return [*_aligned(rows), *_ratio_lines(records), *_remarks(records)]


def _row(of_one: Sequence[Record]) -> list[str]:
    first = [str(of_one[0]["relay"]), str(of_one[0]["calls"])]
    good = [record for record in of_one if "failed" not in record]
    if not good:
        return [*first, of_one[0]["failed"].splitlines()[0]]

    def middle(*path: str) -> float | None:
        values = [value for record in good if (value := _at(record, path)) is not None]
        return statistics.median(values) if values else None

    def worst(*path: str) -> str:
        return str(max(_at(record, path) or 0 for record in good))

    def both(name: str) -> str:
        return str(max(record["to_model"][name] + record["to_caller"][name] for record in good))

    def times(direction: str) -> str:
        return " / ".join(f"{middle(direction, name) or 0:.1f}" for name in ("p50_ms", "p99_ms", "max_ms"))

    lag = middle("hub_lag_ms")
    return [
        *first,
        f"{middle('cpu_s_per_call_minute') or 0:.3f}",
        f"{middle('core_percent') or 0:.0f} %",
        times("to_model"),
        times("to_caller"),
        both("lost"),
        both("reordered"),
        both("late"),
        f"{middle('rss_per_call_kb') or 0:.0f} kB",
        "n/a" if lag is None else f"{lag:.1f} ms",
        f"{middle('load', 'core_percent') or 0:.0f} %",
        f"{middle('load', 'late_p99_ms') or 0:.1f} ms",
    ]


def ratios(records: Sequence[Record]) -> list[Record]:
    """Each other relay against the gateway of the same round: above 1, the gateway needs less."""
    good = [record for record in records if "failed" not in record]
    base = {(record["round"], record["calls"]): record for record in good if record["relay"] == GATEWAY}
    found = []
    for of_one in _grouped([record for record in good if record["relay"] != GATEWAY]):
        pairs = [(r, g) for r in of_one if (g := base.get((r["round"], r["calls"]))) is not None]
        if pairs:
            found.append(
                {
                    "relay": of_one[0]["relay"],
                    "calls": of_one[0]["calls"],
                    "cpu": _ratio(pairs, lambda r: float(r["cpu_s_per_call_minute"])),
                    "to_model_p99": _ratio(pairs, lambda r: float(r["to_model"]["p99_ms"])),
                    "to_caller_p99": _ratio(pairs, lambda r: float(r["to_caller"]["p99_ms"])),
                }
            )
    return found


def _ratio(pairs: Iterable[tuple[Record, Record]], figure: Callable[[Record], float]) -> float | None:
    values = [figure(other) / figure(gateway) for other, gateway in pairs if figure(gateway)]
    return round(statistics.median(values), 2) if values else None


def _ratio_lines(records: Sequence[Record]) -> list[str]:
    found = ratios(records)
    if not found:
        return []
    rows = [["against the gateway", "calls", "CPU", "p99 to model", "p99 to caller"]]
    for one in found:
        figures = [one[name] for name in ("cpu", "to_model_p99", "to_caller_p99")]
        row = [one["relay"], str(one["calls"])]
        rows.append(row + ["n/a" if figure is None else f"{figure:.2f} x" for figure in figures])
    return ["", *_aligned(rows)]


def _remarks(records: Sequence[Record]) -> list[str]:
    """What a reader must know before believing a row: one line for each kind of trouble."""
    found: dict[str, list[str]] = {}

    def remark(words: str, record: Record, figure: str) -> None:
        where = f"{record['relay']} {record['calls']}" + (f" #{record['round']}" if rounds > 1 else "")
        found.setdefault(words, []).append(f"{where}: {figure}")

    rounds = max((record["round"] for record in records), default=1)
    for record in records:
        if "failed" in record:
            remark("not measured", record, record["failed"])
            continue
        load, others = record["load"], record["others_on_core_percent"]
        if load["is_bottleneck"]:
            figures = f"core {load['core_percent']:.0f} %, sends late {load['late_p99_ms']:.1f} ms p99"
            remark(_BOTTLENECK, record, figures)
        if others is not None and others > MAX_OTHERS_PERCENT:
            remark("other processes used the relay's core", record, f"{others:.0f} %")
        for name, words in _TROUBLES.items():
            if count := record["to_model"][name] + record["to_caller"][name]:
                remark(words, record, str(count))
        if record["calls_cut_off"]:
            remark("calls cut off by the relay", record, str(record["calls_cut_off"]))
        if record["sessions_left"]:
            remark("model sessions that outlived their calls", record, str(record["sessions_left"]))
    lines = [f"! {words} ({', '.join(where)})" for words, where in found.items()]
    return ["", *lines] if lines else []


_BOTTLENECK = (
    f"the load itself was the limit (trusted to {MAX_OWN_CORE_PERCENT:.0f} % of its core and "
    f"{MAX_OWN_LATE_P99_MS:.0f} ms): the latencies are partly its own"
)
_TROUBLES = {
    "altered": "frames changed on the way",
    "misrouted": "frames that came out at another call's end",
    "duplicated": "frames that came twice",
}


# The table of a churn


def churn_lines(records: Sequence[Record], absent: Mapping[str, str]) -> list[str]:
    rows = [
        [
            "relay",
            "calls",
            "calls/s",
            "CPU/call",
            "RSS start",
            "after 1,000",
            "end",
            "growth",
            "fds",
            "sessions",
        ]
    ]
    for record in records:
        if "failed" in record:
            rows.append([record["relay"], str(record["calls"]), record["failed"].splitlines()[0]])
            continue
        first = record["rss_first_kb"]
        since = first if first is not None else record["rss_start_kb"]
        rows.append(
            [
                record["relay"],
                str(record["calls"]),
                f"{record['calls'] / record['seconds']:.0f}",
                f"{record['cpu_ms_per_call']:.1f} ms",
                _mb(record["rss_start_kb"]),
                "n/a" if first is None else _mb(first),
                _mb(record["rss_end_kb"]),
                f"{(record['rss_end_kb'] - since) / 1024:+.1f} MB",
                f"{record['fds_start']} → {record['fds_end']}",
                f"{record['sessions_start']} → {record['sessions_end']}",
            ]
        )
    rows += [[name, "-", why] for name, why in absent.items()]
    return _aligned(rows)


def _mb(kb: int) -> str:
    return f"{kb / 1024:.1f} MB"


def _grouped(records: Sequence[Record]) -> list[list[Record]]:
    """By number of calls and relay, in the order met; the rounds of each together."""
    groups: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["calls"], record["relay"]), []).append(record)
    order = {relay: at for at, (_, relay) in enumerate(groups)}
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], order[key[1]]))]


def _at(record: Record, path: Sequence[str]) -> float | None:
    value: Any = record
    for name in path:
        value = value[name]
    return value if value is None else float(value)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, figures to the right; a row of words runs over the columns."""
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[at]) for row in whole) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
