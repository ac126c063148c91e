"""What the server told of the others' cursors: from frames to the reaches of conversations, and which version we keep.

Rules: `reach.py`, `audience.py`, and
- our own cursors, moved by another device of ours, claim nothing about what we sent, except to ourselves;
- a version is opaque: the last one that came is acknowledged, and given back in the next hello.
"""

from __future__ import annotations

from pyrouter.client.audience import Audience, GroupReach
from pyrouter.client.ids import direct_conversation
from pyrouter.client.model import Cursor, Device, Progress, Receipt, SentMessage, SkipReason, Undelivered
from pyrouter.client.reach import Reach
from pyrouter.wire import wire_pb2 as wire

__all__ = ["Receipts", "progress_from_wire", "reason_from_wire"]


class Receipts:
    """All receipts of one device.

    Args:
        version: the last that the program keeps from an earlier run; empty: what the server remembers.
    """

    __slots__ = ("_groups", "_me", "_ours", "_reaches", "_untold", "new", "version")

    def __init__(self, version: bytes = b"") -> None:
        self.version = version  # the last that came; empty: none
        self.new = 0  # how many came since the server was told of one
        self._untold = False  # the server was not told of it on this connection
        self._me = ""
        self._reaches: dict[bytes, Reach] = {}
        self._groups: dict[bytes, GroupReach] = {}
        self._ours: set[bytes] = set()  # conversations with oneself, in which our own cursors are the other side's

    def welcomed(self, user: str, version: bytes) -> None:
        """A session begins: who we are, and the version that it begins at."""
        self._me = user
        self._ours.add(direct_conversation(user, user))
        # Without one the server tells everything again. Cursors merge by maximum: telling twice is safe.
        self.version = version
        self._untold = True  # said in hello, but not acknowledged by it

    def to_tell(self) -> bytes:
        """The version to acknowledge now, taken as told; empty: none."""
        self.new = 0
        untold, self._untold = self._untold, False
        return self.version if untold else b""

    def accepted(self, sent: SentMessage) -> None:
        """A message has its number: from now on it knows how far it came."""
        conversation, to = sent.conversation, sent.to
        if isinstance(to, bytes):
            sent.reach = Audience(self._group(conversation), self._reach(conversation), self._me)
            return
        if isinstance(to, Device) and to.user == self._me:
            self._ours.add(conversation)
        sent.reach = self._reach(conversation)
        if conversation == direct_conversation(self._me, self._me):
            # One device of the recipient has it: this one.
            sent.reach.receipt(sent.seq, 0)

    def receipt(self, receipt: wire.Receipt, *, group: bool) -> Receipt | None:
        """One user's cursors; what moved."""
        conversation, user = receipt.conversation, receipt.user
        self._keep(receipt.version)
        if self._own(conversation, user):
            return None
        if group:
            return self._member(conversation, user, receipt.delivered, receipt.read)
        reach = self._reach(conversation)
        if reach.receipt(receipt.delivered, receipt.read):
            return Receipt(conversation, user, reach.delivered, reach.read)
        return None

    def receipts(self, receipts: wire.Receipts) -> list[Receipt]:
        """Cursors of members of a group, or no conversation and only a version; which moved."""
        self._keep(receipts.version)
        moved = (
            self._member(receipts.conversation, cursor.user, cursor.delivered, cursor.read)
            for cursor in receipts.cursors
            if cursor.user != self._me
        )
        return [receipt for receipt in moved if receipt is not None]

    def skip(self, skip: wire.Skip) -> Undelivered | None:
        """Messages will never reach a user; None: that is no news of ours."""
        conversation, user = skip.conversation, skip.user
        first, last, reason = getattr(skip, "from"), skip.to, reason_from_wire(skip.reason)
        self._keep(skip.version)
        if self._own(conversation, user):
            return None
        self._group(conversation).skip(user, first, last, reason)
        self._reach(conversation).skip(first, last, reason)
        return Undelivered(conversation, user, first, last, reason)

    # Details.

    def _own(self, conversation: bytes, user: str) -> bool:
        return user == self._me and conversation not in self._ours

    def _member(self, conversation: bytes, user: str, delivered: int, read: int) -> Receipt | None:
        group = self._group(conversation)
        if not group.receipt(user, delivered, read):
            return None
        reach = group.of(user)
        return Receipt(conversation, user, reach.delivered, reach.read)

    def _reach(self, conversation: bytes) -> Reach:
        reach = self._reaches.get(conversation)
        if reach is None:
            reach = self._reaches[conversation] = Reach()
        return reach

    def _group(self, conversation: bytes) -> GroupReach:
        group = self._groups.get(conversation)
        if group is None:
            group = self._groups[conversation] = GroupReach()
        return group

    def _keep(self, version: bytes) -> None:
        if version and version != self.version:
            self.version = version
            self._untold = True
            self.new += 1


def reason_from_wire(number: int) -> SkipReason:
    """A reason; those of a later version have none."""
    try:
        return SkipReason(number)
    except ValueError:
        return SkipReason.UNSPECIFIED


def progress_from_wire(progress: wire.Progress) -> Progress:
    """Who has a message of a group."""
    cursors = (Cursor(cursor.user, cursor.delivered, cursor.read, cursor.skipped) for cursor in progress.cursors)
    return Progress(progress.conversation, progress.seq, tuple(cursors))
