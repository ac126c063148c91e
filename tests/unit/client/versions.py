"""Receipt versions as a client sees them: bytes in no order, of which the server alone knows which came first."""

from __future__ import annotations

import hashlib

SHORTEST, LENGTHS = 8, 57  # 8 to 64 bytes


class Versions:
    """The versions of one server, which counts them from 1; 0 is none, and empty."""

    def __init__(self) -> None:
        self._numbers = {b"": 0}

    def opaque(self, number: int) -> bytes:
        """What clients are told instead of this one."""
        length = SHORTEST + number * 31 % LENGTHS
        version = hashlib.shake_128(b"%d" % number).digest(length) if number else b""
        self._numbers[version] = number
        return version

    def number(self, version: bytes) -> int:
        """Which one a client gave back. KeyError: it was never told."""
        return self._numbers[version]
