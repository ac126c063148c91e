"""What a program does with groups: `GroupCalls`, which the client has, and `Group`, the handle of one group.

A change is decided by the server; each call waits for the decision and raises `Refused` with its code (docs/wire.md):
`forbidden` (the role is not enough), `unknown_conversation` (no member, or no such group), `no_change` (it is so
already), `unknown_user`, `cannot_add`, `group_full`, `too_many`, `bad_invite`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import timedelta
from typing import cast

from pyrouter.client.arguments import check_conversation
from pyrouter.client.changes import (
    Added,
    Change,
    Closed,
    Created,
    Demoted,
    Invite,
    Invited,
    Joined,
    Left,
    NewOwner,
    Profile,
    Promoted,
    Removed,
    Revoked,
    Rules,
    Who,
)
from pyrouter.client.group import DEFAULT_RULES, GroupState
from pyrouter.client.invitation import Invitation
from pyrouter.client.model import Progress, SentMessage, Target
from pyrouter.client.questions import Answer, Question

__all__ = ["Group", "GroupCalls"]


class GroupCalls(ABC):
    """What one user can do with groups."""

    @abstractmethod
    async def manage(self, conversation: bytes, change: Change, *, id: bytes | None = None) -> SentMessage:
        """Changes a group, and waits until the server has decided; the methods of `Group` are these with names.

        Like a send it keeps its place among the others and is repeated after a reconnect.

        Args:
            conversation: the group; empty with `Created`.
            change: what is to happen.
            id: as in `send`, to repeat a change of an earlier run.

        Raises:
            Refused: the server said no.
            ValueError: an argument cannot be.
        """

    @abstractmethod
    async def ask(self, question: Question) -> Answer:
        """The server's answer. Raises `Refused`, and `BadArgument` if the question cannot be asked."""

    @abstractmethod
    def group_state(self, conversation: bytes, *, current: bool = False) -> GroupState | None:
        """What is known of a group at this moment, without asking: a true state of it, maybe an older one.

        Args:
            conversation: the group.
            current: only if it is as new as all that was received.
        """

    @abstractmethod
    async def send(self, to: Target, body: bytes = b"", *, id: bytes | None = None) -> SentMessage:
        """Sends a message."""

    async def create_group(
        self,
        members: Iterable[str] = (),
        *,
        name: str | bytes | None = None,
        description: str | bytes | None = None,
        picture: bytes | None = None,
        rules: Rules = DEFAULT_RULES,
        id: bytes | None = None,
    ) -> Group:
        """Makes a group that this user owns.

        Args:
            members: the others.
            name, description, picture: opaque to the server; text is sent as UTF-8.
            rules: who may do what; by default everyone posts, and admins add members and edit the profile.
            id: as in `send`.

        Raises:
            Refused: `unknown_user`, `cannot_add`, `group_full`, `too_many`.
        """
        created = Created(tuple(members), _profile(name, description, picture), rules)
        sent = await self.manage(b"", created, id=id)
        return Group(self, sent.conversation)

    async def join_group(self, link: str, *, id: bytes | None = None) -> Group:
        """Becomes a member by an invitation, see `Group.invite`.

        Raises:
            Refused: `bad_invite`, `no_change` (a member already), `group_full`, `too_many`, `unknown_conversation`.
            ValueError: it is no link of an invitation.
        """
        invitation = Invitation.parse(link)
        await self.manage(invitation.conversation, Joined(invitation.hash, invitation.secret), id=id)
        return await self.group(invitation.conversation)

    async def group(self, conversation: bytes) -> Group:
        """A group of this user, its `state` as new as all that was received; asks the server where it must.

        Raises:
            Refused: `unknown_conversation`: there is no such group, or this user is no member.
        """
        group = Group(self, conversation)
        if self.group_state(conversation, current=True) is None:
            await group.refresh()
        return group

    async def groups(self) -> list[bytes]:
        """The conversations of the groups that this user is a member of."""
        return list(cast("tuple[bytes, ...]", await self.ask(Question("groups"))))

    async def progress(self, conversation: bytes, seq: int) -> Progress:
        """Who has a message of a group, and who read it. For members.

        Args:
            conversation: the group.
            seq: the message's number, from 1.

        Raises:
            Refused: `unknown_message`: there is no such message, or none that this user sees; or as `group`.
            BadArgument: an argument cannot be.
        """
        return cast(Progress, await self.ask(Question("progress", conversation, seq)))

    async def block(self, user: str) -> list[str]:
        """Takes no direct messages from `user` any more, and is added to no group by it. Returns all who are blocked.

        Raises:
            Refused: `unknown_user`, or `too_many`.
            BadArgument: no user can have this name.
        """
        return await self._block(Question("block", user=user))

    async def unblock(self, user: str) -> list[str]:
        """Takes them again; those of the meantime never come. Returns and raises as `block`."""
        return await self._block(Question("unblock", user=user))

    async def blocked(self) -> list[str]:
        """Whom this user blocks."""
        return await self._block(Question("blocked"))

    async def _block(self, question: Question) -> list[str]:
        return list(cast("tuple[str, ...]", await self.ask(question)))


class Group:
    """One group, as one user sees it. Holds nothing but its id: make as many as you like.

    Args:
        calls: whose.
        conversation: the group's id, 16 bytes.
    """

    __slots__ = ("_calls", "conversation")

    def __init__(self, calls: GroupCalls, conversation: bytes) -> None:
        check_conversation(conversation)
        self._calls = calls
        self.conversation = conversation

    def __repr__(self) -> str:
        return f"<Group {self.conversation.hex()}>"

    # What it is.

    @property
    def state(self) -> GroupState | None:
        """The state as far as it is known at this moment; None: not at all, see `refresh`."""
        return self._calls.group_state(self.conversation)

    async def refresh(self) -> GroupState:
        """Asks the server for the state."""
        return cast(GroupState, await self._calls.ask(Question("group", self.conversation)))

    async def progress(self, seq: int) -> Progress:
        """Who has the message `seq`, and who read it; as `GroupCalls.progress`."""
        return await self._calls.progress(self.conversation, seq)

    async def send(self, body: bytes, *, id: bytes | None = None) -> SentMessage:
        """Sends a message to all members, see `Client.send`."""
        return await self._calls.send(self.conversation, body, id=id)

    # Members.

    async def add(self, *users: str) -> None:
        """They become members, at the end of the list. For whom `rules.add` lets."""
        await self._manage(Added(users))

    async def remove(self, *users: str) -> None:
        """They are members no longer; they still get the messages up to this. For admins; not the owner."""
        await self._manage(Removed(users))

    async def leave(self) -> None:
        """Ends this user's membership. If the owner leaves, the admin or else the member longest in it is the owner."""
        await self._manage(Left())

    async def promote(self, *users: str) -> None:
        """Members become admins. For admins."""
        await self._manage(Promoted(users))

    async def demote(self, *users: str) -> None:
        """Admins become members. For admins."""
        await self._manage(Demoted(users))

    async def transfer(self, user: str) -> None:
        """A member becomes the owner, and this user, who is it, an admin."""
        await self._manage(NewOwner(user))

    async def close(self) -> None:
        """Ends the group for everybody. For the owner."""
        await self._manage(Closed())

    # What it says of itself, and who may do what.

    async def set_profile(
        self,
        *,
        name: str | bytes | None = None,
        description: str | bytes | None = None,
        picture: bytes | None = None,
    ) -> None:
        """Changes what is given, see `create_group`; empty takes it away. For whom `rules.edit` lets."""
        await self._manage(_profile(name, description, picture))

    async def set_rules(self, *, post: Who | None = None, add: Who | None = None, edit: Who | None = None) -> None:
        """Changes who may post, add members, edit the profile; what is not given stays. For admins."""
        rules = DEFAULT_RULES
        if post is None or add is None or edit is None:
            state = self._calls.group_state(self.conversation, current=True) or await self.refresh()
            rules = state.rules
        await self._manage(
            Rules(
                rules.post if post is None else post,
                rules.add if add is None else add,
                rules.edit if edit is None else edit,
            )
        )

    # Invitations.

    async def invite(self, lasting: timedelta | None = None) -> Invitation:
        """Lets in whoever knows a new secret; its `link` is for `join_group`. For whom `rules.add` lets.

        Args:
            lasting: how long from now, by this machine's clock; None: until it is revoked.
        """
        expires = 0 if lasting is None else int((time.time() + lasting.total_seconds()) * 1000)
        invitation = Invitation.make(self.conversation)
        await self._manage(Invited(Invite(invitation.hash, expires)))
        return invitation

    async def revoke(self, invitation: Invitation | bytes) -> None:
        """Nobody gets in any more by an invitation, or by that with this hash. For whom `rules.add` lets."""
        await self._manage(Revoked(invitation.hash if isinstance(invitation, Invitation) else invitation))

    async def _manage(self, change: Change) -> None:
        await self._calls.manage(self.conversation, change)


def _profile(name: str | bytes | None, description: str | bytes | None, picture: bytes | None) -> Profile:
    return Profile(_bytes(name), _bytes(description), picture)


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text
