"""Whether the server is still there: silence is answered with a ping, and silence after that with leaving."""

from __future__ import annotations

__all__ = ["PING_AFTER_S", "PONG_WITHIN_S", "WELCOME_WITHIN_S", "Liveness"]

WELCOME_WITHIN_S = 15.0  # longer than the server waits for hello, so that its reason is heard
PING_AFTER_S = 45.0  # of silence
PONG_WITHIN_S = 15.0


class Liveness:
    """One connection after the other. Times in seconds, by one clock that never goes back."""

    __slots__ = ("_heard", "_pinged", "_welcomed")

    def __init__(self) -> None:
        self._heard = 0.0  # when the last frame came
        self._pinged: float | None = None  # when we asked, if nothing came since
        self._welcomed = False

    def connected(self, now: float) -> None:
        """A connection is there, and hello is said."""
        self._heard = now
        self._pinged = None
        self._welcomed = False

    def welcomed(self) -> None:
        """The server said welcome."""
        self._welcomed = True

    def heard(self, now: float) -> None:
        """A frame came, whichever."""
        self._heard = now
        self._pinged = None

    def deadline(self) -> float:
        """When `overdue` or `wants_ping` will have something to say."""
        if not self._welcomed:
            return self._heard + WELCOME_WITHIN_S
        return self._heard + PING_AFTER_S if self._pinged is None else self._pinged + PONG_WITHIN_S

    def wants_ping(self, now: float) -> bool:
        """Whether a ping is to be sent now; it is taken as sent."""
        if not self._welcomed or self._pinged is not None or now < self._heard + PING_AFTER_S:
            return False
        self._pinged = now
        return True

    def overdue(self, now: float) -> str | None:
        """Why the connection must be given up, if it must."""
        if not self._welcomed:
            if now >= self._heard + WELCOME_WITHIN_S:
                return f"the server did not answer hello within {WELCOME_WITHIN_S:g} s"
        elif self._pinged is not None and now >= self._pinged + PONG_WITHIN_S:
            return f"the server has been silent for {now - self._heard:.0f} s"
        return None
