"""A core in this process, with connections that are function calls: the whole path of a message and no socket.

The extension is driven as the server drives it, but for the loop: whoever measures decides when a turn is taken, so
that each step can be timed alone. Bodies are on disk when `settle` returns, unless the core was told otherwise.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pyrouter._conn import Driver, LocalConnection
from pyrouter._core import Core
from pyrouter.client.framing import Unframer, frame
from pyrouter.wire import wire_pb2 as wire

QUIET_S = 10.0
"""The log answers within this, or something is wrong."""
REST_MS = 10
FRAME_BYTES = 1 << 20


class Peer:
    """One device's session."""

    def __init__(self, world: World, user: str, device: int, *, receive: bool) -> None:
        self.user, self.device = user, device
        self.chunks: list[bytes] = []
        """What the core wrote since `frames` was called."""
        self._unframer = Unframer(FRAME_BYTES)
        self.connection = LocalConnection(world.driver, self.chunks.append)
        world.core.admit(self.connection.id, user, device, 0)
        self.feed(frame([hello(receive)]))

    def feed(self, data: bytes) -> None:
        """Gives the core bytes of raw frames."""
        self.connection.feed(data)

    def put(self, *frames: wire.ClientFrame) -> None:
        """Gives the core frames."""
        self.feed(frame([each.SerializeToString() for each in frames]))

    def frames(self) -> list[wire.ServerFrame]:
        """What came since the last time."""
        data, self.chunks[:] = b"".join(self.chunks), []
        return [wire.ServerFrame.FromString(payload) for payload in self._unframer.feed(data)]

    def close(self) -> None:
        """Goes; what was not acknowledged stays."""
        self.connection.close()


class World:
    """An open core and its sessions. Users exist as soon as somebody names them; what the core stores is kept here.

    Args:
        path: the data directory.
        loop: not running: its only part is to be there.
        cold: what another world stored of the same directory.
        options: of the core.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        cold: dict[tuple[str, bytes], bytes] | None = None,
        **options: int | str | bool,
    ) -> None:
        self.cold = {} if cold is None else cold
        self.core = Core(str(path), options)
        self.loop = loop
        self.driver = Driver(self.core, loop, self._answer)
        self._poll = select.poll()
        self._poll.register(self.core.wake_fd, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all sessions and closes the log."""
        self.driver.close()
        self.core.close()

    def join(self, user: str, device: int = 1, *, receive: bool = True) -> Peer:
        """A session of a device."""
        return Peer(self, user, device, receive=receive)

    def run(self, until: Callable[[], bool], patience_s: float = QUIET_S) -> None:
        """Takes turns until `until()`.

        Raises:
            RuntimeError: it was not in time.
        """
        end = time.monotonic() + patience_s
        while not until():
            if time.monotonic() > end:
                raise RuntimeError(f"the core has not come to it in {patience_s:.0f} s")
            self._poll.poll(1)
            self.loop.run_until_complete(_pass())
            self.driver.turn()

    def until_durable(self) -> None:
        """Hands over what waits for the disk, and waits until it is there; the turn that hears of it is not taken.

        The log must have nothing under way: see `rest`.
        """
        self.driver.turn()
        if not self._poll.poll(QUIET_S * 1000):
            raise RuntimeError(f"the log has said nothing for {QUIET_S:.0f} s")

    def rest(self) -> None:
        """Turns until the log has had no news for a while, and has none to come."""
        self.driver.turn()
        while self._poll.poll(REST_MS):
            self.driver.turn()

    def _answer(self) -> None:
        for request in self.core.take_requests():
            match request:
                case ("load", kind, key):
                    self.core.loaded(kind, key, self.cold.get((kind, key), b"" if kind == "user" else None))
                case ("store", kind, key, version, blob):
                    self.cold[kind, key] = blob
                    self.core.stored(kind, key, version)
                case ("failed", reason):
                    raise RuntimeError(reason)
                case _:
                    pass


async def _pass() -> None:
    """One turn of the loop, so that what was scheduled on it does not pile up."""
    await asyncio.sleep(0)


def hello(receive: bool) -> bytes:
    """The first frame."""
    return wire.ClientFrame(hello=wire.Hello(protocol=1, receive=receive)).SerializeToString()
