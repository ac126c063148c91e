"""The client's words: what is sent, what arrives, and what happened. Plain values; no I/O, no event loop.

`Message` and `SentMessage` have a few `async` methods for convenience. They hand over to the `Owner`, who drives the
protocol (`pyrouter.client.Client`, or the router itself in an embedding process).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pyrouter.client.audience import Audience
    from pyrouter.client.changes import Change
    from pyrouter.client.errors import ClientError
    from pyrouter.client.group import GroupState
    from pyrouter.client.reach import Reach

__all__ = [
    "Accepted",
    "Connected",
    "Cursor",
    "Delayed",
    "Device",
    "DeviceList",
    "Disconnected",
    "Event",
    "Limits",
    "Message",
    "Owner",
    "Progress",
    "Receipt",
    "Refreshed",
    "Rejected",
    "SentMessage",
    "SkipReason",
    "Skipped",
    "State",
    "Target",
    "Trouble",
    "Undelivered",
]


class State(enum.IntEnum):
    """How far a sent message came. Only ever grows."""

    PENDING = 0  # on this device only (a clock)
    SENT = 1  # the server has it, durably (one tick)
    DELIVERED = 2  # a device of the recipient has it (two ticks)
    READ = 3  # the recipient read it (two blue ticks)


class SkipReason(enum.IntEnum):
    """Why messages will never come. Numbers as on the wire."""

    UNSPECIFIED = 0
    EXPIRED = 1  # nobody collected them within the hold time
    CAP = 2  # the conversation held too much
    NO_BODY = 3  # made for other devices
    LOST = 4  # the server's disk lost them
    BLOCKED = 5


class Device(NamedTuple):
    """One device of a user."""

    user: str
    device: int


# A user (direct conversation), a conversation's id of 16 bytes, or a device (device conversation).
Target = str | bytes | Device


class Owner(Protocol):
    """Who drives the protocol: does for a message what needs an event loop."""

    def ack(self, conversation: bytes, seq: int) -> None:
        """As `Protocol.ack`."""

    def read(self, conversation: bytes, seq: int, authors: tuple[str, ...]) -> None:
        """As `Protocol.read`."""

    async def reached(self, sent: SentMessage, state: State) -> None:
        """Waits until the message came so far; raises why it never will."""


@dataclass(slots=True, eq=False)
class Message:
    """A message for this device.

    Attributes:
        conversation: 16 bytes.
        seq: its number there; one conversation's messages come in this order, each once.
        sender, device: who sent it, from which device.
        id: as the sender chose it, 1 to 32 bytes.
        time: when the server accepted it, ms since 1970.
        body: opaque bytes.
        media: ids of media that the body refers to.
        to: for messages that another device of this user sent: the other user of the direct conversation.
        change: what happened to the group, in a system message; there is no body then. None: an ordinary message.
        group: whether it came in a group.
    """

    conversation: bytes
    seq: int
    sender: str
    device: int
    id: bytes
    time: int
    body: bytes
    media: tuple[bytes, ...] = ()
    to: str = ""
    change: Change | None = None
    group: bool = False
    owner: Owner | None = field(default=None, repr=False)

    async def ack(self) -> None:
        """Tells that this device keeps this message and all earlier ones of the conversation: they may be forgotten."""
        if self.owner is not None:
            self.owner.ack(self.conversation, self.seq)

    async def read(self) -> None:
        """Tells that the user has read this message and all earlier ones. Call it after `ack`."""
        if self.owner is not None:
            self.owner.read(self.conversation, self.seq, (self.sender,))


class SentMessage:
    """A message on its way. Returned by `send`; its state is always current, and can be awaited.

    Attributes:
        id: how the server recognises a repeat.
        to: user, conversation or device.
        conversation, seq, time: what the server gave it; empty and 0 until it is accepted. Time in ms since 1970.
        change: for a change of a group: what was wanted. None: an ordinary message.
        error: why it will never be accepted, if so.
        delay: the server's latest reason to let it wait (its storage is full, …); the client goes on trying.
    """

    __slots__ = (
        *("change", "conversation", "delay", "error", "frame", "id", "number", "owner", "reach", "seq", "time", "to"),
    )

    def __init__(self, id: bytes, to: Target, frame: bytes, owner: Owner | None, change: Change | None = None) -> None:
        self.id = id
        self.to = to
        self.conversation = b""
        self.seq = 0
        self.time = 0
        self.change = change
        self.error: ClientError | None = None
        self.delay: ClientError | None = None
        self.frame = frame  # what is sent, and sent again; dropped once answered
        self.number = 0  # position among all sends of this client
        self.owner = owner
        self.reach: Reach | Audience | None = None  # how far the others got in the conversation

    @property
    def state(self) -> State:
        """How far it came; in a group: with everybody who is to get it."""
        return State.PENDING if self.reach is None else self.reach.state(self.seq)

    @property
    def undeliverable(self) -> SkipReason | None:
        """Why it will never reach the recipient, or one of them, although it was accepted, if so."""
        return None if self.reach is None else self.reach.skipped(self.seq)

    def state_for(self, user: str) -> State:
        """How far a message to a group came with one of its members, as far as receipts told; see `Client.progress`."""
        return self.state if self.reach is None else self.reach.of(user, self.seq)

    def __repr__(self) -> str:
        return f"<SentMessage {self.id.hex()} to {self.to!r} {self.state.name.lower()} seq={self.seq}>"

    async def accepted(self) -> None:
        """Waits until the server has it durably. Raises `Refused` if it never will."""
        await self._reached(State.SENT)

    async def delivered(self) -> None:
        """Waits until a device of the recipient, in a group of every recipient, has it.

        Raises:
            Refused: the server did not take it.
            Undeliverable: it never will be; in a group: not with everybody.
        """
        await self._reached(State.DELIVERED)

    async def read(self) -> None:
        """Waits until the recipient, in a group every recipient, read it. Raises as `delivered`."""
        await self._reached(State.READ)

    async def _reached(self, state: State) -> None:
        if self.owner is None:
            raise RuntimeError("this message belongs to no client")
        await self.owner.reached(self, state)


@dataclass(slots=True, frozen=True)
class Limits:
    """The server's limits, as `welcome` told them; units in the names. 0: not told."""

    body_bytes: int = 0
    frame_bytes: int = 0
    id_bytes: int = 0
    window_messages: int = 0
    window_bytes: int = 0
    unaccepted_messages: int = 0
    unaccepted_bytes: int = 0
    devices: int = 0
    repeats: int = 0
    idle_ms: int = 0
    hold_ms: int = 0
    group_members: int = 0


@dataclass(slots=True, frozen=True)
class Connected:
    """The server said welcome."""

    user: str
    device: int
    server: str
    time: int  # the server's, ms since 1970
    limits: Limits
    pending_messages: int
    pending_conversations: int


@dataclass(slots=True, frozen=True)
class Disconnected:
    """The connection ended or could not be made; another is tried after `retry_s`."""

    reason: str
    retry_s: float


@dataclass(slots=True, frozen=True)
class Skipped:
    """Messages first…last of the conversation will never come to this device."""

    conversation: bytes
    first: int
    last: int
    reason: SkipReason


@dataclass(slots=True, frozen=True)
class Undelivered:
    """Messages first…last, which this user sent, will never reach `user`."""

    conversation: bytes
    user: str
    first: int
    last: int
    reason: SkipReason


@dataclass(slots=True, frozen=True)
class Receipt:
    """How far `user` got in a conversation: only ever grows."""

    conversation: bytes
    user: str
    delivered: int
    read: int


@dataclass(slots=True, frozen=True)
class Accepted:
    """The server has a message durably."""

    sent: SentMessage


@dataclass(slots=True, frozen=True)
class Rejected:
    """The server will never take a message; `sent.error` tells why."""

    sent: SentMessage


@dataclass(slots=True, frozen=True)
class Delayed:
    """The server cannot take a message now, `sent.delay` tells why; the client goes on trying."""

    sent: SentMessage
    retry_s: float


@dataclass(slots=True, frozen=True)
class Trouble:
    """An error that concerns no send: an ack or a read that the server did not accept, an unknown user."""

    code: str
    message: str
    conversation: bytes


@dataclass(slots=True, frozen=True)
class DeviceList:
    """A user's devices, as asked for."""

    user: str
    version: int
    devices: tuple[int, ...]


@dataclass(slots=True, frozen=True)
class Refreshed:
    """A group's state was told whole: it may have changed more than the messages since the last one say."""

    state: GroupState


@dataclass(slots=True, frozen=True)
class Cursor:
    """How far one member is in a group.

    Attributes:
        user: who.
        delivered, read: everything up to here, less what was skipped.
        skipped: the message that was asked about will never reach this member.
    """

    user: str
    delivered: int
    read: int
    skipped: bool = False

    def state(self, seq: int) -> State:
        """How far the message that was asked about came with this member."""
        if self.skipped or max(self.delivered, self.read) < seq:
            return State.SENT
        return State.READ if self.read >= seq else State.DELIVERED


@dataclass(slots=True, frozen=True)
class Progress:
    """Who has a message of a group, as asked for: everybody who is to get it, its author aside."""

    conversation: bytes
    seq: int
    cursors: tuple[Cursor, ...]

    def users(self, state: State) -> list[str]:
        """With whom the message came exactly so far: `State.SENT`, `DELIVERED` or `READ`; without `skipped`."""
        return [cursor.user for cursor in self.cursors if not cursor.skipped and cursor.state(self.seq) == state]

    @property
    def skipped(self) -> list[str]:
        """Whom the message will never reach."""
        return [cursor.user for cursor in self.cursors if cursor.skipped]


Event = (
    Message
    | Skipped
    | Undelivered
    | Receipt
    | Accepted
    | Rejected
    | Delayed
    | Trouble
    | DeviceList
    | Refreshed
    | Connected
    | Disconnected
)

DeviceBodies = Mapping[Device, bytes]
