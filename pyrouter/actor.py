"""What one user does in this process: sends, groups, blocks. `Router.as_user` makes it.

Each call borrows the session that sends for the device; no call receives anything, that is what mailboxes are for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pyrouter.client.changes import Change
from pyrouter.client.client import Client
from pyrouter.client.errors import ClientClosed
from pyrouter.client.group import GroupState
from pyrouter.client.groups import GroupCalls
from pyrouter.client.model import SentMessage, Target
from pyrouter.client.questions import Answer, Question
from pyrouter.errors import RouterClosed
from pyrouter.sessions import Sessions

__all__ = ["Actor"]


class Actor(GroupCalls):
    """One device of one user, as far as it acts. Holds no session of its own: make as many as you like.

    All calls return once what they did is durable. They raise `pyrouter.client.Refused` with the code of docs/wire.md,
    and RouterClosed or RouterFailed: then it may or may not have been done.

    Args:
        sessions: of the router.
        check: raises why the router is of no use any more.
        user, device: who.
    """

    def __init__(self, sessions: Sessions, check: Callable[[], object], user: str, device: int) -> None:
        self._sessions = sessions
        self._check = check
        self._user = user
        self._device = device
        self._told: dict[bytes, GroupState] = {}

    async def send(self, to: Target, body: bytes = b"", *, id: bytes | None = None) -> SentMessage:
        """Sends a message and returns once it is accepted, see `Router.send`."""
        async with self._client() as client:
            sent = await client.send(to, body, id=id)
            await sent.accepted()
            return sent

    async def manage(self, conversation: bytes, change: Change, *, id: bytes | None = None) -> SentMessage:
        """As `GroupCalls.manage`."""
        async with self._client() as client:
            return await client.manage(conversation, change, id=id)

    async def ask(self, question: Question) -> Answer:
        """As `GroupCalls.ask`."""
        async with self._client() as client:
            answer = await client.ask(question)
        if isinstance(answer, GroupState):
            self._told[answer.conversation] = answer
        return answer

    def group_state(self, conversation: bytes, *, current: bool = False) -> GroupState | None:
        """As `GroupCalls.group_state`: as it was last asked for by this object."""
        return None if current else self._told.get(conversation)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        async with self._sessions.sender(self._user, self._device) as client:
            try:
                yield client
            except ClientClosed as error:
                self._check()  # raises what is the matter with the router
                raise RouterClosed(str(error)) from error
