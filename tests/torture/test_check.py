"""The judge itself: a good run passes, and each thing that must never happen is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyrouter.client import direct_conversation

from . import check, journal

AB = direct_conversation("a", "b").hex()
A, B, C = ("a", 1), ("b", 1), ("c", 1)
G = "00" * 16


def good() -> dict[check.Device, check.Record]:
    """a sends two messages to b, who takes, acknowledges and reads them."""
    a, b = check.Record(), check.Record()
    a.sent = {"01": ("b", 1), "02": ("b", 2)}
    a.accepted = {"01": (AB, 1), "02": (AB, 2)}
    b.got = [(AB, 1, "a", 1, "01", 1), (AB, 2, "a", 1, "02", 2)]
    b.acks = [(AB, 1, 10), (AB, 2, 20)]
    b.reads = [(AB, 2, 30)]
    a.receipts = [(AB, "b", 1, 0, 11), (AB, "b", 2, 0, 21), (AB, "b", 2, 2, 31)]
    return {A: a, B: b}


def test_a_good_run_passes() -> None:
    assert check.judge(good()) == []


def group() -> dict[check.Device, check.Record]:
    """a makes a group with b, says something, lets c in, says something, takes c out, says something."""
    a, b, c = check.Record(), check.Record(), check.Record()
    a.sent = {f"0{n}": (("#" if n in (2, 4, 6) else "!") + G, n) for n in range(1, 7)}
    a.accepted = {f"0{n}": (G, n) for n in range(1, 7)}
    moved = {1: ("a,b", ""), 3: ("c", ""), 5: ("", "c")}
    for record, seqs in ((a, (1, 3, 5)), (b, range(1, 7)), (c, (3, 4, 5))):
        record.got = [(G, seq, "a", 1, f"0{seq}", seq) for seq in seqs]
        record.changes = {(G, seq): moved[seq] for seq in seqs if seq in moved}
    return {A: a, B: b, C: c}


def test_a_good_run_of_a_group_passes() -> None:
    assert check.judge(group()) == []


def change_lost(records: dict[check.Device, check.Record]) -> None:
    del records[A].got[1]


def for_a_stranger(records: dict[check.Device, check.Record]) -> None:
    records[C].got.append((G, 6, "a", 1, "06", 6))


def missed_by_a_guest(records: dict[check.Device, check.Record]) -> None:
    del records[C].got[1]


def told_differently(records: dict[check.Device, check.Record]) -> None:
    records[B].changes[G, 3] = ("d", "")


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (change_lost, "lost 1 seqs"),
        (for_a_stranger, "which nobody sent to it"),
        (missed_by_a_guest, "lost 1 seqs"),
        (told_differently, "for others"),
    ],
)
def test_each_harm_in_a_group_is_seen(harm: Callable[[dict[check.Device, check.Record]], None], seen: str) -> None:
    records = group()
    harm(records)
    assert any(seen in violation for violation in check.judge(records)), check.judge(records)


def lost(records: dict[check.Device, check.Record]) -> None:
    records[B].got.pop()


def twice(records: dict[check.Device, check.Record]) -> None:
    records[B].got.append(records[B].got[-1])


def swapped(records: dict[check.Device, check.Record]) -> None:
    records[B].got.reverse()


def gap(records: dict[check.Device, check.Record]) -> None:
    records[A].accepted["02"] = (AB, 3)
    records[B].got[1] = (AB, 3, "a", 1, "02", 2)


def reused(records: dict[check.Device, check.Record]) -> None:
    records[A].accepted["02"] = (AB, 1)


def out_of_order(records: dict[check.Device, check.Record]) -> None:
    records[A].accepted = {"01": (AB, 2), "02": (AB, 1)}
    records[B].got = [(AB, 1, "a", 1, "02", 2), (AB, 2, "a", 1, "01", 1)]


def unanswered(records: dict[check.Device, check.Record]) -> None:
    records[A].sent["03"] = ("b", 3)


def another(records: dict[check.Device, check.Record]) -> None:
    records[B].got[1] = (AB, 2, "a", 1, "99", 2)


def back(records: dict[check.Device, check.Record]) -> None:
    records[A].receipts.append((AB, "b", 1, 2, 40))


def early(records: dict[check.Device, check.Record]) -> None:
    records[A].receipts[0] = (AB, "b", 1, 0, 9)


def unread(records: dict[check.Device, check.Record]) -> None:
    records[B].reads.clear()


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lost, "lost 1 seqs"),
        (twice, "came again"),
        (swapped, "came late"),
        (gap, "has no 1 seqs"),
        (reused, "was given to"),
        (out_of_order, "became"),
        (unanswered, "never answered"),
        (another, "was accepted"),
        (back, "went from"),
        (early, "delivered only up to 0"),
        (unread, "read only up to 0"),
    ],
)
def test_each_harm_is_seen(harm: Callable[[dict[check.Device, check.Record]], None], seen: str) -> None:
    records = good()
    harm(records)
    assert any(seen in violation for violation in check.judge(records)), check.judge(records)


def test_an_id_that_was_accepted_as_two_messages_is_seen(tmp_path: Path) -> None:
    log = journal.Journal(tmp_path / journal.name(*A))
    log.write("sent", "01", "b", 1)
    log.write("accepted", "01", AB, 1)
    log.write("accepted", "01", AB, 2)
    log.close()
    assert any("accepted as" in violation for violation in check.judge(check.load(tmp_path)))
