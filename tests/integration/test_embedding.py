"""The example of docs/embedding.md, run as its reader would run it, and the page held to it."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from pyrouter.client import Client, direct_conversation
from tests import leftovers

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def shop(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    """uvicorn in a process of its own, on ports that the system chooses."""
    process = await asyncio.create_subprocess_exec(
        *[*leftovers.BOUND, sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", "0"],
        cwd=ROOT,
        env={"SHOP_DATA": str(data), "SHOP_ROUTER_PORT": "0", "PYTHONUNBUFFERED": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    log = ""
    try:
        while (match := re.search(r"running on (http://[\d.:]+)", log)) is None:
            line = (await process.stderr.readline()).decode()
            assert line, f"uvicorn ended:\n{log}"
            log += line
        async with httpx.AsyncClient(base_url=match[1]) as web:
            yield web
        process.send_signal(signal.SIGTERM)
        log += (await process.stderr.read()).decode()
        assert "Traceback" not in log, log
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_fastapi_example_works_and_keeps_its_messages_over_a_restart(tmp_path: Path) -> None:
    async with shop(tmp_path / "data") as web:
        assert (await web.get("/health")).json() == {"router": "ok"}
        assert (await web.post("/orders/alice", params={"what": "tea"})).status_code == 404
        token = (await web.post("/login", params={"user": "alice"})).json()["token"]
        answer = await web.post("/orders/alice", params={"what": "tea"})
        assert answer.status_code == 201
        assert answer.json() == {"conversation": direct_conversation("alice", "shop").hex(), "seq": 1}
    async with shop(tmp_path / "data") as web:
        token = (await web.post("/login", params={"user": "alice"})).json()["token"]
        server = (await web.get("/where")).json()["server"]
        async with Client(server, token) as alice:
            first = await alice.receive()
            assert first.body == b"Your order: tea"  # type: ignore[union-attr]
            await (await alice.send("shop", b"milk")).delivered()
            seen = await alice.receive()
            assert seen.body == b"Thank you for: milk"  # type: ignore[union-attr]


def test_the_page_shows_the_file_that_is_tested() -> None:
    page = (ROOT / "docs" / "embedding.md").read_text()
    assert (ROOT / "examples" / "fastapi_app.py").read_text() in page
