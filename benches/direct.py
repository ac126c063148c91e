"""Direct messages between 200 pairs: CPU and throughput of `pyrouter serve` against the relay in C, by the same load.

Each round starts both servers anew, one after the other, on the same disk. CPU is the server process's alone, as the
kernel counts it over the seconds that count. The load's own CPU is shown: where it reaches the server's, the load may
be the bottleneck, which flatters a throughput ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benches.figures import Budget, Figure, at_least, at_most, interleave
from benches.harness import floor_program, pyrouter, relay, scratch, write_users

PAIRS = 200


class Shape(NamedTuple):
    """How the clients behave."""

    name: str
    arguments: tuple[str, ...]
    cpu: Budget | None
    rate: Budget | None


SHAPES = (
    Shape("one in flight", ("--window", "1", "--ack", "each"), at_most(1.3), None),
    Shape(
        "16 in flight, a write and an ack for each message",
        ("--window", "16", "--ack", "each", "--writes", "each"),
        at_most(2),
        at_least(0.65),
    ),
    Shape(
        "16 in flight, one write a turn",
        ("--window", "16", "--ack", "turn", "--writes", "turn"),
        at_most(2),
        at_least(0.65),
    ),
)


class Plan(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: int
    warmup: int


Runs = dict[str, Mapping[str, Any]]


def run(plan: Plan) -> list[Figure]:
    """All shapes, with and without a log on both sides."""
    return _figures(plan, with_log=True) + _figures(plan, with_log=False)


def _figures(plan: Plan, *, with_log: bool) -> list[Figure]:
    rounds = list(interleave(lambda: _floor(plan, with_log), lambda: _ours(plan, with_log), plan.rounds))
    suffix = "" if with_log else ", no sync"
    figures = []
    for shape in SHAPES:
        what = f"{shape.name}{suffix}"
        floor = [a[shape.name] for a, _ in rounds]
        ours = [b[shape.name] for _, b in rounds]
        columns = [
            ("server_us", "CPU of the server a message", "µs", shape.cpu),
            ("rate", "messages", "/s", shape.rate),
        ]
        if with_log:
            columns += [
                ("client_us", "CPU of the load a message", "µs", None),
                ("p50_us", "send to receipt, median", "µs", None),
                ("p99_us", "send to receipt, 99 %", "µs", None),
            ]
        for key, label, unit, budget in columns:
            figures.append(
                Figure(
                    f"{what}: {label}",
                    unit,
                    [run[key] for run in ours],
                    [run[key] for run in floor],
                    budget if with_log else None,
                )
            )
    return figures


def _floor(plan: Plan, with_log: bool) -> Runs:
    with scratch() as path, relay(path / "log" if with_log else None) as server:
        return _load(plan, server.port, server.pid, write_users(path / "users", None, "u", 2 * PAIRS))


def _ours(plan: Plan, with_log: bool) -> Runs:
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", 2 * PAIRS)
        with pyrouter(path / "data", "fsync" if with_log else "none") as server:
            return _load(plan, server.port, server.pid, users)


def _load(plan: Plan, port: int, pid: int, users: Path) -> Runs:
    common = ("--port", port, "--server-pid", pid, "--users", users, "--pairs", PAIRS, "--body", 160)
    times = ("--seconds", plan.seconds, "--warmup", plan.warmup)
    return {shape.name: floor_program("load", *common, *times, *shape.arguments) for shape in SHAPES}
