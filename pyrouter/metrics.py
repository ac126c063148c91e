"""Plain counters in Prometheus' text format. Read when asked for; nothing is counted here.

A name that ends in `_total` only grows (a counter), any other goes up and down (a gauge): see docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Measured", "StatsCollector", "exposition", "histogram"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measured(Protocol):
    """What is measured: a `pyrouter.Router`."""

    @property
    def info(self) -> Mapping[str, str]:
        """Version and durability."""

    def stats(self) -> Mapping[str, int]:
        """Counters and gauges by name."""

    def turn_times(self) -> tuple[int, Sequence[tuple[int, int]]]:
        """How long turns took, ns: the sum, and buckets (the longest time of each, how many turns), ascending."""

    @property
    def collectors(self) -> Sequence[Collector]:
        """What else is to be told."""


# Shorter turns are told as one: nobody waits for them.
SHORT_NS = 16_384


class StatsCollector(Collector):
    """For an embedder's own registry: `REGISTRY.register(StatsCollector(router))`."""

    def __init__(self, router: Measured) -> None:
        """Reads `router` at every scrape."""
        self._router = router

    def collect(self) -> Iterable[Metric]:
        """The metrics, in the order of their names."""
        yield InfoMetricFamily("pyrouter", "What runs, and how durable accepted is.", value=dict(self._router.info))
        for name, value in sorted(self._router.stats().items()):
            help_text = name.replace("_", " ")
            if name.endswith("_total"):
                yield CounterMetricFamily(f"pyrouter_{name}", help_text, value=value)
            else:
                yield GaugeMetricFamily(f"pyrouter_{name}", help_text, value=value)
        total_ns, turns = self._router.turn_times()
        yield histogram("pyrouter_loop_turn_seconds", "How long turns of the event loop took.", total_ns, turns)


def histogram(name: str, help_text: str, total_ns: int, buckets: Sequence[tuple[int, int]]) -> Metric:
    """A histogram of seconds from the longest time that each bucket takes, ns, and how many it has."""
    cumulative, told = 0, []
    for longest_ns, count in buckets:
        cumulative += count
        if longest_ns >= SHORT_NS:
            told.append((repr(longest_ns / 1e9), float(cumulative)))
    return HistogramMetricFamily(
        name, help_text, buckets=[*told, ("+Inf", float(cumulative))], sum_value=total_ns / 1e9
    )


def exposition(router: Measured) -> bytes:
    """The page that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in (StatsCollector(router), *router.collectors):
        registry.register(collector)
    return generate_latest(registry)
