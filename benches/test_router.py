"""A router inside a Python process: from `send` to the acknowledged message, through the core and its log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Literal

import pytest
import uvloop

from benches.conftest import Beside
from benches.harness import scratch
from pyrouter import Router
from pyrouter.config import Log

COUNT = 100
BODY = b"\x5a" * 160


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.mark.parametrize("durability", ["none", "fsync"])
def test_messages_pass_between_two_parts_of_a_program(
    beside: Beside, runner: asyncio.Runner, durability: Literal["none", "fsync"]
) -> None:
    async def through_a_queue() -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        taken = asyncio.create_task(_take(queue))
        await asyncio.gather(*(queue.put(BODY) for _ in range(COUNT)))
        assert await taken == COUNT

    with scratch() as path:
        router = Router.open(path / "data", log=Log(durability=durability), create_unknown_users=True)
        runner.run(router.__aenter__())
        mailbox = router.mailbox("bob")

        async def through_the_router() -> None:
            async with asyncio.TaskGroup() as tasks:
                sends = [tasks.create_task(router.send("alice", "bob", BODY)) for _ in range(COUNT)]
                expected = 0
                async for message in mailbox:
                    assert message.body == BODY
                    assert expected in (0, message.seq)
                    expected = message.seq + 1
                    await message.ack()
                    if len(sends) == COUNT and message.seq % COUNT == 0:
                        break
            assert {send.result().seq for send in sends} == set(range(expected - COUNT, expected))

        try:
            beside(
                lambda: runner.run(through_the_router()),
                lambda: runner.run(through_a_queue()),
                what="an asyncio.Queue",
                at_most=60,
                operations=COUNT,
            )
        finally:
            runner.run(router.__aexit__(None, None, None))


def test_one_durable_message_after_another(beside: Beside, runner: asyncio.Runner) -> None:
    with scratch() as path:
        router = Router.open(path / "data", create_unknown_users=True)
        runner.run(router.__aenter__())
        log = os.open(path / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        async def send() -> None:
            assert (await router.send("alice", "bob", BODY)).seq

        def write() -> None:
            assert os.write(log, BODY) == len(BODY)
            os.fdatasync(log)

        async def write_in_a_thread() -> None:
            await asyncio.to_thread(write)

        try:
            beside(
                lambda: runner.run(send()),
                lambda: runner.run(write_in_a_thread()),
                what="a write and an fdatasync in a thread",
                at_most=5,
            )
        finally:
            runner.run(router.__aexit__(None, None, None))
            os.close(log)


async def _take(queue: asyncio.Queue[bytes]) -> int:
    for _ in range(COUNT):
        assert await queue.get() == BODY
    return COUNT
