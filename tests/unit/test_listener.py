"""Listening: connections are turned away before they take the last open files (I6)."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pyrouter.listener import FILES_KEPT, Gate, Listener


@pytest.fixture
def few_files() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Counted(asyncio.Protocol):
    """Stays open and is counted."""

    open = 0

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        Counted.open += 1

    def connection_lost(self, _: Exception | None) -> None:
        Counted.open -= 1


async def test_what_comes_beyond_the_bound_is_turned_away_and_room_is_found_again(
    few_files: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(Counted, lambda: Counted.open)
    assert gate.most + gate.backlog + FILES_KEPT == few_files
    gate.most = 3
    listener = await Listener.start(gate, "127.0.0.1", 0)
    address = listener.addresses[0]
    kept = []
    for _ in range(3):
        kept.append(await asyncio.open_connection(*address))
        await settled(len(kept))
    for _ in range(5):
        reader, writer = await asyncio.open_connection(*address)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert caplog.text.count("turning connections away") == 1
    kept.pop()[1].close()
    await settled(2)
    kept.append(await asyncio.open_connection(*address))
    await settled(3)
    for _, writer in kept:
        writer.close()
    await settled(0)
    listener.close()


async def settled(count: int) -> None:
    while Counted.open != count:  # noqa: ASYNC110  # a few turns of the loop
        await asyncio.sleep(0)
