"""The suite runs on the loop that was asked for."""

import asyncio

import pytest
import uvloop


async def test_async_tests_run_on_the_chosen_loop(request: pytest.FixtureRequest) -> None:
    is_uvloop = isinstance(asyncio.get_running_loop(), uvloop.Loop)
    assert is_uvloop == (request.config.getoption("--loop") == "uvloop")


async def test_asyncio_debug_reaches_the_loop(request: pytest.FixtureRequest) -> None:
    assert asyncio.get_running_loop().get_debug() == bool(request.config.getoption("asyncio_debug"))
