"""The memory yardstick: what a connection costs with uvloop before a server does anything with it.

A slotted `BufferedProtocol` with one read buffer for all connections, and nothing else. Prints a ready line with its
port; ends at SIGTERM. `benches/memory.py` measures it from outside, as it measures `pyrouter serve`.
"""

import asyncio
import sys

import uvloop

READ_BYTES = 256 * 1024
BUFFER = memoryview(bytearray(READ_BYTES))


class Idle(asyncio.BufferedProtocol):
    """Keeps its transport and drops what it reads."""

    __slots__ = ("transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """The one buffer."""
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Dropped."""


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Idle, "127.0.0.1", port, backlog=4096)
    print(f"ready 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
