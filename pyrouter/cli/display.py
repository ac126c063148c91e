"""Messages as `pyrouter listen` prints them: in words, and as JSON."""

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pyrouter.cli.remote import printable
from pyrouter.client import Message, Skipped
from pyrouter.client.changes import (
    Added,
    Change,
    Closed,
    Created,
    Demoted,
    Invited,
    Joined,
    Left,
    NewOwner,
    Profile,
    Promoted,
    Removed,
    Revoked,
    Rules,
)

__all__ = ["as_json", "as_text", "skip_in_words"]


def as_text(message: Message, group: str | None = None) -> str:
    """One line whatever the body holds.

    Args:
        message: the message.
        group: what to call the group that it came in; None: it came in none.
    """
    where = "" if group is None else f"[{printable(group)}] "
    sender = printable(message.sender)
    if message.change is not None:
        return f"{where}{sender} {in_words(message.change)}"
    who = f"{sender} to {printable(message.to)}" if message.to else sender
    text = _utf8(message.body)
    if text is None:
        return f"{where}{who}: ({len(message.body)} bytes) {base64.b64encode(message.body).decode()}"
    return f"{where}{who}: {printable(text)}"


def as_json(message: Message) -> str:
    """One object on one line."""
    fields: dict[str, Any] = {
        "conversation": message.conversation.hex(),
        "seq": message.seq,
        "sender": message.sender,
        "device": message.device,
        "id": message.id.hex(),
        "time": message.time,
    }
    if message.change is not None:
        fields["change"] = _change(message.change)
    else:
        fields["body"] = base64.b64encode(message.body).decode()
        if (text := _utf8(message.body)) is not None:
            fields["text"] = text
    if message.to:
        fields["to"] = message.to
    return json.dumps(fields, ensure_ascii=False)


def in_words(change: Change) -> str:  # noqa: PLR0911, PLR0912, C901  # a table of words
    """What the sender did."""
    match change:
        case Created(members, profile):
            name = f" {_quoted(profile.name)}" if profile.name else ""
            return f"made the group{name}" + (f" with {_names(members)}" if members else "")
        case Profile():
            return "changed " + ", ".join(_parts(change))
        case Rules(post, add, edit):
            lets = f"{post.name} may post, {add.name} may add members, {edit.name} may change the profile"
            return f"changed the rules: {lets.lower()}"
        case Added(users):
            return f"added {_names(users)}"
        case Removed(users):
            return f"removed {_names(users)}"
        case Promoted(users):
            return f"made {_names(users)} " + ("an admin" if len(users) == 1 else "admins")
        case Demoted(users):
            return f"made {_names(users)} " + ("a plain member" if len(users) == 1 else "plain members")
        case Left(successor):
            return f"left; {printable(successor)} owns the group now" if successor else "left"
        case NewOwner(user):
            return f"made {printable(user)} the owner"
        case Invited(invite):
            until = datetime.fromtimestamp(invite.expires / 1000).astimezone() if invite.expires else None
            return "opened an invitation" + (f" until {until:%Y-%m-%d %H:%M %Z}" if until else "")
        case Revoked():
            return "revoked an invitation"
        case Joined():
            return "joined by an invitation"
        case Closed():
            return "closed the group"
        case _:
            return "changed the group in a way that this version does not know"


def skip_in_words(skipped: Skipped) -> str:
    """Messages that will never come."""
    one = skipped.first == skipped.last
    which = f"message {skipped.first}" if one else f"messages {skipped.first} to {skipped.last}"
    return f"{which} of {skipped.conversation.hex()} will never come: {skipped.reason.name.lower()}"


def _change(change: Change) -> Any:
    """As docs/wire.md has it in JSON."""
    from google.protobuf.json_format import MessageToDict

    from pyrouter.client.changes import UnknownChange
    from pyrouter.client.group_wire import change_to_wire

    return {} if isinstance(change, UnknownChange) else MessageToDict(change_to_wire(change))


def _parts(profile: Profile) -> Iterable[str]:
    if profile.name is not None:
        yield f"the name to {_quoted(profile.name)}"
    if profile.description is not None:
        yield f"the description to {_quoted(profile.description)}"
    if profile.picture is not None:
        yield f"the picture ({len(profile.picture)} bytes)"


def _names(users: Iterable[str]) -> str:
    return ", ".join(map(printable, users))


def _quoted(text: bytes) -> str:
    return f'"{printable(text.decode(errors="replace"))}"'


def _utf8(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
