"""What arrived and what of it was acknowledged, per conversation.

Rules:
- a message is handed out once: what the server repeats after a crash or a cut connection is dropped by seq (I3);
- a repeat of something that was acknowledged is acknowledged again, because the server forgot;
- an ack is cumulative; it never passes what was handed out;
- a skip is acknowledged by itself, as soon as everything before it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from pyrouter.client.arguments import check_conversation, check_uint
from pyrouter.client.errors import BadArgument

__all__ = ["Inbox"]


class _Cursor:
    """One conversation."""

    __slots__ = ("acked", "open", "received", "told_on")

    def __init__(self, acked: int) -> None:
        self.received = acked  # highest seq that was handed out or skipped
        self.acked = acked
        self.told_on = 0  # the connection on which the server was last told `acked`
        self.open: deque[int] | None = None  # handed out and not acknowledged, ascending; a skip as -last


class Inbox:
    """All conversations of one device, across connections.

    Args:
        cursors: conversation → seq that this device already has, kept from an earlier run of the program.

    Raises:
        BadArgument: one of them cannot be.
    """

    __slots__ = ("_connection", "_cursors", "dirty", "unacked")

    def __init__(self, cursors: Mapping[bytes, int] | None = None) -> None:
        self._cursors: dict[bytes, _Cursor] = {}
        for conversation, seq in (cursors or {}).items():
            check_conversation(conversation)
            check_uint("a cursor", seq, 64)
            self._cursors[conversation] = _Cursor(seq)
        self.dirty: dict[bytes, int] = {}  # acknowledgements that the server was not told yet
        self._connection = 1  # counts them
        self.unacked = 0  # messages handed out and not acknowledged

    def cursors(self) -> Iterator[tuple[bytes, int]]:
        """What is acknowledged, to be kept and given to the next run."""
        return ((conversation, cursor.acked) for conversation, cursor in self._cursors.items() if cursor.acked)

    def message(self, conversation: bytes, seq: int) -> bool:
        """A message came; true if it is new and to be handed out."""
        cursor = self._cursor(conversation)
        if seq <= cursor.received:
            self._repeat(conversation, cursor, seq)
            return False
        cursor.received = seq
        if cursor.open is None:
            cursor.open = deque()
        cursor.open.append(seq)
        self.unacked += 1
        return True

    def skip(self, conversation: bytes, last: int) -> bool:
        """A skip up to `last` came; true if it is new."""
        cursor = self._cursor(conversation)
        if last <= cursor.received:
            self._repeat(conversation, cursor, last)
            return False
        cursor.received = last
        if cursor.open:
            cursor.open.append(-last)
        else:
            cursor.acked = self.dirty[conversation] = last
        return True

    def ack(self, conversation: bytes, seq: int) -> bool:
        """Takes in that this device keeps everything up to `seq`; true if that is news. BadArgument: it never came."""
        cursor = self._cursors.get(conversation)
        if cursor is None or seq > cursor.received:
            raise BadArgument(f"message {seq} of conversation {conversation.hex()} never came: nothing to acknowledge")
        if seq <= cursor.acked:
            return False
        waiting = cursor.open
        while waiting and (waiting[0] < 0 or waiting[0] <= seq):
            if (passed := waiting.popleft()) > 0:
                self.unacked -= 1
            seq = max(seq, -passed)
        cursor.acked = self.dirty[conversation] = seq
        return True

    def take_dirty(self) -> list[tuple[bytes, int]]:
        """What the server is told now."""
        dirty = list(self.dirty.items())
        for conversation, _ in dirty:
            self._cursors[conversation].told_on = self._connection
        self.dirty.clear()
        return dirty

    def must_know(self, conversation: bytes) -> bool:
        """Whether the server must be told our cursor before anything is said that follows from it.

        What it was told on an earlier connection may have been lost with it, or by a crash.
        """
        cursor = self._cursors.get(conversation)
        if cursor is not None and cursor.acked and cursor.told_on != self._connection:
            self.dirty[conversation] = cursor.acked
        return conversation in self.dirty

    def connection_lost(self) -> None:
        """Whatever the server was told, it may not know."""
        self._connection += 1

    def _cursor(self, conversation: bytes) -> _Cursor:
        cursor = self._cursors.get(conversation)
        if cursor is None:
            cursor = self._cursors[conversation] = _Cursor(0)
        return cursor

    def _repeat(self, conversation: bytes, cursor: _Cursor, seq: int) -> None:
        if seq <= cursor.acked:
            self.dirty[conversation] = cursor.acked
