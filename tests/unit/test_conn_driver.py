"""The driver gives the core its turns and each transport its bytes: sharing, back-pressure, isolation, timers."""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyrouter._conn import Connection, Driver
from tests.conn_table import ABORT, CLOSE, CLOSED, FAILED, HTTP, MORE, OPEN, PAUSE, REQUESTS, RESUME, Conn, Table

READ_BYTES = 256 * 1024
EARLY_READ_BYTES = 16 * 1024


class Transport(asyncio.Transport):
    """Records what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.written: list[bytes] = []
        self.limits: tuple[int | None, int | None] = (-1, -1)
        self.error: BaseException | None = None
        self.half_close = True
        self.socket: socket.socket | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def write(self, data: Any) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(data)
        self.calls.append("write")

    def can_write_eof(self) -> bool:
        return self.half_close

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.calls.append("set_protocol")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class Bench:
    """A driver over a scripted core, and connections over recorded transports."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake_fd: int) -> None:
        self.loop = loop
        self.table = Table(wake_fd)
        self.requests = 0
        self.http: list[tuple[asyncio.Transport, bytes]] = []
        self.errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.driver = Driver(self.table, loop, self._on_requests, lambda *call: self.http.append(call))  # type: ignore[arg-type]
        self.open: list[Connection] = []

    def _on_requests(self) -> None:
        self.requests += 1

    def connect(self, transport: Transport | None = None) -> tuple[Connection, Transport, Conn]:
        connection, transport = self.driver.accept(), transport or Transport()
        connection.connection_made(transport)
        self.open.append(connection)
        return connection, transport, self.table.conns[connection.id or len(self.table.conns)]

    def receive(self, connection: Connection, data: bytes) -> None:
        memoryview(connection.get_buffer(-1))[: len(data)] = data
        connection.buffer_updated(len(data))

    async def identify(self, transport: Transport, conn: Conn) -> None:
        """The core reads no more at hello, and reads on at welcome."""
        for flags in (PAUSE, RESUME):
            self.table.owe(conn.id, flags=flags)
            await self.turn()
        assert transport.calls == ["pause_reading", "set_protocol", "resume_reading"]
        transport.calls.clear()

    async def turn(self) -> None:
        """Return when the core had a turn that begins after now."""
        before = self.table.turns
        self.driver.wake()
        while self.table.turns == before:  # noqa: ASYNC110  # the core sees turns, not an event
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> Any:
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    bench = Bench(asyncio.get_running_loop(), wake_fd)
    await bench.turn()
    yield bench
    bench.driver.close()
    for connection in bench.open:
        connection.connection_lost(None)
    assert bench.driver.connections == 0
    assert all(conn.lost or conn.local for conn in bench.table.conns.values()) or bench.http or bench.requests
    os.close(wake_fd)


async def test_what_arrives_in_one_loop_turn_is_one_turn_of_the_core(bench: Bench) -> None:
    (one, _, first), (two, _, second) = bench.connect(), bench.connect()
    turns = bench.table.turns
    for data in (b"a", b"b", b"c"):
        bench.receive(one, data)
        bench.receive(two, data.upper())
    await bench.turn()
    assert (bytes(first.received), bytes(second.received)) == (b"abc", b"ABC")
    assert bench.table.turns == turns + 1


async def test_equal_shared_numbers_are_one_bytes_object_within_a_drain(bench: Bench) -> None:
    transports = [bench.connect()[1] for _ in range(3)]
    for conn in (1, 2, 3):
        bench.table.owe(conn, b"same", shared=7 if conn < 3 else 0)
    await bench.turn()
    (one,), (two,), (other,) = (transport.written for transport in transports)
    assert one == two == other == b"same"
    assert one is two
    assert other is not one
    bench.table.owe(1, b"next", shared=7)
    await bench.turn()
    assert transports[0].written == [b"same", b"next"]


async def test_interleaved_shared_numbers_never_mix_bytes(bench: Bench) -> None:
    transports = [bench.connect()[1] for _ in range(4)]
    for number in range(1, 65):
        for conn in range(1, 5):
            bench.table.owe(conn, b"%d" % number, shared=number)
    await bench.turn()
    for transport in transports:
        assert transport.written == [b"%d" % number for number in range(1, 65)]


async def test_the_transport_may_hold_one_write_and_the_core_is_told_when_it_does(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    assert transport.limits == (1, 0)
    turns = bench.table.turns
    connection.pause_writing()
    assert conn.writable == [False]
    connection.resume_writing()
    assert conn.writable == [False, True]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.table.turns > turns, "what the core held back leaves without another event"


async def test_a_transport_of_an_unknown_kind_writes_all_itself_though_it_shows_a_socket(bench: Bench) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        wrapping = Transport()
        wrapping.socket = near
        _, _, conn = bench.connect(wrapping)
        bench.table.owe(conn.id, b"to be encrypted")
        await bench.turn()
        assert wrapping.written == [b"to be encrypted"]
        with pytest.raises(BlockingIOError):
            far.recv(1)


async def test_pause_and_resume_reach_the_socket(bench: Bench) -> None:
    _, transport, conn = bench.connect()
    await bench.identify(transport, conn)
    bench.table.owe(conn.id, flags=PAUSE)
    await bench.turn()
    assert transport.calls == ["pause_reading"]
    bench.table.owe(conn.id, b"x", flags=RESUME)
    await bench.turn()
    assert transport.calls == ["pause_reading", "write", "resume_reading"]


async def test_i6_a_socket_that_fills_the_read_buffer_waits_for_the_next_turn(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    await bench.identify(transport, conn)
    bench.receive(connection, bytes(READ_BYTES - 1))
    assert transport.calls == []
    bench.receive(connection, bytes(READ_BYTES))
    assert transport.calls == ["pause_reading"]
    await bench.turn()
    assert transport.calls == ["pause_reading", "resume_reading"]


async def test_i6_a_socket_is_read_in_small_pieces_until_the_core_knows_whose_it_is(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    assert len(memoryview(connection.get_buffer(-1))) == EARLY_READ_BYTES
    bench.receive(connection, bytes(EARLY_READ_BYTES - 1))
    assert transport.calls == []
    bench.receive(connection, bytes(EARLY_READ_BYTES))
    assert transport.calls == ["pause_reading"]
    await bench.turn()
    assert transport.calls == ["pause_reading", "resume_reading"]
    transport.calls.clear()
    await bench.identify(transport, conn)
    assert len(memoryview(connection.get_buffer(-1))) == READ_BYTES
    assert len(conn.received) == 2 * EARLY_READ_BYTES - 1


async def test_i6_a_socket_that_the_core_paused_stays_paused_after_its_turn(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    await bench.identify(transport, conn)
    bench.receive(connection, bytes(READ_BYTES))
    bench.table.owe(conn.id, flags=PAUSE)
    await bench.turn()
    assert "resume_reading" not in transport.calls
    bench.table.owe(conn.id, flags=RESUME)
    await bench.turn()
    assert transport.calls[-1] == "resume_reading"


async def test_i10_a_closed_connection_is_half_closed_so_that_the_reason_can_be_read(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    bench.table.on_data = lambda conn, data: CLOSED
    bench.receive(connection, b"bad")
    bench.table.owe(conn.id, b"why", flags=CLOSE)
    await bench.turn()
    assert transport.written == [b"why"]
    assert transport.calls == ["write", "write_eof", "set_protocol", "resume_reading"]
    bench.receive(connection, b"more")
    assert conn.received == b"bad"
    assert connection.eof_received() is False


async def test_a_transport_without_half_close_is_closed_after_its_last_bytes(bench: Bench) -> None:
    _, transport, conn = bench.connect()
    transport.half_close = False
    bench.table.owe(conn.id, b"bye", flags=CLOSE)
    await bench.turn()
    assert transport.calls == ["write", "close"]


async def test_an_aborted_connection_gets_no_more_bytes(bench: Bench) -> None:
    _, transport, conn = bench.connect()
    bench.table.owe(conn.id, b"never", flags=ABORT)
    await bench.turn()
    assert transport.calls == ["abort"]


async def test_what_is_owed_leaves_when_the_peer_ends_its_side(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    bench.table.owe(conn.id, b"last")
    assert connection.eof_received() is False
    assert transport.written == [b"last"]


async def test_a_lost_connection_is_told_once_and_written_to_no_more(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    connection.connection_lost(ConnectionResetError())
    assert conn.lost
    assert connection.id == 0
    connection.connection_lost(None)
    connection.pause_writing()
    bench.receive(connection, b"late")
    await bench.turn()
    assert (bytes(conn.received), conn.writable, transport.calls) == (b"", [], [])


async def test_i10_an_exception_ends_its_own_connection_only(bench: Bench) -> None:
    (_, bad, _), (_, good, _) = bench.connect(), bench.connect()
    bad.error = ValueError("broken transport")
    bench.table.owe(1, b"x")
    bench.table.owe(2, b"y")
    await bench.turn()
    assert bad.calls == ["abort"]
    assert good.written == [b"y"]
    assert [context["exception"] for context in bench.errors] == [bad.error]


async def test_a_peer_that_went_away_is_no_error_of_ours(bench: Bench) -> None:
    _, transport, _ = bench.connect()
    transport.error = BrokenPipeError()
    bench.table.owe(1, b"x")
    await bench.turn()
    assert transport.calls == ["abort"]
    assert bench.errors == []


async def test_an_interrupt_passes_through_and_the_rest_is_written_after_it(bench: Bench) -> None:
    (_, first, _), (_, second, _) = bench.connect(), bench.connect()
    first.error = KeyboardInterrupt()
    bench.table.owe(1, b"x")
    bench.table.owe(2, b"y")
    with pytest.raises(KeyboardInterrupt):
        bench.driver.turn()
    assert first.calls == ["abort"]
    await bench.turn()
    assert second.written == [b"y"]


async def test_http_is_handed_over_with_what_was_read(bench: Bench) -> None:
    connection, transport, conn = bench.connect()
    bench.table.on_data = lambda conn, data: HTTP if data.endswith(b"\r\n") else OPEN
    bench.receive(connection, b"GET / ")
    bench.receive(connection, b"HTTP/1.1\r\n")
    assert bench.http == [(transport, b"GET / HTTP/1.1\r\n")]
    assert transport.limits == (None, None), "the next protocol has the limits that it expects"
    assert bench.driver.connections == 0
    connection.connection_lost(None)
    assert not conn.lost, "the core has forgotten it already"


async def test_without_a_handler_http_is_closed(bench: Bench) -> None:
    driver = Driver(bench.table, bench.loop, lambda: None)  # type: ignore[arg-type]
    connection, transport = driver.accept(), Transport()
    connection.connection_made(transport)
    bench.table.on_data = lambda conn, data: HTTP
    bench.receive(connection, b"GET /")
    bench.http.append((transport, b""))
    assert transport.calls == ["close"]
    connection.connection_lost(None)
    driver.close()


def _data_fails(bench: Bench, connection: Connection) -> None:
    bench.table.on_data = lambda conn, data: FAILED
    bench.receive(connection, b"x")


def _turn_fails(bench: Bench, connection: Connection) -> None:
    bench.table.on_turn = lambda: FAILED
    bench.driver.turn()


@pytest.mark.parametrize("fail", [_data_fails, _turn_fails])
async def test_i10_a_failed_core_ends_every_connection_and_is_reported(
    bench: Bench, fail: Callable[[Bench, Connection], None]
) -> None:
    (one, first, _), (_, second, _) = bench.connect(), bench.connect()
    fail(bench, one)
    assert (first.calls, second.calls) == (["abort"], ["abort"])
    assert bench.requests == 1
    turns = bench.table.turns
    bench.driver.wake()
    await asyncio.sleep(0)
    assert bench.table.turns == turns, "a failed core gets no more turns"
    late, transport = bench.driver.accept(), Transport()
    late.connection_made(transport)
    bench.open.append(late)
    assert transport.calls == ["abort"]


async def test_a_connection_that_the_core_refuses_is_dropped(bench: Bench) -> None:
    bench.table.refusing = True
    connection, transport = bench.driver.accept(), Transport()
    connection.connection_made(transport)
    bench.open.append(connection)
    assert transport.calls == ["abort"]


async def test_requests_are_announced_once_a_turn(bench: Bench) -> None:
    answers = iter([REQUESTS, 0])
    bench.table.on_turn = lambda: next(answers, 0)
    await bench.turn()
    await bench.turn()
    assert bench.requests == 1


async def test_i11_a_turn_that_hit_its_bound_is_followed_by_another(bench: Bench) -> None:
    answers = iter([MORE, MORE, 0])
    done = asyncio.Event()

    def turn() -> int:
        answer = next(answers)
        if answer == 0:
            done.set()
        return answer

    bench.table.on_turn = turn
    bench.driver.wake()
    await done.wait()
    bench.table.on_turn = lambda: 0


async def test_the_wake_descriptor_gives_one_turn_each_time(bench: Bench) -> None:
    for _ in range(3):
        turns = bench.table.turns
        os.eventfd_write(bench.table.wake_fd, 1)
        while bench.table.turns == turns:  # noqa: ASYNC110  # the core sees turns, not an event
            await asyncio.sleep(0)
        assert bench.table.turns == turns + 1
    with pytest.raises(BlockingIOError):
        os.eventfd_read(bench.table.wake_fd)


async def test_a_deadline_gives_a_turn_and_an_earlier_one_comes_first(bench: Bench) -> None:
    bench.table.timer = (60_000, 60_000)
    await bench.turn()
    bench.table.timer = (5, 5)
    await bench.turn()
    due = asyncio.Event()
    bench.table.timer = (0, 0)

    def turn() -> int:
        due.set()
        return 0

    bench.table.on_turn = turn
    await due.wait()


async def test_emptied_tells_when_the_last_connection_is_gone(bench: Bench) -> None:
    one, two = bench.connect()[0], bench.connect()[0]
    emptied = bench.driver.emptied()
    one.connection_lost(None)
    assert not emptied.done()
    two.connection_lost(None)
    await emptied
    await bench.driver.emptied()


async def test_closing_the_driver_aborts_what_is_open_and_can_be_repeated(bench: Bench) -> None:
    _, transport, _ = bench.connect()
    bench.driver.close()
    bench.driver.close()
    assert transport.calls == ["abort"]
    assert bench.table.waker is None


async def test_a_driver_that_was_never_made_does_nothing() -> None:
    driver = Driver.__new__(Driver)
    driver.wake()
    driver.turn()
    driver.close()
    assert driver.connections == 0


async def test_a_connection_that_is_thrown_away_is_lost_to_the_core(bench: Bench) -> None:
    _, _, conn = bench.connect()
    bench.open.clear()
    assert conn.lost


async def test_a_connection_is_small_and_unknown_to_garbage_collection(bench: Bench) -> None:
    connection = bench.connect()[0]
    assert sys.getsizeof(connection) <= 64
    assert not gc.is_tracked(connection)
    assert not hasattr(connection, "__dict__")
    assert isinstance(connection, asyncio.BufferedProtocol)
    other = bench.connect()[0]
    assert connection.get_buffer is other.get_buffer, "what a loop keeps of it is no object of its own"
    assert connection.buffer_updated is connection


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_the_cycle_with_the_transport_is_cut_when_the_connection_is_lost(bench: Bench) -> None:
    connection, transport, _ = bench.connect()
    with _no_collection():
        before = sys.getrefcount(transport)
        connection.connection_lost(None)
        assert sys.getrefcount(transport) == before - 1
