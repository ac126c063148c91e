"""The sessions of this process: those of mailboxes, and one for each sender that was used lately.

Rule: a sender's session is ended only when nothing of it is unanswered and nobody waits for a receipt in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pyrouter import __version__
from pyrouter._conn import Driver
from pyrouter._core import Core
from pyrouter.client.client import Client
from pyrouter.local import local_connector

__all__ = ["SENDERS", "Sessions"]

SENDERS = 1024  # sessions kept open for senders; above it, the longest unused that is idle goes


class Sessions:
    """All of one router."""

    def __init__(self, opened: Callable[[], tuple[Core, Driver]]) -> None:
        """Opens none yet.

        Args:
            opened: the router's parts; raises `PyrouterError` when it is closed or has failed.
        """
        self._opened = opened
        self._all: set[Client] = set()
        self._senders: dict[tuple[str, int], Client] = {}  # the last is the latest used
        self._used: Counter[Client] = Counter()  # by how many blocks of `sender` each is in use

    async def open(self, user: str, device: int, *, receive: bool) -> Client:
        """A new session of one device; see `pyrouter.client.Client` for `receive`."""
        self._opened()
        connect = local_connector(self._opened, user, device)
        client = Client("", "", receive=receive, name=f"pyrouter {__version__} in-process", connect=connect)
        await client.__aenter__()
        self._all.add(client)
        return client

    async def end(self, client: Client) -> None:
        """Ends one. Harmless when repeated."""
        self._all.discard(client)
        await client.close()

    @asynccontextmanager
    async def sender(self, user: str, device: int) -> AsyncIterator[Client]:
        """The session that sends for a device, made if there is none; it stays at least until the block ends."""
        key = user, device
        client = self._senders.pop(key, None) or await self.open(user, device, receive=False)
        self._senders[key] = client
        self._used[client] += 1
        try:
            while len(self._senders) > SENDERS and await self._end_longest_unused():
                pass
            yield client
        finally:
            self._used[client] -= 1
            if not self._used[client]:
                del self._used[client]

    async def close(self) -> None:
        """Ends all."""
        for client in list(self._all):
            await self.end(client)

    async def _end_longest_unused(self) -> bool:
        for key, client in self._senders.items():
            if client.idle and client not in self._used:
                del self._senders[key]
                await self.end(client)
                return True
        return False
