"""What a process tells about itself: late loops, collections, CPU and memory."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator

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


async def test_a_loop_that_was_stopped_is_late_by_as_much(watch: Watch) -> None:
    time.sleep(4 * BEAT_S)  # noqa: ASYNC251  # that is what is looked for
    await asyncio.sleep(2 * BEAT_S)  # timers are called in the order in which they are due
    now = told(watch)
    assert now["pyrouter_loop_late_seconds_sum"] > 2 * BEAT_S
    in_time = now["pyrouter_loop_late_seconds_bucket0.067108864"]
    assert in_time == now["pyrouter_loop_late_seconds_count"] - 1


async def test_a_wait_for_a_core_is_no_pause_of_its_own(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = watch._waited()
    monkeypatch.setattr(watch, "_waited", lambda: waited + int(10 * BEAT_S * 1e9))
    time.sleep(4 * BEAT_S)  # noqa: ASYNC251  # as above
    await asyncio.sleep(2 * BEAT_S)
    now = told(watch)
    assert now["pyrouter_loop_late_seconds_sum"] > 2 * BEAT_S
    assert now["pyrouter_loop_paused_seconds_bucket0.067108864"] == now["pyrouter_loop_paused_seconds_count"]


async def test_a_thread_that_slept_or_worked_paused_by_itself(watch: Watch) -> None:
    time.sleep(4 * BEAT_S)  # noqa: ASYNC251  # as above
    await asyncio.sleep(2 * BEAT_S)
    now = told(watch)
    # Another process may have had the core for a while, but hardly all the time.
    assert 0 < now["pyrouter_loop_paused_seconds_sum"] <= now["pyrouter_loop_late_seconds_sum"]


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
