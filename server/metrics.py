"""What is counted, and how Prometheus reads it.

Counting is adding to a plain integer: it happens 50 times a second for each call, and the library's
own counters cost a lock each. The library is asked only when somebody reads `/metrics`.
Names carry their unit; no label ever holds a call, a number or anything else without an end.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

GAP_BUCKETS_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 4.0, 6.0, 10.0)
"""Callers feel 0.5 s as quick, 1.5 s as slow, and ask "hello?" after 2.5 s."""


class Spread:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(GAP_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def note(self, seconds: float) -> None:
        self._counts[bisect.bisect_left(GAP_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def family(self, name: str, text: str) -> Metric:
        bounds = [*(str(bound) for bound in GAP_BUCKETS_S), "+Inf"]
        buckets = list(zip(bounds, itertools.accumulate(self._counts), strict=True))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self._sum_s)


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
    turn_gaps: Spread = field(default_factory=Spread)
    """The caller's last voice to the answer's first frame."""
    first_audio: Spread = field(default_factory=Spread)
    """A stream's start to its first frame."""
    webhooks: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """By the id of the fault."""
    model_events_unknown: Counter[str] = field(default_factory=Counter)
    """By type, at most `MAX_UNKNOWN_TYPES` of them."""
    model_errors: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    """By the rung that was gone to."""
    model_spares: int = 0
    """Connections to the model that wait for a call, now."""
    model_connections: Counter[str] = field(default_factory=Counter)
    """What calls began with: `warm` was open, `waited` was being dialled, `cold` the call dialled itself."""
    model_spare_failures: Counter[str] = field(default_factory=Counter)
    """By cause: unreachable, refused, ended (open, but closed by the model before a call came)."""


MAX_UNKNOWN_TYPES = 50
MAX_TYPE_CHARS = 100


def count_unknown(counters: Counters, kind: str) -> bool:
    """Count an event nobody here knows; True when it is the first of its type."""
    types, kind = counters.model_events_unknown, kind[:MAX_TYPE_CHARS]
    kind = kind.encode("utf-8", "replace").decode()  # half a character would spoil the whole page
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
        yield GaugeMetricFamily(
            "gateway_model_spares", "Connections to the model that wait for a call.", value=c.model_spares
        )
        yield CounterMetricFamily("gateway_bargeins", "Times a caller silenced the agent.", value=c.barge_ins)
        yield c.turn_gaps.family(
            "gateway_turn_gap_seconds", "The caller's last voice to the first frame of the answer."
        )
        yield c.first_audio.family("gateway_first_audio_seconds", "A stream's start to its first frame.")
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
            ("gateway_fallbacks", "rung", "Times the model failed a call, by what followed.", c.fallbacks),
            ("gateway_model_connections", "how", "Connections that calls began with.", c.model_connections),
            (
                "gateway_model_spare_failures",
                "why",
                "Connections ahead of calls that failed.",
                c.model_spare_failures,
            ),
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
