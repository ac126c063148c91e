"""The rules of groups, written down a second time and as plainly as can be: what a server allows and makes of it.

An oracle for the library's fold. Knows lists and dictionaries only, and shares nothing with `pyrouter.client.group`.
"""

from __future__ import annotations

from hypothesis import strategies as st

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
    Role,
    Rules,
    Who,
)
from pyrouter.client.group import GroupState, Member

USERS = ("ann", "bob", "carol", "dave", "eve")
MOST = 4  # members
SECRETS = tuple(bytes([n]) * 16 for n in range(3))
HASHES = tuple(bytes([n]) * 32 for n in range(3))  # no hash at all: the model believes that they belong together


class Room:
    """One group as its server has it."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.role: dict[str, Role] = {}
        self.profile: dict[str, bytes | None] = {"name": None, "description": None, "picture": None}
        self.rules = Rules()
        self.invites: list[Invite] = []
        self.closed = False

    def state(self, conversation: bytes, seq: int) -> GroupState:
        """As the library would say it."""
        members = tuple(Member(user, self.role[user]) for user in self.order)
        profile = Profile(**self.profile)
        return GroupState(conversation, seq, members, profile, self.rules, tuple(self.invites), self.closed)

    def want(self, actor: str, change: Change) -> Change | None:
        """Does it if it may be, and returns what becomes of it; None: refused."""
        if isinstance(change, Created):
            return self._create(actor, change)
        if isinstance(change, Joined):
            return self._join(actor, change)
        if actor not in self.order:
            return None
        return getattr(self, f"_{type(change).__name__.lower()}")(actor, change)  # type: ignore[no-any-return]

    def _in_charge(self, actor: str) -> bool:
        return self.role[actor] in (Role.ADMIN, Role.OWNER)

    def _may(self, actor: str, who: Who) -> bool:
        return who == Who.EVERYONE or self._in_charge(actor)

    def _come(self, user: str) -> None:
        self.order.append(user)
        self.role[user] = Role.MEMBER

    def _go(self, user: str) -> None:
        self.order.remove(user)
        del self.role[user]

    def _create(self, actor: str, change: Created) -> Change | None:
        others = [user for user in dict.fromkeys(change.members) if user != actor]
        if self.order or self.closed or 1 + len(others) > MOST:
            return None
        for user in (actor, *others):
            self._come(user)
        self.role[actor] = Role.OWNER
        self._profile(actor, change.profile)
        self.rules = change.rules
        return change

    def _join(self, actor: str, change: Joined) -> Change | None:
        known = [invite.hash for invite in self.invites]
        if actor in self.order or change.hash not in known or len(self.order) >= MOST:
            return None
        self._come(actor)
        return Joined(change.hash)

    def _profile(self, actor: str, change: Profile) -> Change | None:
        if not self._may(actor, self.rules.edit):
            return None
        for part in self.profile:
            if (value := getattr(change, part)) is not None:
                self.profile[part] = value
        return change

    def _rules(self, actor: str, change: Rules) -> Change | None:
        if not self._in_charge(actor):
            return None
        self.rules = change
        return change

    def _added(self, actor: str, change: Added) -> Change | None:
        new = tuple(user for user in dict.fromkeys(change.users) if user not in self.order)
        if not self._may(actor, self.rules.add) or not new or len(self.order) + len(new) > MOST:
            return None
        for user in new:
            self._come(user)
        return Added(new)

    def _removed(self, actor: str, change: Removed) -> Change | None:
        gone = tuple(user for user in dict.fromkeys(change.users) if user in self.order)
        if not self._in_charge(actor) or not gone or any(self.role[user] == Role.OWNER for user in gone):
            return None
        for user in gone:
            self._go(user)
        return Removed(gone)

    def _left(self, actor: str, _change: Left) -> Change:
        was_owner = self.role[actor] == Role.OWNER
        self._go(actor)
        if not was_owner or not self.order:
            return Left()
        admins = [user for user in self.order if self.role[user] == Role.ADMIN]
        heir = (admins or self.order)[0]
        self.role[heir] = Role.OWNER
        return Left(heir)

    def _promoted(self, actor: str, change: Promoted) -> Change | None:
        up = tuple(user for user in dict.fromkeys(change.users) if self.role.get(user) == Role.MEMBER)
        if not self._in_charge(actor) or not up:
            return None
        self.role |= dict.fromkeys(up, Role.ADMIN)
        return Promoted(up)

    def _demoted(self, actor: str, change: Demoted) -> Change | None:
        down = tuple(user for user in dict.fromkeys(change.users) if self.role.get(user) == Role.ADMIN)
        if not self._in_charge(actor) or not down or any(self.role.get(user) == Role.OWNER for user in change.users):
            return None
        self.role |= dict.fromkeys(down, Role.MEMBER)
        return Demoted(down)

    def _newowner(self, actor: str, change: NewOwner) -> Change | None:
        if self.role[actor] != Role.OWNER or change.user not in self.order or change.user == actor:
            return None
        self.role[actor], self.role[change.user] = Role.ADMIN, Role.OWNER
        return change

    def _invited(self, actor: str, change: Invited) -> Change | None:
        if not self._may(actor, self.rules.add) or change.invite in self.invites:
            return None
        self.invites = [invite for invite in self.invites if invite.hash != change.invite.hash] + [change.invite]
        return change

    def _revoked(self, actor: str, change: Revoked) -> Change | None:
        if not self._may(actor, self.rules.add) or all(invite.hash != change.hash for invite in self.invites):
            return None
        self.invites = [invite for invite in self.invites if invite.hash != change.hash]
        return change

    def _closed(self, actor: str, change: Closed) -> Change | None:
        if self.role[actor] != Role.OWNER:
            return None
        self.order, self.role, self.invites, self.closed = [], {}, [], True
        return change


user = st.sampled_from(USERS)
users = st.lists(user, min_size=1, max_size=3).map(tuple)
rules = st.builds(Rules, *[st.sampled_from(Who)] * 3)
profiles = st.builds(Profile, *[st.none() | st.binary(max_size=3)] * 3)
created = st.builds(Created, st.lists(user, max_size=4).map(tuple), profiles, rules)
invite = st.sampled_from(range(len(HASHES)))
wishes = st.one_of(
    st.builds(Added, users),
    st.builds(Removed, users),
    st.builds(Promoted, users),
    st.builds(Demoted, users),
    st.builds(Left),
    st.builds(NewOwner, user),
    profiles,
    rules,
    invite.flatmap(lambda n: st.builds(Invite, st.just(HASHES[n]), st.integers(0, 2)).map(Invited)),
    invite.map(lambda n: Revoked(HASHES[n])),
    invite.map(lambda n: Joined(HASHES[n], SECRETS[n])),
)
ends = st.just(Closed())
