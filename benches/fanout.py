"""A group message: CPU for each delivery to members who are online, and what a member who is away costs.

The yardstick is the relay in C, which sends the same bytes to as many sockets and reads the same acknowledgements
(each member's every 16 messages or 100 ms). Both are driven by the same load, of a member who writes and all the others
who read.

A member who is away costs nothing for each message: the record in the log is the same, memory follows messages, and
CPU is that of those who are there.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benches.figures import Budget, Figure, at_most, below, interleave
from benches.harness import Server, floor_program, pyrouter, relay, scratch, write_users
from benches.log_bytes import MESSAGE_KIND, records
from benches.recovery import killed
from benches.wire import create_users, make_group

BODY = 160
EVERYBODY = "ff" * 16
"""The relay's group."""
STARTS = 5
"""Of a server on the same files: the memory of two of them differs by megabytes now and then, whatever is pending."""


class Shape(NamedTuple):
    """How many messages are on their way at once."""

    window: int
    budget: Budget | None


SHAPES = (Shape(1, at_most(1.25)), Shape(16, None))


class Plan(NamedTuple):
    """How long, how often, how many."""

    rounds: int
    seconds: float
    warmup: float
    members: int = 1024
    online: int = 24
    """Of the members, where the others are away."""
    pending: int = 90_000
    """Messages that wait for those who are away; a group holds 100,000."""


Run = Mapping[str, Any]


def run(plan: Plan) -> list[Figure]:
    """All figures of groups."""
    return [*_deliveries(plan), _record(plan), _away(plan), _memory(plan)]


def floor_runs(plan: Plan, members: int, shapes: tuple[Shape, ...] = SHAPES) -> dict[int, Run]:
    """The relay's, by window."""
    with scratch() as path, relay(path / "log") as server:
        users = write_users(path / "users", None, "u", members)
        return {shape.window: _load(plan, server, users, EVERYBODY, members, shape.window) for shape in shapes}


def our_runs(
    plan: Plan, members: int, shapes: tuple[Shape, ...] = SHAPES, within: tuple[str | Path, ...] = ()
) -> dict[int, Run]:
    """The same of `pyrouter serve`; `within` as there."""
    with scratch() as path:
        users = make_users(path, members)
        with pyrouter(path / "data", within=within) as server:
            group = make_group(server.port, users, members)
            return {shape.window: _load(plan, server, users, group, members, shape.window) for shape in shapes}


def make_users(path: Path, count: int) -> Path:
    """Users who exist, in a file for the load."""
    users = write_users(path / "users", path / "data", "u", count)
    create_users(path / "data", "u", count)
    return users


def _load(plan: Plan, server: Server, users: Path, group: str, online: int, window: int, messages: int = 0) -> Run:
    return floor_program(
        "load", "--port", server.port, "--server-pid", server.pid, "--users", users, "--group", group,
        "--members", online - 1, "--window", window, "--ack", 16, "--body", BODY,
        "--seconds", plan.seconds, "--warmup", plan.warmup, "--messages", messages,
    )  # fmt: skip


def _deliveries(plan: Plan) -> list[Figure]:
    rounds = list(interleave(lambda: floor_runs(plan, plan.members), lambda: our_runs(plan, plan.members), plan.rounds))
    figures = []
    for shape in SHAPES:
        floor, ours = [a[shape.window] for a, _ in rounds], [b[shape.window] for _, b in rounds]
        what = f"{plan.members:,} members, {shape.window} in flight"
        columns = [
            ("server_us_per_delivery", "CPU of the server a delivery", "µs", shape.budget),
            ("deliveries_rate", "deliveries", "/s", None),
            ("p50_us", "send until all have it, median", "µs", None),
            ("p99_us", "send until all have it, 99 %", "µs", None),
        ]
        for key, label, unit, budget in columns:
            figures.append(
                Figure(
                    f"{what}: {label}", unit, [_value(r, key) for r in ours], [_value(r, key) for r in floor], budget
                )
            )
    return figures


def _value(run: Run, key: str) -> float:
    return float(run["deliveries"] / run["seconds"] if key == "deliveries_rate" else run[key])


def _record(plan: Plan) -> Figure:
    return Figure(
        f"log bytes of a message record, {plan.members:,} members (yardstick: 2 members)",
        "B",
        [_record_bytes(plan, plan.members)],
        [_record_bytes(plan, 2)],
        Budget("the same", lambda ours, yardstick: ours == yardstick),
    )


def _record_bytes(plan: Plan, members: int) -> float:
    with scratch() as path:
        users = make_users(path, members)
        with pyrouter(path / "data", settings={"PYROUTER_LOG_SEGMENT": "512MiB"}) as server:
            group = make_group(server.port, users, members)
            _load(plan, server, users, group, 2, window=1, messages=500)
        segments = sorted((path / "data" / "log").glob("*.seg"))
        sizes = [record.alone for path in segments for record in records(path) if record.kind == MESSAGE_KIND]
    if len(sizes) < 500:
        raise RuntimeError(f"500 messages were delivered, and the log holds {len(sizes)}")
    return statistics.median(sizes[-500:])  # the last: the group's making is a record too


def _away(plan: Plan) -> Figure:
    def cpu(members: int) -> float:
        with scratch() as path:
            users = make_users(path, members)
            with pyrouter(path / "data") as server:
                group = make_group(server.port, users, members)
                return float(_load(plan, server, users, group, plan.online, 1)["server_us"])

    pairs = list(interleave(lambda: cpu(plan.online), lambda: cpu(plan.members), plan.rounds))
    away = plan.members - plan.online
    return Figure(
        f"CPU of the server a message, {plan.online} members online, {away:,} away (yardstick: nobody away)",
        "µs",
        [ours for _, ours in pairs],
        [alone for alone, _ in pairs],
        at_most(1.15),  # the same work; what is more is noise
    )


def _memory(plan: Plan) -> Figure:
    few = plan.pending // 10
    with scratch() as path:
        data, users = path / "data", make_users(path, plan.members)
        with killed(data) as server:
            group = make_group(server.port, users, plan.members)
            _load(plan, server, users, group, plan.online, 16, few)
        before = [_started(data) for _ in range(STARTS)]
        with killed(data) as server:
            _load(plan, server, users, group, plan.online, 16, plan.pending - few)
            server.settle()
        after = [_started(data) for _ in range(STARTS)]
    return Figure(
        f"memory per pending message, {plan.members - plan.online:,} of {plan.members:,} members away, body on disk",
        "B",
        [(many - statistics.median(before)) / (plan.pending - few) for many in after],
        (),
        below(64, "B"),
    )


def _started(data: Path) -> int:
    """Resident memory of a server that recovered what is there, bytes."""
    with killed(data) as server:
        return server.memory().rss
