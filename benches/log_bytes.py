"""What the log writes for a message, against its body; cursors and devices apart.

A real server gets messages and acks through its socket; then its segments are read from outside, as docs/log.md draws
them. Batch headers are shared out over the records of their batch by size.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benches.figures import Figure, at_most
from benches.harness import floor_program, pyrouter, scratch, write_users

PAIRS = 50
BATCH_HEADER = struct.Struct("<4sIQQQQIIII")  # magic, crc, number, watermark, time, first, length, salt, marks, before
RECORD_HEADER = struct.Struct("<IHI")  # crc, check, length << 8 | kind
MESSAGE_KIND = 1  # core_rs/src/engine/records.rs


class Record(NamedTuple):
    """One record: its kind, and what it takes in the file, bytes."""

    kind: int
    size: float
    """With its share of the batch's header."""
    alone: int


def records(segment: Path) -> Iterator[Record]:
    """Walks the batches of a sound segment; ends where they end."""
    data, at = memoryview(segment.read_bytes()), 0
    while len(data) - at >= BATCH_HEADER.size:
        magic, _, _, _, _, _, length, *_ = BATCH_HEADER.unpack_from(data, at)
        if magic[:3] != b"PRB":
            return
        at += BATCH_HEADER.size
        end = at + length
        share = 1 + BATCH_HEADER.size / max(length, 1)  # a log that was closed ends with an empty batch
        while at < end:
            _, _, word = RECORD_HEADER.unpack_from(data, at)
            size = RECORD_HEADER.size + (word >> 8)
            yield Record(word & 0xFF, size * share, size)
            at += size


def used(segment: Path) -> int:
    """Bytes from the start of a segment to the end of its last batch; what follows was reserved and never written."""
    at = 0
    with segment.open("rb") as file:
        while True:
            file.seek(at)
            header = file.read(BATCH_HEADER.size)
            if header[:3] != b"PRB":
                return at
            at += BATCH_HEADER.size + BATCH_HEADER.unpack(header)[6]


def run(seconds: int) -> list[Figure]:
    """Log bytes of a message record per byte of body, and of everything else per message."""
    return [figure for body, limit in ((160, 1.45), (1024, 1.1)) for figure in _figures(body, limit, seconds)]


def run_one(body: int, seconds: int) -> float:
    """Log bytes of a message record with such a body."""
    return _measure(body, seconds)[0]


def _figures(body: int, limit: float, seconds: int) -> Iterator[Figure]:
    message, rest = _measure(body, seconds)
    yield Figure(f"log bytes of a message record, body of {body} B", "B", [message], [body], at_most(limit))
    yield Figure(f"log bytes of cursors, devices and the rest, per message (body of {body} B)", "B", [rest])


def _measure(body: int, seconds: int) -> tuple[float, float]:
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", 2 * PAIRS)
        # One segment that takes all of it: what everybody has would leave the log while it is measured.
        with pyrouter(path / "data", settings={"PYROUTER_LOG_SEGMENT": "512MiB"}) as server:
            load: dict[str, Any] = floor_program(
                "load", "--port", server.port, "--users", users, "--pairs", PAIRS, "--window", 4, "--ack", "turn",
                "--body", body, "--seconds", seconds, "--warmup", 0,
            )  # fmt: skip
        counts: Counter[int] = Counter()
        sizes: Counter[int] = Counter()
        for segment in sorted((path / "data" / "log").glob("*.seg")):
            for record in records(segment):
                counts[record.kind] += 1
                sizes[record.kind] += record.size  # type: ignore[assignment]  # a float
    messages = counts[MESSAGE_KIND]
    if messages < load["messages"]:
        raise RuntimeError(f"{load['messages']:.0f} messages were delivered, and the log holds {messages}")
    rest = sum(size for kind, size in sizes.items() if kind != MESSAGE_KIND)
    return sizes[MESSAGE_KIND] / messages, rest / messages
