"""Rows that `pyrouter bench` measures: many clients, some of whom misbehave.

`isolation`: what members of a group notice of others who stall or come and go. `storm`: everybody returns at once.
`pauses`: a day's traffic on many connections, and how long the event loop was ever away. The load has its own processes
and checks every answer; docs/bench.md tells what each scenario does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from benches.figures import Budget, Figure, at_most, interleave
from benches.harness import pyrouter_bench, work

NONE = Budget("none", lambda ours, _: ours == 0)


class Isolation(NamedTuple):
    """A group of which some members stall and others come back once a second."""

    rounds: int
    seconds: float
    members: int = 1024
    disturbers: int = 32
    """Of either kind."""


class Storm(NamedTuple):
    """Everybody is away, messages wait, and all return at once."""

    rounds: int
    connections: int = 15_000
    messages: int = 10
    """That wait for each."""


class Pauses(NamedTuple):
    """A day's shape."""

    seconds: float
    connections: int = 15_000


Run = Mapping[str, Any]


def isolation(plan: Isolation) -> list[Figure]:
    """Latency of the others, beside the same group without anybody who disturbs."""

    def fanout(disturbers: int) -> Run:
        return pyrouter_bench(
            "fanout", members=plan.members, stalled=disturbers, flapping=disturbers, window=1, body=160,
            seconds=plan.seconds, directory=work(),
        )  # fmt: skip

    rounds = list(interleave(lambda: fanout(0), lambda: fanout(plan.disturbers), plan.rounds))
    what = f"{plan.members:,} members, {plan.disturbers} stalled and {plan.disturbers} reconnecting (yardstick: none)"
    return [
        Figure(
            f"{what}: delivery to the others, {name}",
            "ms",
            [run["delivery_ms"][key] for _, run in rounds],
            [run["delivery_ms"][key] for run, _ in rounds],
            budget,
        )
        for key, name, budget in (("p50", "median", None), ("p99", "99 %", at_most(1.2)), ("p999", "99.9 %", None))
    ]


def storm(plan: Storm) -> list[Figure]:
    """How long until all have everything, and what a login costs."""
    runs = [
        pyrouter_bench("storm", connections=plan.connections, messages=plan.messages, directory=work())
        for _ in range(plan.rounds)
    ]
    what = f"{plan.connections:,} clients with {plan.messages} pending each return at once"
    columns = [
        ("seconds", "until all have everything", "s"),
        ("logins_per_s", "logins", "/s"),
        ("server_cpu_us_per_login", "CPU of the server a login, and what it then gets", "µs"),
        ("longest_turn_ms", "longest turn of the loop", "ms"),
    ]
    figures = [Figure(f"{what}: {label}", unit, [run[key] for run in runs]) for key, label, unit in columns]
    before, during = ([run[f"others_delivery_{when}_ms"] for run in runs] for when in ("before", "during"))
    return [
        *figures,
        *(
            Figure(
                f"{what}: delivery to others meanwhile, {name} (yardstick: before it)",
                "ms",
                [times[key] for times in during],
                [times[key] for times in before],
            )
            for key, name in (("p50", "median"), ("p99", "99 %"))
        ),
    ]


def pauses(plan: Pauses) -> list[Figure]:
    """Turns of the server's event loop under the mixed load, from its own metrics."""
    run = pyrouter_bench("mixed", connections=plan.connections, seconds=plan.seconds, directory=work())
    what = f"mixed load, {run['connections']:,} connections, {run['seconds']:.0f} s"
    if run["gc_collections"] is None or run["loop_turn_ms"] is None:
        raise RuntimeError("the server's metrics say nothing of its loop or of collections")
    return [
        Figure(f"{what}: a turn of the loop, 99.9 %", "ms", [run["loop_turn_ms"]["p999"]]),
        Figure(f"{what}: longest turn of the loop", "ms", [run["longest_turn_ms"]]),
        # Absent: there was none that was its own, only waits for a core.
        Figure(f"{what}: longest pause of the loop", "ms", [run["longest_pause_ms"] or 0.0]),
        Figure(f"{what}: waits for a core, of the time", "%", [run["waited_percent"] or 0.0]),
        Figure(f"{what}: collections of the garbage collector", "", [sum(run["gc_collections"].values())], (), NONE),
        Figure(f"{what}: messages", "/s", [run["messages_per_s"]]),
        Figure(f"{what}: deliveries", "/s", [run["deliveries_per_s"]]),
        Figure(f"{what}: CPU of the server a delivery", "µs", [run["server_cpu_us_per_delivery"]]),
        Figure(f"{what}: delivery, median", "ms", [run["delivery_ms"]["p50"]]),
        Figure(f"{what}: delivery, 99.9 %", "ms", [run["delivery_ms"]["p999"]]),
    ]
