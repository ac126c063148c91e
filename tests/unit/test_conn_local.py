"""A connection without a socket: bytes of this process to the core and back, with the same back-pressure."""

import asyncio
import os
from typing import Any

import pytest

from pyrouter._conn import Driver, LocalConnection
from tests.conn_table import ABORT, CLOSE, CLOSED, FAILED, PAUSE, RESUME, Table


class Local:
    """One local connection, and what it was told."""

    def __init__(self, wake_fd: int) -> None:
        loop = asyncio.get_running_loop()
        self.errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.table = Table(wake_fd)
        self.requests = 0
        self.driver = Driver(self.table, loop, self._on_requests)  # type: ignore[arg-type]
        self.got: list[bytes] = []
        self.closed = 0
        self.pauses: list[bool] = []
        self.connection = LocalConnection(self.driver, self.got.append, self._on_closed, self.pauses.append)
        self.conn = self.table.conns[self.connection.id]

    def _on_requests(self) -> None:
        self.requests += 1

    def _on_closed(self) -> None:
        self.closed += 1


@pytest.fixture
async def local() -> Any:
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    local = Local(wake_fd)
    yield local
    local.driver.close()
    assert local.conn.lost
    os.close(wake_fd)


async def test_it_opens_as_local(local: Local) -> None:
    assert local.conn.local


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_what_is_fed_reaches_the_core_whatever_its_size(local: Local, kind: Any) -> None:
    data = os.urandom(600_000)
    local.connection.feed(kind(data))
    local.connection.feed(b"")
    assert local.conn.received == data


async def test_what_is_fed_is_left_as_it_was(local: Local) -> None:
    data = bytearray(b"the core may write where it reads")
    local.connection.feed(data)
    assert data == b"the core may write where it reads"


async def test_what_the_core_owes_is_handed_out_in_order(local: Local) -> None:
    local.table.owe(local.conn.id, b"one")
    local.table.owe(local.conn.id, b"two")
    local.driver.turn()
    assert local.got == [b"one", b"two"]


async def test_pause_and_resume_are_told(local: Local) -> None:
    for flag in (PAUSE, RESUME):
        local.table.owe(local.conn.id, flags=flag)
        local.driver.turn()
        assert local.connection.paused is (flag == PAUSE)
    assert local.pauses == [True, False]


async def test_a_consumer_can_hold_the_core_back(local: Local) -> None:
    local.connection.set_writable(False)
    local.connection.set_writable(True)
    assert local.conn.writable == [False, True]


@pytest.mark.parametrize(("flag", "last"), [(CLOSE, [b"bye"]), (ABORT, [])])
async def test_the_core_closes_it(local: Local, flag: int, last: list[bytes]) -> None:
    local.table.owe(local.conn.id, b"bye", flags=flag)
    local.driver.turn()
    assert (local.got, local.closed, local.connection.id) == (last, 1, 0)
    local.connection.feed(b"late")
    local.connection.set_writable(True)
    local.connection.close()
    assert (bytes(local.conn.received), local.conn.writable, local.closed) == (b"", [], 1)


async def test_its_owner_closes_it_and_is_not_told(local: Local) -> None:
    local.connection.close()
    local.connection.close()
    assert local.conn.lost
    assert local.closed == 0


async def test_its_end_asks_for_a_turn(local: Local) -> None:
    await asyncio.sleep(0)  # the turn that opening asked for
    turns = local.table.turns
    local.connection.close()
    await asyncio.sleep(0)
    assert local.table.turns == turns + 1


async def test_nothing_is_fed_past_a_frame_that_closes(local: Local) -> None:
    local.table.on_data = lambda conn, data: CLOSED
    local.connection.feed(bytes(600_000))
    assert len(local.conn.received) == 256 * 1024


async def test_i10_an_exception_of_its_consumer_ends_it_only(local: Local) -> None:
    def broken(data: bytes) -> None:
        raise ValueError(data)

    other = LocalConnection(local.driver, broken)
    local.table.owe(other.id, b"x")
    local.table.owe(local.conn.id, b"y")
    local.driver.turn()
    assert other.id == 0
    assert local.got == [b"y"]
    assert [repr(context["exception"]) for context in local.errors] == ["ValueError(b'x')"]


async def test_an_owner_that_raises_when_told_of_the_end_is_reported_and_stops_nothing(local: Local) -> None:
    def broken() -> None:
        raise LookupError

    other = LocalConnection(local.driver, local.got.append, broken)
    local.driver.close()
    assert other.id == 0
    assert local.closed == 1
    assert [type(context["exception"]) for context in local.errors] == [LookupError]


async def test_one_that_was_never_opened_does_nothing() -> None:
    connection = LocalConnection.__new__(LocalConnection)
    connection.feed(b"x")
    connection.set_writable(True)
    connection.close()
    assert connection.id == 0


async def test_i10_a_failed_core_closes_it(local: Local) -> None:
    local.table.on_data = lambda conn, data: FAILED
    local.connection.feed(b"x")
    assert (local.closed, local.requests) == (1, 1)


async def test_it_cannot_be_opened_on_a_closed_driver(local: Local) -> None:
    local.driver.close()
    assert local.closed == 1
    with pytest.raises(Exception, match="open it anew"):
        LocalConnection(local.driver, local.got.append)
