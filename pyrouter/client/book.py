"""What this device knows of its groups: the state of each, kept true while messages come, are missed, and come again.

A state moves only by a change whose predecessors are all accounted for, or by a snapshot: so at any moment it is the
exact fold at some seq, maybe an older one. Rules for the messages of a group:
- those from others come in the order of their seqs; our own do not come, their seqs are told by `accepted`;
- a seq that was neither is one that an earlier run of this device, or another session of it, used: something may have
  been missed. Then the state is asked for, and rests until it comes;
- what the server sends after a snapshot knows of nothing earlier than what it sent before: a snapshot that was asked
  for covers all that was received when it came. One that comes unasked stands directly before the next message.

No I/O. Whoever owns the book asks for the groups that are `wanted`.
"""

from __future__ import annotations

from pyrouter.client.audience import Audience
from pyrouter.client.changes import Change, Created, Left, UnknownChange
from pyrouter.client.group import GroupState
from pyrouter.client.ids import device_conversation, direct_conversation
from pyrouter.client.model import SentMessage, SkipReason
from pyrouter.wire import wire_pb2 as wire

__all__ = ["OWN_KEPT", "Book", "Page"]

OWN_KEPT = 1024  # messages of our own, of one group, that wait for earlier ones of others to come


class Page:
    """One group.

    Args:
        conversation: its id.
        me: the user of this device.
    """

    __slots__ = ("_by_itself", "_lost", "_me", "_own", "_top", "_unread", "_upto", "_users", "conversation", "state")

    def __init__(self, conversation: bytes, me: str) -> None:
        self.conversation = conversation
        self.state: GroupState | None = None  # the fold at some seq; None: not known
        self._me = me
        self._upto: int | None = 0  # every message up to here is in it; None: up to the message that comes next
        self._top = 0  # the highest seq that came
        self._lost = False  # something may have been missed; a snapshot is to come
        self._by_itself = False  # … without being asked for
        self._own: dict[int, SentMessage] = {}  # our messages, accepted, above `_upto`, in order
        self._users: tuple[str, ...] | None = None  # of `state`, without ourselves
        self._unread: dict[str, list[int]] = {}  # author → first and last of the messages that were not read

    @property
    def current(self) -> bool:
        """Whether the state is as new as what came."""
        return self.state is not None and not self._lost and not self._own

    def message(self, seq: int, sender: str, change: Change | None) -> bool:
        """A message came; true if a snapshot is wanted now."""
        self._top = max(self._top, seq)
        if change is None and sender != self._me:
            self._unread.setdefault(sender, [seq, seq])[1] = seq
        if self.state is None:
            if isinstance(change, Created):
                self._begin(seq, sender, change)
            return False
        if self._lost:
            wanted, self._by_itself = self._by_itself, False
            return wanted
        if self._upto is None:
            self._upto = seq - 1
            self._own = {own: sent for own, sent in self._own.items() if own >= seq}
        if seq <= self._upto:
            return False
        self._drain(seq)
        if seq != self._upto + 1 or isinstance(change, UnknownChange):
            return self._lose()
        self._fold(seq, sender, change)
        self._drain()
        return False

    def own(self, sent: SentMessage) -> bool:
        """The server accepted a message or a change of ours; true if a snapshot is wanted now."""
        seq, change = sent.seq, sent.change
        if self.state is None:
            if isinstance(change, Created):
                self._begin(seq, self._me, change)
            return False
        if self._lost or (self._upto is not None and seq <= self._upto):
            return False
        self._drain()
        if change is None:
            if len(self._own) < OWN_KEPT:
                self._own[seq] = sent
        elif seq - 1 == self._upto:
            self._fold(seq, self._me, self._completed(change))
        else:
            return self._lose()
        self._drain()
        return False

    def skipped(self, last: int, *, snapshot_follows: bool) -> bool:
        """Messages up to `last` will never come, changes may be among them; true if a snapshot is wanted now."""
        self._top = max(self._top, last)
        if self.state is None or self._lost or self._upto is None or last <= self._upto:
            return False
        self._by_itself = snapshot_follows
        return self._lose() and not snapshot_follows

    def snapshot(self, state: GroupState, *, asked: bool) -> bool:
        """The server told the state; true if it is news."""
        old = self.state
        if old is None or state.seq >= old.seq:
            self.state, self._users = state, None
        if asked:
            self._upto = max(state.seq, self._top, *self._own, self._upto or 0)
            self._own.clear()
        else:
            self._upto = None
        self._lost = self._by_itself = False
        return self.state != old

    def read(self, seq: int) -> list[str]:
        """Everything up to `seq` is read: whose messages that covers."""
        authors = [author for author, (first, _) in self._unread.items() if first <= seq]
        for author in authors:
            if self._unread[author][1] <= seq:
                del self._unread[author]
            else:
                self._unread[author][0] = seq + 1
        return authors

    # Details.

    def _begin(self, seq: int, sender: str, change: Created) -> None:
        self.state = GroupState(self.conversation).apply(seq, sender, change)
        self._upto, self._users = seq, None

    def _fold(self, seq: int, sender: str, change: Change | None) -> None:
        assert self.state is not None
        self._upto = seq
        if change is not None:
            self.state, self._users = self.state.apply(seq, sender, change), None

    def _drain(self, before: int | None = None) -> None:
        """Takes our own messages that come next, up to a message that came."""
        while self._upto is not None and self._upto + 1 in self._own and self._upto + 1 != before:
            self._upto += 1
            sent = self._own.pop(self._upto)
            if isinstance(sent.reach, Audience) and sent.reach.users is None:
                sent.reach.users = self._audience()

    def _audience(self) -> tuple[str, ...]:
        """The members but ourselves; the same object as long as the state is."""
        if self._users is None:
            members = self.state.members if self.state is not None else ()
            self._users = tuple(member.user for member in members if member.user != self._me)
        return self._users

    def _completed(self, change: Change) -> Change:
        """What we wanted, with what the server adds to it."""
        if isinstance(change, Left) and self.state is not None and self.state.owner == self._me:
            return Left(self.state.successor(self._me))
        return change

    def _lose(self) -> bool:
        self._lost = True
        return True


class Book:
    """All groups of one device."""

    __slots__ = ("_device", "_me", "_others", "_pages")

    def __init__(self) -> None:
        self._me = ""
        self._device = 0
        self._pages: dict[bytes, Page] = {}
        self._others: set[bytes] = set()  # conversations that are no groups

    def welcomed(self, user: str, device: int) -> None:
        """Says who we are."""
        self._me, self._device = user, device

    def __contains__(self, conversation: bytes) -> bool:
        return conversation in self._pages

    def state(self, conversation: bytes) -> GroupState | None:
        """What is known of a group."""
        page = self._pages.get(conversation)
        return page.state if page is not None else None

    def current(self, conversation: bytes) -> GroupState | None:
        """The same, if it is as new as what came."""
        page = self._pages.get(conversation)
        return page.state if page is not None and page.current else None

    def message(self, message: wire.Message, change: Change | None) -> bool:
        """A message came, for the first time; true if a snapshot of its group is wanted now."""
        page = self._page_of(message)
        return page is not None and page.message(message.seq, message.sender, change)

    def own(self, sent: SentMessage) -> bool:
        """The server accepted a message or a change of ours; true if a snapshot of its group is wanted now."""
        conversation = sent.conversation
        page = self._page(conversation) if sent.change is not None else self._pages.get(conversation)
        return page is not None and page.own(sent)

    def skipped(self, conversation: bytes, last: int, reason: SkipReason) -> bool:
        """Messages up to `last` will never come; true if a snapshot is wanted now."""
        page = self._pages.get(conversation)
        floor = reason in (SkipReason.EXPIRED, SkipReason.CAP)
        return page is not None and page.skipped(last, snapshot_follows=floor)

    def snapshot(self, state: GroupState, *, asked: bool) -> tuple[GroupState, bool]:
        """The server told a state. What is known now, and whether it is news."""
        page = self._page(state.conversation)
        news = page.snapshot(state, asked=asked)
        return page.state or state, news

    def read(self, conversation: bytes, seq: int) -> list[str] | None:
        """A group is read up to `seq`: whose messages that covers; None: it is no group."""
        page = self._pages.get(conversation)
        return None if page is None else page.read(seq)

    def _page(self, conversation: bytes) -> Page:
        page = self._pages.get(conversation)
        if page is None:
            page = self._pages[conversation] = Page(conversation, self._me)
        return page

    def _page_of(self, message: wire.Message) -> Page | None:
        """The page of the group in which a message came; None: it came in a direct or a device conversation."""
        conversation, sender = message.conversation, message.sender
        page = self._pages.get(conversation)
        if page is not None or conversation in self._others:
            return page
        if not message.HasField("change") and conversation in (
            direct_conversation(self._me, message.to or sender),
            device_conversation((self._me, self._device), (sender, message.device)),
        ):
            self._others.add(conversation)
            return None
        return self._page(conversation)
