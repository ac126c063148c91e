"""The connection over real sockets with a scripted core: what the peer sees, and what a peer that stalls does."""

import asyncio
import datetime as dt
import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pyrouter._conn import Driver
from tests.conn_table import CLOSE, CLOSED, HTTP, OPEN, PAUSE, RESUME, Conn, Table

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """A listening driver over a scripted core."""

    def __init__(self, wake_fd: int) -> None:
        self.table = Table(wake_fd)
        self.errors: list[dict[str, Any]] = []
        self.on_http: Callable[[asyncio.Transport, bytes], None] = lambda transport, prefix: transport.close()
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.driver = Driver(self.table, self.loop, lambda: None, self._on_http, linger_s=0.5)  # type: ignore[arg-type]
        self.listener: asyncio.Server | None = None
        self.clients: list[asyncio.StreamWriter] = []

    def _on_http(self, transport: asyncio.Transport, prefix: bytes) -> None:
        self.on_http(transport, prefix)

    async def connect(
        self, client_ssl: ssl.SSLContext | None = None, server_ssl: ssl.SSLContext | None = None
    ) -> Streams:
        if self.listener is None:
            self.listener = await self.loop.create_server(self.driver.accept, "127.0.0.1", 0, ssl=server_ssl)
        host, port = self.listener.sockets[0].getsockname()
        before = len(self.table.conns)
        reader, writer = await asyncio.open_connection(host, port, ssl=client_ssl, limit=1 << 24)
        self.clients.append(writer)
        await self.until(lambda: len(self.table.conns) > before)
        return reader, writer

    async def until(self, true: Callable[[], object]) -> None:
        """Return when it is true; looks after each turn of the loop."""
        while not true():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)

    def echo(self, conn: Conn, data: bytes) -> int:
        self.table.owe(conn.id, data)
        return OPEN


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    server = Server(wake_fd)
    yield server
    for writer in server.clients:
        # One of asyncio's that was closed with bytes to write, and has written them, cannot be aborted any more.
        if not writer.transport.is_closing():
            writer.transport.abort()
    server.driver.close()
    await server.driver.emptied()
    if server.listener is not None:
        server.listener.close()
        await server.listener.wait_closed()
    os.close(wake_fd)


async def test_bytes_go_in_and_out(server: Server) -> None:
    server.table.on_data = server.echo
    reader, writer = await server.connect()
    for data in (b"one", b"x" * 700_000):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data


async def test_i6_a_reader_that_stalls_holds_back_the_core_and_nobody_else(server: Server) -> None:
    stalled, _ = await server.connect()
    other, _ = await server.connect()
    stalled._transport.pause_reading()  # type: ignore[attr-defined]
    big = os.urandom(16 << 20)
    server.table.owe(1, big)
    await server.until(lambda: server.table.conns[1].writable == [False])
    server.table.owe(2, b"goes on")
    assert await other.readexactly(7) == b"goes on"
    assert server.table.conns[1].writable == [False]
    stalled._transport.resume_reading()  # type: ignore[attr-defined]
    assert await stalled.readexactly(len(big)) == big
    await server.until(lambda: server.table.conns[1].writable == [False, True])
    assert server.table.conns[2].writable == []


async def test_i6_a_paused_peer_is_not_read_until_it_is_resumed(server: Server) -> None:
    _, writer = await server.connect()
    conn = server.table.conns[1]

    def pause(conn: Conn, data: bytes) -> int:
        server.table.owe(conn.id, flags=PAUSE)
        return OPEN

    server.table.on_data = pause
    writer.write(b"first")
    await server.until(lambda: conn.received == b"first")
    await server.until(lambda: not server.table.writes)
    turns = server.table.turns
    writer.write(b"second")
    for _ in range(3):
        server.driver.wake()
        await server.until(lambda seen=server.table.turns: server.table.turns > seen)  # type: ignore[misc]
    assert server.table.turns > turns
    assert conn.received == b"first"
    server.table.owe(1, flags=RESUME)
    await server.until(lambda: conn.received == b"firstsecond")


async def test_i6_a_flood_takes_turns_with_a_peer_that_says_little(server: Server) -> None:
    _, flooding = await server.connect()
    reader, writer = await server.connect()
    flood = 32 << 20
    received_then: list[int] = []

    def on_data(conn: Conn, data: bytes) -> int:
        if conn.id == 2:
            received_then.append(len(server.table.conns[1].received))
            server.table.owe(2, data)
        return OPEN

    server.table.on_data = on_data
    flooding.write(bytes(flood))
    await server.until(lambda: server.table.conns[1].received)
    writer.write(b"hi")
    assert await reader.readexactly(2) == b"hi"
    assert received_then[0] < flood
    await server.until(lambda: len(server.table.conns[1].received) == flood)


async def test_i10_the_reason_is_readable_although_much_was_sent_that_nobody_read(server: Server) -> None:
    def refuse(conn: Conn, data: bytes) -> int:
        server.table.owe(conn.id, b"why it ends", flags=CLOSE)
        return CLOSED

    server.table.on_data = refuse
    reader, writer = await server.connect()
    writer.write(bytes(4 << 20))
    assert await reader.read() == b"why it ends"
    writer.close()
    await server.driver.emptied()
    assert server.table.conns[1].lost
    assert len(server.table.conns[1].received) <= 256 * 1024


async def test_i6_a_peer_that_does_not_close_its_end_is_dropped(server: Server) -> None:
    reader, _ = await server.connect()
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    server.table.owe(1, bytes(16 << 20), flags=CLOSE)
    await server.driver.emptied()
    assert server.table.conns[1].lost


async def test_what_was_sent_before_the_peer_ended_its_side_is_answered(server: Server) -> None:
    server.table.on_data = server.echo
    reader, writer = await server.connect()
    writer.write(b"ping")
    writer.write_eof()
    assert await reader.read() == b"ping"
    await server.driver.emptied()
    assert server.table.conns[1].lost


async def test_a_reset_is_no_error_of_ours(server: Server) -> None:
    _, writer = await server.connect()
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await server.driver.emptied()
    server.table.owe(1, b"too late")
    assert server.errors == []


class Shout(asyncio.Protocol):
    """Stands in for an HTTP server's protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


async def test_http_goes_on_under_another_protocol(server: Server) -> None:
    def on_http(transport: asyncio.Transport, prefix: bytes) -> None:
        protocol = Shout()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(prefix)

    server.on_http = on_http
    server.table.on_data = lambda conn, data: HTTP
    reader, writer = await server.connect()
    for data in (b"get / ", b"http/1.1", b"x" * 500_000):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data.upper()
    assert server.driver.connections == 0
    assert not server.table.conns[1].lost
    writer.close()
    assert await reader.read() == b""


async def test_i10_a_handler_that_raises_ends_that_connection_only(server: Server) -> None:
    def on_http(transport: asyncio.Transport, prefix: bytes) -> None:
        raise LookupError("broken handler")

    server.on_http = on_http
    server.table.on_data = lambda conn, data: HTTP if data.startswith(b"GET") else server.echo(conn, data)
    (reader, writer), (other, other_writer) = await server.connect(), await server.connect()
    writer.write(b"GET /")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert [type(context["exception"]) for context in server.errors] == [LookupError]
    other_writer.write(b"fine")
    assert await other.readexactly(4) == b"fine"


def _tls(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    file = directory / "both.pem"
    secret = key.private_bytes(encoding, pem, serialization.NoEncryption())
    file.write_bytes(secret + certificate.public_bytes(encoding))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(file)
    return ssl.create_default_context(cafile=str(file)), server_side


async def test_the_same_over_tls_with_back_pressure(server: Server, tmp_path: Path) -> None:
    client_ssl, server_ssl = _tls(tmp_path)
    server.table.on_data = server.echo
    reader, writer = await server.connect(client_ssl, server_ssl)
    for data in (b"one", os.urandom(3 << 20)):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
    writable = server.table.conns[1].writable
    await server.until(lambda: writable == [False, True] * (len(writable) // 2))
    server.table.owe(1, b"bye", flags=CLOSE)
    assert await reader.read() == b"bye"
