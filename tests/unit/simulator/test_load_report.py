"""The tables: medians, ratios within a round, and what must be said about a row."""

from __future__ import annotations

from typing import Any

from server.simulator.load import report


def record(relay: str, cpu: float = 0.1, p99: float = 1.0, at: int = 1, calls: int = 10, **more: Any) -> Any:
    way = {
        "sent": 100,
        "received": 100,
        "lost": 0,
        "reordered": 0,
        "duplicated": 0,
        "altered": 0,
        "misrouted": 0,
        "late": 0,
        "p50_ms": 0.1,
        "p99_ms": p99,
        "max_ms": 9.0,
    }
    load = {"core_percent": 20.0, "late_p99_ms": 0.2, "late_max_ms": 1.0, "is_bottleneck": False}
    return {
        "relay": relay,
        "round": at,
        "calls": calls,
        "cpu_s_per_call_minute": cpu,
        "core_percent": 5.0,
        "others_on_core_percent": 0.0,
        "to_model": way,
        "to_caller": way,
        "calls_cut_off": 0,
        "sessions_left": 0,
        "rss_per_call_kb": 90.0,
        "hub_lag_ms": None,
        "load": load,
        **more,
    }


def test_ratios_compare_within_a_round() -> None:
    records = [
        record("gateway", 0.1, at=1),
        record("node", 0.3, at=1),
        record("gateway", 0.2, at=2),  # the machine was busy
        record("node", 0.6, p99=4.0, at=2),
    ]
    assert report.ratios(records) == [
        {"relay": "node", "calls": 10, "cpu": 3.0, "to_model_p99": 2.5, "to_caller_p99": 2.5}
    ]


def test_without_a_gateway_there_is_nothing_to_compare_with() -> None:
    assert report.ratios([record("node")]) == []
    assert report.ratios([record("gateway", calls=5), record("node", calls=10)]) == []


def test_one_row_for_all_rounds_and_columns_that_line_up() -> None:
    rounds = [record("gateway", 0.1), record("gateway", 0.3, at=2), record("gateway", 0.2, at=3)]
    lines = report.load_lines(rounds, {})
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["gateway", "10", "0.200"]
    assert lines[0].index("calls") + len("calls") == lines[1].index("10") + 2
    assert "n/a" in lines[1]


def test_a_load_that_was_the_limit_says_so() -> None:
    own = {"core_percent": 97.0, "late_p99_ms": 8.0, "late_max_ms": 50.0, "is_bottleneck": True}
    text = "\n".join(report.load_lines([record("gateway", load=own)], {}))
    assert "the load itself was the limit" in text
    assert "gateway 10: core 97 %, sends late 8.0 ms p99" in text


def test_a_relay_that_did_not_carry_the_calls_keeps_its_row() -> None:
    failed = {"relay": "asyncio", "round": 1, "calls": 10, "failed": "3 of 10 calls began"}
    lines = report.load_lines([record("gateway"), failed], {})
    assert "3 of 10 calls began" in lines[2]
    assert any(line.startswith("! not measured") for line in lines)


def test_a_relay_that_cannot_run_here_has_a_row_too() -> None:
    assert report.load_lines([], {"node": "node not found"})[1].split() == [
        "node",
        "-",
        "node",
        "not",
        "found",
    ]


def test_churn_counts_growth_from_the_thousandth_call() -> None:
    churned = {
        "relay": "gateway",
        "calls": 5000,
        "seconds": 25.0,
        "cpu_ms_per_call": 3.5,
        "rss_start_kb": 40960,
        "rss_first_kb": 51200,
        "rss_end_kb": 52224,
        "fds_start": 8,
        "fds_end": 8,
        "sessions_start": 0,
        "sessions_end": 0,
    }
    assert "+1.0 MB" in report.churn_lines([churned], {})[1]
    assert "8 → 8" in report.churn_lines([churned], {})[1]
