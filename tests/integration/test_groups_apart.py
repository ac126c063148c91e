"""Devices of one group whose connections are cut and whose server is killed, all while the group changes: in the end
everybody believes the same of it, and everybody got the same messages.

Forbidden: a change that was accepted and lost, or done twice; a device that missed one and does not know it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pyrouter.client import Client, Group, GroupState, NotConnected, Refused
from pyrouter.client.backoff import Backoff
from pyrouter.client.carriers import Carrier, Connect, Sink, connector
from tests.server_process import ServerProcess

pytestmark = pytest.mark.slow
KILLS = 3
MOST = 2000  # changes that each admin wants at most
ADMINS = ("ann", "bob", "carol")
OTHERS = ("dave", "eve")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.close()


class Network:
    """The way to the server, which can be closed for some and is cut under them."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.closed: set[str] = set()
        self._carriers: dict[str, Carrier] = {}

    def way(self, user: str) -> Connect:
        async def connect(sink: Sink) -> Carrier:
            if user in self.closed:
                raise NotConnected("cut off")
            carrier = await connector(f"tcp://127.0.0.1:{self.server.port}")(sink)
            self._carriers[user] = carrier
            return carrier

        return connect

    def cut(self, users: Sequence[str]) -> None:
        self.closed = set(users)
        for user in users:
            if (carrier := self._carriers.pop(user, None)) is not None:
                carrier.abort()


class Person:
    """A client that takes everything that comes, and keeps what it was."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.got: list[tuple[int, str, bytes]] = []  # seq, sender, id
        self._news = asyncio.Event()

    async def listen(self) -> None:
        async for message in self.client.messages():
            if message.group:
                self.got.append((message.seq, message.sender, message.id))
            await message.ack()
            self._news.set()

    async def has(self, seq: int) -> None:
        while not self.got or self.got[-1][0] < seq:
            self._news.clear()
            await self._news.wait()


def some_change(group: Group, n: int, rng: random.Random) -> Awaitable[None]:
    """One of those that cross each other well."""
    other, admin = rng.choice(OTHERS), rng.choice(ADMINS[1:])
    wishes: list[Callable[[], Awaitable[None]]] = [
        lambda: group.add(other),
        lambda: group.remove(other),
        lambda: group.promote(admin),
        lambda: group.demote(admin),
        lambda: group.set_profile(name=f"{n}"),
        lambda: group.set_profile(description=f"{n}"),
    ]
    return rng.choice(wishes)()


async def change(
    person: Person, conversation: bytes, rng: random.Random, said: list[bytes], calm: asyncio.Event
) -> None:
    """Wants one change after the other, and says something between them, until it has become calm."""
    group = Group(person.client, conversation)
    for n in range(MOST):
        if calm.is_set():
            return
        try:
            await some_change(group, n, rng)
        except Refused as refusal:
            if refusal.code not in ("no_change", "forbidden"):
                raise
        sent = await group.send(b"%d" % n)
        await sent.accepted()
        said.append(sent.id)


async def disturb(network: Network, rng: random.Random) -> None:
    """Partitions that heal, and kills."""
    for _ in range(KILLS):
        for kill in (False, True):
            network.cut(rng.sample([*ADMINS, *OTHERS], rng.randint(1, 3)))
            await asyncio.sleep(rng.uniform(0.1, 0.4))
            if kill:
                await asyncio.to_thread(network.server.kill)
                await asyncio.to_thread(network.server.start)
            network.closed = set()
            await asyncio.sleep(rng.uniform(0.1, 0.4))


@pytest.mark.parametrize("seed", [1, 2])
async def test_everybody_believes_the_same_after_partitions_and_kills(server: ServerProcess, seed: int) -> None:
    rng = random.Random(seed)
    network = Network(server)
    async with AsyncExitStack() as stack:
        people = []
        for name in (*ADMINS, *OTHERS):
            way = network.way(name)
            client = Client("", server.token(name), connect=way, backoff=Backoff(0.02, 0.2))
            people.append(Person(name, await stack.enter_async_context(client)))
            await client.connected()
        listening = [asyncio.create_task(person.listen()) for person in people]
        ann, bob, carol = people[:3]
        group = await ann.client.create_group(["bob", "carol", "dave"], name="begin")
        await group.promote("bob", "carol")

        said: list[bytes] = []
        calm = asyncio.Event()
        async with asyncio.TaskGroup() as working:
            for person in (ann, bob, carol):
                working.create_task(change(person, group.conversation, rng, said, calm))
            await disturb(network, rng)
            calm.set()
        assert said

        for other in OTHERS:  # whoever is no member now comes back, so that all have the same end
            if other not in await group.refresh():
                await group.add(other)
        last = await group.send(b"the end")
        await last.accepted()
        await asyncio.gather(*[person.has(last.seq) for person in people if person is not ann])
        await last.delivered()
        states: list[GroupState | None] = [person.client.group_state(group.conversation) for person in people[1:]]
        truth = await group.refresh()
        assert [state == truth for state in states] == [True] * len(states)
        assert ann.client.group_state(group.conversation) == truth
        check(people, said, last.seq)
        for task in listening:
            task.cancel()


def check(people: list[Person], said: list[bytes], last: int) -> None:
    """Each got what was said, once and in order; and all the same."""
    by_seq: dict[int, tuple[int, str, bytes]] = {}
    for person in people:
        seqs = [seq for seq, _, _ in person.got]
        assert seqs == sorted(set(seqs)), "out of order, or twice (I3)"
        for message in person.got:
            assert by_seq.setdefault(message[0], message) == message
    assert sorted(by_seq) == list(range(1, last + 1)), "a gap (I2)"
    ids = [id for _, _, id in by_seq.values()]
    assert len(set(ids)) == len(ids), "one id became two messages (I4)"
    assert set(said) <= set(ids), "accepted and lost (I1)"
    for person in people[:3]:  # never removed: they have all but what they said themselves
        own = {seq for seq, sender, _ in by_seq.values() if sender == person.name}
        assert set(by_seq) - own <= {seq for seq, _, _ in person.got}
