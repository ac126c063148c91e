"""What this device knows of its groups: the state of each, kept true while messages come, are missed, and come again.

A state is at any moment the exact fold at some seq. Rules for the messages of a group:
- they come in the order of their seqs; changes come to everybody, also to the device that wanted them. So a seq that
  did not come was a message of our own, and no change;
- our own messages and changes are told by `accepted`. One that follows directly on what is known is taken in at once;
- a skip may hide changes: the state rests until the snapshot comes, which the server sends before what follows;
- who is to get a message of our own are the members at its seq: known once all that stands before it has come.

No I/O. Whoever owns the book asks for the groups that are wanted.
"""

from __future__ import annotations

from pyrouter.client.audience import Audience
from pyrouter.client.changes import Change, Created, Left, UnknownChange
from pyrouter.client.group import GroupState
from pyrouter.client.ids import device_conversation, direct_conversation
from pyrouter.client.model import SentMessage
from pyrouter.wire import wire_pb2 as wire

__all__ = ["OWN_KEPT", "Book", "Page"]

OWN_KEPT = 1024  # messages of our own, of one group, that wait for earlier ones of others to come


class Page:
    """One group.

    Args:
        conversation: its id.
        me: the user of this device.
    """

    __slots__ = ("_lost", "_me", "_own", "_unread", "_upto", "_users", "conversation", "state")

    def __init__(self, conversation: bytes, me: str) -> None:
        self.conversation = conversation
        self.state: GroupState | None = None  # the fold at some seq; None: not known
        self._me = me
        self._upto = 0  # nothing up to here is still to come
        self._lost = False  # changes may have been missed; a snapshot is to come
        self._own: dict[int, SentMessage] = {}  # our messages, accepted, above `_upto`, in order
        self._users: tuple[str, ...] | None = None  # of `state`, without ourselves
        self._unread: dict[str, list[int]] = {}  # author → first and last of the messages that were not read

    @property
    def current(self) -> bool:
        """Whether the state is as new as what came."""
        return self.state is not None and not self._lost

    def message(self, seq: int, sender: str, change: Change | None) -> bool:
        """A message came; true if a snapshot is wanted now."""
        if change is None and sender != self._me:
            self._unread.setdefault(sender, [seq, seq])[1] = seq
        self._pass(seq - 1)
        self._upto = max(self._upto, seq)
        if self.state is None:
            if isinstance(change, Created):
                self.state = GroupState(self.conversation)
                self._fold(seq, sender, change)
            return False
        if isinstance(change, UnknownChange):
            self._lost = True
        if not self._lost and change is not None:
            self._fold(seq, sender, change)
        self._drain()
        return self._lost

    def own(self, sent: SentMessage) -> None:
        """The server accepted a message or a change of ours."""
        seq, change = sent.seq, sent.change
        if seq <= self._upto:
            return
        if change is None and len(self._own) < OWN_KEPT:
            self._own[seq] = sent
        if change is not None and seq - 1 == self._upto:
            self._upto = seq
            if isinstance(change, Created):
                self.state = GroupState(self.conversation)
            if self.current:
                self._fold(seq, self._me, self._completed(change))
        self._drain()

    def skipped(self, last: int) -> None:
        """Messages up to `last` will never come, changes may be among them."""
        known = self._upto if self.state is None else max(self._upto, self.state.seq)
        self._lost = self._lost or last > known
        self._pass(last)
        self._upto = max(self._upto, last)

    def snapshot(self, state: GroupState) -> bool:
        """The server told the state; true if it is news."""
        old = self.state
        if old is None or state.seq >= old.seq:
            self.state, self._users = state, None
        self._lost = False
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

    def _fold(self, seq: int, sender: str, change: Change) -> None:
        assert self.state is not None
        self.state, self._users = self.state.apply(seq, sender, change), None

    def _pass(self, last: int) -> None:
        """Everything up to `last` has come: takes our own messages among it."""
        for seq in [seq for seq in self._own if seq <= last]:
            self._settle(self._own.pop(seq))

    def _drain(self) -> None:
        """Takes our own messages that follow directly."""
        while self._upto + 1 in self._own:
            self._upto += 1
            self._settle(self._own.pop(self._upto))

    def _settle(self, sent: SentMessage) -> None:
        """The state is that at this message: now it is known who is to get it."""
        exact = self.state is not None and self.current and self.state.seq < sent.seq
        if exact and isinstance(sent.reach, Audience) and sent.reach.users is None:
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


class Book:
    """All groups of one device."""

    __slots__ = ("_device", "_me", "_others", "_pages", "_skipped")

    def __init__(self) -> None:
        self._me = ""
        self._device = 0
        self._pages: dict[bytes, Page] = {}
        self._others: set[bytes] = set()  # conversations that are no groups
        self._skipped: dict[bytes, int] = {}  # what will never come, of conversations of which nothing came yet

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

    def own(self, sent: SentMessage) -> None:
        """The server accepted a message or a change of ours."""
        conversation = sent.conversation
        page = self._page(conversation) if sent.change is not None else self._pages.get(conversation)
        if page is not None:
            page.own(sent)

    def skipped(self, conversation: bytes, last: int) -> None:
        """Messages up to `last` will never come."""
        if (page := self._pages.get(conversation)) is not None:
            page.skipped(last)
        elif conversation not in self._others:
            self._skipped[conversation] = last

    def snapshot(self, state: GroupState) -> tuple[GroupState, bool]:
        """The server told a state. What is known now, and whether it is news."""
        page = self._page(state.conversation)
        news = page.snapshot(state)
        return page.state or state, news

    def read(self, conversation: bytes, seq: int) -> list[str] | None:
        """A group is read up to `seq`: whose messages that covers; None: it is no group."""
        page = self._pages.get(conversation)
        return None if page is None else page.read(seq)

    def _page(self, conversation: bytes) -> Page:
        page = self._pages.get(conversation)
        if page is None:
            page = self._pages[conversation] = Page(conversation, self._me)
            if last := self._skipped.pop(conversation, 0):
                page.skipped(last)
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
            self._skipped.pop(conversation, None)
            return None
        return self._page(conversation)
