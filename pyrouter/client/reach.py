"""How far the others got in each conversation: receipts and their exceptions.

Rules:
- cursors only grow, merged by maximum (I7);
- a message inside a skipped range is never delivered or read, whatever a cursor says (I7);
- memory is per conversation, not per message.

A direct or device conversation has one other side. Groups: `audience.py`, which has one `Reach` for each member.
"""

from __future__ import annotations

from collections import deque

from pyrouter.client.model import SkipReason, State

__all__ = ["SKIPS_KEPT", "Reach"]

# Skipped ranges that are remembered per conversation; messages below the oldest of them are not claimed any more.
SKIPS_KEPT = 256


class Reach:
    """One conversation's cursors of the others."""

    __slots__ = ("_skips", "_unsure", "delivered", "read")

    def __init__(self) -> None:
        self.delivered = 0
        self.read = 0
        self._skips: deque[tuple[int, int, SkipReason]] | None = None  # ascending, disjoint
        self._unsure = 0  # ranges up to here were forgotten: nothing new is claimed below

    def receipt(self, delivered: int, read: int) -> bool:
        """Takes cursors in; true if one moved. Who read a message has it, so `read` lifts `delivered`."""
        moved = False
        if read > self.read:
            self.read = read
            moved = True
        delivered = max(delivered, read)
        if delivered > self.delivered:
            self.delivered = delivered
            moved = True
        return moved

    def skip(self, first: int, last: int, reason: SkipReason) -> None:
        """These never reach the other side."""
        if self._skips is None:
            self._skips = deque()
        skips = self._skips
        if any(a <= first and last <= b for a, b, _ in skips):
            return
        if skips and skips[-1][1] + 1 == first and skips[-1][2] == reason:
            skips[-1] = (skips[-1][0], last, reason)
            return
        skips.append((first, last, reason))
        if len(skips) > 1 and skips[-2][0] > first:
            self._skips = skips = deque(sorted(skips))
        if len(skips) > SKIPS_KEPT:
            self._unsure = max(self._unsure, skips.popleft()[1])

    def skipped(self, seq: int) -> SkipReason | None:
        """Why this message never reaches the other side, if so."""
        for first, last, reason in self._skips or ():
            if first <= seq <= last:
                return reason
        return None

    def of(self, _user: str, seq: int) -> State:
        """As `state`: there is one other side."""
        return self.state(seq)

    def state(self, seq: int) -> State:
        """The state of an accepted message."""
        if seq > self.delivered or seq <= self._unsure or (self._skips and self.skipped(seq) is not None):
            return State.SENT
        return State.READ if seq <= self.read else State.DELIVERED
