"""A mailbox as its owner reads it, in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

from pyrouter.client.client import Client
from pyrouter.client.errors import ClientClosed
from pyrouter.client.model import Message, Skipped
from pyrouter.errors import RouterFailed

__all__ = ["Mailbox"]


class Mailbox:
    """The messages for one device, in order, each once: `async for message in router.mailbox("bob")`.

    Acknowledge each (`await message.ack()`), or the router keeps it and, once a window of them is out, sends no more.
    The session opens with the first use and stays until `close`, the end of an `async with`, or that of the router.
    The iteration ends when either is closed. It raises `pyrouter.client.Replaced` when another session of the device
    took over, and `RouterFailed`.
    """

    def __init__(
        self,
        open_session: Callable[[], Awaitable[Client]],
        close_session: Callable[[Client], Awaitable[None]],
        on_skip: Callable[[Skipped], None],
        failure: Callable[[], str | None],
    ) -> None:
        self._open_session = open_session
        self._close_session = close_session
        self._on_skip = on_skip
        self._failure = failure
        self._client: Client | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._closed:
            raise StopAsyncIteration
        client = await self._opened()
        while True:
            try:
                item = await client.receive()
            except ClientClosed:
                self._closed = True
                if (reason := self._failure()) is not None:
                    raise RouterFailed(reason) from None
                raise StopAsyncIteration from None
            if isinstance(item, Message):
                return item
            self._on_skip(item)

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the session; what was not acknowledged stays in the mailbox. Harmless when repeated."""
        self._closed = True
        if self._client is not None:
            await self._close_session(self._client)

    async def _opened(self) -> Client:
        if self._client is None:
            self._client = await self._open_session()
        return self._client
