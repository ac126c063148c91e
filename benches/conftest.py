"""How a suite here measures: what is ours and its yardstick take turns, round by round, and the ratio is asserted."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from benches.harness import build_floor, raise_file_limit


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
        prepare: Callable[[], object] | None = None,
        prepare_yardstick: Callable[[], object] | None = None,
        yardstick_timer: Callable[[], float] | None = None,
    ) -> None:
        """Measures `ours` next to `yardstick`; both check their own results.

        Args:
            ours: one call does `operations` operations.
            yardstick: likewise; the least that any program could do for the same result.
            what: names the yardstick.
            at_most: how many times the yardstick is allowed: a guard against a slip of several times, not a budget.
            operations: in one call.
            rounds: calls of each, in turns.
            prepare: called before each call of `ours`, and not measured.
            prepare_yardstick: likewise.
            yardstick_timer: seconds; unless given, the timer of the test (`@pytest.mark.benchmark(timer=…)`).
        """


@pytest.fixture
def beside(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Beside:
    """Runs something beside its yardstick, A B A B; prints both, keeps both in the benchmark's JSON."""
    marker = request.node.get_closest_marker("benchmark")
    timer: Callable[[], float] = (marker.kwargs if marker else {}).get("timer", time.perf_counter)

    def run(
        ours: Callable[[], object],
        yardstick: Callable[[], object],
        *,
        what: str,
        at_most: float,
        operations: int = 1,
        rounds: int = 30,
        prepare: Callable[[], object] | None = None,
        prepare_yardstick: Callable[[], object] | None = None,
        yardstick_timer: Callable[[], float] | None = None,
    ) -> None:
        times: list[float] = []
        clock = yardstick_timer or timer

        def before() -> None:
            if prepare_yardstick is not None:
                prepare_yardstick()
            begin = clock()
            yardstick()
            times.append(clock() - begin)
            if prepare is not None:
                prepare()

        pedantic: Callable[..., object] = benchmark.pedantic  # it is not typed
        pedantic(ours, setup=before, rounds=rounds, warmup_rounds=2 if rounds > 2 else 0)
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
                f"for {what}: {ratio:.2g} ×"
            )
        assert ratio <= at_most

    return run


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that stands still unless it is told to run."""
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def floor() -> None:
    """The programs in floor/, compiled."""
    build_floor()
    raise_file_limit()
