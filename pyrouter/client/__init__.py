"""The client library: `Client` for asyncio programs.

    async with Client("ws://127.0.0.1:7400", token) as client:
        sent = await client.send("bob", b"hello")
        await sent.delivered()
        async for message in client.messages():
            print(message.sender, message.body)
            await message.ack()

Layout, from the inside: `model`, `changes`, `group` (values, and the fold of a group's changes); `inbox`, `outbox`,
`reach`, `audience`, `book` (the rules of receiving, sending, receipts, groups); `protocol` (the session without I/O);
`framing` and `carriers` (connections); `groups` and `client` (the event loop). The frames themselves: docs/wire.md.
"""

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
from pyrouter.client.client import Client, Token
from pyrouter.client.errors import (
    BadArgument,
    BadUrl,
    ClientClosed,
    ClientError,
    DevicesChanged,
    NotConnected,
    OutboxFull,
    Refused,
    Replaced,
    SessionEnded,
    SessionRefused,
    Undeliverable,
)
from pyrouter.client.group import GroupState, Member
from pyrouter.client.groups import Group, GroupCalls
from pyrouter.client.ids import device_conversation, direct_conversation, group_conversation
from pyrouter.client.invitation import Invitation
from pyrouter.client.model import (
    Accepted,
    Connected,
    Cursor,
    Delayed,
    Device,
    DeviceList,
    Disconnected,
    Event,
    Limits,
    Message,
    Progress,
    Receipt,
    Refreshed,
    Rejected,
    SentMessage,
    Skipped,
    SkipReason,
    State,
    Target,
    Trouble,
    Undelivered,
)
from pyrouter.client.protocol import Protocol

__all__ = [
    "Accepted",
    "Added",
    "BadArgument",
    "BadUrl",
    "Change",
    "Client",
    "ClientClosed",
    "ClientError",
    "Closed",
    "Connected",
    "Created",
    "Cursor",
    "Delayed",
    "Demoted",
    "Device",
    "DeviceList",
    "DevicesChanged",
    "Disconnected",
    "Event",
    "Group",
    "GroupCalls",
    "GroupState",
    "Invitation",
    "Invite",
    "Invited",
    "Joined",
    "Left",
    "Limits",
    "Member",
    "Message",
    "NewOwner",
    "NotConnected",
    "OutboxFull",
    "Profile",
    "Progress",
    "Promoted",
    "Protocol",
    "Receipt",
    "Refreshed",
    "Refused",
    "Rejected",
    "Removed",
    "Replaced",
    "Revoked",
    "Role",
    "Rules",
    "SentMessage",
    "SessionEnded",
    "SessionRefused",
    "SkipReason",
    "Skipped",
    "State",
    "Target",
    "Token",
    "Trouble",
    "Undeliverable",
    "Undelivered",
    "UnknownChange",
    "Who",
    "device_conversation",
    "direct_conversation",
    "group_conversation",
]
