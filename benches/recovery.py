"""Starting with a million messages pending: how long recovery takes, and what it holds in memory.

A real server is filled through its socket and killed; then it is started again and again with a cold page cache,
against `dd` of the same files. Recovery is the time from exec to the ready line, less what an empty directory takes.

The memory of a pending message is the difference between a server that recovered one message in each conversation and
one that recovered five, over the messages between them; what a conversation costs is thereby left out.
"""

from __future__ import annotations

import math
import signal
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benches.figures import Budget, Figure, below
from benches.harness import Server, drop_cache, floor_program, pyrouter, scratch, write_users
from benches.log_bytes import used

BODY = 1024
EACH = 5
EVICTION_S = 900.0
BUDGET = Budget("≤ 2 ×, or ≤ 3 s", lambda ours, yardstick: ours <= max(3.0, 2 * yardstick))


class Scale(NamedTuple):
    """senders × recipients conversations with five messages pending in each; senders × quiet ones with none."""

    senders: int
    recipients: int
    quiet: int

    @property
    def conversations(self) -> int:
        """With something pending."""
        return self.senders * self.recipients


FULL = Scale(200, 1000, 5000)
QUICK = Scale(20, 100, 500)


def run(rounds: int, scale: Scale) -> list[Figure]:
    """Recovery time, and memory per pending message."""
    with scratch() as path:
        data = path / "data"
        memory = _fill(path, data, scale)
        empty = [_start(path / "empty", []) for _ in range(3)]
        reads, recoveries = [], []
        for _ in range(rounds):
            files = _files(data)
            reads.append(_read(files))
            recoveries.append(max(0.0, _start(data, files) - statistics.median(empty)))
    messages = scale.conversations * EACH
    return [
        Figure(
            f"recovery: {messages:,} pending × {BODY} B over {scale.conversations:,} conversations, "
            f"{scale.senders * scale.quiet:,} quiet, cold page cache",
            "s",
            recoveries,
            reads,
            BUDGET,
        ),
        Figure("memory per pending message, body on disk", "B", [memory], (), below(64, "B")),
    ]


def _fill(path: Path, data: Path, scale: Scale) -> float:
    """Makes the directory; returns the memory of a pending message, bytes."""
    senders = write_users(path / "senders", data, "s", scale.senders)
    recipients = write_users(path / "recipients", data, "r", scale.recipients)
    quiet = write_users(path / "quiet", data, "q", scale.quiet)
    _create(data, "r", scale.recipients)

    with _killed(data) as server:
        _send(server, senders, recipients, "--body", BODY)
    with _killed(data) as server:
        one = server.memory().rss
        _send(server, senders, recipients, "--body", BODY, "--first", 2, "--each", EACH - 1)
    with _killed(data) as server:
        five = server.memory().rss
    # Last, so that no memory which the quiet ones once had is there to be used again.
    with _killed(data, quiet="1s") as server:
        _send(server, senders, quiet, "--connect", "yes", "--body", 160)
        _await_eviction(data / "cold.db", scale.senders * scale.quiet)
    return (five - one) / (scale.conversations * (EACH - 1))


@contextmanager
def _killed(data: Path, quiet: str = "10m") -> Iterator[Server]:
    """`pyrouter serve`, ended with SIGKILL: whatever starts next has really to recover."""
    with pyrouter(data, settings={"PYROUTER_LIMITS_QUIET": quiet}) as server:
        yield server
        server.stop(signal.SIGKILL)


def _create(data: Path, prefix: str, count: int) -> None:
    """Makes users who have never connected, so that somebody can write to them."""
    from pyrouter.cold import ColdDatabase  # noqa: PLC0415 - the yardsticks alone need no pyrouter

    with ColdDatabase(data / "cold.db") as cold:
        for number in range(count):
            cold.create_user(f"{prefix}{number}")


def _send(server: Server, senders: Path, recipients: Path, *more: object) -> None:
    floor_program("fill", "--port", server.port, "--senders", senders, "--recipients", recipients, *more)


def _await_eviction(cold: Path, conversations: int) -> None:
    end = time.monotonic() + EVICTION_S
    while time.monotonic() < end:
        with sqlite3.connect(f"file:{cold}?mode=ro", uri=True) as database:
            count = database.execute("SELECT count(*) FROM conversations").fetchone()[0]
        if count >= conversations:
            return
        time.sleep(1)
    raise RuntimeError(f"after {EVICTION_S:.0f} s only {count:,} of {conversations:,} quiet conversations left memory")


def _files(data: Path) -> list[Path]:
    return sorted((data / "log").glob("*.seg"))


def _read(files: list[Path]) -> float:
    """Reads what is written in the files from the disk, as fast as `dd` can, seconds."""
    blocks = {file: math.ceil(used(file) / 2**20) for file in files}
    drop_cache(files)
    begin = time.monotonic()
    for file, count in blocks.items():
        subprocess.run(["dd", f"if={file}", "of=/dev/null", "bs=1M", f"count={count}", "status=none"], check=True)
    return time.monotonic() - begin


def _start(data: Path, files: list[Path]) -> float:
    drop_cache(files)
    with _killed(data) as server:
        return server.start_s
