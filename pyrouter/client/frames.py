"""The frames that a client sends, encoded. Checks what can be checked without the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyrouter.client.changes import Change, Created
from pyrouter.client.group_wire import change_to_wire
from pyrouter.client.ids import CONVERSATION_BYTES, MAX_ID_BYTES
from pyrouter.client.model import Device, Target
from pyrouter.wire import wire_pb2 as wire

__all__ = [
    "block",
    "check_conversation",
    "devices_get",
    "group_get",
    "manage",
    "ping",
    "pong",
    "progress_get",
    "read",
    "send",
]


def send(
    id: bytes,
    to: Target,
    body: bytes,
    media: Sequence[bytes] = (),
    bodies: Mapping[Device, bytes] | None = None,
    lists: Mapping[str, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """`Send`; arguments as in `Protocol.send`, which see. ValueError: they cannot stand in a frame."""
    _check_id(id)
    if bodies and body:
        raise ValueError("a message has one body for all or one per device, not both")
    send = wire.Send(id=id, body=body, media=media)
    match to:
        case str():
            send.user = to
        case Device(user, device):
            send.device.user, send.device.device = user, device
        case bytes() if len(to) == CONVERSATION_BYTES:
            send.conversation = to
        case _:
            raise ValueError(f"a message goes to a user, a Device, or a conversation of {CONVERSATION_BYTES} bytes")
    for (user, device), own in (bodies or {}).items():
        send.bodies.add(user=user, device=device, body=own)
    for user, (version, devices) in (lists or {}).items():
        send.lists.add(user=user, version=version, devices=devices)
    return wire.ClientFrame(send=send).SerializeToString()


def manage(id: bytes, conversation: bytes, change: Change) -> bytes:
    """`Manage`. ValueError: the id, the conversation or the change cannot be."""
    _check_id(id)
    if isinstance(change, Created):
        if conversation:
            raise ValueError("a new group gets its conversation from the server")
    else:
        check_conversation(conversation)
    manage = wire.Manage(id=id, conversation=conversation, change=change_to_wire(change))
    return wire.ClientFrame(manage=manage).SerializeToString()


def read(conversation: bytes, seq: int, authors: Sequence[str]) -> bytes:
    """`Read`."""
    return wire.ClientFrame(read=wire.Read(conversation=conversation, seq=seq, authors=authors)).SerializeToString()


def devices_get(user: str) -> bytes:
    """`DevicesGet`."""
    return wire.ClientFrame(devices_get=wire.DevicesGet(user=user)).SerializeToString()


def group_get(conversation: bytes = b"") -> bytes:
    """`GroupGet`: one group's state, or which groups there are."""
    return wire.ClientFrame(group_get=wire.GroupGet(conversation=conversation)).SerializeToString()


def progress_get(conversation: bytes, seq: int) -> bytes:
    """`ProgressGet`."""
    return wire.ClientFrame(progress_get=wire.ProgressGet(conversation=conversation, seq=seq)).SerializeToString()


def block(user: str, *, off: bool) -> bytes:
    """`Block`; without a user it only asks."""
    return wire.ClientFrame(block=wire.Block(user=user, off=off)).SerializeToString()


def ping(nonce: int) -> bytes:
    """`Ping`."""
    return wire.ClientFrame(ping=wire.Ping(nonce=nonce)).SerializeToString()


def pong(nonce: int) -> bytes:
    """`Pong`, the answer to a ping."""
    return wire.ClientFrame(pong=wire.Pong(nonce=nonce)).SerializeToString()


def check_conversation(conversation: bytes) -> None:
    """ValueError: this cannot be a conversation."""
    if len(conversation) != CONVERSATION_BYTES:
        raise ValueError(f"a conversation has {CONVERSATION_BYTES} bytes, this one has {len(conversation)}")


def _check_id(id: bytes) -> None:
    if not 0 < len(id) <= MAX_ID_BYTES:
        raise ValueError(f"a message id has 1 to {MAX_ID_BYTES} bytes, this one has {len(id)}")
