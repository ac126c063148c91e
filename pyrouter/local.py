"""How `pyrouter.client.Client` reaches a router in its own process: a carrier without a socket.

What is written goes into the core at once, and what the core has for it arrives within its turn. No bytes are kept here
but those of an incomplete frame. It must never know what a frame means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyrouter._conn import Driver, LocalConnection
from pyrouter._core import Core, CoreError
from pyrouter.client.carriers import Carrier, Connect, Sink
from pyrouter.client.errors import ClientClosed
from pyrouter.client.framing import FrameTooLarge, Unframer, frame
from pyrouter.errors import PyrouterError

__all__ = ["local_connector"]

FRAME_BYTES = (1 << 28) - 1  # what the framing can say; the other side is ourselves


def local_connector(opened: Callable[[], tuple[Core, Driver]], user: str, device: int) -> Connect:
    """How to connect to a router in this process as one device; who it is needs no token.

    Args:
        opened: the router's parts; raises `PyrouterError` when it is closed or has failed.
        user: whose.
        device: which of the user's devices.
    """

    async def connect(sink: Sink) -> Carrier:
        try:
            core, driver = opened()
            carrier = _LocalCarrier(driver, sink)
            core.admit(carrier.id, user, device, 0)
        except (PyrouterError, CoreError) as error:
            raise ClientClosed(str(error)) from error  # for good: a client would try again otherwise
        return carrier

    return connect


class _LocalCarrier:
    """One `LocalConnection`."""

    def __init__(self, driver: Driver, sink: Sink) -> None:
        self._sink = sink
        self._unframer = Unframer(FRAME_BYTES)
        self._lost = False
        self._connection = LocalConnection(driver, self._on_bytes, self._on_closed, self._on_pause)

    @property
    def id(self) -> int:
        """The core's number for it."""
        return self._connection.id

    def write(self, payloads: Sequence[bytes]) -> None:
        """See `Carrier.write`."""
        self._connection.feed(frame(payloads))

    def close(self) -> None:
        """See `Carrier.close`: what was written is in the core already."""
        self._connection.close()
        self._end("closed")

    def abort(self) -> None:
        """See `Carrier.abort`."""
        self.close()

    def _on_bytes(self, data: bytes) -> None:
        try:
            payloads = self._unframer.feed(data)
        except FrameTooLarge as error:
            self._connection.close()
            self._end(str(error))
        else:
            self._sink.frames(payloads)

    def _on_pause(self, paused: bool) -> None:  # the connection calls it so
        self._sink.writable(not paused)

    def _on_closed(self) -> None:
        self._end("the router closed the session")

    def _end(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._sink.lost(reason)
