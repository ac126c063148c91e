"""The frames that a client sends, encoded. Checks what can be checked without the server: `arguments.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pyrouter.client.arguments import (
    MAX_LIST,
    MAX_MEDIA,
    check_body,
    check_client_name,
    check_conversation,
    check_count,
    check_id,
    check_media,
    check_uint,
    check_user,
    encoded,
)
from pyrouter.client.changes import Change, Created
from pyrouter.client.errors import BadArgument
from pyrouter.client.group_wire import change_to_wire
from pyrouter.client.model import Device, Target
from pyrouter.wire import wire_pb2 as wire

__all__ = [
    "LAST",
    "block",
    "check_read",
    "devices_get",
    "group_get",
    "hello",
    "manage",
    "ping",
    "pong",
    "progress_get",
    "read",
    "send",
    "seqs",
]

LAST = 2  # nonce of the ping that ends a session; those that ask for a sign of life have 1


def hello(protocol: int, client: str, window: tuple[int, int], *, receive: bool) -> wire.Hello:
    """`Hello` but the token, which each connection adds. `window`: messages and bytes. BadArgument: one cannot be."""
    check_client_name(client)
    messages, size = window
    check_uint("window_messages", messages, 32)
    check_uint("window_bytes", size, 32)
    return wire.Hello(protocol=protocol, receive=receive, client=client, window_messages=messages, window_bytes=size)


def send(
    id: bytes,
    to: Target,
    body: bytes,
    media: Sequence[bytes] = (),
    bodies: Mapping[Device, bytes] | None = None,
    lists: Mapping[str, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """`Send`; arguments as in `Protocol.send`, which see. BadArgument: they cannot stand in a frame."""
    check_id(id)
    check_body(body)
    if bodies and body:
        raise BadArgument("a message has one body for all or one per device, not both")
    with encoded("the message"):
        send = wire.Send(id=id, body=body)
        _aim(send, to)
        check_count("media ids", media, MAX_MEDIA)
        for medium in media:
            check_media(medium)
        send.media.extend(media)
        check_count("bodies", bodies or {}, MAX_LIST)
        for (user, device), own in (bodies or {}).items():
            _check_device(user, device)
            send.bodies.add(user=user, device=device, body=own)
        check_count("device lists", lists or {}, MAX_LIST)
        for user, (version, devices) in (lists or {}).items():
            check_user(user)
            check_count("devices in a list", devices, MAX_LIST)
            send.lists.add(user=user, version=version, devices=devices)
        return wire.ClientFrame(send=send).SerializeToString()


def _aim(send: wire.Send, to: Target) -> None:
    match to:
        case str():
            check_user(to)
            send.user = to
        case Device(user, device):
            _check_device(user, device)
            send.device.user, send.device.device = user, device
        case bytes():
            check_conversation(to)
            send.conversation = to
        case _:
            raise BadArgument(f"a message goes to a user, a Device, or a conversation, not to {to!r}")


def _check_device(user: str, device: int) -> None:
    check_user(user)
    check_uint("a device's number", device, 32, least=1)


def manage(id: bytes, conversation: bytes, change: Change) -> bytes:
    """`Manage`. BadArgument: the id, the conversation or the change cannot be."""
    check_id(id)
    if isinstance(change, Created):
        if conversation:
            raise BadArgument("a new group gets its conversation from the server")
    else:
        check_conversation(conversation)
    with encoded("the change"):
        wanted = change_to_wire(change)
        if wanted.WhichOneof("change") is None:
            raise BadArgument(f"{change!r} is no change of a group")
        manage = wire.Manage(id=id, conversation=conversation, change=wanted)
        return wire.ClientFrame(manage=manage).SerializeToString()


def seqs(messages: Iterable[tuple[bytes, int]]) -> Iterator[wire.Seqs]:
    """`Ack.accepted` for these messages, each its conversation and seq."""
    of: dict[bytes, list[int]] = {}
    for conversation, seq in messages:
        of.setdefault(conversation, []).append(seq)
    return (wire.Seqs(conversation=conversation, seqs=seqs) for conversation, seqs in of.items())


def read(conversation: bytes, seq: int, authors: Sequence[str]) -> bytes:
    """`Read`. BadArgument: one of them cannot be."""
    check_read(conversation, seq, authors)
    return wire.ClientFrame(read=wire.Read(conversation=conversation, seq=seq, authors=authors)).SerializeToString()


def check_read(conversation: bytes, seq: int, authors: Sequence[str]) -> None:
    """BadArgument: one of them cannot be."""
    check_conversation(conversation)
    check_uint("a message's seq", seq, 64, least=1)
    if isinstance(authors, str):  # a sequence of text, too
        raise BadArgument(f"authors are several user names, not {authors!r}")
    check_count("authors", authors, MAX_LIST)
    for author in authors:
        check_user(author)


def devices_get(user: str) -> bytes:
    """`DevicesGet`. BadArgument: no user can have this name."""
    check_user(user)
    return wire.ClientFrame(devices_get=wire.DevicesGet(user=user)).SerializeToString()


def group_get(conversation: bytes = b"") -> bytes:
    """`GroupGet`: one group's state, or which groups there are. BadArgument: this cannot be a conversation."""
    if conversation != b"":
        check_conversation(conversation)
    return wire.ClientFrame(group_get=wire.GroupGet(conversation=conversation)).SerializeToString()


def progress_get(conversation: bytes, seq: int) -> bytes:
    """`ProgressGet`. BadArgument: one of them cannot be."""
    check_conversation(conversation)
    check_uint("a message's seq", seq, 64, least=1)
    return wire.ClientFrame(progress_get=wire.ProgressGet(conversation=conversation, seq=seq)).SerializeToString()


def block(user: str, *, off: bool) -> bytes:
    """`Block`; without a user it only asks. BadArgument: no user can have this name."""
    if user != "":
        check_user(user)
    return wire.ClientFrame(block=wire.Block(user=user, off=off)).SerializeToString()


def ping(nonce: int) -> bytes:
    """`Ping`."""
    return wire.ClientFrame(ping=wire.Ping(nonce=nonce)).SerializeToString()


def pong(nonce: int) -> bytes:
    """`Pong`, the answer to a ping."""
    return wire.ClientFrame(pong=wire.Pong(nonce=nonce)).SerializeToString()
