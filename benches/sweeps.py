"""Cost of a message against what there is more of: connections, members, backlog, bytes of body. Each as a plot.

Yardstick and pyrouter take turns at every point, as in the tables. A plot shows whether a line is flat; how high it
lies is the tables' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benches import fanout
from benches.figures import interleave, markdown, spread
from benches.harness import ROOT, Server, floor_program, pyrouter, relay, scratch, write_users
from benches.plot import Plot, Series, svg
from benches.wire import create_users

PICTURES = ROOT / "docs" / "plots"
ONE = (fanout.Shape(1, None),)


class Plan(NamedTuple):
    """How long and how often each point is measured, and which."""

    rounds: int
    seconds: float
    warmup: float
    pairs: tuple[int, ...]
    members: tuple[int, ...]
    backlog: tuple[int, ...]
    bodies: tuple[int, ...]


FULL = Plan(
    3,
    2.0,
    0.7,
    pairs=(10, 50, 200, 1000, 3000, 7500),
    members=(2, 8, 32, 128, 512, 1024),
    backlog=(1_000, 10_000, 100_000, 1_000_000),
    bodies=(64, 160, 512, 2048, 8192, 32768, 65536),
)
QUICK = Plan(1, 0.4, 0.2, (10, 100), (2, 32), (1_000, 10_000), (64, 4096))


class Sweep(NamedTuple):
    """One plot."""

    name: str
    title: str
    across: str
    up: str
    xs: tuple[int, ...]
    floor: Callable[[Plan, int], float]
    ours: Callable[[Plan, int], float]


def run(plan: Plan, *, write: bool) -> str:
    """Measures all, writes the pictures if so wanted, and returns the Markdown that shows them."""
    sweeps = (
        Sweep(
            "connections", "CPU of the server for a direct message", "connections, each with one message in flight",
            "µs a message", tuple(2 * pairs for pairs in plan.pairs),
            lambda plan, count: _floor(plan, count // 2, 160), lambda plan, count: _ours(plan, count // 2, 160),
        ),
        Sweep(
            "members", "CPU of the server for a group message", "members, all online", "µs a delivery", plan.members,
            _group_floor, _group,
        ),
        Sweep(
            "backlog", "CPU of the server for a direct message", "other messages that wait, for users who are away",
            "µs a message", plan.backlog, lambda plan, _: _floor(plan, 200, 160), _behind,
        ),
        Sweep(
            "bodies", "CPU of the server for a direct message", "bytes of body", "µs a message", plan.bodies,
            lambda plan, body: _floor(plan, 200, body), lambda plan, body: _ours(plan, 200, body),
        ),
    )  # fmt: skip
    return "\n\n".join(_sweep(plan, sweep, write) for sweep in sweeps)


def _sweep(plan: Plan, sweep: Sweep, write: bool) -> str:
    floor, ours = [], []
    for x in sweep.xs:
        runs = list(interleave(_bind(sweep.floor, plan, x), _bind(sweep.ours, plan, x), plan.rounds))
        floor.append((x, [a for a, _ in runs]))
        ours.append((x, [b for _, b in runs]))
    picture = svg(
        Plot(sweep.title, sweep.across, sweep.up, [Series("pyrouter", ours), Series("the floor in C", floor)])
    )
    if write:
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{sweep.name}.svg").write_text(picture)
    rows = [
        [f"{x:,}", spread(theirs, "µs"), spread(mine, "µs")] for (x, theirs), (_, mine) in zip(floor, ours, strict=True)
    ]
    table = markdown([sweep.across, f"the floor in C, {sweep.up}", "pyrouter"], rows)
    return f"![{sweep.title} against {sweep.across}](plots/{sweep.name}.svg)\n\n{table}"


def _bind(measure: Callable[[Plan, int], float], plan: Plan, x: int) -> Callable[[], float]:
    return lambda: measure(plan, x)


def _floor(plan: Plan, pairs: int, body: int) -> float:
    with scratch() as path, relay(path / "log") as server:
        return _load(plan, server, write_users(path / "users", None, "u", 2 * pairs), pairs, body)


def _ours(plan: Plan, pairs: int, body: int) -> float:
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", 2 * pairs)
        with pyrouter(path / "data") as server:
            return _load(plan, server, users, pairs, body)


def _behind(plan: Plan, count: int) -> float:
    """With `count` messages pending in a thousand conversations that have nothing to do with the pairs."""
    senders, recipients, pairs = 20, 50, 200
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", 2 * pairs)
        writers = write_users(path / "writers", path / "data", "w", senders)
        away = write_users(path / "away", path / "data", "r", recipients)
        create_users(path / "data", "r", recipients)
        with pyrouter(path / "data") as server:
            floor_program(
                "fill", "--port", server.port, "--senders", writers, "--recipients", away, "--body", 160,
                "--each", max(1, count // (senders * recipients)),
            )  # fmt: skip
            server.settle()
            return _load(plan, server, users, pairs, 160)


def _load(plan: Plan, server: Server, users: Path, pairs: int, body: int) -> float:
    run: Mapping[str, Any] = floor_program(
        "load", "--port", server.port, "--server-pid", server.pid, "--users", users, "--pairs", pairs,
        "--window", 1, "--body", body, "--seconds", plan.seconds, "--warmup", plan.warmup,
    )  # fmt: skip
    return float(run["server_us"])


def _group_plan(plan: Plan) -> fanout.Plan:
    return fanout.Plan(1, plan.seconds, plan.warmup)


def _group_floor(plan: Plan, members: int) -> float:
    return float(fanout.floor_runs(_group_plan(plan), members, ONE)[1]["server_us_per_delivery"])


def _group(plan: Plan, members: int) -> float:
    return float(fanout.our_runs(_group_plan(plan), members, ONE)[1]["server_us_per_delivery"])
