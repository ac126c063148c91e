"""The example of docs/client.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pyrouter.client import Client
from tests.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


async def test_the_example_talks_to_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    program: dict[str, Any] = {"__name__": "example"}
    exec(found[1], program)
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
