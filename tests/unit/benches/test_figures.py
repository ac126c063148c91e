"""The arithmetic behind docs/performance.md: what is compared with what, and what a table says."""

from pathlib import Path

import pytest

from benches.figures import Figure, at_least, at_most, below, interleave, replace_between, table, within


def test_both_sides_take_turns() -> None:
    order: list[str] = []
    runs = list(interleave(lambda: order.append("A"), lambda: order.append("B"), 3))
    assert order == ["A", "B"] * 3
    assert len(runs) == 3


def test_the_ratio_is_that_of_neighbouring_runs() -> None:
    # The machine was twice as slow in the second round, for both.
    figure = Figure("cpu", "µs", ours=[11, 22, 12], yardstick=[10, 20, 10], budget=at_most(1.15))
    assert figure.ratio() == pytest.approx(1.1)
    assert figure.holds() is True


@pytest.mark.parametrize(
    ("ours", "yardstick", "budget", "holds"),
    [
        ([14.0], [10.0], at_most(1.3), False),
        ([64.0], [100.0], at_least(0.65), False),
        ([65.0], [100.0], at_least(0.65), True),
        ([1701.0], [1300.0], within(400, "B"), False),
        ([1700.0], [1300.0], within(400, "B"), True),
        ([65.0], [], below(64, "B"), False),
        ([64.0], [], below(64, "B"), True),
    ],
)
def test_a_budget_holds_or_does_not(ours: list[float], yardstick: list[float], budget: object, holds: bool) -> None:
    assert Figure("x", "B", ours, yardstick, budget).holds() is holds  # type: ignore[arg-type]


def test_a_row_shows_medians_with_their_spread_and_names_a_missed_budget() -> None:
    text = table([Figure("cpu", "µs", [31.5, 30, 33], [20, 20, 20], at_most(1.3))])
    assert text.splitlines()[-1] == "| cpu | 20 µs (20–20) | 31.5 µs (30–33) | 1.57 × | ≤ 1.3 × | **no** |"


def test_only_the_text_between_the_markers_changes(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text("before\n<!-- bench:log -->\nold\n<!-- /bench:log -->\nafter\n")
    replace_between(path, "log", r"new \1")
    assert path.read_text() == "before\n<!-- bench:log -->\nnew \\1\n<!-- /bench:log -->\nafter\n"
    with pytest.raises(ValueError, match="bench:memory"):
        replace_between(path, "memory", "new")
