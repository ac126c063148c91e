"""What a process tells about itself: late loops, collections, CPU and memory."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import pytest
from prometheus_client.core import Metric

from pyrouter.watch import BEAT_S, Watch


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    watch = Watch(asyncio.get_running_loop())
    yield watch
    watch.close()


def told(watch: Watch) -> dict[str, float]:
    metrics: list[Metric] = list(watch.collect())
    return {
        "".join([sample.name, *sample.labels.values()]): sample.value for metric in metrics for sample in metric.samples
    }


class Stopped:
    """A loop and a clock by hand: a timer fires when the test says so, as late as it says.

    In place of the loop that a `Watch` asks for its timers, and of the clock that it reads.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now_ns = 0
        self._due: tuple[float, Callable[[], None]] | None = None
        monkeypatch.setattr("pyrouter.watch.time.monotonic_ns", lambda: self._now_ns)
        self.watch = Watch(cast("asyncio.AbstractEventLoop", self))

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self._due = (delay_s, callback)
        return cast("asyncio.TimerHandle", self)

    def cancel(self) -> None:
        self._due = None

    def beat(self, late_s: float = 0.0) -> None:
        assert self._due is not None
        delay_s, callback = self._due
        self._now_ns += int((delay_s + late_s) * 1e9)
        callback()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stopped]:
    stopped = Stopped(monkeypatch)
    yield stopped
    stopped.watch.close()


def test_a_loop_that_was_stopped_is_late_by_as_much(stopped: Stopped) -> None:
    stopped.beat()
    stopped.beat(late_s=3 * BEAT_S)
    stopped.beat()
    now = told(stopped.watch)
    assert now["pyrouter_loop_late_seconds_sum"] == pytest.approx(3 * BEAT_S)
    assert now["pyrouter_loop_late_seconds_count"] == 3
    assert now["pyrouter_loop_late_seconds_bucket0.067108864"] == 2


def test_a_wait_for_a_core_is_no_pause_of_its_own(stopped: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = stopped.watch._waited_ns
    monkeypatch.setattr(stopped.watch, "_waited", lambda: waited + int(2 * BEAT_S * 1e9))
    stopped.beat(late_s=3 * BEAT_S)
    now = told(stopped.watch)
    assert now["pyrouter_loop_late_seconds_sum"] == pytest.approx(3 * BEAT_S)
    assert now["pyrouter_loop_paused_seconds_sum"] == pytest.approx(BEAT_S)


def test_a_thread_that_slept_or_worked_paused_by_itself(stopped: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = stopped.watch._waited_ns
    monkeypatch.setattr(stopped.watch, "_waited", lambda: waited)
    stopped.beat(late_s=3 * BEAT_S)
    now = told(stopped.watch)
    assert now["pyrouter_loop_paused_seconds_sum"] == now["pyrouter_loop_late_seconds_sum"]


async def test_the_timer_of_a_real_loop_beats(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = asyncio.Event()

    def waited() -> int:
        beaten.set()
        return 0

    monkeypatch.setattr(watch, "_waited", waited)  # each beat asks for it
    await beaten.wait()
    assert told(watch)["pyrouter_loop_late_seconds_count"] == 1


@pytest.fixture
def collections_on_demand() -> Iterator[None]:
    """No collection but those that are asked for: whatever is allocated may bring one about."""
    gc.disable()
    yield
    gc.enable()


async def test_collections_are_counted_by_generation(collections_on_demand: None, watch: Watch) -> None:
    before = told(watch)
    gc.collect(1)
    after = told(watch)
    assert after["pyrouter_gc_collections_total1"] == before["pyrouter_gc_collections_total1"] + 1
    assert after["pyrouter_gc_collections_total2"] == before["pyrouter_gc_collections_total2"]
    assert after["pyrouter_gc_seconds_total"] > before["pyrouter_gc_seconds_total"]


async def test_cpu_and_memory_have_the_names_that_they_have_everywhere(watch: Watch) -> None:
    now = told(watch)
    assert now["process_cpu_seconds_total"] > 0
    assert now["process_resident_memory_bytes"] > 1 << 20


async def test_closed_it_leaves_nothing_behind(watch: Watch) -> None:
    callbacks = len(gc.callbacks)
    watch.close()
    watch.close()
    assert len(gc.callbacks) == callbacks - 1
