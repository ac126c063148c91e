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
            assert got in ("receipt", "receipts", "ping"), {got: frame}

    async def ends(self) -> int:
        """Waits for the end of the connection; its close code."""
        with suppress(ConnectionClosed):
            while True:
                await self._ws.recv()
        assert self._ws.close_code is not None
        return self._ws.close_code


ACK_EVERY = 16


class Shelf:
    """What a device keeps of one conversation across connections, as docs/wire.md has it under "Receiving"."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.bodies: list[str] = []  # of messages 1, 2, ...
        self._unacknowledged = 0

    async def take(self, peer: Foreigner) -> None:
        """Keeps the next message, or drops it if it is here already; either way it is acknowledged, 16 at a time."""
        message = await peer.hear("message")
        assert message["conversation"] == self.where
        if int(message["seq"]) > len(self.bodies):
            assert int(message["seq"]) == len(self.bodies) + 1
            self.bodies.append(message["body"])
        self._unacknowledged += 1
        if self._unacknowledged == ACK_EVERY:
            await self.acknowledge(peer)

    async def acknowledge(self, peer: Foreigner) -> None:
        self._unacknowledged = 0
        await peer.say("ack", conversation=self.where, seq=len(self.bodies))


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
        await ann.say("ack", accepted=[{"conversation": where, "seqs": [1]}])

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


async def test_a_window_full_of_repeats_is_acknowledged_again_and_what_follows_comes_i3(server: ServerProcess) -> None:
    ann_token, bob_token = server.token("ann"), server.token("bob")
    shelf = Shelf(conversation("ann", "bob"))
    async with foreigner(server, ann_token) as ann:
        window = ann.welcome["limits"]["windowMessages"]
        for n in range(window + 1):
            await ann.say("send", id=b64(b"%d" % n), user="bob", body=b64(b"%d" % n))
            await ann.hear("accepted")
    async with foreigner(server, bob_token) as bob:
        for _ in range(window):
            shelf.bodies.append((await bob.hear("message"))["body"])
        server.kill()
        # As far as bob knows this is told; the server never hears of it.
        with suppress(ConnectionClosed):
            await shelf.acknowledge(bob)
    server.start()
    async with foreigner(server, bob_token) as bob:
        assert bob.welcome["pending"]["messages"] == window + 1
        while len(shelf.bodies) <= window:
            await shelf.take(bob)
    assert shelf.bodies == [b64(b"%d" % n) for n in range(window + 1)]


async def test_what_is_wrong_before_the_first_frame_is_told_by_the_close_frame_alone(tmp_path: Path) -> None:
    hasty = ServerProcess(tmp_path, '[limits]\nhello = "300ms"\n')
    hasty.start()
    try:
        async with connect(f"ws://127.0.0.1:{hasty.port}/v1") as ws:
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (4002, "hello_timeout")
    finally:
        hasty.close()


async def test_a_wrong_type_is_told_with_the_name_of_its_field_and_the_id_of_its_send(server: ServerProcess) -> None:
    async with foreigner(server, server.token("ann")) as ann:
        await ann.say("send", body=5, user="ann", id=b64(b"x"))
        error = await ann.hear("error")
        assert (error["code"], error["id"]) == ("bad_field", b64(b"x"))
        assert "body" in error["message"]
        await ann.say("ping", nonce=1)
        await ann.hear("pong")


async def test_a_frame_above_the_limit_is_told_in_json_though_it_is_the_first(server: ServerProcess) -> None:
    async with foreigner(server, server.token("ann")) as ann:
        limit = ann.welcome["limits"]["frameBytes"]
    async with connect(f"ws://127.0.0.1:{server.port}/v1") as ws:
        await ws.send("{" + " " * limit)
        error = json.loads(await ws.recv())["error"]
        assert error["code"] == "too_large"
        assert str(limit) in error["message"]
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (1009, "too_large")


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
