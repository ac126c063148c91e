"""Reads that the server may not have kept. They are not answered: the recent ones are said again after a reconnect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pyrouter.client import frames

__all__ = ["AUTHORS", "READS_KEPT", "READ_REPEAT_S", "Reads"]

READ_REPEAT_S = 5.0  # the server makes a cursor durable well within this
READS_KEPT = 1024  # conversations; above it the one that was read longest ago is not repeated
AUTHORS = 1024  # named in one frame


@dataclass(slots=True)
class _Read:
    """One conversation."""

    when: float
    seq: int
    authors: dict[str, float] = field(default_factory=dict)  # author → when that one was last told


class Reads:
    """The latest read of each conversation, if it is recent."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[bytes, _Read] = {}  # oldest first

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Conversations and the frames to send again."""
        for conversation, read in self._latest.items():
            yield conversation, frames.read(conversation, read.seq, list(read.authors)[-AUTHORS:])

    def add(self, conversation: bytes, seq: int, authors: Iterable[str], now: float) -> None:
        """A read is being sent. What the ones just before it told to other authors may be lost with it."""
        read = self._latest.pop(conversation, None) or _Read(now, seq)
        read.when, read.seq = now, max(seq, read.seq)
        for author in authors:
            read.authors.pop(author, None)
            read.authors[author] = now
        self._latest[conversation] = read
        if len(self._latest) > READS_KEPT:
            del self._latest[next(iter(self._latest))]

    def connection_lost(self, now: float) -> None:
        """What is old enough was kept by the server."""
        young = now - READ_REPEAT_S
        self._latest = {conversation: read for conversation, read in self._latest.items() if read.when >= young}
        for read in self._latest.values():
            read.authors = {author: when for author, when in read.authors.items() if when >= young}
