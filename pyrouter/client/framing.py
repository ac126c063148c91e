"""Frames in a raw byte stream: the magic once, then for each frame a varint length and that many bytes (docs/wire.md).

The magic is sent by clients only. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["MAGIC", "FrameTooLarge", "Unframer", "frame"]

MAGIC = b"PYRT\x01"
MAX_LENGTH_BYTES = 5


class FrameTooLarge(ValueError):
    """The peer announced a frame above the limit."""


def frame(payloads: Iterable[bytes]) -> bytes:
    """The bytes of these frames, in one piece."""
    parts = []
    for payload in payloads:
        length = len(payload)
        if length < 0x80:
            parts.append(length.to_bytes(1, "little"))
        else:
            header = bytearray()
            while length >= 0x80:
                header.append(length & 0x7F | 0x80)
                length >>= 7
            header.append(length)
            parts.append(bytes(header))
        parts.append(payload)
    return b"".join(parts)


class Unframer:
    """Cuts a byte stream into frames.

    Args:
        max_bytes: longest frame that is taken.
    """

    __slots__ = ("_max_bytes", "_rest")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""  # an incomplete frame

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete. FrameTooLarge: the stream cannot be read any further."""
        if self._rest:
            data = self._rest + data
        payloads = []
        at, end = 0, len(data)
        while at < end:
            length, shift, cut = 0, 0, at
            while cut < end:
                byte = data[cut]
                length |= (byte & 0x7F) << shift
                shift += 7
                cut += 1
                if byte < 0x80 or shift >= 7 * MAX_LENGTH_BYTES:
                    break
            if length > self._max_bytes or (data[cut - 1] >= 0x80 and shift >= 7 * MAX_LENGTH_BYTES):
                raise FrameTooLarge(f"a frame of {length} bytes or more was announced, the limit is {self._max_bytes}")
            if data[cut - 1] >= 0x80 or end - cut < length:
                break
            payloads.append(data[cut : cut + length])
            at = cut + length
        self._rest = data[at:]
        return payloads
