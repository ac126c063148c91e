"""Leads a run: starts server and workers, kills the server as often as asked, and judges.

By hand: `python -m tests.torture.run --kills 500 [--seed N]`; a failing run prints its seed and keeps its directory.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.server_process import ServerProcess, reached

from . import check
from .worker import PATIENCE_S, Crowd, Job

USERS = 12
WORKERS = 2
CARRIERS = ("ws", "tcp", "json")
SETTINGS = '[log]\nsegment = "1MiB"\n[logging]\nlevel = "warning"\n'
FLOOR_LOG_BYTES = 6 << 20  # a few segments: the open one, those made ahead, one that is being given back
FLOOR_RSS_BYTES = 24 << 20  # above an empty server: users, their conversations, and what the allocator keeps
ANSWER_WITHIN_S = PATIENCE_S + 30


@dataclass
class Outcome:
    seed: int
    directory: Path
    violations: list[str]
    accepted: int
    kills: int

    def __str__(self) -> str:
        story = f"{self.kills} kills, {self.accepted} messages accepted, seed {self.seed}, {self.directory}"
        return "\n".join([story, *self.violations[:20], f"{len(self.violations)} violations"])


class Worker:
    """A worker process, seen from the leader."""

    def __init__(self, job: Job, stderr: Path) -> None:
        with stderr.open("ab") as file:
            command = [sys.executable, "-m", "tests.torture.worker", job.dump()]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file)
        self._stderr = stderr

    def order(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{text}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"a worker died: see {self._stderr}") from None

    def answer(self, word: str) -> list[str]:
        """Waits for its answer to an order; what it waited for in vain."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_WITHIN_S)
        assert ready, f"a worker did not answer {word}: see {self._stderr}"
        said, _, rest = self._process.stdout.readline().decode().strip().partition(" ")
        assert said == word, f"a worker said {said!r} instead of {word!r}: see {self._stderr}"
        return list(json.loads(rest)) if rest else []

    def end(self) -> None:
        """Lets it go; kills it if it does not."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def run(kills: int, seed: int, directory: Path) -> Outcome:
    """One run. `directory` is empty and stays."""
    rng = random.Random(seed)
    server = ServerProcess(directory, SETTINGS)
    workers: list[Worker] = []
    try:
        server.start()
        base_rss = server.rss_bytes()
        jobs = _jobs(seed, server, directory)
        workers += [Worker(job, directory / "workers.log") for job in jobs]
        for worker in workers:
            worker.answer("connected")
        for word in ("gather", "go"):
            for worker in workers:
                worker.order(word)
                worker.answer(word)
        while server.kills < kills:
            _torment(server, rng)
        violations = _settle(server, workers, directory)
        violations += _at_the_floor(server, base_rss)
    finally:
        for worker in workers:
            worker.end()
        server.close()
    records = check.load(directory)
    violations += check.judge(records)
    if said := (directory / "workers.log").read_text():
        violations.append(f"the workers complained: {said[:1000]}")
    if "Traceback" in (log := (directory / "server.log").read_text()) or "panicked" in log:
        violations.append(f"the server complained: see {directory / 'server.log'}")
    accepted = sum(len(record.accepted) for record in records.values())
    if accepted < 10 * kills:
        violations.append(f"only {accepted} messages were accepted: the run shows little")
    return Outcome(seed, directory, violations, accepted, server.kills)


def _jobs(seed: int, server: ServerProcess, directory: Path) -> list[Job]:
    devices = [(f"user{n}", device) for n in range(USERS) for device in (1, 2)[: 2 if n % 3 == 0 else 1]]
    peers = [f"user{n}" for n in range(USERS)] * 3 + [f"{user}/{device}" for user, device in devices]
    issued = [
        (user, device, server.token(user, device), CARRIERS[n % len(CARRIERS)])
        for n, (user, device) in enumerate(devices)
    ]
    users = [f"user{n}" for n in range(USERS)]
    groups = [Crowd(users[n : n + 5], users[n + 5 : n + 7]) for n in (0, 2, 4)]
    return [Job(seed, server.port, str(directory), issued[n::WORKERS], peers, groups) for n in range(WORKERS)]


def _torment(server: ServerProcess, rng: random.Random) -> None:
    """One life of the server, ended at a random instant: mostly at work, sometimes while it recovers."""
    if rng.random() < 0.85:
        server.wait_ready()
        time.sleep(rng.uniform(0, 1.5))
    else:
        time.sleep(rng.uniform(0, 0.6))
    server.kill()
    server.spawn()


def _settle(server: ServerProcess, workers: list[Worker], directory: Path) -> list[str]:
    """Peace: everything that was made is answered, comes, and is read."""
    server.wait_ready()
    for worker in workers:
        worker.order("drain")
    vain = [text for worker in workers for text in worker.answer("drain")]
    wanted = check.expected(check.load(directory))
    ends = {
        f"{user}/{device}": {conversation: max(seqs) for conversation, seqs in by_conversation.items()}
        for (user, device), by_conversation in wanted.items()
    }
    for worker in workers:
        worker.order(f"finish {json.dumps(ends)}")
    return vain + [text for worker in workers for text in worker.answer("finish")]


def _at_the_floor(server: ServerProcess, base_rss: int) -> list[str]:
    """I5: nothing is left on disk or in memory of what everybody has; and the directory is whole."""
    # Acks are synced within a second, and segments go after a checkpoint.
    floor = reached(lambda: not _above(server, base_rss), PATIENCE_S)
    violations = [] if floor else _above(server, base_rss)
    if status := server.stop():
        violations.append(f"the server stopped with status {status}")
    checked = server.fsck()
    if checked.returncode:
        violations.append(f"fsck: {checked.stdout}{checked.stderr}")
    return violations


def _above(server: ServerProcess, base_rss: int) -> list[str]:
    """What is not at its floor."""
    stats = server.metrics()
    found = {
        "pending messages": (stats["messages_pending"], 0),
        "bytes of pending messages": (stats["bytes_pending"], 0),
        "bytes of log": (server.log_bytes(), FLOOR_LOG_BYTES),
        "bytes of memory": (server.rss_bytes(), base_rss + FLOOR_RSS_BYTES),
    }
    return [f"{what}: {value:.0f}, the floor is {floor}" for what, (value, floor) in found.items() if value > floor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    chosen = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="pyrouter-torture-"))
    sys.stderr.write(f"seed {chosen.seed}, {directory}\n")
    outcome = run(chosen.kills, chosen.seed, directory)
    sys.stderr.write(f"{outcome}\n")
    sys.exit(bool(outcome.violations))


if __name__ == "__main__":
    main()
