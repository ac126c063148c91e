"""Runs the rows of the budget one after another and writes the tables and plots of docs/performance.md.

    python -m benches.run [--quick] [--rounds N] [--no-write] [row …]

`--quick` is a trial of a few minutes: it shows that everything works, and its figures mean nothing, so that it does not
write them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benches import core, direct, fanout, idle, log_bytes, memory, others, recovery, scenarios, sweeps
from benches.figures import Figure, replace_between, table
from benches.harness import DOCUMENT, build_floor, machine, raise_file_limit


class Trial(NamedTuple):
    """How much is to be measured."""

    quick: bool
    rounds: int
    connections: int
    """Most that one process may have here."""

    def pick(self, full: int, quick: int) -> int:
        """One number or the other, and no more connections than there may be."""
        return min(quick if self.quick else full, self.connections)

    def fewer(self, rounds: int) -> int:
        """Rounds of something that takes long."""
        return min(self.rounds, rounds)


def _idle(trial: Trial) -> list[Figure]:
    if trial.quick:
        return idle.run(idle.Plan(1, (500, 1000), 2, 1000, 100))
    counts = tuple(count for count in (1_000, 3_000, 6_000, 12_000, 18_000) if count <= trial.connections)
    return idle.run(idle.Plan(trial.fewer(3), counts))


ROWS: dict[str, Callable[[Trial], list[Figure] | str]] = {
    "direct": lambda trial: direct.run(direct.Plan(trial.rounds, *((1, 0) if trial.quick else (5, 2)))),
    "others": lambda trial: others.run(others.Plan(trial.fewer(3), *((3, 2) if trial.quick else (5, 3)))),
    "memory": lambda trial: memory.run(trial.fewer(3), trial.pick(15_000, 1500)),
    "idle": _idle,
    "log": lambda trial: log_bytes.run(1 if trial.quick else 2),
    "recovery": lambda trial: recovery.run(trial.rounds, recovery.QUICK if trial.quick else recovery.FULL),
    "fanout": lambda trial: fanout.run(
        fanout.Plan(1, 0.7, 0.3, 256, pending=20_000) if trial.quick else fanout.Plan(trial.rounds, 5, 2)
    ),
    "isolation": lambda trial: scenarios.isolation(
        scenarios.Isolation(1, 3, 128, 8) if trial.quick else scenarios.Isolation(trial.rounds, 20)
    ),
    "storm": lambda trial: scenarios.storm(scenarios.Storm(trial.fewer(3), trial.pick(15_000, 500))),
    "pauses": lambda trial: scenarios.pauses(scenarios.Pauses(5 if trial.quick else 600, trial.pick(15_000, 500))),
    "core": lambda _: core.run(),
    "plots": lambda trial: sweeps.run(sweeps.QUICK if trial.quick else sweeps.FULL, write=not trial.quick),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every budget was met, 1 if one was not."""
    parser = argparse.ArgumentParser(prog="benches.run", description="Measure pyrouter against its yardsticks.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"any of {', '.join(ROWS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small and short: a trial, nothing is written")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of each side (5)")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    options = parser.parse_args(arguments)
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")

    build_floor()
    trial = Trial(options.quick, 1 if options.quick else options.rounds, raise_file_limit() - 100)
    where = machine()
    print(where, flush=True)
    missed = 0
    for row in options.rows or ROWS:
        result = ROWS[row](trial)
        text = result if isinstance(result, str) else table(result)
        print(f"\n## {row}\n{text}", flush=True)
        missed += 0 if isinstance(result, str) else sum(figure.holds() is False for figure in result)
        if not options.quick and not options.no_write:
            replace_between(DOCUMENT, row, f"{where}\n\n{text}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
