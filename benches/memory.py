"""Memory per idle, authenticated WebSocket connection, against what uvloop needs for a bare one.

Both are measured from outside (smaps_rollup) at a third of the connections and at all of them; the slope between the
two leaves out what a process needs once. The kernel's socket buffers are in neither figure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benches.figures import Figure, interleave, within
from benches.harness import ROOT, Server, free_port, pyrouter, running, scratch, write_users
from benches.holding import Holder

PATIENT = {"PYROUTER_LIMITS_IDLE": "1h"}
"""`hold` answers no pings."""


def run(rounds: int, connections: int) -> list[Figure]:
    """Resident and anonymous memory per connection."""
    pairs = list(interleave(lambda: bare_slope(connections), lambda: slope(connections), rounds))
    figures = []
    for name, index in (("resident", 0), ("anonymous", 1)):
        figures.append(
            Figure(
                f"{name} memory per idle connection, {connections:,} of them",
                "B",
                [ours[index] for _, ours in pairs],
                [bare[index] for bare, _ in pairs],
                within(400, "B"),
            )
        )
    return figures


def bare_slope(connections: int) -> tuple[float, float]:
    """Resident and anonymous memory per connection of a bare transport, bytes."""
    with bare() as server, Holder(server, "--carrier", "bare") as holder:
        return _slope(server, holder, connections)


def slope(connections: int) -> tuple[float, float]:
    """The same of `pyrouter serve`, over WebSocket."""
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", connections)
        with (
            pyrouter(path / "data", settings=PATIENT) as server,
            Holder(server, "--carrier", "ws", "--users", users) as holder,
        ):
            return _slope(server, holder, connections)


@contextmanager
def bare() -> Iterator[Server]:
    """A uvloop server that does nothing with its connections."""
    port = free_port()
    with running([sys.executable, ROOT / "benches" / "idle_floor.py", str(port)], port) as server:
        yield server


def _slope(server: Server, holder: Holder, connections: int) -> tuple[float, float]:
    first = connections // 3
    holder.hold(first)
    low = server.memory()
    holder.hold(connections)
    high = server.memory()
    holder.hold(connections)  # none of them was closed meanwhile
    step = connections - first
    return (high.rss - low.rss) / step, (high.anonymous - low.anonymous) / step
