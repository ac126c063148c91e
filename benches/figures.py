"""Figures beside their yardsticks: medians, budgets, and the tables of docs/performance.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Budget(NamedTuple):
    """What a figure may be, given its yardstick (0 where there is none)."""

    text: str
    holds: Callable[[float, float], bool]


def at_most(ratio: float) -> Budget:
    """Not above so many times the yardstick."""
    return Budget(f"≤ {ratio:g} ×", lambda ours, yardstick: ours <= ratio * yardstick)


def at_least(ratio: float) -> Budget:
    """Not below so many times the yardstick."""
    return Budget(f"≥ {ratio:g} ×", lambda ours, yardstick: ours >= ratio * yardstick)


def within(more: float, unit: str) -> Budget:
    """Above the yardstick by not more than this."""
    return Budget(f"≤ yardstick + {more:g} {unit}", lambda ours, yardstick: ours <= yardstick + more)


def below(limit: float, unit: str) -> Budget:
    """Not above this, whatever the yardstick."""
    return Budget(f"≤ {limit:g} {unit}", lambda ours, _: ours <= limit)


@dataclass(frozen=True)
class Figure:
    """One row of a table: what several interleaved runs gave."""

    what: str
    unit: str
    ours: Sequence[float]
    yardstick: Sequence[float] = ()
    """Run by run beside `ours`; empty if the budget stands alone."""
    budget: Budget | None = None

    def ratio(self) -> float | None:
        """Ours in yardsticks: the median of the paired runs' ratios, so that a noisy minute hits both sides."""
        if not self.yardstick:
            return None
        return statistics.median(a / b for a, b in zip(self.ours, self.yardstick, strict=True))

    def holds(self) -> bool | None:
        """Whether the budget is met; `None` without one."""
        if self.budget is None:
            return None
        ratio = self.ratio()
        yardstick = statistics.median(self.yardstick) if self.yardstick else 0.0
        # A budget in ratios is held against the median ratio, one in units against the medians.
        ours = ratio * yardstick if ratio is not None and "×" in self.budget.text else statistics.median(self.ours)
        return self.budget.holds(ours, yardstick)

    def cells(self) -> list[str]:
        """The row, as text."""
        ratio, holds = self.ratio(), self.holds()
        return [
            self.what,
            spread(self.yardstick, self.unit),
            spread(self.ours, self.unit),
            "–" if ratio is None else f"{ratio:.2f} ×",
            self.budget.text if self.budget else "–",
            {True: "yes", False: "**no**", None: "–"}[holds],
        ]


HEADER = ["what", "yardstick", "pyrouter", "ratio", "budget", "holds"]


def interleave(yardstick: Callable[[], A], ours: Callable[[], B], times: int) -> Iterator[tuple[A, B]]:
    """Runs A B A B, so that a noisy minute hits both."""
    for _ in range(times):
        a = yardstick()
        yield a, ours()


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table; medians, with the lowest and highest run in brackets."""
    return markdown(HEADER, [figure.cells() for figure in figures])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Any Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def replace_between(path: Path, name: str, text: str) -> None:
    """Puts `text` between the markers `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` of a document.

    Raises:
        ValueError: the document has no such markers.
    """
    document = path.read_text()
    pattern = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(
            f"{path} has no markers <!-- bench:{name} --> … <!-- /bench:{name} -->: put them where its table belongs"
        )
    path.write_text(pattern.sub(lambda found: found[1] + text + "\n" + found[2], document))


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def spread(values: Sequence[float], unit: str) -> str:
    """The median, with the lowest and highest of several in brackets."""
    if not values:
        return "–"
    middle = _number(statistics.median(values))
    if len(values) == 1:
        return f"{middle} {unit}"
    return f"{middle} {unit} ({_number(min(values))}–{_number(max(values))})"
