"""What is counted, and how Prometheus reads it.

Counting is adding to a plain integer: it happens 50 times a second for each call, and the library's
own counters cost a lock each. The library is asked only when somebody reads `/metrics`.
Names carry their unit; no label ever holds a call, a number or anything else without an end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(slots=True)
class Counters:
    """Everything counted since the process started."""

    calls_started: int = 0
    calls_ended: Counter[str] = field(default_factory=Counter)
    """By reason."""
    caller_frames_in: int = 0
    caller_frames_out: int = 0
    frames_dropped: Counter[str] = field(default_factory=Counter)
    """By cause."""
    barge_ins: int = 0
    webhooks: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """By the id of the fault."""
    model_events_unknown: Counter[str] = field(default_factory=Counter)
    """By type, at most `MAX_UNKNOWN_TYPES` of them."""
    model_errors: Counter[str] = field(default_factory=Counter)


MAX_UNKNOWN_TYPES = 50


def count_unknown(counters: Counters, kind: str) -> bool:
    """Count an event nobody here knows; True when it is the first of its type."""
    types = counters.model_events_unknown
    is_first = kind not in types and len(types) < MAX_UNKNOWN_TYPES
    types[kind if kind in types or is_first else "others"] += 1
    return is_first


class GatewayCollector:
    """Turns the integers into metric families when asked."""

    def __init__(
        self, counters: Counters, live_calls: Callable[[], int], worst_hub_lag_s: Callable[[], float]
    ) -> None:
        self._counters = counters
        self._live_calls = live_calls
        self._worst_hub_lag_s = worst_hub_lag_s

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        c = self._counters
        yield GaugeMetricFamily(
            "gateway_active_calls", "Streams that have started.", value=self._live_calls()
        )
        yield GaugeMetricFamily(
            "gateway_hub_lag_seconds",
            "Worst lateness of the hub since the last scrape.",
            value=self._worst_hub_lag_s(),
        )
        yield CounterMetricFamily("gateway_calls_started", "Streams that began.", value=c.calls_started)
        frames = CounterMetricFamily("gateway_frames", "Frames of 20 ms on the caller's leg.", labels=["dir"])
        frames.add_metric(["in"], c.caller_frames_in)
        frames.add_metric(["out"], c.caller_frames_out)
        yield frames
        yield CounterMetricFamily("gateway_bargeins", "Times a caller silenced the agent.", value=c.barge_ins)
        for name, label, text, counter in (
            ("gateway_calls_ended", "reason", "Streams that ended.", c.calls_ended),
            ("gateway_frames_dropped", "why", "Frames that were not passed on.", c.frames_dropped),
            ("gateway_webhooks", "path", "Webhooks answered.", c.webhooks),
            ("gateway_refused", "why", "Requests and streams refused.", c.refused),
            (
                "gateway_model_events_unknown",
                "type",
                "Events of the model that are not known.",
                c.model_events_unknown,
            ),
            ("gateway_model_errors", "kind", "Errors that the model reported.", c.model_errors),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for value, count in sorted(counter.items()):
                family.add_metric([value], count)
            yield family


def exposition(collector: GatewayCollector) -> bytes:
    """The text that `/metrics` answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
