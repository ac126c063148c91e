"""A server in the test's own event loop that says what the test tells it to. Raw framing and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from pyrouter.client.frames import LAST
from pyrouter.client.framing import MAGIC, Unframer, frame
from pyrouter.wire import wire_pb2 as wire


class Peer:
    """One connection, seen from the server."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[wire.ClientFrame | None] = asyncio.Queue()  # None: the connection ended
        self._raw: asyncio.StreamWriter | None = None
        self._ws: ServerConnection | None = None

    async def say(self, **member: object) -> None:
        payload = wire.ServerFrame(**member).SerializeToString()  # type: ignore[arg-type]  # one member
        if self._raw is not None:
            self._raw.write(frame([payload]))
        if self._ws is not None:
            await self._ws.send(payload)

    async def take(self, payload: bytes) -> None:
        """A frame came. That the client leaves is answered here: it waits for that, and the tests do not."""
        heard = wire.ClientFrame.FromString(payload)
        if heard.ping.nonce == LAST:
            await self.say(pong=wire.Pong(nonce=LAST))
        else:
            self.heard.put_nowait(heard)

    async def hear(self, kind: str) -> wire.ClientFrame:
        """The next frame, which must be of this kind."""
        heard = await self.heard.get()
        assert heard is not None, f"the connection ended where {kind} was expected"
        assert heard.WhichOneof("frame") == kind, heard
        return heard

    async def welcome(self, user: str = "alice") -> wire.Hello:
        hello = (await self.hear("hello")).hello
        await self.say(welcome=wire.Welcome(protocol=1, user=user, device=1, server="little"))
        return hello

    async def cut(self) -> None:
        if self._raw is not None:
            self._raw.transport.abort()
        if self._ws is not None:
            self._ws.transport.abort()

    async def end(self) -> None:
        if self._raw is not None:
            self._raw.close()
        if self._ws is not None:
            await self._ws.close(4000, "as told")


class LittleServer:
    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.url = ""
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def next(self) -> Peer:
        return await self.peers.get()

    async def _raw(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer, unframer = Peer(), Unframer(1 << 20)
        peer._raw = writer
        try:
            assert await reader.readexactly(len(MAGIC)) == MAGIC
            self.peers.put_nowait(peer)
            while data := await reader.read(65536):
                for payload in unframer.feed(data):
                    await peer.take(payload)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            peer.heard.put_nowait(None)
            writer.close()

    async def _ws(self, connection: ServerConnection) -> None:
        peer = Peer()
        peer._ws = connection
        self.peers.put_nowait(peer)
        try:
            async for payload in connection:
                assert isinstance(payload, bytes)
                await peer.take(payload)
        except ConnectionClosed:
            pass
        finally:
            peer.heard.put_nowait(None)


@asynccontextmanager
async def little_server(scheme: str) -> AsyncIterator[LittleServer]:
    server = LittleServer(scheme)
    if scheme == "tcp":
        async with await asyncio.start_server(server._raw, "127.0.0.1", 0) as listener:
            server.url = f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            yield server
    else:
        async with serve(server._ws, "127.0.0.1", 0, subprotocols=["pyrouter.v1"], compression=None) as ws:  # type: ignore[list-item]
            server.url = f"ws://127.0.0.1:{next(iter(ws.sockets)).getsockname()[1]}"
            yield server
