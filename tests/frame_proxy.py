"""A proxy that changes what a server says on raw connections, to see who notices. HTTP goes through as it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MAGIC = b"PYRT\x01"
ACCEPTED, MESSAGE, RECEIPT = 0x12, 0x1A, 0x22  # the first byte of such a frame

Change = Callable[[bytes], list[bytes]]
"""What is said instead of a frame."""


def nth(kind: int, number: int, change: Change) -> Change:
    """Changes the frame of this kind with this number, from 1 on, over all connections."""
    seen = 0

    def changed(frame: bytes) -> list[bytes]:
        nonlocal seen
        seen += frame[0] == kind
        return change(frame) if frame[0] == kind and seen == number else [frame]

    return changed


@contextmanager
def proxy(port: int, change: Change) -> Iterator[int]:
    """Runs one before the server on `port`; the port of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    open_ends: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.add(writer)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        open_ends.add(up_writer)
        first = await reader.read(len(MAGIC))
        up_writer.write(first)
        down = _frames(up_reader, writer, change) if first == MAGIC else _bytes(up_reader, writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await asyncio.gather(_bytes(reader, up_writer), down)
        writer.close()
        up_writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        # A connection may have come that has no task yet, and a cancelled one leaves its ends open.
        for _ in range(10):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for end in open_ends:
                end.transport.abort()
            await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Change) -> None:
    while True:
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        for frame in change(await reader.readexactly(length)):
            writer.write(_varint(len(frame)) + frame)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
