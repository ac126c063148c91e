"""A server and people with clients: what the tests of groups share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from pyrouter.client import Client, Event, Group, GroupState, Message, Refused, Skipped
from tests.server_process import ServerProcess


class World:
    """Clients of one server, closed with it."""

    def __init__(self, server: ServerProcess, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.server.port}"

    async def person(
        self, user: str, device: int = 1, *, receive: bool = True, on_event: Callable[[Event], None] | None = None
    ) -> Client:
        client = Client(self.url, self.server.token(user, device), receive=receive, on_event=on_event)
        await self._stack.enter_async_context(client)
        await client.connected()
        return client

    async def people(self, *users: str) -> list[Client]:
        return [await self.person(user) for user in users]

    def users(self, *users: str) -> list[str]:
        """They exist, and have no device yet."""
        for user in users:
            self.server.token(user)
        return list(users)


@asynccontextmanager
async def world(server: ServerProcess) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(server, stack)


async def refused(code: str, call: Awaitable[object]) -> None:
    with pytest.raises(Refused) as caught:
        await call
    assert caught.value.code == code


async def take(client: Client, seq: int) -> list[Message | Skipped]:
    """Receives and acknowledges up to the message `seq`; of one conversation at a time."""
    got: list[Message | Skipped] = []
    while True:
        item = await client.receive()
        got.append(item)
        last = item.seq if isinstance(item, Message) else item.last
        client.ack(item.conversation, last)
        if last >= seq:
            return got


async def known(client: Client, group: Group, seq: int) -> GroupState:
    """What a client believes of a group once it has the message `seq`."""
    await take(client, seq)
    state = client.group_state(group.conversation)
    assert state is not None
    return state


async def mark(group: Group) -> int:
    """A message that everybody gets; its seq."""
    sent = await group.send(b"mark")
    await sent.accepted()
    return sent.seq
