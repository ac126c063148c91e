"""The client on an event loop, against a server that says what the test tells it to; over both carriers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pyrouter.client import (
    BadArgument,
    BadUrl,
    Client,
    ClientClosed,
    Connected,
    Disconnected,
    Event,
    Message,
    Refused,
    Replaced,
    SessionRefused,
    Skipped,
    SkipReason,
    State,
    Undeliverable,
    direct_conversation,
)
from pyrouter.client.backoff import Backoff
from pyrouter.wire import wire_pb2 as wire

from .little_server import LittleServer, Peer, little_server

BOB = direct_conversation("alice", "bob")


@pytest.fixture(params=["tcp", "ws"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[LittleServer]:
    async with little_server(request.param) as server:
        yield server


@pytest.fixture(autouse=True)
async def nothing_fails_unseen() -> AsyncIterator[None]:
    """What goes wrong in a callback of the loop is a failure of the test."""
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    yield
    assert not unseen


def at_once() -> Backoff:
    return Backoff(0, 0)


def message(seq: int) -> wire.Message:
    return wire.Message(conversation=BOB, seq=seq, sender="bob", device=1, id=b"x", time=5, body=b"%d" % seq)


async def test_a_message_goes_from_pending_to_read(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        sent = await client.send("bob", b"hello")
        assert sent.state == State.PENDING
        peer = await server.next()
        hello = await peer.welcome()
        assert (hello.protocol, hello.token, hello.receive) == (1, "secret", True)
        send = (await peer.hear("send")).send
        assert (send.user, send.body, send.id) == ("bob", b"hello", sent.id)
        await peer.say(accepted=wire.Accepted(id=send.id, conversation=BOB, seq=1, time=7))
        await sent.accepted()
        assert (sent.conversation, sent.seq, sent.time) == (BOB, 1, 7)
        await peer.say(receipt=wire.Receipt(conversation=BOB, user="bob", delivered=1, version=b"1"))
        await sent.delivered()
        await peer.say(receipt=wire.Receipt(conversation=BOB, user="bob", read=1, version=b"2"))
        await sent.read()
        assert (client.user, client.device) == ("alice", 1)


async def test_what_is_unanswered_is_sent_again_on_the_next_connection(server: LittleServer) -> None:
    async with Client(server.url, "secret", backoff=at_once()) as client:
        sends = [await client.send("bob", b"%d" % n) for n in range(3)]
        peer = await server.next()
        await peer.welcome()
        for sent in sends:
            assert (await peer.hear("send")).send.id == sent.id
        await peer.say(accepted=wire.Accepted(id=sends[0].id, conversation=BOB, seq=1, time=7))
        await sends[0].accepted()
        await peer.cut()
        again = await server.next()
        await again.welcome()
        assert (await again.hear("ack")).ack.accepted[0].seqs == [1]
        for sent in sends[1:]:
            assert (await again.hear("send")).send.id == sent.id
            await again.say(accepted=wire.Accepted(id=sent.id, conversation=BOB, seq=2, time=7))
            await sent.accepted()
        await client.drain()


async def test_messages_come_once_and_in_order_across_connections_i3(server: LittleServer) -> None:
    async with Client(server.url, "secret", backoff=at_once()) as client:
        messages = client.messages()
        peer = await server.next()
        await peer.welcome()
        await peer.say(message=message(1))
        await peer.say(message=message(2))
        first, second = await anext(messages), await anext(messages)
        await first.ack()
        assert (await peer.hear("ack")).ack.seq == 1
        await second.ack()
        await peer.cut()
        again = await server.next()
        await again.welcome()
        for seq in (2, 3):
            await again.say(message=message(seq))
        third = await anext(messages)
        assert [first.body, second.body, third.body] == [b"1", b"2", b"3"]


async def test_acks_leave_when_the_client_closes(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        peer = await server.next()
        await peer.welcome()
        for seq in (1, 2):
            await peer.say(message=message(seq))
        async for got in client.messages():
            if got.seq == 2:
                break
            await got.ack()
        client.ack(BOB, 1)
    acks = [frame async for frame in _rest(peer)]
    assert acks[-1].ack.seq == 1


async def test_iterating_ends_quietly_when_the_client_is_closed(server: LittleServer) -> None:
    client = Client(server.url, "secret")
    async with client:
        await (await server.next()).welcome()
        await client.connected()
        rest = asyncio.ensure_future(_all(client))
        await asyncio.sleep(0)
    assert await rest == []
    with pytest.raises(ClientClosed):
        await client.send("bob", b"late")


async def test_skips_are_told_among_the_messages(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        peer = await server.next()
        await peer.welcome()
        skip = wire.Skip(conversation=BOB, to=4, reason=wire.EXPIRED)
        setattr(skip, "from", 1)
        await peer.say(skip=skip)
        await peer.say(message=message(5))
        incoming = client.incoming()
        assert await anext(incoming) == Skipped(BOB, 1, 4, SkipReason.EXPIRED)
        assert isinstance(await anext(incoming), Message)


async def test_who_waits_for_an_undeliverable_message_hears_why_i7(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        sent = await client.send("bob", b"hello")
        peer = await server.next()
        await peer.welcome()
        await peer.hear("send")
        await peer.say(accepted=wire.Accepted(id=sent.id, conversation=BOB, seq=1, time=7))
        await sent.accepted()
        waiter = asyncio.ensure_future(sent.delivered())
        skip = wire.Skip(conversation=BOB, to=1, reason=wire.EXPIRED, user="bob", version=b"1")
        setattr(skip, "from", 1)
        await peer.say(skip=skip)
        await peer.say(receipt=wire.Receipt(conversation=BOB, user="bob", delivered=1, version=b"2"))
        with pytest.raises(Undeliverable, match="expired"):
            await waiter
        assert sent.state == State.SENT


async def test_a_refused_send_raises_and_others_go_on(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        bad, good = await client.send("nobody", b"x"), await client.send("bob", b"y")
        peer = await server.next()
        await peer.welcome()
        await peer.say(error=wire.Error(code="unknown_user", message="there is no user nobody", id=bad.id))
        await peer.say(accepted=wire.Accepted(id=good.id, conversation=BOB, seq=1, time=7))
        await good.accepted()
        with pytest.raises(Refused, match="no user nobody") as caught:
            await bad.accepted()
        assert caught.value.code == "unknown_user"


async def test_replaced_ends_the_client_and_everybody_who_waits(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        sent = await client.send("bob", b"x")
        peer = await server.next()
        await peer.welcome()
        await peer.say(replaced=wire.Replaced())
        await peer.end()
        with pytest.raises(Replaced):
            await sent.accepted()
        with pytest.raises(Replaced):
            await anext(client.messages())
        with pytest.raises(Replaced):
            await client.send("bob", b"y")
        assert server.peers.empty()


async def test_a_bad_token_ends_the_client(server: LittleServer) -> None:
    async with Client(server.url, "stale") as client:
        peer = await server.next()
        await peer.hear("hello")
        await peer.say(error=wire.Error(code="bad_token", message="this token is not for this server"))
        await peer.end()
        with pytest.raises(SessionRefused, match="not for this server"):
            await client.connected()


async def test_an_expired_token_is_replaced_by_a_fresh_one(server: LittleServer) -> None:
    tokens = iter(["old", "new"])

    async def token() -> str:
        return next(tokens)

    async with Client(server.url, token, backoff=at_once()) as client:
        peer = await server.next()
        assert (await peer.hear("hello")).hello.token == "old"
        await peer.say(error=wire.Error(code="token_expired", message="expired"))
        await peer.end()
        assert (await (await server.next()).welcome()).token == "new"
        await client.connected()


async def test_a_failing_token_function_is_seen_by_those_who_wait(server: LittleServer) -> None:
    async def token() -> str:
        raise LookupError("no such secret")

    async with Client(server.url, token) as client:
        with pytest.raises(Exception, match="no such secret"):
            await client.connected()


async def test_devices_are_told_and_unknown_users_refused(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        peer = await server.next()
        await peer.welcome()
        known, unknown = asyncio.ensure_future(client.devices("bob")), asyncio.ensure_future(client.devices("nobody"))
        await peer.hear("devices_get")
        await peer.say(devices=wire.Devices(user="bob", version=2, devices=[1, 3]))
        assert (await known).devices == (1, 3)
        await peer.hear("devices_get")
        await peer.say(error=wire.Error(code="unknown_user", message="there is no user nobody"))
        with pytest.raises(Refused):
            await unknown


async def test_a_server_that_is_away_is_tried_until_it_is_there() -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with little_server("tcp") as server:
        url = server.url
    async with Client(url, "secret", on_event=events.put_nowait, backoff=Backoff(0.001, 0.001)):
        for _ in range(3):
            event = await events.get()
            assert isinstance(event, Disconnected)
            assert "refused the connection" in event.reason


async def test_a_web_server_that_is_none_of_ours_is_named() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nnot here")
        writer.close()

    events: asyncio.Queue[Event] = asyncio.Queue()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        url = f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with Client(url, "secret", on_event=events.put_nowait):
            event = await events.get()
    assert isinstance(event, Disconnected)
    assert "404 Not Found: not here" in event.reason


async def test_what_is_said_while_the_connection_ends_is_said_again_on_the_next(server: LittleServer) -> None:
    async with Client(server.url, "secret", backoff=at_once()) as client:
        peer = await server.next()
        await peer.welcome()
        await client.connected()
        for _ in range(20):
            await peer.cut()
            for _ in range(3):  # in loop turns before and after the word of it
                await client.send("bob", b"x")
                await asyncio.sleep(0)
            peer = await server.next()
            await peer.welcome()
            await client.connected()


@pytest.mark.parametrize(
    "url", ["", "example.org", "http://example.org", "ws://", "tcp://host:port", "tcp://host:1/path", "ws://h:99999"]
)
async def test_a_bad_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadUrl):
        Client(url, "secret")


class Counting(Backoff):
    """Waits for nothing, and counts what it is told."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.waits = 0
        self.resets = 0

    def next(self) -> float:
        self.waits += 1
        return super().next()

    def reset(self) -> None:
        self.resets += 1


@pytest.mark.parametrize("steady_s", [0.0, 3600.0])
async def test_only_a_connection_that_lasted_makes_the_next_wait_short_again(
    server: LittleServer, monkeypatch: pytest.MonkeyPatch, steady_s: float
) -> None:
    monkeypatch.setattr("pyrouter.client.client.STEADY_S", steady_s)
    backoff = Counting()
    async with Client(server.url, "secret", backoff=backoff) as client:
        for _ in range(3):
            peer = await server.next()
            await peer.welcome()
            await client.connected()
            await peer.cut()
        await (await server.next()).welcome()
        assert (backoff.waits, backoff.resets) == (3, 0 if steady_s else 3)


async def test_a_message_that_never_fits_into_the_outbox_is_refused_at_once(
    server: LittleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrouter.client.outbox.OUTBOX_BYTES", 1000)
    async with Client(server.url, "secret") as client:
        for size in (1001, 1000):  # with its frame around it the second is too large as well
            with pytest.raises(BadArgument):
                await client.send("bob", bytes(size))
        assert client.idle


async def test_a_mistake_of_the_library_is_reported_and_does_not_make_it_reconnect_at_once(
    server: LittleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    events: asyncio.Queue[Event] = asyncio.Queue()
    backoff = Counting()
    async with Client(server.url, "secret", on_event=events.put_nowait, backoff=backoff) as client:
        peer = await server.next()
        await peer.welcome()
        assert isinstance(await events.get(), Connected)

        def fail(_payload: bytes) -> None:
            raise LookupError("a mistake")

        with monkeypatch.context() as patch:
            patch.setattr(client._protocol, "receive", fail)
            await peer.say(pong=wire.Pong())
            event = await events.get()
        assert isinstance(event, Disconnected)
        assert "a mistake" in event.reason
        await (await server.next()).welcome()
        await client.connected()
        assert (backoff.waits, backoff.resets) == (1, 0)
    assert reported == ["pyrouter.client failed"]


async def test_a_thousand_sends_of_one_turn_leave_in_few_writes_and_in_order(server: LittleServer) -> None:
    async with Client(server.url, "secret") as client:
        peer = await server.next()
        await peer.welcome()
        await client.connected()
        sends = [await client.send("bob", b"x") for _ in range(1000)]
        for seq, sent in enumerate(sends, 1):
            while (heard := await peer.heard.get()) is not None and heard.WhichOneof("frame") == "ack":
                pass
            assert heard is not None
            assert heard.send.id == sent.id
            await peer.say(accepted=wire.Accepted(id=sent.id, conversation=BOB, seq=seq, time=7))
        await client.drain()
        assert all(sent.state == State.SENT for sent in sends)


async def _all(client: Client) -> list[Message]:
    return [message async for message in client.messages()]


async def _rest(peer: Peer) -> AsyncIterator[wire.ClientFrame]:
    while (heard := await peer.heard.get()) is not None:
        yield heard
