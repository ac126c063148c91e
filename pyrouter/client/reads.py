"""Reads that the server may not have kept. They are not answered: the recent ones are said again after a reconnect."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["READS_KEPT", "READ_REPEAT_S", "Reads"]

READ_REPEAT_S = 5.0  # the server makes a cursor durable well within this
READS_KEPT = 1024  # conversations; above it the one that was read longest ago is not repeated


class Reads:
    """The latest read of each conversation, if it is recent."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[bytes, tuple[float, int, bytes]] = {}  # conversation → when, seq, frame; oldest first

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Conversations and the frames to send again."""
        return ((conversation, frame) for conversation, (_, _, frame) in self._latest.items())

    def add(self, conversation: bytes, seq: int, frame: bytes, now: float) -> None:
        """A read is being sent."""
        last = self._latest.pop(conversation, None)
        self._latest[conversation] = (now, seq, frame) if last is None or seq >= last[1] else last
        if len(self._latest) > READS_KEPT:
            del self._latest[next(iter(self._latest))]

    def connection_lost(self, now: float) -> None:
        """What is old enough was kept by the server."""
        young = now - READ_REPEAT_S
        self._latest = {conversation: read for conversation, read in self._latest.items() if read[0] >= young}
