"""Who waits for which sent message to come how far. Needs an event loop; knows nothing of connections."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pyrouter.client.errors import ClientError, Undeliverable
from pyrouter.client.model import SentMessage, State

__all__ = ["Watch", "fail"]

T = TypeVar("T")
_Waiter = tuple[SentMessage, State, asyncio.Future[None]]


class Watch:
    """All waiters of one client: under the message's id until it is accepted, then under its conversation."""

    __slots__ = ("_end", "_waiters")

    def __init__(self) -> None:
        self._waiters: dict[bytes, list[_Waiter]] = {}
        self._end: ClientError | None = None

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return any(not done.done() for waiters in self._waiters.values() for _, _, done in waiters)

    async def reached(self, sent: SentMessage, state: State) -> None:
        """Waits until `sent` came as far as `state`. Raises why it never will."""
        if not self._settled(sent, state):
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(sent.conversation or sent.id, []).append((sent, state, done))
            await done

    def answered(self, sent: SentMessage) -> None:
        """The server accepted or refused `sent`."""
        self._look_at(sent.id)

    def moved(self, conversation: bytes) -> None:
        """Somebody's cursor in the conversation moved, or will never reach something."""
        self._look_at(conversation)

    def end(self, why: ClientError) -> None:
        """No message will come any further."""
        self._end = why
        for key in list(self._waiters):
            self._look_at(key)

    def _look_at(self, key: bytes) -> None:
        for sent, state, done in self._waiters.pop(key, ()):
            if done.done():
                continue  # cancelled
            try:
                if self._settled(sent, state):
                    done.set_result(None)
                else:
                    self._waiters.setdefault(sent.conversation or sent.id, []).append((sent, state, done))
            except ClientError as error:
                fail(done, error)

    def _settled(self, sent: SentMessage, state: State) -> bool:
        if sent.state >= state:
            return True
        if sent.error is not None:
            raise sent.error
        if (reason := sent.undeliverable) is not None:
            raise Undeliverable(reason)
        if self._end is not None:
            raise self._end
        return False


def fail(future: asyncio.Future[T], error: Exception) -> None:
    """Hands an error to a waiter that has not gone."""
    if not future.done():
        future.set_exception(error)
