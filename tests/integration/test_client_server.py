"""The client library against a real server, where the unit tests' model cannot stand for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrouter.client import (
    Client,
    Device,
    DevicesChanged,
    Event,
    Message,
    Refused,
    Replaced,
    Skipped,
    SkipReason,
    State,
    Trouble,
    device_conversation,
    direct_conversation,
)
from tests.server_process import ServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.close()


def url(server: ServerProcess) -> str:
    return f"tcp://127.0.0.1:{server.port}"


async def test_a_conversation_with_oneself_reaches_the_other_device_and_is_read_there(server: ServerProcess) -> None:
    phone = Client(url(server), server.token("ann", 1))
    laptop = Client(url(server), server.token("ann", 2))
    async with phone, laptop:
        await laptop.connected()
        note = await phone.send("ann", b"buy milk")
        message = await anext(laptop.messages())
        assert (message.conversation, message.sender, message.device) == (direct_conversation("ann", "ann"), "ann", 1)
        await message.ack()
        await message.read()
        await note.read()


async def test_devices_of_one_user_exchange_keys(server: ServerProcess) -> None:
    phone = Client(url(server), server.token("ann", 1))
    laptop = Client(url(server), server.token("ann", 2))
    async with phone, laptop:
        await laptop.connected()
        key = await phone.send(Device("ann", 2), b"a key")
        message = await anext(laptop.messages())
        assert message.conversation == device_conversation(("ann", 1), ("ann", 2))
        assert key.state <= State.SENT
        await message.ack()
        await message.read()
        await key.read()


async def test_what_one_device_sends_the_others_get_with_its_recipient(server: ServerProcess) -> None:
    server.token("bob")
    phone = Client(url(server), server.token("ann", 1))
    laptop = Client(url(server), server.token("ann", 2))
    async with phone, laptop:
        await laptop.connected()
        await phone.send("bob", b"hello")
        message = await anext(laptop.messages())
        assert (message.sender, message.to, message.body) == ("ann", "bob", b"hello")


async def test_a_body_for_each_device_and_changed_devices(server: ServerProcess) -> None:
    async with Client(url(server), server.token("ann")) as ann, Client(url(server), server.token("bob")) as bob:
        await ann.connected()
        await bob.connected()
        lists = {name: await ann.devices(name) for name in ("ann", "bob")}
        stale = {name: (known.version, known.devices) for name, known in lists.items()}
        bodies = {Device("bob", 1): b"for the phone"}
        first = await ann.send("bob", bodies=bodies, lists=stale)
        assert (await anext(bob.messages())).body == b"for the phone"
        await first.accepted()
        async with Client(url(server), server.token("bob", 2)) as tablet:
            await tablet.connected()
            second = await ann.send("bob", bodies=bodies, lists=stale)
            with pytest.raises(DevicesChanged) as caught:
                await second.accepted()
            assert caught.value.lists["bob"][1] == (1, 2)
            anew = await ann.send("bob", id=second.id, bodies=bodies, lists=caught.value.lists)
            await anew.accepted()
            skipped = await anext(tablet.incoming())
            assert isinstance(skipped, Skipped)
            assert (skipped.last, skipped.reason) == (anew.seq, SkipReason.NO_BODY)


async def test_the_body_limit_is_exact(server: ServerProcess) -> None:
    server.token("bob")
    async with Client(url(server), server.token("ann")) as ann:
        await ann.connected()
        limit = ann.limits.body_bytes
        fits, too_large = await ann.send("bob", bytes(limit)), await ann.send("bob", bytes(limit + 1))
        await fits.accepted()
        with pytest.raises(Refused, match="body_too_large"):
            await too_large.accepted()


async def test_a_read_of_what_was_not_acknowledged_is_told_and_costs_nothing_else(server: ServerProcess) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    bob = Client(url(server), server.token("bob"), on_event=events.put_nowait)
    async with Client(url(server), server.token("ann")) as ann, bob:
        sent = await ann.send("bob", b"x")
        message = await anext(bob.messages())
        await message.read()
        while not isinstance(event := await events.get(), Trouble):
            pass
        assert event.code == "ack_beyond_head"
        await message.ack()
        await message.read()
        await sent.read()


@pytest.mark.slow
async def test_a_thousand_messages_each_way_with_connections_that_break(server: ServerProcess) -> None:
    async with Client(url(server), server.token("ann")) as ann, Client(url(server), server.token("bob")) as bob:

        async def take(client: Client) -> list[bytes]:
            bodies = []
            async for message in client.messages():
                bodies.append(message.body)
                await message.ack()
                if len(bodies) == 1000:
                    return bodies
            raise AssertionError

        async with asyncio.TaskGroup() as group:
            taken = [group.create_task(take(client)) for client in (ann, bob)]
            for n in range(1000):
                await ann.send("bob", b"%d" % n)
                await bob.send("ann", b"%d" % n)
                if n % 250 == 100:
                    server.kill()
                    server.start()
        for task in taken:
            assert task.result() == [b"%d" % n for n in range(1000)]


async def test_a_second_session_takes_over_and_the_first_ends(server: ServerProcess) -> None:
    token = server.token("ann")
    async with Client(url(server), token) as old:
        await old.connected()
        async with Client(url(server), token) as new:
            await new.connected()
            with pytest.raises(Replaced):
                await anext(old.messages())
            await new.connected()


async def test_messages_wait_for_a_device_that_was_never_there(server: ServerProcess) -> None:
    token = server.token("bob")
    async with Client(url(server), server.token("ann")) as ann:
        for n in range(3):
            await ann.send("bob", b"%d" % n)
        await ann.drain()
    got: list[Message] = []
    async with Client(url(server), token) as bob:
        async for message in bob.messages():
            got.append(message)
            await message.ack()
            if len(got) == 3:
                break
    assert [message.body for message in got] == [b"0", b"1", b"2"]
