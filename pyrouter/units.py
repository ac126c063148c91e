"""Durations, sizes and addresses as people write them. Each type parses itself, prints itself, and knows no other."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Self

__all__ = ["Address", "Duration", "Size"]

_DURATIONS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_QUANTITY = re.compile(r"(\d{1,15})\s*([A-Za-z]*)")


class Duration(int):
    """Milliseconds. Written `30d`, `12h`, `15m`, `90s` or `500ms`."""

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Reads the written form; a number without a unit is refused, it would be ambiguous.

        Raises:
            ValueError: it is not a duration.
        """
        match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None or match[2] not in _DURATIONS:
            raise ValueError(f"expected a duration such as 30d, 12h, 15m, 90s or 500ms, got {text!r}")
        return cls(int(match[1]) * _DURATIONS[match[2]])

    def __str__(self) -> str:
        return _largest_unit(self, _DURATIONS, "ms")

    __repr__ = __str__


class Size(int):
    """Bytes. Written `64KiB`, `1MiB`, `2GiB`, `512B` or `512`."""

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Reads the written form, or a plain number of bytes.

        Raises:
            ValueError: it is not a size.
        """
        if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
            return cls(text)
        match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None or (match[2] or "B") not in _SIZES:
            raise ValueError(f"expected a size such as 64KiB, 1MiB or a number of bytes, got {text!r}")
        return cls(int(match[1]) * _SIZES[match[2] or "B"])

    def __str__(self) -> str:
        return _largest_unit(self, _SIZES, "B")

    __repr__ = __str__


def _largest_unit(value: int, units: dict[str, int], smallest: str) -> str:
    fitting = (name for name, size in units.items() if value and value % size == 0)
    name = max(fitting, key=units.__getitem__, default=smallest)
    return f"{int(value) // units[name]}{name}"


class Address(NamedTuple):
    """Where to listen. Written `HOST:PORT`, an IPv6 host in brackets; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Reads the written form.

        Raises:
            ValueError: it is not one.
        """
        match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\s\[\]]+)):(\d{1,5})", text) if isinstance(text, str) else None
        if match is None or int(match[3]) > 65535:
            raise ValueError(f"expected HOST:PORT such as 127.0.0.1:7400 or [::1]:7400, got {text!r}")
        return cls(match[1] or match[2], int(match[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")
