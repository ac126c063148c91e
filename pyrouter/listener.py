"""A listening socket. The connections that it accepts outlive it; its address is told as people write it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Self

from pyrouter.errors import ListenError
from pyrouter.units import Address

__all__ = ["Listener"]

BACKLOG = 4096  # connections that may come while a loop turn lasts; the system caps it (net.core.somaxconn)


class Listener:
    """Made by `Router.serve`; ends with `close` or with its router."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.addresses = tuple(Address(*name[:2]) for name in (sock.getsockname() for sock in server.sockets))
        """Where it listens: more than one if a name has more addresses."""

    @classmethod
    async def start(
        cls,
        factory: Callable[[], asyncio.BaseProtocol],
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
                return cls(await loop.create_server(factory, sock=sock, backlog=BACKLOG))
            return cls(await loop.create_server(factory, host, port, backlog=BACKLOG))
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
