"""A listening socket. The connections that it accepts outlive it; its address is told as people write it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Self

from pyrouter.errors import ListenError
from pyrouter.log import get_logger
from pyrouter.units import Address

__all__ = ["Gate", "Listener", "room"]

BACKLOG = 4096  # connections that may come while a loop turn lasts; the system caps it (net.core.somaxconn)
FILES_KEPT = 64  # open files that connections must leave: for segments of the log, the cold store, the embedder
COMPLAIN_S = 10.0  # between two log lines about the same

log = get_logger("pyrouter.listener")


def room(files: int) -> tuple[int, int]:
    """The backlog of a listening socket, and how many connections may be open, in a process with so many open files.

    What is accepted within one loop turn is not counted yet: that much is left free as well.
    """
    backlog = max(1, min(BACKLOG, files // 16))
    return backlog, max(1, files - backlog - FILES_KEPT)


class Gate:
    """Makes the protocols of accepted sockets, and turns connections away before they take the last open files.

    A log that cannot open its next segment is a failed log, so a flood of connections must never come that far (I6).
    """

    def __init__(self, accept: Callable[[], asyncio.BaseProtocol], connections: Callable[[], int]) -> None:
        """Takes the bounds from the process's limit of open files, as it is now.

        Args:
            accept: makes the protocol of one socket.
            connections: how many are open.
        """
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.backlog, self.most = room(files)
        self._accept = accept
        self._connections = connections
        self._complained: float | None = None

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a socket that was just accepted."""
        if self._connections() < self.most:
            return self._accept()
        now = time.monotonic()
        if self._complained is None or now - self._complained > COMPLAIN_S:
            self._complained = now
            log.warning("turning connections away: raise the limit of open files", connections=self.most)
        return _TurnAway()


class _TurnAway(asyncio.Protocol):
    """Ends its connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ends it."""
        transport.abort()  # type: ignore[attr-defined]  # uvloop's transports are asyncio's by their methods only


class Listener:
    """Made by `Router.serve`; ends with `close` or with its router."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.addresses = tuple(Address(*name[:2]) for name in (sock.getsockname() for sock in server.sockets))
        """Where it listens: more than one if a name has more addresses."""

    @classmethod
    async def start(
        cls,
        gate: Gate,
        host: str | None,
        port: int,
        sock: socket.socket | None = None,
    ) -> Self:
        """Listens on `host` and `port`, or on `sock`.

        Raises:
            ListenError: it cannot; says why, and what to do.
        """
        loop = asyncio.get_running_loop()
        try:
            if sock is not None:
                return cls(await loop.create_server(gate, sock=sock, backlog=gate.backlog))
            return cls(await loop.create_server(gate, host, port, backlog=gate.backlog))
        except OSError as error:
            raise ListenError(_explain(Address(host or "*", port), error)) from error

    def close(self) -> None:
        """Accepts no more. Harmless when repeated."""
        self._server.close()


def _explain(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use: another program (another pyrouter?) listens there; stop it or choose another port"
    if error.errno == errno.EACCES:
        return f"{address}: this port needs privileges; choose one from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: this machine has no such address"
    if isinstance(error, socket.gaierror):
        return f"{address}: this name has no address: {error.strerror}"
    return f"{address} cannot be listened on: {os.strerror(error.errno) if error.errno else error}"
