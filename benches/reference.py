"""A small router in plain Python: dictionaries and lists, one copy of the rules, nothing clever.

It is what the core is compared with: by speed in the suites of this folder, and by answers in
tests/integration/test_reference.py, where both take the same steps. It knows direct messages, groups and receipts; it
has no disk, no connections, no clock and no bounds, and its devices are known before anything is sent to them.

A conversation keeps its messages once. A device's queue is what lies above its cursor, inside its user's membership,
and is not its own sending; but a change of a group comes to all members, also to the device that made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["Accepted", "Conversation", "Member", "Message", "Reference", "Refused", "direct_id"]


class Refused(Exception):
    """With the code that docs/wire.md gives it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A numbered message, or (with a change) what happened to a group."""

    seq: int
    sender: str
    device: int
    id: bytes
    body: bytes
    change: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a send."""

    id: bytes
    conversation: bytes
    seq: int


@dataclass(slots=True)
class Member:
    """A user in a conversation."""

    spans: list[tuple[int, int | None]]
    """First and last message of each time that the user was a member; the last is open while it is one."""
    delivered: int = 0
    read: int = 0
    cursors: dict[int, int] = field(default_factory=dict)
    """What each device has acknowledged."""

    @property
    def present(self) -> bool:
        """Whether the user is a member now."""
        return self.spans[-1][1] is None

    def sees(self, seq: int) -> bool:
        """Whether a message lies inside the membership."""
        return any(first <= seq and (last is None or seq <= last) for first, last in self.spans)


@dataclass(slots=True)
class Conversation:
    """Messages by number, and who is to get them."""

    id: bytes
    members: dict[str, Member]
    group: bool = False
    owner: str = ""
    head: int = 0
    first: int = 1
    """The lowest that somebody still lacks."""
    messages: dict[int, Message] = field(default_factory=dict)

    def has(self, user: str) -> bool:
        """Whether a user is a member now."""
        member = self.members.get(user)
        return member is not None and member.present

    def lacks(self, user: str, device: int, message: Message) -> bool:
        """Whether a message is in a device's queue."""
        member = self.members[user]
        own = not message.change and (message.sender, message.device) == (user, device)
        return message.seq > member.cursors[device] and member.sees(message.seq) and not own


class Reference:
    """The router."""

    def __init__(self) -> None:
        self.devices: dict[str, list[int]] = {}
        self.conversations: dict[bytes, Conversation] = {}
        self.answers: dict[tuple[str, int, bytes], Accepted] = {}
        """By sender, device and id: a repeat gets the same answer."""

    def join(self, user: str, device: int) -> None:
        """A device is there from now on."""
        known = self.devices.setdefault(user, [])
        if device not in known:
            known.append(device)

    # Sending.

    def send(self, user: str, device: int, id: bytes, to: str | bytes, body: bytes) -> Accepted:
        """To a user, or into a group."""
        if (answer := self.answers.get((user, device, id))) is not None:
            return answer
        conversation = self._direct(user, to) if isinstance(to, str) else self._group(user, to)
        return self._number(conversation, user, device, id, body)

    def create(self, user: str, device: int, id: bytes, others: Iterable[str]) -> Accepted:
        """A group of `user`, its owner, and others."""
        if (answer := self.answers.get((user, device, id))) is not None:
            return answer
        digest = hashlib.sha256(b"group\0%s\0%s\0%s" % (user.encode(), device.to_bytes(4, "big"), id)).digest()
        members = {name: self._member(name, 1) for name in [user, *others]}
        conversation = Conversation(digest[:16], members, group=True, owner=user)
        self.conversations[conversation.id] = conversation
        return self._number(conversation, user, device, id, b"", "created")

    def add(self, user: str, device: int, id: bytes, group: bytes, names: Sequence[str]) -> Accepted:
        """New members, who see what comes from now on."""
        if (answer := self.answers.get((user, device, id))) is not None:
            return answer
        conversation = self._group(user, group)
        new = [name for name in names if not conversation.has(name)]
        if user != conversation.owner:
            raise Refused("forbidden")
        if not new:
            raise Refused("no_change")
        for name in new:
            member = self._member(name, conversation.head + 1)
            if (former := conversation.members.get(name)) is not None:
                former.spans += member.spans
            else:
                conversation.members[name] = member
        return self._number(conversation, user, device, id, b"", "added")

    def remove(self, user: str, device: int, id: bytes, group: bytes, names: Sequence[str]) -> Accepted:
        """Members go; they still see that."""
        if (answer := self.answers.get((user, device, id))) is not None:
            return answer
        conversation = self._group(user, group)
        gone = [name for name in names if conversation.has(name)]
        if user != conversation.owner:
            raise Refused("forbidden")
        if not gone:
            raise Refused("no_change")
        for name in gone:
            spans = conversation.members[name].spans
            spans[-1] = (spans[-1][0], conversation.head + 1)
        return self._number(conversation, user, device, id, b"", "removed")

    # Receiving.

    def queue(self, user: str, device: int) -> list[tuple[bytes, Message]]:
        """What a device is to get, each conversation in its order."""
        return [
            (conversation.id, message)
            for conversation in self.conversations.values()
            if user in conversation.members
            for message in conversation.messages.values()
            if conversation.lacks(user, device, message)
        ]

    def ack(self, user: str, device: int, id: bytes, seq: int) -> None:
        """A device has everything up to `seq`, and so its user does."""
        conversation = self._of(user, id)
        member = conversation.members[user]
        if seq > conversation.head:
            raise Refused("ack_beyond_head")
        member.cursors[device] = max(member.cursors[device], seq)
        member.delivered = max(member.delivered, seq)
        self._reclaim(conversation)

    def read(self, user: str, id: bytes, seq: int) -> None:
        """A user has read everything up to `seq`."""
        conversation = self._of(user, id)
        member = conversation.members[user]
        if seq > member.delivered:
            raise Refused("read_beyond_delivered")
        member.read = max(member.read, seq)

    # Below.

    def _direct(self, user: str, other: str) -> Conversation:
        if other not in self.devices:
            raise Refused("unknown_user")
        id = direct_id(user, other)
        if id not in self.conversations:
            members = {name: self._member(name, 1) for name in sorted({user, other})}
            self.conversations[id] = Conversation(id, members)
        return self.conversations[id]

    def _group(self, user: str, id: bytes) -> Conversation:
        conversation = self._of(user, id)
        if not conversation.has(user):
            raise Refused("unknown_conversation")
        return conversation

    def _of(self, user: str, id: bytes) -> Conversation:
        conversation = self.conversations.get(id)
        if conversation is None or user not in conversation.members:
            raise Refused("unknown_conversation")
        return conversation

    def _member(self, user: str, since: int) -> Member:
        if user not in self.devices:
            raise Refused("unknown_user")
        return Member([(since, None)], cursors=dict.fromkeys(self.devices[user], since - 1))

    def _number(
        self, conversation: Conversation, user: str, device: int, id: bytes, body: bytes, change: str = ""
    ) -> Accepted:
        conversation.head += 1
        seq = conversation.head
        conversation.messages[seq] = Message(seq, user, device, id, body, change)
        self.answers[user, device, id] = answer = Accepted(id, conversation.id, seq)
        self._reclaim(conversation)  # one that only writes to itself lacks nothing
        return answer

    def _reclaim(self, conversation: Conversation) -> None:
        """Drops, from the front, what no device lacks."""
        while (message := conversation.messages.get(conversation.first)) is not None and not any(
            conversation.lacks(user, device, message)
            for user, member in conversation.members.items()
            for device in member.cursors
        ):
            del conversation.messages[conversation.first]
            conversation.first += 1


def direct_id(a: str, b: str) -> bytes:
    """The id of the conversation of two users, as docs/wire.md has it."""
    low, high = sorted((a.encode(), b.encode()))
    return hashlib.sha256(b"direct\0%s\0%s" % (low, high)).digest()[:16]
