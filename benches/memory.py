"""Memory per idle, authenticated WebSocket connection, against what uvloop needs for a bare one.

Both are measured from outside (smaps_rollup) at a third of the connections and at all of them; the slope between the
two leaves out what a process needs once. The kernel's socket buffers are in neither figure.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.figures import Figure, interleave, within
from benches.harness import FLOOR, ROOT, Memory, Server, free_port, pyrouter, running, scratch, write_users


def run(rounds: int, connections: int) -> list[Figure]:
    """Resident and anonymous memory per connection."""
    pairs = list(interleave(lambda: _bare(connections), lambda: _ours(connections), rounds))
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


def _bare(connections: int) -> tuple[float, float]:
    port = free_port()
    with running([sys.executable, ROOT / "benches" / "idle_floor.py", str(port)], port) as server:
        return slope(server, connections, ("--carrier", "bare"))


def _ours(connections: int) -> tuple[float, float]:
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", connections)
        with pyrouter(path / "data") as server:
            return slope(server, connections, ("--carrier", "ws", "--users", users))


def slope(server: Server, connections: int, arguments: Sequence[str | Path]) -> tuple[float, float]:
    """Resident and anonymous memory per connection that `hold` opens with these arguments, bytes."""
    first = connections // 3
    command = [FLOOR / "bin" / "hold", "--port", str(server.port), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hold:
        low = _hold(hold, server, first)
        high = _hold(hold, server, connections)
        _hold(hold, server, connections)  # none of them was closed meanwhile
        hold.communicate()
    step = connections - first
    return (high.rss - low.rss) / step, (high.anonymous - low.anonymous) / step


def _hold(hold: subprocess.Popen[str], server: Server, count: int) -> Memory:
    assert hold.stdin is not None
    assert hold.stdout is not None
    hold.stdin.write(f"{count}\n")
    hold.stdin.flush()
    answer = hold.stdout.readline()
    if answer != f"holding {count}\n":
        raise RuntimeError(f"hold ended with {hold.wait()}; its last word was {answer!r}")
    return server.memory()
