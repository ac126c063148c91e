"""Names that both sides compute: conversation ids, and fresh message ids. Rules in docs/wire.md."""

from __future__ import annotations

import hashlib
import secrets

__all__ = [
    "CONVERSATION_BYTES",
    "MAX_ID_BYTES",
    "IdSource",
    "device_conversation",
    "direct_conversation",
    "group_conversation",
]

CONVERSATION_BYTES = 16
MAX_ID_BYTES = 32


def direct_conversation(one: str, other: str) -> bytes:
    """The id, 16 bytes, of the direct conversation between two users, or of one user with oneself."""
    low, high = sorted((one.encode(), other.encode()))
    return hashlib.sha256(b"direct\0" + low + b"\0" + high).digest()[:CONVERSATION_BYTES]


def device_conversation(one: tuple[str, int], other: tuple[str, int]) -> bytes:
    """The id, 16 bytes, of the conversation between two devices, each given as (user, device)."""
    pair = sorted((user.encode(), device.to_bytes(4, "big")) for user, device in (one, other))
    parts = [b"device", *(part for side in pair for part in side)]
    return hashlib.sha256(b"\0".join(parts)).digest()[:CONVERSATION_BYTES]


def group_conversation(creator: str, device: int, id: bytes) -> bytes:
    """The id, 16 bytes, of the group that a device made with the `manage` of this id."""
    parts = [b"group", creator.encode(), device.to_bytes(4, "big"), id]
    return hashlib.sha256(b"\0".join(parts)).digest()[:CONVERSATION_BYTES]


class IdSource:
    """Fresh message ids of 12 bytes: 8 random ones for this client, then a counter."""

    __slots__ = ("_count", "_prefix")

    def __init__(self, prefix: bytes | None = None) -> None:
        self._prefix = secrets.token_bytes(8) if prefix is None else prefix
        self._count = 0

    def next(self) -> bytes:
        """An id that no other message has."""
        self._count += 1
        return self._prefix + self._count.to_bytes(4, "big")
