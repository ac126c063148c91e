"""The gate's decisions, with measurements that are made up; tests/integration/test_gate.py has real ones."""

from collections.abc import Iterator
from itertools import cycle

from benches.figures import at_most
from benches.gate import CHECKS, CONNECTIONS, Check, measure
from benches.harness import DOCUMENT


def check(floor: list[float], ours: list[float], name: str = "cpu") -> tuple[Check, list[int]]:
    """A check that measures these in turn, and how often it did."""
    calls = [0]
    floors, mine = cycle(floor), cycle(ours)

    def count(values: Iterator[float]) -> float:
        calls[0] += 1
        return next(values)

    return Check(name, "cpu", "µs", at_most(1.5), lambda: count(floors), lambda _: count(mine)), calls


def test_the_document_tells_every_limit() -> None:
    chapter = DOCUMENT.read_text().partition("## The gate")[2]
    for each in CHECKS:
        (row,) = [
            line
            for line in chapter.splitlines()
            if line.startswith("| ") and each.what.removesuffix(f", {CONNECTIONS:,} of them") in line
        ]
        number = "".join(letter for letter in each.limit.text if letter.isdigit() or letter == ".")
        assert number in row


def test_what_holds_is_measured_once() -> None:
    wanted, calls = check([10], [14])
    assert measure(wanted, 3).holds() is True
    assert calls == [6]


def test_one_bad_run_says_nothing() -> None:
    wanted, _ = check([10], [14, 40, 14])
    assert measure(wanted, 3).holds() is True


def test_what_does_not_hold_is_measured_again_and_may_still() -> None:
    wanted, calls = check([10], [20, 20, 14, 14, 14, 14, 14, 14, 14])
    assert measure(wanted, 3).holds() is True
    assert calls == [18]


def test_what_is_slow_stays_slow() -> None:
    wanted, calls = check([10], [16])
    assert measure(wanted, 3).holds() is False
    assert calls == [18]


def test_a_machine_that_is_slow_for_both_sides_fails_nothing() -> None:
    wanted, _ = check([10, 30, 20], [14, 42, 28])
    assert measure(wanted, 3).holds() is True


def test_what_says_the_same_every_time_is_not_repeated_more_than_once() -> None:
    wanted, calls = check([10], [16], "record")
    assert measure(wanted, 5).holds() is False
    assert calls == [4]
