"""What the driver sends by itself, around the transport: every byte in its place, none to a stranger's descriptor."""

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pyrouter._conn import Connection, Driver
from tests.conftest import LOOPS
from tests.conn_table import ABORT, CLOSE, PAUSE, Conn, Table


class Pair:
    """A connection of the driver and the other end of its socket."""

    def __init__(self, transport: asyncio.Transport, connection: Connection, conn: Conn, peer: socket.socket) -> None:
        self.transport, self.connection, self.conn, self.peer = transport, connection, conn, peer
        self.fd: int = transport.get_extra_info("socket").fileno()

    def take(self, most: int = 1 << 20) -> bytes:
        """What the peer can read now; empty if nothing."""
        with contextlib.suppress(BlockingIOError):
            return self.peer.recv(most)
        return b""

    def fill(self) -> int:
        """Put bytes into the socket until it takes no more, unknown to driver and transport; how many."""
        count = 0
        with socket.socket(fileno=os.dup(self.fd)) as raw, contextlib.suppress(BlockingIOError):
            while True:
                count += raw.send(bytes(1 << 16))
        return count


class Rig:
    """A driver over a scripted core, and pairs of sockets."""

    def __init__(self, wake_fd: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.table = Table(wake_fd)
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.driver = Driver(self.table, self.loop, lambda: None)  # type: ignore[arg-type]
        self.peers: list[socket.socket] = []

    async def connect(self, kind: str = "unix", send_buffer: int | None = None) -> Pair:
        ours, peer = tcp_pair() if kind == "tcp" else socket.socketpair()
        if send_buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.peers.append(peer)
        peer.setblocking(False)
        transport, connection = await self.loop.connect_accepted_socket(self.driver.accept, ours)
        return Pair(transport, connection, self.table.conns[connection.id], peer)

    async def until(self, true: Callable[[], object]) -> None:
        """Return when it is true; looks after each turn of the loop."""
        while not true():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)

    async def receive(self, pair: Pair, size: int) -> bytes:
        """The next `size` bytes at the peer, and nothing behind them."""
        got = bytearray()

        def complete() -> bool:
            got.extend(pair.take())
            return len(got) >= size

        await self.until(complete)
        return bytes(got)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        return listener.accept()[0], peer


def reset(sock: socket.socket) -> None:
    """Close it so that the other side sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def reused(number: int) -> Iterator[socket.socket]:
    """Make descriptor `number` another socket's, as the next accept does with one that was closed; give its far end."""
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        os.dup2(near.fileno(), number)
        yield far


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    rig = Rig(wake_fd)
    yield rig
    rig.driver.close()
    for peer in rig.peers:
        peer.close()
    await rig.driver.emptied()
    assert rig.errors == []
    os.close(wake_fd)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_what_is_owed_is_with_the_peer_when_the_turn_ends(rig: Rig, kind: str) -> None:
    pair = await rig.connect(kind)
    rig.table.owe(pair.conn.id, b"now")
    rig.driver.turn()
    assert pair.take() == b"now"
    assert pair.transport.get_write_buffer_size() == 0


async def test_i6_a_full_socket_gets_all_when_it_drains(rig: Rig) -> None:
    pair = await rig.connect()
    filled = pair.fill()
    rig.table.owe(pair.conn.id, b"after that")
    rig.driver.turn()
    assert pair.transport.get_write_buffer_size() == 10
    assert pair.conn.writable == [False]
    assert await rig.receive(pair, filled + 10) == bytes(filled) + b"after that"
    await rig.until(lambda: pair.conn.writable == [False, True])
    rig.table.owe(pair.conn.id, b"directly")
    rig.driver.turn()
    assert pair.take() == b"directly"


async def test_bytes_that_the_transport_holds_go_first(rig: Rig) -> None:
    pair = await rig.connect()
    filled = pair.fill()
    rig.table.owe(pair.conn.id, b"1")  # one byte: the transport holds it and sees no reason to say so
    rig.driver.turn()
    got = bytearray()
    while data := pair.take():
        got += data  # room again, and the loop has not run since
    rig.table.owe(pair.conn.id, b"23")
    rig.driver.turn()
    got += await rig.receive(pair, filled + 3 - len(got))
    assert got[filled:] == b"123"


async def test_what_a_socket_takes_in_part_arrives_once_and_in_order(rig: Rig) -> None:
    pair = await rig.connect(send_buffer=4096)
    data = os.urandom(1 << 20)
    rig.table.owe(pair.conn.id, data)
    rig.driver.turn()
    assert 0 < pair.transport.get_write_buffer_size() < len(data)
    rig.table.owe(pair.conn.id, b"end")
    assert await rig.receive(pair, len(data) + 3) == data + b"end"


@pytest.mark.parametrize("seed", range(8))
async def test_bytes_are_exact_whatever_sockets_and_readers_do(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    pairs = [await rig.connect(chance.choice(["tcp", "unix"]), chance.choice([None, 2048, 16_384])) for _ in range(4)]
    sent, got = [bytearray() for _ in pairs], [bytearray() for _ in pairs]
    for shared in range(1, 200):
        data = chance.randbytes(chance.choice([1, 2, 160, 5000, 60_000]))
        for number in chance.sample(range(4), chance.randrange(4)):
            rig.table.owe(pairs[number].conn.id, data, shared=chance.choice([0, shared]))
            sent[number].extend(data)
        if chance.random() < 0.3:
            await asyncio.sleep(0)
        for number in chance.sample(range(4), chance.randrange(4)):
            got[number].extend(pairs[number].take(chance.choice([1, 1000, 100_000])))
    for number, pair in enumerate(pairs):
        got[number].extend(await rig.receive(pair, len(sent[number]) - len(got[number])))
    assert got == sent


async def test_a_closed_connection_is_flushed_first(rig: Rig) -> None:
    pair = await rig.connect(send_buffer=4096)
    data = os.urandom(1 << 20)
    rig.table.owe(pair.conn.id, data, flags=CLOSE)
    rig.driver.turn()
    assert await rig.receive(pair, len(data)) == data
    peer = pair.peer
    rig.loop.add_reader(peer, lambda: None)
    await rig.until(lambda: select_readable(peer))
    rig.loop.remove_reader(peer)
    assert peer.recv(1) == b"", "end of file"


def select_readable(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


async def test_i10_a_send_that_fails_ends_its_own_connection(rig: Rig) -> None:
    broken, other = await rig.connect("tcp"), await rig.connect("tcp")
    rig.table.owe(broken.conn.id, flags=PAUSE)  # so that nothing but the send can tell
    rig.driver.turn()
    reset(broken.peer)
    rig.table.owe(broken.conn.id, b"to nobody")
    rig.table.owe(other.conn.id, b"to somebody")
    rig.driver.turn()
    assert other.take() == b"to somebody"
    await rig.until(lambda: broken.conn.lost)
    assert not other.conn.lost


async def _aborted_by_the_core(rig: Rig, pair: Pair) -> None:
    rig.table.owe(pair.conn.id, flags=ABORT)
    rig.driver.turn()


async def _aborted_by_somebody(rig: Rig, pair: Pair) -> None:
    pair.transport.abort()


async def _closed_by_somebody(rig: Rig, pair: Pair) -> None:
    pair.transport.close()


async def _reset_by_the_peer(rig: Rig, pair: Pair) -> None:
    reset(pair.peer)
    await rig.until(pair.transport.is_closing)


@pytest.mark.parametrize("end", [_aborted_by_the_core, _aborted_by_somebody, _closed_by_somebody, _reset_by_the_peer])
async def test_i8_no_byte_goes_to_whoever_gets_the_descriptor_of_a_connection_that_ends(
    rig: Rig, end: Callable[[Rig, Pair], Any]
) -> None:
    pair = await rig.connect("tcp")
    rig.table.owe(pair.conn.id, b"hello")
    rig.driver.turn()
    assert pair.take() == b"hello"
    await end(rig, pair)
    with reused(pair.fd) as stranger:
        pair.conn.lost = False  # should it be told already: the table goes on with its address otherwise
        rig.table.owe(pair.conn.id, b"secret")
        rig.driver.turn()
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
        await rig.driver.emptied()


async def test_i8_a_reset_and_an_accept_in_one_turn_mix_no_bytes(rig: Rig) -> None:
    """The next socket gets the number of the one that was reset, while more is owed to that than it took."""
    reuses = 0
    for _ in range(50):
        old = await rig.connect("tcp", send_buffer=4096)
        rig.table.owe(old.conn.id, b"old" * 100_000)
        rig.driver.turn()
        reset(old.peer)
        rig.table.owe(old.conn.id, b"old" * 100_000)
        await rig.until(lambda conn=old.conn: conn.lost)  # type: ignore[misc]
        rig.table.owe(old.conn.id, b"old")
        new = await rig.connect("tcp")
        reuses += new.fd == old.fd
        rig.table.owe(new.conn.id, b"new")
        rig.driver.turn()
        assert await rig.receive(new, 3) == b"new"
    assert reuses > 0


def test_i8_a_loop_that_was_closed_under_its_connections_writes_nothing_any_more(
    request: pytest.FixtureRequest,
) -> None:
    loop = LOOPS[request.config.getoption("--loop")]()
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)

    async def open_one() -> tuple[Rig, Pair]:
        rig = Rig(wake_fd)
        return rig, await rig.connect()

    rig, pair = loop.run_until_complete(open_one())
    rig.table.waker = None  # nobody can ask for a turn there
    with pytest.warns(ResourceWarning) if "uvloop" in type(loop).__module__ else contextlib.nullcontext():
        loop.close()
    with reused(pair.fd) as stranger:
        rig.table.owe(pair.conn.id, b"secret")
        rig.driver.turn()
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
    pair.peer.close()
    os.close(wake_fd)
