"""The whole server, a process of its own, beside the relay in C: CPU that each uses for the same messages.

Their connections are in it on both sides. `make bench-gate` holds such ratios more closely, with more rounds.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from benches import fanout
from benches.conftest import Beside
from benches.harness import Server, floor_program, pyrouter, relay, scratch, write_users
from benches.wire import make_group

PAIRS = 50
MESSAGES = 10_000
MEMBERS = 256
GROUP_MESSAGES = 200


class ProcessClock:
    """CPU seconds of a process, user and system, all its threads."""

    def __init__(self) -> None:
        self.pid = 0

    def __call__(self) -> float:
        """Now."""
        return time.clock_gettime(~self.pid << 3 | 2)  # clock_getcpuclockid(3), as Linux computes it


OURS, FLOOR = ProcessClock(), ProcessClock()
SERVER_CPU = pytest.mark.benchmark(timer=OURS)


@SERVER_CPU
@pytest.mark.usefixtures("floor")
@pytest.mark.parametrize("window", [1, 16])
def test_direct_messages(beside: Beside, window: int) -> None:
    def load(server: Server, users: Path) -> None:
        run = floor_program(
            "load", "--port", server.port, "--users", users, "--pairs", PAIRS, "--window", window, "--body", 160,
            "--messages", MESSAGES,
        )  # fmt: skip
        assert run["messages"] == MESSAGES

    with ExitStack() as stack:
        path = stack.enter_context(scratch())
        mine = write_users(path / "mine", path / "data", "u", 2 * PAIRS)
        theirs = write_users(path / "theirs", None, "u", 2 * PAIRS)
        server, yardstick = stack.enter_context(pyrouter(path / "data")), stack.enter_context(relay(path / "log"))
        OURS.pid, FLOOR.pid = server.pid, yardstick.pid
        beside(
            lambda: load(server, mine), lambda: load(yardstick, theirs), what="the relay in C", at_most=4,
            operations=MESSAGES, rounds=5, yardstick_timer=FLOOR,
        )  # fmt: skip


@SERVER_CPU
@pytest.mark.usefixtures("floor")
def test_a_group(beside: Beside) -> None:
    def load(server: Server, users: Path, group: str) -> None:
        run = floor_program(
            "load", "--port", server.port, "--users", users, "--group", group, "--members", MEMBERS - 1,
            "--ack", 16, "--body", 160, "--messages", GROUP_MESSAGES,
        )  # fmt: skip
        assert run["deliveries"] == GROUP_MESSAGES * (MEMBERS - 1)

    with ExitStack() as stack:
        path = stack.enter_context(scratch())
        mine = fanout.make_users(path, MEMBERS)
        theirs = write_users(path / "theirs", None, "u", MEMBERS)
        server, yardstick = stack.enter_context(pyrouter(path / "data")), stack.enter_context(relay(path / "log"))
        group = make_group(server.port, mine, MEMBERS)
        OURS.pid, FLOOR.pid = server.pid, yardstick.pid
        beside(
            lambda: load(server, mine, group), lambda: load(yardstick, theirs, fanout.EVERYBODY),
            what="the relay in C", at_most=3, operations=GROUP_MESSAGES * (MEMBERS - 1), rounds=5,
            yardstick_timer=FLOOR,
        )  # fmt: skip
