"""One connection of a client: between its carrier and its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pyrouter.client.carriers import Carrier
from pyrouter.client.protocol import Protocol

__all__ = ["Line"]


class Line:
    """The carrier's sink. What came goes to `receive`; `flush` is called when there is room to write again."""

    __slots__ = ("_flush", "_receive", "_writable", "carrier", "ended")

    def __init__(self, receive: Callable[[Sequence[bytes]], None], flush: Callable[[], None]) -> None:
        self._receive = receive
        self._flush = flush
        self._writable = True
        self.carrier: Carrier | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def frames(self, payloads: Sequence[bytes]) -> None:
        """As `Sink.frames`."""
        self._receive(payloads)

    def writable(self, on: bool) -> None:
        """As `Sink.writable`."""
        self._writable = on
        if on:
            self._flush()

    def lost(self, reason: str) -> None:
        """As `Sink.lost`."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def flush(self, protocol: Protocol) -> None:
        """Writes what the protocol has to say; drops a connection of which it says that it is broken."""
        if self.carrier is None:
            return
        if self._writable and (output := protocol.take_output()):
            self.carrier.write(output)
        if protocol.broken is not None:
            self.carrier.abort()
