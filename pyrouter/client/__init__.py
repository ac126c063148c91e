"""The client library: `Client` for asyncio programs.

    async with Client("ws://127.0.0.1:7400", token) as client:
        sent = await client.send("bob", b"hello")
        await sent.delivered()
        async for message in client.messages():
            print(message.sender, message.body)
            await message.ack()

Layout, from the inside: `model` (values), `inbox`, `outbox`, `reach` (rules of receiving, sending, receipts),
`protocol` (the session without I/O), `framing` and `carriers` (connections), `client` (the event loop). The frames
themselves: docs/wire.md.
"""

from pyrouter.client.client import Client, Token
from pyrouter.client.errors import (
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
from pyrouter.client.ids import device_conversation, direct_conversation
from pyrouter.client.model import (
    Accepted,
    Connected,
    Delayed,
    Device,
    DeviceList,
    Disconnected,
    Event,
    Limits,
    Message,
    Receipt,
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
    "BadUrl",
    "Client",
    "ClientClosed",
    "ClientError",
    "Connected",
    "Delayed",
    "Device",
    "DeviceList",
    "DevicesChanged",
    "Disconnected",
    "Event",
    "Limits",
    "Message",
    "NotConnected",
    "OutboxFull",
    "Protocol",
    "Receipt",
    "Refused",
    "Rejected",
    "Replaced",
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
    "device_conversation",
    "direct_conversation",
]
