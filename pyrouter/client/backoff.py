"""How long to wait before the next attempt: exponential with full jitter.

Many clients lose their server at the same instant; waits that are uniform over a growing range spread them out best
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

from __future__ import annotations

import random

__all__ = ["FIRST_S", "MOST_S", "STEADY_S", "Backoff"]

FIRST_S = 0.1
MOST_S = 30.0
STEADY_S = 5.0  # from welcome on; a connection that lasted so long was a success


class Backoff:
    """The waits of one client.

    Args:
        first_s: the first wait is between 0 and this, each further range is twice as wide.
        most_s: widest range.
        rng: source of the jitter.
    """

    __slots__ = ("_first_s", "_most_s", "_range_s", "_rng")

    def __init__(self, first_s: float = FIRST_S, most_s: float = MOST_S, rng: random.Random | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._range_s = first_s
        self._rng = rng or random.Random()

    def next(self) -> float:
        """Seconds to wait now."""
        wait = self._rng.uniform(0, self._range_s)
        self._range_s = min(self._range_s * 2, self._most_s)
        return wait

    def reset(self) -> None:
        """An attempt succeeded: its connection lasted `STEADY_S`."""
        self._range_s = self._first_s
