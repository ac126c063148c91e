"""How far the members of a group got with a message: receipts of many, one state.

Rules:
- a message is delivered when every member who is to get it has it, and read when all of them read it; one who will
  never get it keeps it at one tick (I7);
- who is to get it are the members when it was numbered, its author aside. While that is not known nothing is claimed;
- cursors are per member and conversation, not per message. They only grow, so what a message still lacks is looked for
  from where it was found last time: receipts that change nothing for a message cost it nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyrouter.client.model import Cursor, SkipReason, State
from pyrouter.client.reach import Reach

__all__ = ["Audience", "GroupReach"]

_NOWHERE = Reach()


class GroupReach:
    """The cursors of one group's members."""

    __slots__ = ("_members", "_skipping")

    def __init__(self) -> None:
        self._members: dict[str, Reach] = {}
        self._skipping: dict[str, Reach] = {}  # those of them who will not get something

    def of(self, user: str) -> Reach:
        """One member's cursors; not to be changed."""
        return self._members.get(user, _NOWHERE)

    def receipt(self, user: str, delivered: int, read: int) -> bool:
        """Takes one member's cursors in; true if one moved."""
        return self._member(user).receipt(delivered, read)

    def skip(self, user: str, first: int, last: int, reason: SkipReason) -> None:
        """These never reach this member."""
        reach = self._skipping[user] = self._member(user)
        reach.skip(first, last, reason)

    def skipped(self, seq: int, users: Sequence[str]) -> SkipReason | None:
        """Why the message never reaches one of them, if so."""
        for user, reach in self._skipping.items():
            if (reason := reach.skipped(seq)) is not None and user in users:
                return reason
        return None

    def _member(self, user: str) -> Reach:
        reach = self._members.get(user)
        if reach is None:
            reach = self._members[user] = Reach()
        return reach


class Audience:
    """Who is to get one message of a group, and how far they are.

    Args:
        group: everybody's cursors.
        direct: the same conversation, should it turn out to be a direct one; its cursors never move in a group.
        me: the author.
    """

    __slots__ = ("_direct", "_group", "_has", "_me", "_read", "_told", "users")

    def __init__(self, group: GroupReach, direct: Reach, me: str) -> None:
        self._me = me
        self.users: tuple[str, ...] | None = None  # not known yet
        self._group = group
        self._direct = direct
        self._told: dict[str, State] = {}  # as `Progress` had it: true of this message, whatever else is known
        self._has = self._read = 0  # so many of `users`, from the first on, have it, have read it

    def told(self, cursors: Sequence[Cursor], seq: int) -> None:
        """The server said who is to get the message and who has it."""
        # Once all have a message, the server remembers no author: then we are named too.
        self.users = tuple(cursor.user for cursor in cursors if cursor.user != self._me)
        self._has = self._read = 0
        for cursor in cursors:
            if cursor.skipped:
                self._group.skip(cursor.user, seq, seq, SkipReason.UNSPECIFIED)
            elif (state := cursor.state(seq)) > State.SENT:
                self._told[cursor.user] = state

    def of(self, user: str, seq: int) -> State:
        """How far the message came with one member."""
        return max(self._group.of(user).state(seq), self._told.get(user, State.SENT), self._direct.state(seq))

    def state(self, seq: int) -> State:
        """How far it came with all of them."""
        users = self.users
        if users is None:
            return self._direct.state(seq)
        self._has = self._first_short_of(State.DELIVERED, seq, users, self._has)
        if self._has < len(users):
            return State.SENT
        self._read = self._first_short_of(State.READ, seq, users, self._read)
        return State.DELIVERED if self._read < len(users) else State.READ

    def skipped(self, seq: int) -> SkipReason | None:
        """Why it never reaches all of them, if so."""
        return self._direct.skipped(seq) if self.users is None else self._group.skipped(seq, self.users)

    def _first_short_of(self, state: State, seq: int, users: tuple[str, ...], start: int) -> int:
        while start < len(users) and self.of(users[start], seq) >= state:
            start += 1
        return start
