"""What a change must not slow down: short runs beside the yardsticks in C, held to ratios. `make bench-gate`.

    python -m benches.gate [--rounds N] [--handicap TIMES] [--build DIR] [--json] [check …]

The limits lie above the budgets of docs/performance.md, by what a noisy machine needs: the gate catches a change that
costs half as much again, the tables catch the rest. A check that is above its limit is measured again, more often, and
fails if the median of all rounds still is. CPU is counted by process, so that what else runs disturbs less than time
would be; both sides of a round follow each other closely.

`--handicap` slows the server on purpose (benches/handicap.py), and `--build` takes another build of it: an unoptimised
one, say. The gate must fail then, and a test says so (tests/integration/test_gate.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benches import fanout, log_bytes, memory
from benches.direct import PAIRS
from benches.figures import Budget, Figure, at_most, table, within
from benches.harness import (
    Server,
    build_floor,
    floor_program,
    machine,
    pyrouter,
    raise_file_limit,
    relay,
    scratch,
    write_users,
)

ROUNDS = 5
SECONDS, WARMUP = 1.0, 0.5
MEMBERS = 1024
CONNECTIONS = 3_000
PLAN = fanout.Plan(1, SECONDS, WARMUP, MEMBERS)
GROUP = (fanout.Shape(1, None),)

Around = tuple[str | Path, ...]
"""What the server is run within: see `harness.pyrouter`."""


class Check(NamedTuple):
    """One side by side comparison."""

    name: str
    what: str
    unit: str
    limit: Budget
    floor: Callable[[], float]
    ours: Callable[[Around], float]


def _direct(window: int) -> tuple[Callable[[], float], Callable[[Around], float]]:
    def floor() -> float:
        with scratch() as path, relay(path / "log") as server:
            return load(server, write_users(path / "users", None, "u", 2 * PAIRS))

    def ours(around: Around) -> float:
        with scratch() as path:
            users = write_users(path / "users", path / "data", "u", 2 * PAIRS)
            with pyrouter(path / "data", within=around) as server:
                return load(server, users)

    def load(server: Server, users: Path) -> float:
        run = floor_program(
            "load", "--port", server.port, "--server-pid", server.pid, "--users", users, "--pairs", PAIRS,
            "--window", window, "--body", 160, "--seconds", SECONDS, "--warmup", WARMUP,
        )  # fmt: skip
        return float(run["server_us"])

    return floor, ours


CHECKS = (
    Check("direct", "CPU of a direct message, one in flight", "µs", at_most(1.8), *_direct(1)),
    Check("bulk", "CPU of a direct message, 16 in flight", "µs", at_most(2.4), *_direct(16)),
    Check(
        "fanout",
        f"CPU of a delivery, {MEMBERS:,} members online",
        "µs",
        at_most(1.8),
        lambda: float(fanout.floor_runs(PLAN, MEMBERS, GROUP)[1]["server_us_per_delivery"]),
        lambda around: float(fanout.our_runs(PLAN, MEMBERS, GROUP, around)[1]["server_us_per_delivery"]),
    ),
    Check(
        "memory",
        f"memory per idle connection, {CONNECTIONS:,} of them",
        "B",
        within(450, "B"),
        lambda: memory.bare_slope(CONNECTIONS)[0],
        lambda _: memory.slope(CONNECTIONS)[0],
    ),
    Check(
        "record",
        "log bytes of a message of 160 B",
        "B",
        at_most(1.45),
        lambda: 160.0,
        lambda _: float(log_bytes.run_one(160, 1)),
    ),
)
ONCE = {"memory", "record"}
"""These say the same every time."""


def measure(check: Check, rounds: int, around: Around = ()) -> Figure:
    """Takes turns, and again if the first rounds are above the limit."""
    floor: list[float] = []
    ours: list[float] = []
    for wanted in (1, 2) if check.name in ONCE else (rounds, 3 * rounds):
        while len(ours) < wanted:
            floor.append(check.floor())
            ours.append(check.ours(around))
        figure = Figure(check.what, check.unit, list(ours), list(floor), check.limit)
        if figure.holds():
            break
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every limit held, 1 if one did not."""
    names = [check.name for check in CHECKS]
    parser = argparse.ArgumentParser(prog="benches.gate", description="Hold a build to its yardsticks.")
    parser.add_argument("checks", nargs="*", metavar="check", help=f"any of {', '.join(names)}; all by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved runs of each side ({ROUNDS})")
    parser.add_argument("--handicap", type=float, default=0.0, help="burn so many times the server's CPU beside it")
    parser.add_argument("--build", type=Path, metavar="DIR", help="measure the package `pyrouter` in this folder")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each check, and no table")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.checks if name not in names]
    if unknown:
        parser.error(f"no check {unknown[0]!r}; there are {', '.join(names)}")

    changed = bool(options.build or options.handicap)
    wanted = options.checks or [name for name in names if not (changed and name in ONCE)]
    if changed and ONCE.intersection(wanted):
        parser.error(f"{' and '.join(sorted(ONCE))} measure this build as it is: leave them out")
    if options.build and not (options.build / "pyrouter" / "__init__.py").exists():
        parser.error(f"--build {options.build}: there is no package pyrouter in it")

    build_floor()
    raise_file_limit()
    around: Around = ()
    if options.build:
        around = ("env", f"PYTHONPATH={options.build.resolve()}", sys.executable, "-P", "-m", "pyrouter")
    elif options.handicap:
        around = (sys.executable, "-m", "benches.handicap", str(options.handicap))
    begin, figures = time.monotonic(), []
    for check in CHECKS:
        if check.name in wanted:
            figures.append(figure := measure(check, options.rounds, around))
            if options.json:
                print(json.dumps({"check": check.name, "ratio": figure.ratio(), "holds": figure.holds()}), flush=True)
    missed = [figure.what for figure in figures if not figure.holds()]
    if not options.json:
        print(machine(), table(figures), f"{time.monotonic() - begin:.0f} s", sep="\n\n")
    if missed:
        print(f"above the limit: {'; '.join(missed)}", file=sys.stderr)
        print("a quiet machine says more: python -m benches.run; then perf, see CONTRIBUTING.md", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
