"""How a suite here measures: what is ours and its yardstick take turns, round by round, and the ratio is asserted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


class Beside(Protocol):
    """See `beside`."""

    def __call__(
        self,
        ours: Callable[[], object],
        yardstick: Callable[[], object],
        *,
        what: str,
        at_most: float,
        operations: int = 1,
        rounds: int = 30,
    ) -> None:
        """Measures `ours` next to `yardstick`; both check their own results.

        Args:
            ours: one call does `operations` operations.
            yardstick: likewise; the least that any program could do for the same result.
            what: names the yardstick.
            at_most: how many times the yardstick is allowed: a guard against a slip of several times, not a budget.
            operations: in one call.
            rounds: calls of each, in turns.
        """


@pytest.fixture
def beside(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> Beside:
    """Runs something beside its yardstick, A B A B; prints both, keeps both in the benchmark's JSON."""

    def run(
        ours: Callable[[], object],
        yardstick: Callable[[], object],
        *,
        what: str,
        at_most: float,
        operations: int = 1,
        rounds: int = 30,
    ) -> None:
        times: list[float] = []

        def measure_yardstick() -> None:
            begin = time.perf_counter()
            yardstick()
            times.append(time.perf_counter() - begin)

        pedantic: Callable[..., object] = benchmark.pedantic  # it is not typed
        pedantic(ours, setup=measure_yardstick, rounds=rounds, warmup_rounds=2)
        if benchmark.stats is None:  # --benchmark-disable
            return
        taken = benchmark.stats.stats.data
        ratio = statistics.median(a / b for a, b in zip(taken, times[-len(taken) :], strict=True))
        scale = 1e6 / operations
        benchmark.extra_info.update(
            yardstick=what,
            yardstick_us=statistics.median(times) * scale,
            us=statistics.median(taken) * scale,
            ratio=ratio,
        )
        with capsys.disabled():
            print(
                f"\n  {statistics.median(taken) * scale:.2f} µs beside {statistics.median(times) * scale:.2f} µs "
                f"for {what}: {ratio:.1f} ×"
            )
        assert ratio <= at_most

    return run
