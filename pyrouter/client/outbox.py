"""What was sent and is not answered yet, across connections.

Rules:
- sends leave in the order in which they were made; after a reconnect the unanswered ones leave again, with the same ids
  and in the same order, before anything new (I4);
- at most a window of them is under way: below what the server takes without pausing, and, counting answers that the
  server was not told we saw, below the number of ids that it remembers;
- a send that the server cannot take now waits, and with it everything later for the same target.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from collections.abc import Iterator
from operator import attrgetter

from pyrouter.client.errors import BadArgument, OutboxFull
from pyrouter.client.model import SentMessage, Target

__all__ = ["DEFAULT_BYTES", "DEFAULT_MESSAGES", "OUTBOX_BYTES", "OUTBOX_MESSAGES", "Outbox", "check_kept"]

# The window where `welcome` names none: the defaults of the server.
DEFAULT_MESSAGES = 256
DEFAULT_BYTES = 1 << 20
# Most that is kept unanswered.
OUTBOX_MESSAGES = 10_000
OUTBOX_BYTES = 64 << 20

_number = attrgetter("number")


def check_kept(size: int) -> None:
    """BadArgument: a message of so many bytes is more than a client keeps, whatever else it keeps."""
    if size > OUTBOX_BYTES:
        raise BadArgument(f"a message of {size} bytes; a client keeps at most {OUTBOX_BYTES}")


class Outbox:
    """All unanswered sends of one device."""

    __slots__ = (
        *("_bytes", "_count", "_flying", "_flying_bytes", "_held", "_waiting"),
        *("max_bytes", "max_messages", "unconfirmed"),
    )

    def __init__(self) -> None:
        self.max_messages = DEFAULT_MESSAGES
        self.max_bytes = DEFAULT_BYTES
        # Conversation and seq of each `accepted` that the server was not told we saw.
        self.unconfirmed: list[tuple[bytes, int]] = []
        self._count = 0  # sends ever made
        self._bytes = 0  # frames kept
        self._waiting: deque[SentMessage] = deque()  # not sent on this connection
        self._flying: dict[bytes, SentMessage] = {}  # sent on this connection, in order
        self._flying_bytes = 0
        self._held: dict[Target, tuple[float, list[SentMessage]]] = {}  # until when, and which, in order

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flying) + sum(len(held) for _, held in self._held.values())

    def __contains__(self, id: bytes) -> bool:
        return id in self._flying or any(sent.id == id for sent in self._not_flying())

    def __iter__(self) -> Iterator[SentMessage]:
        return heapq.merge(self._flying.values(), sorted(self._not_flying(), key=_number), key=_number)

    def has_room(self, frame_bytes: int = 0) -> bool:
        """Whether another send fits below the bound."""
        return len(self) < OUTBOX_MESSAGES and self._bytes + frame_bytes <= OUTBOX_BYTES

    def add(self, sent: SentMessage) -> None:
        """A new send. OutboxFull: there is no room for it. BadArgument: there never will be."""
        check_kept(len(sent.frame))
        if not self.has_room(len(sent.frame)):
            raise OutboxFull(f"{len(self)} messages are unanswered; wait for some of them before sending more")
        self._count += 1
        sent.number = self._count
        self._bytes += len(sent.frame)
        self._waiting.append(sent)

    def departures(self) -> Iterator[SentMessage]:
        """What may leave now, in order; each is under way once it is taken from the iterator."""
        while self._waiting:
            sent = self._waiting[0]
            if (held := self._held.get(sent.to)) is not None:
                insort(held[1], self._waiting.popleft(), key=_number)
                continue
            size = len(sent.frame)
            if self._flying and (self._full() or self._flying_bytes + size > self.max_bytes):
                return
            self._waiting.popleft()
            self._flying[sent.id] = sent
            self._flying_bytes += size
            yield sent

    def stuck_on_confirmation(self) -> bool:
        """Whether telling the server which answers we saw would let more leave."""
        return bool(self._waiting and self.unconfirmed and self._full())

    def answered(self, id: bytes) -> SentMessage | None:
        """The send with this id is answered, its frame needed no more; None if it was not under way."""
        sent = self._land(id)
        if sent is not None:
            self._bytes -= len(sent.frame)
            sent.frame = b""
        return sent

    def hold(self, id: bytes, until: float) -> SentMessage | None:
        """The server cannot take this one now: it, and later ones for the same target, wait until then."""
        sent = self._land(id)
        if sent is not None:
            held = self._held.get(sent.to)
            if held is None:
                held = self._held[sent.to] = (until, [])
            insort(held[1], sent, key=_number)
        return sent

    def held_until(self) -> float | None:
        """When `release` has something to do."""
        return min((until for until, _ in self._held.values()), default=None)

    def release(self, now: float) -> None:
        """Lets those leave again that have waited long enough."""
        for target in [target for target, (until, _) in self._held.items() if until <= now]:
            self._put_back(self._held.pop(target)[1])

    def connection_lost(self) -> None:
        """Nothing is under way any more."""
        flying = list(self._flying.values())
        self._flying.clear()
        self._flying_bytes = 0
        self._put_back(flying)

    def clear(self) -> list[SentMessage]:
        """Gives up everything; returns it in order."""
        everything = list(self)
        self._waiting.clear()
        self._flying.clear()
        self._held.clear()
        self._flying_bytes = self._bytes = 0
        return everything

    def _land(self, id: bytes) -> SentMessage | None:
        sent = self._flying.pop(id, None)
        if sent is not None:
            self._flying_bytes -= len(sent.frame)
        return sent

    def _full(self) -> bool:
        return len(self._flying) + len(self.unconfirmed) >= self.max_messages

    def _put_back(self, sends: list[SentMessage]) -> None:
        if sends:
            self._waiting = deque(heapq.merge(sends, self._waiting, key=_number))

    def _not_flying(self) -> Iterator[SentMessage]:
        yield from self._waiting
        for _, held in self._held.values():
            yield from held
