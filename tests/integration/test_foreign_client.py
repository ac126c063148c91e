"""A client that has nothing of ours: docs/wire.md, JSON, and the third-party `websockets` library.

What is imported from this repository starts the server and makes tokens; the two people below use neither protobuf nor
`pyrouter.client`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.server_process import ServerProcess

Frame = dict[str, Any]


class Foreigner:
    """What somebody would write who has read docs/wire.md and nothing else."""

    def __init__(self, ws: ClientConnection, welcome: Frame) -> None:
        self._ws = ws
        self.welcome = welcome

    async def say(self, kind: str, **fields: object) -> None:
        await self._ws.send(json.dumps({kind: fields}))

    async def hear(self, kind: str) -> Frame:
        """The next frame of this kind; of others only receipts and pings may come before it."""
        while True:
            ((got, frame),) = json.loads(await self._ws.recv()).items()
            if got == kind:
                return dict(frame)
            assert got in ("receipt", "ping"), {got: frame}

    async def ends(self) -> int:
        """Waits for the end of the connection; its close code."""
        with suppress(ConnectionClosed):
            while True:
                await self._ws.recv()
        assert self._ws.close_code is not None
        return self._ws.close_code


@asynccontextmanager
async def foreigner(server: ServerProcess, token: str, **hello: object) -> AsyncIterator[Foreigner]:
    async with connect(f"ws://127.0.0.1:{server.port}/v1") as ws:
        await ws.send(json.dumps({"hello": {"protocol": 1, "token": token, "receive": True, **hello}}))
        ((kind, welcome),) = json.loads(await ws.recv()).items()
        assert kind == "welcome", welcome
        yield Foreigner(ws, welcome)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def conversation(one: str, other: str) -> str:
    low, high = sorted((one.encode(), other.encode()))
    return b64(hashlib.sha256(b"direct\0" + low + b"\0" + high).digest()[:16])


async def test_two_people_talk_in_json_across_an_absence_and_a_kill(server: ServerProcess) -> None:
    ann_token, bob_token = server.token("ann"), server.token("bob")
    where = conversation("ann", "bob")
    async with foreigner(server, ann_token) as ann:
        assert (ann.welcome["user"], ann.welcome["device"], ann.welcome["protocol"]) == ("ann", 1, 1)
        await ann.say("send", id=b64(b"first"), user="bob", body=b64(b"see you at 8"))
        accepted = await ann.hear("accepted")
        assert (accepted["id"], accepted["conversation"], accepted["seq"]) == (b64(b"first"), where, 1)

    server.kill()
    server.start()

    async with foreigner(server, ann_token) as ann, foreigner(server, bob_token) as bob:
        # The answer was not confirmed, so the same id is the same message (I4).
        await ann.say("send", id=b64(b"first"), user="bob", body=b64(b"see you at 8"))
        assert (await ann.hear("accepted"))["seq"] == 1
        await ann.say("ack", accepted=1)

        assert bob.welcome["pending"] == {"messages": 1, "conversations": 1}
        message = await bob.hear("message")
        assert message == {
            "conversation": where,
            "seq": 1,
            "sender": "ann",
            "device": 1,
            "id": b64(b"first"),
            "time": accepted["time"],
            "body": b64(b"see you at 8"),
        }
        await bob.say("ack", conversation=where, seq=1)
        receipt = await ann.hear("receipt")
        assert (receipt["conversation"], receipt["user"], receipt["delivered"]) == (where, "bob", 1)
        await bob.say("read", conversation=where, seq=1)
        receipt = await ann.hear("receipt")
        assert (receipt["user"], receipt["read"]) == ("bob", 1)
        await ann.say("ack", receipts=receipt["version"])

        await bob.say("send", id=b64(b"re"), conversation=where, body=b64(b"fine"))
        assert (await bob.hear("accepted"))["seq"] == 2
        assert (await ann.hear("message"))["body"] == b64(b"fine")
        await ann.say("ack", conversation=where, seq=2)

        await ann.say("ping", nonce=7)
        assert (await ann.hear("pong"))["nonce"] == 7


async def test_errors_are_told_in_json(server: ServerProcess) -> None:
    async with foreigner(server, server.token("ann")) as ann:
        await ann.say("send", id=b64(b"x"), user="nobody", body=b64(b"hello?"))
        error = await ann.hear("error")
        assert (error["code"], error["id"]) == ("unknown_user", b64(b"x"))
        await ann.say("hello", protocol=1)
        assert (await ann.hear("error"))["code"] == "hello_twice"
        assert await ann.ends() == 4002


async def test_the_newest_receiving_session_wins(server: ServerProcess) -> None:
    token = server.token("ann")
    async with foreigner(server, token) as old, foreigner(server, token):
        await old.hear("replaced")
        assert await old.ends() == 4000


async def test_devices_are_asked_for_in_json(server: ServerProcess) -> None:
    async with foreigner(server, server.token("ann")) as ann:
        await ann.say("devicesGet", user="ann")
        assert (await ann.hear("devices"))["devices"] == [1]
