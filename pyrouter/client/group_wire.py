"""Groups between the wire and the library's values: changes both ways, snapshots one way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
from pyrouter.client.group import GroupState, Member
from pyrouter.wire import wire_pb2 as wire

__all__ = ["change_from_wire", "change_to_wire", "state_from_wire"]


def change_to_wire(change: Change) -> wire.GroupChange:
    """`GroupChange`. ValueError: it is a change that only a later version knows."""
    made = wire.GroupChange()
    match change:
        case Created(members, profile, rules):
            made.created.members.extend(members)
            made.created.profile.CopyFrom(_profile_to_wire(profile))
            made.created.rules.CopyFrom(_rules_to_wire(rules))
        case Profile():
            made.profile.CopyFrom(_profile_to_wire(change))
        case Rules():
            made.rules.CopyFrom(_rules_to_wire(change))
        case Added(users) | Removed(users) | Promoted(users) | Demoted(users):
            getattr(made, _OF_USERS[type(change)]).users.extend(users)
        case Left(successor):
            made.left.CopyFrom(wire.GroupLeft(successor=successor))
        case NewOwner(user):
            made.owner.user = user
        case Invited(Invite(hash, expires)):
            made.invited.CopyFrom(wire.Invite(hash=hash, expires=expires))
        case Revoked(hash):
            made.revoked.hash = hash
        case Joined(hash, secret):
            made.joined.CopyFrom(wire.Invite(secret=secret) if secret else wire.Invite(hash=hash))
        case Closed():
            made.closed.SetInParent()
        case UnknownChange():
            raise ValueError("a change that this version does not know cannot be made")
    return made


def change_from_wire(change: wire.GroupChange) -> Change:
    """What happened; `UnknownChange` for a kind of a later version."""
    read = _READERS.get(change.WhichOneof("change") or "")
    return UnknownChange() if read is None else read(change)


def state_from_wire(group: wire.Group) -> GroupState:
    """A snapshot."""
    return GroupState(
        conversation=group.conversation,
        seq=group.seq,
        members=tuple(Member(member.user, _role(member.role)) for member in group.members),
        profile=_profile(group.profile),
        rules=_rules(group.rules),
        invites=_invites(group.invites),
        closed=group.closed,
    )


def _profile_to_wire(profile: Profile) -> wire.Profile:
    return wire.Profile(name=profile.name, description=profile.description, picture=profile.picture)


def _rules_to_wire(rules: Rules) -> wire.Rules:
    return wire.Rules(post=_who_to_wire(rules.post), add=_who_to_wire(rules.add), edit=_who_to_wire(rules.edit))


def _who_to_wire(who: Who) -> wire.Who.ValueType:
    return wire.EVERYONE if who == Who.EVERYONE else wire.ADMINS


def _profile(profile: wire.Profile) -> Profile:
    return Profile(
        profile.name if profile.HasField("name") else None,
        profile.description if profile.HasField("description") else None,
        profile.picture if profile.HasField("picture") else None,
    )


def _rules(rules: wire.Rules) -> Rules:
    return Rules(_who(rules.post), _who(rules.add), _who(rules.edit))


def _invites(invites: Iterable[wire.Invite]) -> tuple[Invite, ...]:
    return tuple(Invite(invite.hash, invite.expires) for invite in invites)


def _who(number: int) -> Who:
    return Who.EVERYONE if number == Who.EVERYONE else Who.ADMINS  # of a later version: rather fewer than too many


def _role(number: int) -> Role:
    return Role(number) if number in (Role.ADMIN, Role.OWNER) else Role.MEMBER


_OF_USERS: dict[type[Change], str] = {Added: "added", Removed: "removed", Promoted: "promoted", Demoted: "demoted"}

_READERS: dict[str, Callable[[wire.GroupChange], Change]] = {
    "created": lambda change: Created(
        tuple(change.created.members), _profile(change.created.profile), _rules(change.created.rules)
    ),
    "profile": lambda change: _profile(change.profile),
    "rules": lambda change: _rules(change.rules),
    "added": lambda change: Added(tuple(change.added.users)),
    "removed": lambda change: Removed(tuple(change.removed.users)),
    "left": lambda change: Left(change.left.successor),
    "promoted": lambda change: Promoted(tuple(change.promoted.users)),
    "demoted": lambda change: Demoted(tuple(change.demoted.users)),
    "owner": lambda change: NewOwner(change.owner.user),
    "invited": lambda change: Invited(Invite(change.invited.hash, change.invited.expires)),
    "revoked": lambda change: Revoked(change.revoked.hash),
    "joined": lambda change: Joined(change.joined.hash),
    "closed": lambda _change: Closed(),
}
