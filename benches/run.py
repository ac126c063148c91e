"""Runs the rows of the budget one after another and writes the tables of docs/performance.md.

    python -m benches.run [--quick] [--rounds N] [--no-write] [direct] [memory] [log] [recovery] [core]

`--quick` is a trial of a minute or two: it shows that everything works, and its figures mean nothing, so that it does
not write them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from benches import core, direct, log_bytes, memory, recovery
from benches.figures import Figure, replace_between, table
from benches.harness import DOCUMENT, build_floor, machine, raise_file_limit

ROWS = ("direct", "memory", "log", "recovery", "core")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every budget was met, 1 if one was not."""
    parser = argparse.ArgumentParser(prog="benches.run", description="Measure pyrouter against its yardsticks.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"any of {', '.join(ROWS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small and short: a trial, nothing is written")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of each side (5)")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(arguments)
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")

    build_floor()
    connections = min(15_000, raise_file_limit() - 100)
    where = machine()
    print(where, flush=True)
    missed = 0
    for row in options.rows or ROWS:
        figures = _measure(row, options.quick, options.rounds, connections)()
        text = table(figures)
        print(f"\n## {row}\n{text}", flush=True)
        missed += sum(figure.holds() is False for figure in figures)
        if not options.quick and not options.no_write:
            replace_between(DOCUMENT, row, f"{where}\n\n{text}")
    return 1 if missed else 0


def _measure(row: str, quick: bool, rounds: int, connections: int) -> Callable[[], list[Figure]]:
    rounds = 1 if quick else rounds
    match row:
        case "direct":
            return lambda: direct.run(direct.Plan(rounds, *((1, 0) if quick else (5, 2))))
        case "memory":
            return lambda: memory.run(min(rounds, 3), 1500 if quick else connections)
        case "log":
            return lambda: log_bytes.run(1 if quick else 2)
        case "recovery":
            return lambda: recovery.run(rounds, recovery.QUICK if quick else recovery.FULL)
        case _:
            return core.run


if __name__ == "__main__":
    sys.exit(main())
