"""Which settings can work: the bounds of each, and what must fit into what.

A record of the log has at most 16 MiB and lies in one segment. Whatever a client may send, and whatever the core writes
about a user or a group, must fit; so an operator's limits are held to that here, before a client finds out.

This module says which key is to blame and why. Where it was set is for `pyrouter.config` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pyrouter.units import Duration, Size

if TYPE_CHECKING:
    from pyrouter.config import Limits, Log

__all__ = ["Problem", "problems"]


class Problem(NamedTuple):
    """Something that cannot work.

    Attributes:
        keys: who may be to blame, as `limits.frame`: the first of them that was set, or else the last.
        reason: in words.
    """

    keys: tuple[str, ...]
    reason: str


_FRAME_ROOM = 1 << 10  # beside the body of a message, for names and ids
_DEVICE_STATE = 20 << 10  # what the log may hold of a device: 256 remembered ids of up to 80 bytes
_USER_STATE = 84 << 10  # and of its user: 1,000 groups of 16 bytes, 1,000 blocked names of up to 66
_MEMBER_STATE = 384  # and of a member: its name, twice, and how far each of its devices is
_GROUP_STATE = 108 << 10  # and of its group: name, description and picture, in the state and in a change on the way

# Least and most. Below or above it nothing would work, or the core could not count that far.
_BOUNDS: dict[str, tuple[int, int]] = {
    "log.interval": (Duration.parse("1ms"), Duration.parse("1h")),
    "log.segment": (Size.parse("64KiB"), Size.parse("2GiB")),
    "limits.body": (Size.parse("1B"), Size.parse("8MiB")),
    "limits.frame": (Size.parse("1KiB"), Size.parse("15MiB")),
    "limits.devices": (1, 500),
    "limits.hold": (Duration.parse("1s"), Duration.parse("36500d")),
    "limits.hello": (Duration.parse("100ms"), Duration.parse("1h")),
    "limits.idle": (Duration.parse("1s"), Duration.parse("30d")),
    "limits.window_messages": (1, 1_000_000),
    "limits.window": (Size.parse("1B"), Size.parse("1GiB")),
    "limits.unaccepted_messages": (1, 1_000_000),
    "limits.unaccepted": (Size.parse("1B"), Size.parse("1GiB")),
    "limits.conversation_messages": (1, 1_000_000_000),
    "limits.conversation": (Size.parse("1B"), Size.parse("1024GiB")),
    "limits.group_members": (1, 1024),
    "limits.memory": (Size.parse("0B"), Size.parse("1024GiB")),
    "limits.quiet": (Duration.parse("1s"), Duration.parse("36500d")),
}


def problems(log: Log, limits: Limits) -> Iterator[Problem]:
    """What cannot work of these settings; nothing if they can."""
    sections: dict[str, Any] = {"log": log, "limits": limits}
    beyond = False
    for key, (least, most) in _BOUNDS.items():
        section, _, name = key.partition(".")
        value = getattr(sections[section], name)
        if not least <= value <= most:
            beyond = True
            yield Problem((key,), f"must be from {least} to {most}, not {value}")
    if beyond:
        return
    body = limits.body
    for name, room in (("window", body), ("frame", Size(body + _FRAME_ROOM))):
        if getattr(limits, name) < room:
            reason = f"a body of {body} does not fit into limits.{name}, {getattr(limits, name)}"
            yield Problem((f"limits.{name}", "limits.body"), reason)
    # Two of them, so that there is room for something else too.
    for name, record in (
        ("frame", limits.frame + _FRAME_ROOM),
        ("devices", limits.devices * _DEVICE_STATE + _USER_STATE),
        ("group_members", limits.group_members * _MEMBER_STATE + _GROUP_STATE),
    ):
        if log.segment < 2 * record:
            value = getattr(limits, name)
            reason = f"with limits.{name} = {value}, log.segment must be at least {Size(2 * record)}, not {log.segment}"
            yield Problem(("log.segment", f"limits.{name}"), reason)
