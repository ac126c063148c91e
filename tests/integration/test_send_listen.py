"""`pyrouter send` and `pyrouter listen` against `pyrouter serve`, all as processes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyrouter.client import Client, direct_conversation
from tests import leftovers
from tests.server_process import ServerProcess

pytestmark = pytest.mark.slow  # processes; the loop of the tests does not matter
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYROUTER_")}
AB = direct_conversation("ann", "bob").hex()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"ws://127.0.0.1:{server.port}"


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Process]:
    """A command that runs while this lasts."""
    command = [*leftovers.BOUND, sys.executable, "-m", "pyrouter", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=CLEAN)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


async def ended(process: Process) -> tuple[int | None, str, str]:
    """Exit status, and the rest of what it said."""
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def done(*arguments: str) -> tuple[int | None, str, str]:
    async with started(*arguments) as process:
        return await ended(process)


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_a_message_to_somebody_absent_outlives_a_kill_and_its_sender_hears_of_it_i1(
    server: ServerProcess, scheme: str
) -> None:
    url = f"{scheme}://127.0.0.1:{server.port}"
    ann, bob = server.token("ann"), server.token("bob")
    async with started(
        "send", "--server", url, "--token", ann, "--to", "bob", "--wait", "delivered", "hello"
    ) as sender:
        assert await line(sender) == f"accepted {AB} 1"
        server.kill()
        server.start()
        status, out, _ = await done("listen", "--server", url, "--token", bob, "--count", "1")
        assert (status, out) == (0, "ann: hello\n")
        assert (await ended(sender))[:2] == (0, "delivered\n")


async def test_listen_tells_everything_as_json_and_send_waits_until_it_is_read(server: ServerProcess, url: str) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    async with started("listen", "--server", url, "--token", bob, "--json", "--read") as listener:
        status, out, _ = await done(
            "send", "--server", url, "--token", ann, "--to", "bob", "--id", "order-1", "--wait", "read", "zwölf ☕"
        )
        assert (status, out) == (0, f"accepted {AB} 1\ndelivered\nread\n")
        told = json.loads(await line(listener))
        assert told.pop("time") > 1_700_000_000_000
        assert told == {
            "conversation": AB,
            "seq": 1,
            "sender": "ann",
            "device": 1,
            "id": b"order-1".hex(),
            "body": base64.b64encode("zwölf ☕".encode()).decode(),
            "text": "zwölf ☕",
        }


async def test_a_body_that_is_no_text_is_told_as_bytes_and_text_stays_on_its_line(
    server: ServerProcess, url: str
) -> None:
    bob = server.token("bob")
    async with Client(url, server.token("ann")) as client:
        await client.send("bob", b"\xff\x00")
        await client.send("bob", b"one\ntwo \x1b[2J")
        await client.drain()
    status, out, _ = await done("listen", "--server", url, "--token", bob, "--count", "2", "--no-ack")
    assert (status, out) == (0, "ann: (2 bytes) /wA=\nann: one\\ntwo \\x1b[2J\n")
    _, out, _ = await done("listen", "--server", url, "--token", bob, "--count", "1", "--json")
    assert "text" not in json.loads(out)


async def test_what_is_not_acknowledged_stays(server: ServerProcess, url: str) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    await done("send", "--server", url, "--token", ann, "--to", "bob", "again")
    for acknowledge in ("--no-ack", "--no-ack", "--ack"):
        status, out, _ = await done("listen", "--server", url, "--token", bob, "--count", "1", acknowledge)
        assert (status, out) == (0, "ann: again\n")
    await done("send", "--server", url, "--token", ann, "--to", "bob", "next")
    assert (await done("listen", "--server", url, "--token", bob, "--count", "1"))[1] == "ann: next\n"


async def test_the_same_id_is_the_same_message_i4(server: ServerProcess, url: str) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    send = ("send", "--server", url, "--token", ann, "--to", "bob", "--id", "once")
    first = await done(*send, "x")
    # The first one's process confirmed that it saw the answer, so the server may forget the id; a kill in between is
    # what the id is for: see the torture test. Within one session it is one message.
    assert first[:2] == (0, f"accepted {AB} 1\n")
    async with Client(url, ann, receive=False) as client:
        one = await client.send("bob", b"y", id=b"twice")
        await one.accepted()
        again = await client.send("bob", b"y", id=b"twice")
        await again.accepted()
        assert (one.seq, again.seq) == (2, 2)
    assert (await done("listen", "--server", url, "--token", bob, "--count", "2"))[1] == "ann: x\nann: y\n"


async def test_send_does_not_take_messages_from_a_running_listen(server: ServerProcess, url: str) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    async with started("listen", "--server", url, "--token", ann, "--count", "2") as listener:
        await done("send", "--server", url, "--token", bob, "--to", "ann", "1")
        assert await line(listener) == "bob: 1"
        assert (await done("send", "--server", url, "--token", ann, "--to", "bob", "mine"))[0] == 0
        await done("send", "--server", url, "--token", bob, "--to", "ann", "2")
        assert await ended(listener) == (0, "bob: 2\n", "")


async def test_the_newer_listen_wins_and_the_older_says_so(server: ServerProcess, url: str) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    listen = ("listen", "--server", url, "--token", bob)
    async with started(*listen) as old:
        await done("send", "--server", url, "--token", ann, "--to", "bob", "1")
        assert await line(old) == "ann: 1"
        async with started(*listen) as new:
            status, _, err = await ended(old)
            assert status == 1
            assert "another session of this device" in err
            await done("send", "--server", url, "--token", ann, "--to", "bob", "2")
            assert await line(new) == "ann: 2"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--to", "nobody", "x"], "unknown_user"),
        (["--to", "bob", "x" * 65_537], "body_too_large"),
        (["--to", "bob", "--token", "not.a.token", "x"], "bad_token"),
    ],
)
async def test_what_cannot_happen_is_an_error_in_one_line(
    server: ServerProcess, url: str, arguments: list[str], why: str
) -> None:
    server.token("bob")
    token = [] if "--token" in arguments else ["--token", server.token("ann")]
    status, out, err = await done("send", "--server", url, *token, *arguments)
    assert (status, out) == (1, "")
    assert why in err
    assert err.count("\n") == 1


async def test_send_waits_for_a_server_that_is_away_and_tells_so(server: ServerProcess, url: str) -> None:
    ann = server.token("ann")
    server.token("bob")
    server.kill()
    async with started("send", "--server", url, "--token", ann, "--to", "bob", "later") as sender:
        assert sender.stderr is not None
        assert b"trying again" in await sender.stderr.readline()
        server.start()
        assert (await ended(sender))[:2] == (0, f"accepted {AB} 1\n")


async def test_clients_come_back_after_a_graceful_stop(server: ServerProcess, url: str) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    async with started("listen", "--server", url, "--token", bob) as listener:
        await done("send", "--server", url, "--token", ann, "--to", "bob", "1")
        assert await line(listener) == "ann: 1"
        assert server.stop() == 0
        server.start()
        await done("send", "--server", url, "--token", ann, "--to", "bob", "2")
        assert await line(listener) == "ann: 2"
        listener.send_signal(signal.SIGINT)
        status, _, err = await ended(listener)
        assert status == 130
        assert "Traceback" not in err


async def test_the_same_id_again_in_a_later_run_and_after_a_kill_is_the_same_message_i4(
    server: ServerProcess, url: str
) -> None:
    ann, bob = server.token("ann"), server.token("bob")
    again = ("send", "--server", url, "--token", ann, "--to", "bob", "--id", "order-17", "hello")
    for _ in range(2):
        status, out, _ = await done(*again)
        assert (status, out) == (0, f"accepted {AB} 1\n")
    server.kill()
    server.start()
    status, out, _ = await done(*again)
    assert (status, out) == (0, f"accepted {AB} 1\n")
    status, out, _ = await done("send", "--server", url, "--token", ann, "--to", "bob", "another")
    assert (status, out) == (0, f"accepted {AB} 2\n")
    status, out, _ = await done("listen", "--server", url, "--token", bob, "--count", "2", "--json")
    assert [json.loads(text)["text"] for text in out.splitlines()] == ["hello", "another"]


async def test_a_message_to_oneself_is_delivered_as_soon_as_it_is_accepted(server: ServerProcess, url: str) -> None:
    ann = server.token("ann")
    status, out, _ = await done("send", "--server", url, "--token", ann, "--to", "ann", "--wait", "delivered", "note")
    note = direct_conversation("ann", "ann").hex()
    assert (status, out) == (0, f"accepted {note} 1\ndelivered\n")
