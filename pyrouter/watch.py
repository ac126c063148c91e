"""What only a process can tell about itself: its CPU and memory, its garbage collector, and how late its loop is.

For `pyrouter serve`, which has the process to itself. Cheap: 20 wake-ups a second, and nothing for each message.

How late the loop is says a timer: whatever stopped the loop (a collection, a slow callback, a machine that is too busy)
made it late. It sees every pause of more than its 50 ms, and of shorter ones as many as happen to meet it. The kernel
tells how long the thread was ready to run and had no core: what is left of the lateness is the process's own doing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pyrouter.metrics import histogram

__all__ = ["Watch"]

BEAT_S = 0.05
GENERATIONS = 3
# Four to a power of two, from 16 µs to 69 s, as the turns of the loop are counted.
BOUNDS_NS = tuple((4 + part) << power for power in range(12, 34) for part in range(4))


class Watch(Collector):
    """Watches from when it is made until `close`. For one loop, and one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins."""
        self._loop = loop
        self._late, self._own = _Times(), _Times()
        # Of the thread that opens it, which is the loop's.
        self._schedstat = _open("/proc/thread-self/schedstat")
        self._waited_ns = self._waited()
        self._collections = [0] * GENERATIONS
        self._collecting_ns = 0
        self._collected_at = 0
        gc.callbacks.append(self._on_gc)
        self._due_ns = 0
        self._timer = self._arm()

    def close(self) -> None:
        """Watches no more. Harmless when repeated."""
        self._timer.cancel()
        if self._schedstat is not None:
            os.close(self._schedstat)
            self._schedstat = None
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)

    def collect(self) -> Iterable[Metric]:
        """The metrics; those of the process have the names that they have everywhere."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily("process_cpu_seconds", "User and system time.", used.ru_utime + used.ru_stime)
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", pages * os.sysconf("SC_PAGE_SIZE"))
        collections = CounterMetricFamily(
            "pyrouter_gc_collections", "Collections of garbage, by generation.", labels=["generation"]
        )
        for generation, count in enumerate(self._collections):
            collections.add_metric([str(generation)], count)
        yield collections
        yield CounterMetricFamily("pyrouter_gc_seconds", "Time that they took.", self._collecting_ns / 1e9)
        yield self._late.told("pyrouter_loop_late_seconds", "How late a timer of 50 ms was.")
        yield self._own.told("pyrouter_loop_paused_seconds", "The same, less what the thread waited for a core.")

    def _arm(self) -> asyncio.TimerHandle:
        self._due_ns = time.monotonic_ns() + int(BEAT_S * 1e9)
        return self._loop.call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        # A loop counts whole milliseconds, and may be that much early.
        late_ns = max(0, time.monotonic_ns() - self._due_ns)
        waited_ns = self._waited()
        self._late.add(late_ns)
        self._own.add(max(0, late_ns - (waited_ns - self._waited_ns)))
        self._waited_ns = waited_ns
        self._timer = self._arm()

    def _waited(self) -> int:
        """How long the thread had no core so far, ns; 0 if the kernel does not tell."""
        if self._schedstat is None:
            return 0
        return int(os.pread(self._schedstat, 100, 0).split()[1])

    def _on_gc(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._collected_at = time.monotonic_ns()
        else:
            self._collections[info["generation"]] += 1
            self._collecting_ns += time.monotonic_ns() - self._collected_at


class _Times:
    """A histogram and its sum."""

    __slots__ = ("_counts", "_total_ns")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_NS) + 1)
        self._total_ns = 0

    def add(self, ns: int) -> None:
        self._counts[bisect_left(BOUNDS_NS, ns)] += 1
        self._total_ns += ns

    def told(self, name: str, help_text: str) -> Metric:
        return histogram(name, help_text, self._total_ns, list(zip(BOUNDS_NS, self._counts, strict=False)))


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
