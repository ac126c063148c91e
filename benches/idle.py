"""Many idle connections: whether one costs the same among 1,000 as among 18,000, and 100,000 on one machine.

A process has at most so many open files (20,000, say), so that 100,000 connections take several server processes, each
with its own port and data. Messages to random ones of them, picked out one by one, still arrive.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

from benches.figures import Budget, Figure, interleave, within
from benches.harness import Server, pyrouter, scratch, write_users
from benches.holding import Holder
from benches.memory import PATIENT, bare
from benches.wire import Line, read_users
from pyrouter.wire import wire_pb2 as wire

FIRST = 250
"""Connections after which a process has made all that it needs once."""


class Plan(NamedTuple):
    """How often, and how many."""

    rounds: int
    counts: tuple[int, ...] = (1_000, 3_000, 6_000, 12_000, 18_000)
    processes: int = 6
    each: int = 17_000
    messages: int = 500


def run(plan: Plan) -> list[Figure]:
    """Flatness, then the crowd."""
    return [*_flat(plan), *_crowd(plan)]


def _flat(plan: Plan) -> list[Figure]:
    rounds = list(interleave(lambda: _bare(plan.counts), lambda: _ours(plan.counts), plan.rounds))
    return [
        Figure(
            f"resident memory per idle connection, {count:,} of them",
            "B",
            [ours[at] for _, ours in rounds],
            [floor[at] for floor, _ in rounds],
            within(400, "B"),
        )
        for at, count in enumerate(plan.counts)
    ]


def _bare(counts: Iterable[int]) -> list[float]:
    with bare() as server, Holder(server, "--carrier", "bare") as holder:
        return _each(server, holder, counts)


def _ours(counts: tuple[int, ...]) -> list[float]:
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", max(counts))
        with (
            pyrouter(path / "data", settings=PATIENT) as server,
            Holder(server, "--carrier", "ws", "--users", users) as holder,
        ):
            return _each(server, holder, counts)


def _each(server: Server, holder: Holder, counts: Iterable[int]) -> list[float]:
    holder.hold(FIRST)
    base, sizes = server.memory().rss, []
    for count in counts:
        holder.hold(count)
        sizes.append((server.memory().rss - base) / (count - FIRST))
    return sizes


def _crowd(plan: Plan) -> list[Figure]:
    total = plan.processes * plan.each
    with scratch() as path, ExitStack() as stack:
        servers, holders, senders = [], [], []
        for number in range(plan.processes):
            data = path / f"data{number}"
            users = write_users(path / f"users{number}", data, "u", plan.each)
            writer = read_users(write_users(path / "writer", data, "w", 1))
            server = stack.enter_context(pyrouter(data, settings=PATIENT))
            servers.append(server)
            holders.append(stack.enter_context(Holder(server, "--carrier", "ws", "--users", users)))
            senders.append(stack.enter_context(Line(server.port, writer[0][1])))
        empty = sum(server.memory().rss for server in servers)
        begin = time.monotonic()
        with ThreadPoolExecutor(plan.processes) as pool:
            list(pool.map(lambda holder: holder.hold(plan.each), holders))
        took = time.monotonic() - begin
        full = sum(server.memory().rss for server in servers)
        times = _random_messages(plan, senders, holders)
        for holder in holders:
            holder.hold(plan.each)  # none was lost meanwhile
    what = f"{total:,} connections to {plan.processes} processes"
    return [
        Figure("connections held at once", "", [total], (), Budget("≥ 100,000", lambda ours, _: ours >= 100_000)),
        Figure(f"{what}: resident memory per connection", "B", [(full - empty) / total]),
        Figure(f"{what}: logins", "/s", [total / took]),
        Figure(
            f"{what}: {plan.messages} messages to random ones, each sent alone: send to arrival, median",
            "µs",
            [statistics.median(times)],
        ),
        Figure(f"{what}: the slowest of these", "µs", [max(times)]),
    ]


def _random_messages(plan: Plan, senders: list[Line], holders: list[Holder]) -> list[float]:
    """Microseconds from the send until the message was read from the recipient's socket, for each."""
    chance = random.Random(plan.messages)
    times = []
    for place in chance.sample(range(plan.processes * plan.each), plan.messages):
        number, index = divmod(place, plan.each)
        send = wire.Send(id=b"%d" % place, user=f"u{index}", body=b"\x5a" * 160)
        begin = time.perf_counter()
        senders[number].put(wire.ClientFrame(send=send))
        holders[number].expect_message(index)
        times.append((time.perf_counter() - begin) * 1e6)
        senders[number].expect("accepted")
    return times
