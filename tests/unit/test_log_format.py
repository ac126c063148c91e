"""docs/log.md suffices to read a log: a reader written from it alone reads the fixture of format 3."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

FIXTURE = Path(__file__).parents[1] / "fixtures" / "log-v3"


def seed(segment: int, offset: int, salt: int) -> int:
    return (segment * 0x9E3779B1 & 0xFFFFFFFF) ^ offset ^ salt


def check(kind: int, length: int, seed: int) -> int:
    return (((length * 256 + kind) ^ seed) * 0x9E3779B1 & 0xFFFFFFFF) >> 16


def batches(data: bytes, segment: int) -> Iterator[tuple[int, int, int, int, list[tuple[int, bytes]]]]:
    """Whole batches from the start of a segment: number, watermark, marks, time and records."""
    offset = 0
    while len(data) - offset >= 56:
        magic, crc = struct.unpack_from("<4sI", data, offset)
        header = data[offset + 8 : offset + 56]
        if magic != b"PRB\x03" or crc != zlib.crc32(header, seed(segment, offset, 0)):
            return
        number, watermark, time, first, length, salt, marks, before = struct.unpack("<QQQQIIII", header)
        assert (first, before) == (1, segment - 1)  # nothing was trimmed, no id was skipped
        offset += 56
        records = list(records_of(data[offset : offset + length], segment, offset, salt))
        if sum(10 + len(body) for _, body in records) != length:
            return
        yield number, watermark, marks, time, records
        offset += length


def records_of(data: bytes, segment: int, offset: int, salt: int) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        crc, checked, word = struct.unpack_from("<IHI", data, at)
        kind, length = word & 0xFF, word >> 8
        end, place = at + 10 + length, seed(segment, offset + at, salt)
        if checked != check(kind, length, place) or crc != zlib.crc32(data[at + 4 : end], place):
            return
        yield kind, data[at + 10 : end]
        at = end


def test_a_reader_written_from_the_document_reads_the_fixture() -> None:
    first = list(batches((FIXTURE / "000000000001.seg").read_bytes(), 1))
    second = list(batches((FIXTURE / "000000000002.seg").read_bytes(), 2))
    assert [number for number, *_ in first + second] == [1, 2, 3, 4, 11, 12]
    assert [watermark for _, watermark, *_ in first + second] == [0, 1, 2, 3, 4, 11]
    # A clean end; then a run that reports what it has written, whose numbers go on above 10.
    assert [marks for _, _, marks, *_ in first + second] == [0, 0, 0, 8, 4 + 16, 4]
    records = [record for *_, records in first + second for record in records]
    assert [kind for kind, _ in records] == [1, 2, 255, 3, 1, 4, 5]
    assert records[2] == (255, bytes(range(256)))
    assert records[3] == (3, "zwölf Boxkämpfer".encode())
    assert first[3][4] == []  # closed cleanly: an empty batch whose watermark covers all others
    assert first[2][3] == 1_700_000_001_000


def test_the_identity_of_the_log_is_one_line_of_text() -> None:
    line, _, crc = (FIXTURE / "FORMAT").read_bytes().decode().rpartition(", crc ")
    identity = "1a2b3c4d2072616e646f6d2062797465"
    assert line == f"pyrouter log, format 3, id {identity}, boot {1:032x}, batch 4 in segment 1"
    assert crc == f"{zlib.crc32(line.encode()):08x}\n"
