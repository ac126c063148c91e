"""A group's state as the fold of its changes (docs/wire.md, "The state of a group"). Pure: nothing but its arguments.

Rules:
- the state at seq n is what `apply` makes of all changes up to n, in order, from `GroupState(conversation)` or from a
  snapshot of the server; whoever has the same changes has the same state;
- a change at or below the state's seq is in it already and changes nothing, so repeats and a snapshot that is ahead of
  the messages are harmless;
- the server decided that each change was allowed; here nothing is decided again. A user whom a change does not concern
  (added, but a member already) is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

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
    UnknownChange,
    Who,
)

__all__ = ["GroupState", "Member"]

NO_PROFILE = Profile()
DEFAULT_RULES = Rules()
MAX_INVITES = 16


class Member(NamedTuple):
    """One member of a group."""

    user: str
    role: Role


@dataclass(slots=True, frozen=True)
class GroupState:
    """What a group is at one point of its order.

    Attributes:
        conversation: the group's id, 16 bytes.
        seq: of the last change in it; 0: the group has not begun.
        members: in the order in which they came.
        profile: name, description, picture; None where it was never set.
        rules: who may do what.
        invites: open invites, the oldest first; those that have expired may be among them.
        closed: whether the owner closed it.
    """

    conversation: bytes
    seq: int = 0
    members: tuple[Member, ...] = ()
    profile: Profile = NO_PROFILE
    rules: Rules = DEFAULT_RULES
    invites: tuple[Invite, ...] = ()
    closed: bool = False

    def __contains__(self, user: object) -> bool:
        """Whether `user` is a member."""
        return any(member.user == user for member in self.members)

    @property
    def name(self) -> str:
        """The profile's name as text; empty if there is none."""
        return (self.profile.name or b"").decode(errors="replace")

    @property
    def owner(self) -> str:
        """Who owns it; empty if nobody is left."""
        return next((member.user for member in self.members if member.role == Role.OWNER), "")

    def role(self, user: str) -> Role | None:
        """What `user` is; None: no member."""
        return next((member.role for member in self.members if member.user == user), None)

    def may(self, user: str, who: Who) -> bool:
        """Whether one of `rules` lets `user`: `state.may("ann", state.rules.post)`."""
        role = self.role(user)
        return role is not None and (who == Who.EVERYONE or role >= Role.ADMIN)

    def successor(self, leaving: str) -> str:
        """Who owns the group when `leaving`, its owner, leaves: the admin, else the member, longest in it."""
        others = [member for member in self.members if member.user != leaving]
        admins = (member for member in others if member.role == Role.ADMIN)
        heir = next(admins, None) or next(iter(others), None)
        return heir.user if heir else ""

    def apply(self, seq: int, sender: str, change: Change) -> GroupState:
        """The state after `change`, which `sender` made in the message `seq`."""
        if seq <= self.seq:
            return self
        new = replace(self, seq=seq)
        match change:
            case Created(members, profile, rules):
                roles = {sender: Role.OWNER} | dict.fromkeys((m for m in members if m != sender), Role.MEMBER)
                new = replace(new, members=_members(roles), profile=profile, rules=rules)
            case Profile():
                new = replace(new, profile=_merged(self.profile, change))
            case Rules():
                new = replace(new, rules=change)
            case Invited(invite):
                others = [known for known in self.invites if known.hash != invite.hash]
                if len(others) >= MAX_INVITES:  # one has expired: the server would have refused otherwise
                    others.remove(min(others, key=lambda known: known.expires or math.inf))
                new = replace(new, invites=(*others, invite))
            case Revoked(hash):
                new = replace(new, invites=tuple(known for known in self.invites if known.hash != hash))
            case Closed():
                new = replace(new, members=(), invites=(), closed=True)
            case UnknownChange():
                pass
            case _:
                new = replace(new, members=_members(self._moved(sender, change)))
        return new

    def _moved(
        self, sender: str, change: Added | Removed | Left | Promoted | Demoted | NewOwner | Joined
    ) -> dict[str, Role]:
        """Members and their roles after a change of these."""
        roles = dict(self.members)
        match change:
            case Added(users):
                _join(roles, users)
            case Joined():
                _join(roles, [sender])
            case Removed(users):
                for user in users:
                    if roles.get(user) != Role.OWNER:
                        roles.pop(user, None)
            case Left(successor):
                roles.pop(sender, None)
                if successor in roles:
                    roles[successor] = Role.OWNER
            case Promoted(users):
                roles.update((user, Role.ADMIN) for user in users if roles.get(user) == Role.MEMBER)
            case Demoted(users):
                roles.update((user, Role.MEMBER) for user in users if roles.get(user) == Role.ADMIN)
            case NewOwner(user):
                if user in roles:
                    roles.update((owner, Role.ADMIN) for owner, role in self.members if role == Role.OWNER)
                    roles[user] = Role.OWNER
        return roles


def _join(roles: dict[str, Role], users: Iterable[str]) -> None:
    for user in users:
        roles.setdefault(user, Role.MEMBER)


def _members(roles: dict[str, Role]) -> tuple[Member, ...]:
    return tuple(Member(user, role) for user, role in roles.items())


def _merged(old: Profile, new: Profile) -> Profile:
    return Profile(
        old.name if new.name is None else new.name,
        old.description if new.description is None else new.description,
        old.picture if new.picture is None else new.picture,
    )
