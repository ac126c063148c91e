"""What can happen to a group, and the values in it. Plain values; the fold of them is in `group.py`.

A change is wanted by somebody (`Client.manage`), decided by the server, and comes to every member as the `change` of a
message. Names, descriptions and pictures are bytes that the server does not look into; these may be ciphertext.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = [
    "Added",
    "Change",
    "Closed",
    "Created",
    "Demoted",
    "Invite",
    "Invited",
    "Joined",
    "Left",
    "NewOwner",
    "Profile",
    "Promoted",
    "Removed",
    "Revoked",
    "Role",
    "Rules",
    "UnknownChange",
    "Who",
]


class Role(enum.IntEnum):
    """What a member is. Numbers as on the wire."""

    MEMBER = 0
    ADMIN = 1
    OWNER = 2  # one in each group


class Who(enum.IntEnum):
    """Whom a rule lets. Numbers as on the wire."""

    EVERYONE = 0
    ADMINS = 1  # and the owner


@dataclass(slots=True, frozen=True)
class Rules:
    """Who may do what; also the change to these rules.

    Attributes:
        post: send messages.
        add: add members, and make and revoke invites.
        edit: change the profile.
    """

    post: Who = Who.EVERYONE
    add: Who = Who.ADMINS
    edit: Who = Who.ADMINS


@dataclass(slots=True, frozen=True)
class Profile:
    """How a group shows itself; also the change of it, where None leaves things as they are.

    Attributes:
        name: at most 256 bytes.
        description: at most 4096 bytes.
        picture: at most 32 KiB.
    """

    name: bytes | None = None
    description: bytes | None = None
    picture: bytes | None = None


@dataclass(slots=True, frozen=True)
class Invite:
    """An open invitation, as every member knows it.

    Attributes:
        hash: SHA-256 of the secret; the secret itself is with those who were given it.
        expires: ms since 1970; 0: never.
    """

    hash: bytes
    expires: int = 0


@dataclass(slots=True, frozen=True)
class Created:
    """The group began. The sender is its owner; `members` are the others."""

    members: tuple[str, ...] = ()
    profile: Profile = Profile()
    rules: Rules = Rules()


@dataclass(slots=True, frozen=True)
class Added:
    """They became members."""

    users: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Removed:
    """They are members no longer."""

    users: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Left:
    """The sender is a member no longer. `successor`, set by the server, is the new owner if the owner left."""

    successor: str = ""


@dataclass(slots=True, frozen=True)
class Promoted:
    """These members became admins."""

    users: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Demoted:
    """These admins became members."""

    users: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class NewOwner:
    """`user`, a member, became the owner, and the sender, who was it, an admin."""

    user: str


@dataclass(slots=True, frozen=True)
class Invited:
    """Whoever knows the secret may join."""

    invite: Invite


@dataclass(slots=True, frozen=True)
class Revoked:
    """The invite with this hash is void."""

    hash: bytes


@dataclass(slots=True, frozen=True)
class Joined:
    """The sender became a member, by the invite with this hash. `secret` is only in what the joiner sends."""

    hash: bytes
    secret: bytes = field(default=b"", repr=False)


@dataclass(slots=True, frozen=True)
class Closed:
    """The group is over; nobody is a member any more."""


@dataclass(slots=True, frozen=True)
class UnknownChange:
    """A change that this version of the library does not know: the state is to be asked for."""


Change = (
    Created
    | Profile
    | Rules
    | Added
    | Removed
    | Left
    | Promoted
    | Demoted
    | NewOwner
    | Invited
    | Revoked
    | Joined
    | Closed
    | UnknownChange
)
