"""No public call of the client library ends its connection, whatever it is given: it raises, or is answered."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrouter.client import (
    Added,
    BadArgument,
    Client,
    ClientClosed,
    Created,
    Demoted,
    Device,
    Disconnected,
    Event,
    Group,
    Invite,
    Invited,
    NewOwner,
    Profile,
    Refused,
    Revoked,
    SentMessage,
    SessionEnded,
    direct_conversation,
    group_conversation,
)
from pyrouter.client.questions import Question
from tests.server_process import ServerProcess

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

ANSWERED_WITHIN_S = 60.0
WITH_BOB = direct_conversation("ann", "bob")
GROUP = group_conversation("ann", 1, b"a group")


@dataclass
class World:
    """A server, and Ann, who is connected to it."""

    server: ServerProcess
    runner: asyncio.Runner
    ann: Client
    ends: list[Event] = field(default_factory=list)

    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.server.port}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = ServerProcess(tmp_path_factory.mktemp("arguments"))
    server.start()
    server.token("bob")
    ends: list[Event] = []

    def note(event: Event) -> None:
        if isinstance(event, Disconnected):
            ends.append(event)

    async def join() -> Client:
        ann = Client(f"tcp://127.0.0.1:{server.port}", server.token("ann"), on_event=note)
        await ann.__aenter__()
        sent = await ann.send("bob", b"hello")
        await sent.accepted()
        assert (await ann.create_group(["bob"], id=b"a group")).conversation == GROUP
        return ann

    with asyncio.Runner() as runner:
        ann = runner.run(join())
        try:
            yield World(server, runner, ann, ends)
        finally:
            runner.run(ann.close())
            server.close()


# Of those that nearly fit there are many.
integers = st.integers(-(2**70), 2**70) | st.sampled_from(
    [-1, 0, 1, 2, 2**16, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 1, 2**64]
)
texts = st.text(max_size=80) | st.sampled_from(["", "bob", "nobody", "a\0", "x" * 64, "x" * 65, "\ud800", "devices"])
binaries = st.binary(max_size=40) | st.sampled_from([WITH_BOB, b"", bytes(16), bytes(32)])
anything = integers | texts | binaries
bodies = anything | st.just(bytes(70_000))  # longer than the server takes
conversations = st.sampled_from([GROUP, WITH_BOB]) | anything


def lists(of: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    return st.lists(of, max_size=3) | of.map(lambda one: [one] * 1025)


Call = Callable[[Client], object]

questions: st.SearchStrategy[Call] = st.builds(
    lambda *fields: lambda ann: ann.ask(Question(*fields)),
    st.sampled_from(["devices", "group", "groups", "progress", "block", "unblock", "blocked"]) | anything,
    conversations,
    anything,
    anything,
)
changes = st.one_of(
    st.builds(Created, lists(anything), st.builds(Profile, anything, anything, anything)),
    st.builds(Added, lists(anything)),
    st.builds(Demoted, lists(anything)),
    st.builds(NewOwner, anything),
    st.builds(Profile, anything, anything, anything),
    st.builds(Invited, st.builds(Invite, anything, anything)),
    st.builds(Revoked, anything),
    anything,
)
sends: st.SearchStrategy[Call] = st.builds(
    lambda to, body, id, media, bodies, versions: (
        lambda ann: ann.send(to, body, id=id, media=media, bodies=bodies, lists=versions)
    ),
    conversations | st.builds(Device, anything, anything),
    bodies,
    st.none() | anything,
    st.just([]) | lists(anything),
    st.none() | st.dictionaries(st.builds(Device, anything, anything), bodies, max_size=2),
    st.none() | st.dictionaries(anything, st.tuples(anything, lists(anything)), max_size=2),
)
calls: st.SearchStrategy[Call] = st.one_of(
    questions,
    sends,
    st.builds(lambda user: lambda ann: ann.devices(user), anything),
    st.builds(lambda user: lambda ann: ann.block(user), anything),
    st.builds(lambda user: lambda ann: ann.unblock(user), anything),
    st.builds(lambda at, seq: lambda ann: ann.progress(at, seq), conversations, anything),
    st.builds(lambda at: lambda ann: ann.group(at), conversations),
    st.builds(lambda at: lambda ann: ann.group_state(at), conversations),
    st.builds(lambda at, seq: lambda ann: ann.ack(at, seq), conversations, anything),
    st.builds(lambda at, seq, who: lambda ann: ann.read(at, seq, who), conversations, anything, lists(anything)),
    st.builds(lambda link: lambda ann: ann.join_group(link), anything),
    st.builds(lambda who, name: lambda ann: ann.create_group(who, name=name), lists(anything), anything),
    st.builds(lambda at, what, id: lambda ann: ann.manage(at, what, id=id), conversations, changes, anything),
    st.builds(lambda at, who: lambda ann: Group(ann, at).promote(who), conversations, anything),
)


async def answered(call: Callable[[], object]) -> None:
    """Makes a call. It raises what is no end of the session, or comes to an end."""
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        try:
            came = call()
            if inspect.isawaitable(came):
                came = await _of(came)
            if isinstance(came, SentMessage):
                await came.accepted()
        except (SessionEnded, ClientClosed):
            raise
        except (BadArgument, Refused, TypeError, ValueError, AttributeError):
            pass


async def _of(awaitable: Awaitable[object]) -> object:
    return await awaitable


@given(call=calls)
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_a_call_raises_or_is_answered_and_the_connection_stays(world: World, call: Call) -> None:
    world.runner.run(answered(lambda: call(world.ann)))
    # Whatever it left with the server is dealt with before this is answered.
    world.runner.run(answered(world.ann.blocked))
    assert world.ends == []


@given(
    name=anything,
    messages=integers | anything,
    size=integers | anything,
    cursors=st.dictionaries(anything, anything, max_size=2),
    token=st.none() | anything,
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_client_is_refused_at_once_or_connects_or_ends_with_the_servers_reason(
    world: World, name: object, messages: object, size: object, cursors: dict[object, object], token: object
) -> None:
    async def attempt() -> None:
        client = Client(
            world.url(),
            world.server.token("cal") if token is None else token,  # type: ignore[arg-type]  # that is the point
            receive=False,
            name=name,  # type: ignore[arg-type]
            window_messages=messages,  # type: ignore[arg-type]
            window_bytes=size,  # type: ignore[arg-type]
            cursors=cursors,  # type: ignore[arg-type]
        )
        async with client:
            await client.connected()

    with suppress(BadArgument, SessionEnded):
        world.runner.run(asyncio.wait_for(attempt(), ANSWERED_WITHIN_S))
