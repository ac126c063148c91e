"""Connections between an asyncio loop and the core: bytes in, bytes out, no rules."""

import asyncio
from collections.abc import Callable
from typing import Self, final

from typing_extensions import Buffer

from pyrouter._core import Core

API_VERSION: int
"""Version of the core's table of C functions that this module was built for."""

def plain_transports(loop: asyncio.AbstractEventLoop) -> tuple[type[asyncio.Transport], ...]:
    """The types of the loop's transports that write to a stream socket what they are given, and nothing else.

    To their sockets a driver sends by itself. Other transports, TLS among them, are given all that is to be written.
    """

def build_stamp() -> str:
    """The stamp of the sources that this extension was built from; empty if built without the build backend."""

@final
class Driver:
    """Gives one core its turns on one event loop, and its bytes to the sockets.

    All use is from the loop's thread. One drain a turn takes what every connection is owed: at most one write each.
    """

    def __init__(
        self,
        core: Core,
        loop: asyncio.AbstractEventLoop,
        on_requests: Callable[[], None],
        on_http: Callable[[asyncio.Transport, bytes], None] | None = None,
        *,
        linger_s: float = 5.0,
    ) -> None:
        """Begin to serve `core`.

        Args:
            core: an open core; its table of C functions must be of `API_VERSION`.
            loop: the running loop (uvloop's or asyncio's).
            on_requests: called when `core.take_requests()` has something; at most once per turn.
            on_http: given a transport whose first bytes (also given) are neither raw frames nor a WebSocket; it calls
                `transport.set_protocol`. None: such a connection is closed.

            linger_s: how long a connection that was closed has to take its last bytes and close its own end, seconds.

        Raises:
            ImportError: the core was built with another table.
            CoreError: the core has a driver, which is to be closed first.
        """

    @property
    def connections(self) -> int:
        """Sockets that the core serves now."""

    def turn_times(self) -> tuple[int, list[tuple[int, int]]]:
        """How long turns took, ns: the sum, and buckets (the longest time that each takes, how many turns), ascending.

        A turn begins with the first bytes that are read after the last one, and ends when all that is owed was written.
        """

    def diagnosis(self) -> dict[str, int]:
        """What it waits for, by name: for a person who looks at a router that seems to stand still."""

    def accept(self) -> Connection:
        """Make the protocol of one accepted socket: the factory for `loop.create_server`."""

    def wake(self) -> None:
        """Ask for a turn; any number of calls make one. The core's own methods do this by themselves."""

    def turn(self) -> None:
        """Take a turn now."""

    def emptied(self) -> asyncio.Future[None]:
        """Done once no socket is left (local connections do not count)."""

    def close(self) -> None:
        """Abort every connection and leave the loop; the core stays open. Harmless when repeated.

        Until then the core and the loop keep the driver.
        """

@final
class Connection(asyncio.BufferedProtocol):
    """The protocol of one socket; made by `Driver.accept`."""

    @property
    def get_buffer(self) -> Callable[[int], Buffer]:  # one method of the driver's for all
        """Gives the one read buffer that all connections of a driver share. DANGER: valid until the next read."""

    @property
    def buffer_updated(self) -> Self:  # no object beside the connection
        """The connection, which is called with the number of bytes."""

    def __call__(self, nbytes: int) -> None:
        """Give the core what was read into the buffer."""

    @property
    def id(self) -> int:
        """The core's number for this connection; 0 before and after."""

@final
class LocalConnection:
    """A connection without a socket: raw frames, without the magic, to and from this process.

    Made already open; give it an identity with `core.admit(connection.id, …)`.
    """

    def __init__(
        self,
        driver: Driver,
        on_bytes: Callable[[bytes], None],
        on_closed: Callable[[], None] | None = None,
        on_pause: Callable[[bool], None] | None = None,
    ) -> None:
        """Open it.

        Args:
            driver: whose core it talks to.
            on_bytes: whole raw frames from the core, several at once.
            on_closed: the core closed it; called once, never after `close`.
            on_pause: True: feed nothing until False comes (too much of it is not yet accepted).
        """

    @property
    def id(self) -> int:
        """The core's number for this connection; 0 once closed."""

    @property
    def paused(self) -> bool:
        """Whether the core asked for no more for now."""

    def feed(self, data: Buffer) -> None:
        """Give the core bytes of raw frames. Ignored once closed."""

    def set_writable(self, on: bool) -> None:
        """False: take nothing more for now; what is owed stays in the core."""

    def close(self) -> None:
        """End it. Harmless when repeated."""
