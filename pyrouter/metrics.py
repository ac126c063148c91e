"""The core's plain counters in Prometheus' text format. Read when asked for; nothing is counted here.

A name that ends in `_total` only grows (a counter), any other goes up and down (a gauge): see docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Measured", "StatsCollector", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measured(Protocol):
    """What is measured: a `pyrouter.Router`."""

    @property
    def info(self) -> Mapping[str, str]:
        """Version and durability."""

    def stats(self) -> Mapping[str, int]:
        """Counters and gauges by name."""


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


def exposition(router: Measured) -> bytes:
    """The page that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatsCollector(router))
    return generate_latest(registry)
