"""What every test runs under: the event loop, and how hard Hypothesis tries.

`--loop uvloop` (the default, as in production) or `--loop asyncio`; with `--asyncio-debug` the loop also reports
callbacks that block and coroutines that nobody awaited. `--hypothesis-profile slow` tries far more examples.
"""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop
from hypothesis import HealthCheck, settings

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}

# No deadlines: how long one example takes says something about the machine only.
settings.register_profile("fast", max_examples=50, deadline=None)
settings.register_profile("slow", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fast")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=sorted(LOOPS), default="uvloop", help="the event loop under async tests")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    name: str = config.getoption("--loop")
    return {name: LOOPS[name]}
