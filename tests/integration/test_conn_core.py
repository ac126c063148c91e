"""The two extensions together, over real sockets: hello, send, accepted, message, ack, receipt; and what ends them."""

import asyncio
import gc
import os
import struct
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pyrouter._conn import Driver, LocalConnection
from pyrouter._core import Core, CoreError, CoreFailed, fsck, option_names
from pyrouter.wire.wire_pb2 import Ack, ClientFrame, Hello, Send, ServerFrame

MAGIC = b"PYRT\x01"
SMALL: dict[str, int | str | bool] = {"segment_bytes": 1 << 20}


class Router:
    """A core on a loop; its tokens are `user:device`, and every user exists."""

    def __init__(self, path: Path, **options: int | str | bool) -> None:
        self.core = Core(str(path), {**SMALL, **options})
        self.loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[str] = self.loop.create_future()
        self.alarms: list[str] = []
        self.http: list[bytes] = []
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.driver = Driver(self.core, self.loop, self.answer, self._on_http)
        self.listener: asyncio.Server | None = None
        self.clients: list[Client] = []

    def answer(self) -> None:
        for request in self.core.take_requests():
            match request:
                case ("authenticate", conn, "bad"):
                    self.core.refuse(conn, "bad_token", "no such token")
                case ("authenticate", conn, token):
                    user, device = token.split(":")
                    self.core.admit(conn, user, int(device), 0)
                case ("load", kind, key):
                    self.core.loaded(kind, key, b"" if kind == "user" else None)
                case ("store", kind, key, version, _):
                    self.core.stored(kind, key, version)
                case ("alarm", code, _):
                    self.alarms.append(code)
                case ("failed", reason):
                    self.failed.set_result(reason)

    def _on_http(self, transport: asyncio.Transport, prefix: bytes) -> None:
        self.http.append(prefix)
        transport.close()

    async def connect(self) -> "Client":
        if self.listener is None:
            self.listener = await self.loop.create_server(self.driver.accept, "127.0.0.1", 0)
        client = Client(*await asyncio.open_connection(*self.listener.sockets[0].getsockname()))
        self.clients.append(client)
        return client

    async def join(self, token: str, *, receive: bool = True) -> "Client":
        client = await self.connect()
        client.writer.write(MAGIC)
        client.send(ClientFrame(hello=Hello(protocol=1, token=token, receive=receive)))
        assert (await client.next()).WhichOneof("frame") == "welcome"
        return client

    async def close(self) -> None:
        for client in self.clients:
            client.writer.transport.abort()
        self.driver.close()
        await self.driver.emptied()
        if self.listener is not None:
            self.listener.close()
            await self.listener.wait_closed()
        await asyncio.to_thread(self.core.close)


class Client:
    """Raw frames over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, frame: ClientFrame) -> None:
        payload = frame.SerializeToString()
        length = len(payload)
        header = bytearray()
        while length >= 0x80:
            header.append(length & 0x7F | 0x80)
            length >>= 7
        self.writer.write(bytes([*header, length]) + payload)

    def message(self, to: str, body: bytes, id: bytes) -> None:
        self.send(ClientFrame(send=Send(user=to, body=body, id=id)))

    async def next(self) -> ServerFrame:
        length, shift = 0, 0
        while True:
            (byte,) = await self.reader.readexactly(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return ServerFrame.FromString(await self.reader.readexactly(length))

    async def until(self, kind: str) -> ServerFrame:
        """The next frame of a kind; others are passed over."""
        while True:
            frame = await self.next()
            if frame.WhichOneof("frame") == kind:
                return frame


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Router]:
    router = Router(tmp_path)
    yield router
    await router.close()
    assert router.errors == []


async def test_a_message_is_accepted_delivered_acknowledged_and_receipted(router: Router) -> None:
    alice, bob = await router.join("alice:1"), await router.join("bob:7")
    alice.message("bob", b"hello", b"id-1")
    accepted = (await alice.until("accepted")).accepted
    assert (accepted.id, accepted.seq, len(accepted.conversation)) == (b"id-1", 1, 16)
    message = (await bob.until("message")).message
    assert (message.sender, message.device, message.seq, message.body) == ("alice", 1, 1, b"hello")
    assert message.conversation == accepted.conversation
    bob.send(ClientFrame(ack=Ack(conversation=message.conversation, seq=1)))
    receipt = (await alice.until("receipt")).receipt
    assert (receipt.user, receipt.delivered, receipt.conversation) == ("bob", 1, accepted.conversation)


async def test_i1_i3_what_was_accepted_waits_for_its_reader_across_a_restart(tmp_path: Path) -> None:
    router = Router(tmp_path)
    alice = await router.join("alice:1", receive=False)
    for n in range(300):
        alice.message("bob", b"body %d" % n, b"id %d" % n)
    for n in range(300):
        assert (await alice.until("accepted")).accepted.seq == n + 1
    await router.close()
    router = Router(tmp_path)
    bob = await router.join("bob:1")
    for n in range(300):
        message = (await bob.until("message")).message
        assert (message.seq, message.body) == (n + 1, b"body %d" % n)
        bob.send(ClientFrame(ack=Ack(conversation=message.conversation, seq=message.seq)))
    await router.close()
    report = fsck(str(tmp_path))
    assert (report["damaged"], report["findings"]) == (0, [])


async def test_i6_a_reader_that_stalls_keeps_its_messages_and_delays_nobody(router: Router) -> None:
    alice, stalled, carol = [await router.join(token) for token in ("alice:1", "stalled:1", "carol:1")]
    stalled.reader._transport.pause_reading()  # type: ignore[attr-defined]
    body = bytes(32_000)
    for n in range(400):
        alice.message("stalled", body + b"%d" % n, b"s%d" % n)
    for _ in range(400):
        await alice.until("accepted")
    alice.message("carol", b"goes on", b"c")
    assert (await carol.until("message")).message.body == b"goes on"
    stalled.reader._transport.resume_reading()  # type: ignore[attr-defined]
    for n in range(400):
        message = (await stalled.until("message")).message
        assert (message.seq, message.body) == (n + 1, body + b"%d" % n)
        stalled.send(ClientFrame(ack=Ack(conversation=message.conversation, seq=message.seq)))


async def test_i6_a_sender_that_floods_is_read_no_faster_than_the_disk_takes_it(router: Router) -> None:
    alice = await router.join("alice:1", receive=False)
    for n in range(3000):
        alice.message("bob", bytes(4000), b"%d" % n)
    for n in range(3000):
        assert (await alice.until("accepted")).accepted.seq == n + 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (MAGIC + b"\x05junk!", "malformed"),
        (MAGIC + b"\xff\xff\xff\xff\x0f" + bytes(100), "too_large"),
        (MAGIC + b"\x02\x2a\x00", "hello_expected"),
    ],
)
async def test_i10_a_bad_frame_ends_its_connection_with_a_reason_it_can_read(
    router: Router, said: bytes, code: str
) -> None:
    bystander, liar = await router.join("bystander:1"), await router.connect()
    liar.writer.write(said + bytes(300_000))
    assert (await liar.next()).error.code == code
    assert await liar.reader.read() == b""
    bystander.message("bystander", b"still here", b"x")
    await bystander.until("accepted")


async def test_a_bad_token_is_told(router: Router) -> None:
    client = await router.connect()
    client.writer.write(MAGIC)
    client.send(ClientFrame(hello=Hello(protocol=1, token="bad")))
    error = (await client.next()).error
    assert (error.code, error.message) == ("bad_token", "no such token")
    assert await client.reader.read() == b""


async def test_other_http_is_handed_over_with_its_first_bytes(router: Router) -> None:
    client = await router.connect()
    client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await client.reader.read() == b""
    assert router.http == [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]


async def test_a_websocket_gets_its_handshake_and_frames(router: Router) -> None:
    client = await router.connect()
    client.writer.write(
        b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    payload = ClientFrame(hello=Hello(protocol=1, token="web:1", receive=True)).SerializeToString()
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    client.writer.write(bytes([0x82, 0x80 | len(payload)]) + mask + masked)
    first, length = struct.unpack("BB", await client.reader.readexactly(2))
    assert first == 0x82
    assert ServerFrame.FromString(await client.reader.readexactly(length)).welcome.user == "web"


async def test_a_device_of_this_process_talks_to_one_outside(router: Router) -> None:
    bob = await router.join("bob:1")
    got: list[bytes] = []
    local = LocalConnection(router.driver, got.append)
    router.core.admit(local.id, "inside", 1, 0)
    for frame in (
        ClientFrame(hello=Hello(protocol=1, receive=True)),
        ClientFrame(send=Send(user="bob", body=b"from inside", id=b"1")),
    ):
        payload = frame.SerializeToString()
        local.feed(bytes([len(payload)]) + payload)
    assert (await bob.until("message")).message.body == b"from inside"
    bob.message("inside", b"from outside", b"2")
    await bob.until("accepted")
    while b"from outside" not in b"".join(got):  # noqa: ASYNC110  # frames come by a callback
        await asyncio.sleep(0)
    local.close()


async def test_stop_says_goodbye_and_closes(router: Router) -> None:
    clients = [await router.join(f"user{n}:1") for n in range(3)]
    router.core.stop("an update", 250)
    for client in clients:
        goodbye = (await client.until("goodbye")).goodbye
        assert (goodbye.reason, goodbye.reconnect_ms) == ("an update", 250)
        assert await client.reader.read() == b""
        client.writer.close()
    await router.driver.emptied()


async def test_i10_a_failed_router_tells_its_clients_and_its_owner(router: Router) -> None:
    client = await router.join("alice:1")
    router.core.fail("the cold store is damaged")
    assert "cold store" in await router.failed
    error = (await client.until("error")).error
    assert error.code == "internal"
    assert await client.reader.read() == b""
    assert "cold store" in str(router.core.failed)


async def test_a_closed_core_refuses_and_says_so(tmp_path: Path) -> None:
    router = Router(tmp_path)
    await router.close()
    await router.close()
    for call in (router.core.stats, lambda: router.core.stop("x", 0)):
        with pytest.raises(CoreError, match="closed"):
            call()
    assert router.core.wake_fd == -1
    assert router.core.take_requests() == []
    driver = None
    with pytest.raises((CoreFailed, OSError, ValueError)):
        driver = Driver(router.core, router.loop, lambda: None)
    assert driver is None


async def test_a_core_has_one_driver_until_that_is_closed(tmp_path: Path) -> None:
    router = Router(tmp_path)
    with pytest.raises(CoreError, match="close that one first"):
        Driver(router.core, router.loop, router.answer)
    router.driver.close()
    router.driver = Driver(router.core, router.loop, router.answer)
    await router.join("alice:1")
    await router.close()


async def test_nothing_holds_a_driver_and_its_core_once_they_are_closed(tmp_path: Path) -> None:
    core = Core(str(tmp_path), SMALL)
    driver = Driver(core, asyncio.get_running_loop(), lambda: None)
    driver.close()
    core.close()
    await asyncio.sleep(0)  # the turn that was asked for at the start
    assert {type(holder) for holder in gc.get_referrers(core) + gc.get_referrers(driver)} <= {types.CoroutineType}


async def test_two_routers_cannot_share_a_directory(router: Router, tmp_path: Path) -> None:
    with pytest.raises(CoreError, match=f"in use by process {os.getpid()}"):
        Core(str(tmp_path))


@pytest.mark.parametrize(
    "wrong", [{"devices": -1}, {"devices": "ten"}, {"authorize": 1}, {"durability": "maybe"}, {"nonsense": 1}]
)
def test_a_wrong_option_is_refused_by_name(tmp_path: Path, wrong: dict[str, int | str | bool]) -> None:
    with pytest.raises(CoreError, match=next(iter(wrong))):
        Core(str(tmp_path), wrong)


def test_options_are_listed_with_their_defaults(tmp_path: Path) -> None:
    options = option_names()
    assert (options["durability"], options["devices"], options["authorize"]) == ("fsync", 10, False)
    Core(str(tmp_path), {**options, **SMALL, "durability": "interval"}).close()


def test_fsck_of_something_else_says_so(tmp_path: Path) -> None:
    with pytest.raises(CoreError, match="there is no log"):
        fsck(str(tmp_path))
