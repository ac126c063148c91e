"""What clients can do with rows that are not in memory: an attack of two sessions on the waiters of a row (I6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrouter.wire import ClientFrame, Hello, Send
from tests.server_process import ServerProcess
from tests.wire_client import Wire


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.close()
    assert "Traceback" not in server.said()


def retries_of_sends_to_strangers(server: ServerProcess, count: int) -> int:
    """Two sessions of one user say hello and send to the same `count` unknown names, each in one write."""
    tokens = [server.token("ann", device) for device in (1, 2)]
    before = server.metrics()["resumed_total"]
    with Wire(server.port) as one, Wire(server.port) as two:
        for wire in (one, two):
            wire.open()
        for wire, token in zip((one, two), tokens, strict=True):
            hello = ClientFrame(hello=Hello(protocol=1, token=token))
            sends = (Send(id=b"%d" % n, user=f"nobody {count} {n}") for n in range(count))
            wire.put(hello, *(ClientFrame(send=send) for send in sends))
        for wire in (one, two):
            wire.welcome()
            assert [wire.error().code for _ in range(count)] == ["unknown_user"] * count
    return int(server.metrics()["resumed_total"] - before)


def test_sends_of_two_sessions_to_the_same_strangers_are_retried_a_linear_number_of_times_i6(
    server: ServerProcess,
) -> None:
    """A frame is taken up at most when the one before it is done, and when its rows came; a hello once."""
    retries = {count: retries_of_sends_to_strangers(server, count) for count in (24, 48)}
    for count, taken in retries.items():
        assert taken <= 2 * (2 * count + 1), retries
