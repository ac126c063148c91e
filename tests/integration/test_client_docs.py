"""The examples of docs/client.md and docs/groups.md run as they stand."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from pyrouter.client import Client
from tests.server_process import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"


def example(page: str) -> dict[str, Any]:
    """The first program of a page."""
    found = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found
    program: dict[str, Any] = {"__name__": "example"}
    exec(found[1], program)
    return program


async def test_the_example_talks_to_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = example("client.md")
    server = ServerProcess(tmp_path)
    try:
        server.start()
        url, ann, bob = f"ws://127.0.0.1:{server.port}", server.token("ann"), server.token("bob")
        async with Client(url, bob) as client:
            answer = await client.send("ann", b"hello, ann")
            await program["main"](url, ann)
            await answer.read()
            message = await anext(client.messages())
            assert message.body == b"hello"
    finally:
        server.close()
    assert "bob b'hello, ann'" in capsys.readouterr().out


async def test_the_group_of_the_example_is_joined_by_its_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = example("groups.md")
    server = ServerProcess(tmp_path)
    try:
        server.start()
        url, ann = f"ws://127.0.0.1:{server.port}", server.token("ann")
        async with Client(url, server.token("bob")) as bob, Client(url, server.token("carol")) as carol:
            running = asyncio.create_task(program["main"](url, ann))
            printed = ""
            async for message in bob.messages():  # made, said, invited: by then the link is printed, or about to be
                await message.ack()
                if message.seq == 3:
                    break
            while (link := re.search(r"pyrouter:group/\S+", printed)) is None:
                await bob.groups()  # a turn
                printed += capsys.readouterr().out
            await carol.join_group(link[0])
            await running
    finally:
        server.close()
    printed += capsys.readouterr().out
    assert "Joined" in printed
    assert "Cursor(user='bob', delivered=" in printed
