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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from benches.figures import Budget, Figure, below
from benches.harness import Server, drop_cache, floor_program, pyrouter, scratch, write_users
from benches.log_bytes import used
from benches.wire import create_users

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
    what = f"{scale.conversations * EACH:,} pending × {BODY} B over {scale.conversations:,} conversations"
    with scratch() as path:
        memory = _pend(path, scale)
        figures = [_recover(path, rounds, f"recovery: {what}, cold page cache")]
    with scratch() as path:
        _say_and_forget(path, scale)
        _pend(path, scale)
        figures.append(
            _recover(path, rounds, f"recovery: {what}, {scale.senders * scale.quiet:,} quiet, cold page cache")
        )
    return [*figures, Figure("memory per pending message, body on disk", "B", [memory], (), below(64, "B"))]


def _recover(path: Path, rounds: int, what: str) -> Figure:
    data = path / "data"
    empty = statistics.median(_start(path / "empty", []) for _ in range(3))
    runs = []
    for _ in range(rounds):
        files = _files(data)
        runs.append((_read(files), max(0.0, _start(data, files) - empty)))
    return Figure(what, "s", [ours for _, ours in runs], [read for read, _ in runs], BUDGET)


def _pend(path: Path, scale: Scale) -> float:
    """Leaves five messages in each conversation; returns the memory of one, bytes."""
    data = path / "data"
    senders = write_users(path / "senders", data, "s", scale.senders)
    recipients = write_users(path / "recipients", data, "r", scale.recipients)
    create_users(data, "r", scale.recipients)
    with killed(data) as server:
        _send(server, senders, recipients, "--body", BODY)
    with killed(data) as server:
        one = server.memory().rss
        _send(server, senders, recipients, "--body", BODY, "--first", 2, "--each", EACH - 1)
    with killed(data) as server:
        five = server.memory().rss
    return (five - one) / (scale.conversations * (EACH - 1))


def _say_and_forget(path: Path, scale: Scale) -> None:
    """Leaves conversations in which everything was delivered long ago: in the cold store, and mostly out of the log."""
    data = path / "data"
    senders = write_users(path / "senders", data, "s", scale.senders)
    quiet = write_users(path / "quiet", data, "q", scale.quiet)
    with killed(data, quiet="1s") as server:
        _send(server, senders, quiet, "--connect", "yes", "--body", 160)
        _await_eviction(data, scale.senders * scale.quiet)


@contextmanager
def killed(data: Path, quiet: str = "10m") -> Iterator[Server]:
    """`pyrouter serve`, ended with SIGKILL: whatever starts next has really to recover."""
    with pyrouter(data, settings={"PYROUTER_LIMITS_QUIET": quiet}) as server:
        yield server
        server.stop(signal.SIGKILL)


def _send(server: Server, senders: Path, recipients: Path, *more: object) -> None:
    floor_program("fill", "--port", server.port, "--senders", senders, "--recipients", recipients, *more)


def _await_eviction(data: Path, conversations: int) -> None:
    """Until all of them are in the cold store and the log has let go of the segments that held them."""
    end = time.monotonic() + EVICTION_S
    while time.monotonic() < end:
        with closing(sqlite3.connect(f"file:{data / 'cold.db'}?mode=ro", uri=True)) as database:
            count = database.execute("SELECT count(*) FROM conversations").fetchone()[0]
        segments = len(_files(data))
        if count >= conversations and segments <= 2:
            return
        time.sleep(1)
    raise RuntimeError(
        f"after {EVICTION_S:.0f} s {count:,} of {conversations:,} quiet conversations have left memory, "
        f"and the log has {segments} segments"
    )


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
    with killed(data) as server:
        return server.start_s
