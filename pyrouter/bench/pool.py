"""The worker processes of a run, led from here as one: what is told to all, what all tell added up."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from pyrouter.bench.errors import BenchError, WrongAnswer
from pyrouter.bench.times import merge

__all__ = ["Seen", "Worker", "WorkerPool", "worker_pool"]

ANSWER_S = 120.0  # a worker answers within this, whatever it was asked
END_S = 10.0

# Of these the latest counts; all others are added up.
LATEST = frozenset(["last_delivery", "last_delivery_main", "last_login"])


class Seen(NamedTuple):
    """How things stand, and what all workers have used."""

    counts: Counter[str]
    """As `pyrouter._core.Load.counts`."""
    cpu_ns: int


class Worker:
    """One process."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "pyrouter.bench.worker"]  # -P: as `own_server`
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._came = bytearray()

    def ask(self, call: str, *args: Any, **options: Any) -> None:
        """Asks for something; `answer` is to be called next."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps({"call": call, "args": args, "options": options}) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def answer(self) -> Any:
        """What was asked for.

        Raises:
            BenchError: it could not do it, or is gone.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + ANSWER_S
        while (end := self._came.find(b"\n")) < 0:
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchError(f"a worker process did not answer within {ANSWER_S:.0f} s")
            chunk = os.read(self._process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise self._gone()
            self._came += chunk
        answer = orjson.loads(self._came[:end])
        del self._came[: end + 1]
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer["result"]

    def _gone(self) -> BenchError:
        return BenchError(f"a worker process ended with {self._process.wait()}")

    def end(self) -> None:
        """Ends it with its input, or else by force."""
        with self._process as process:
            assert process.stdin is not None
            try:
                process.stdin.close()
                process.wait(END_S)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                process.kill()


class WorkerPool:
    """Workers, each with the numbers of its own clients from 0 on."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    def each(self, call: str, *args: Any, **options: Any) -> list[Any]:
        """Asks every worker the same, at the same time."""
        return self.every(call, lambda _: (args, options))

    def every(self, call: str, of: Callable[[int], tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        """Asks every worker, at the same time; `of` gives what the one with this number is told."""
        for number, worker in enumerate(self.workers):
            args, options = of(number)
            worker.ask(call, *args, **options)
        return [worker.answer() for worker in self.workers]

    def look(self) -> Seen:
        """How things stand.

        Raises:
            WrongAnswer: a client was told something that is not so.
        """
        looks = self.each("look")
        trouble = [sentence for look in looks for sentence in look["trouble"]]
        if trouble:
            raise WrongAnswer(trouble)
        counts: Counter[str] = Counter()
        for look in looks:
            for name, value in look["counts"].items():
                counts[name] = max(counts[name], value) if name in LATEST else counts[name] + value
        return Seen(counts, sum(look["cpu_ns"] for look in looks))

    def take_times(self) -> dict[str, list[tuple[int, int]]]:
        """Histograms by name since the last call; see `pyrouter._core.Load.take_times`."""
        taken = self.each("take_times")
        return {name: merge(times[name] for times in taken) for name in taken[0]}

    def verify(self) -> None:
        """Whether everybody has everything, now that nothing is under way any more.

        Raises:
            WrongAnswer: somebody has not.
        """
        trouble = [sentence for found in self.each("verify") for sentence in found]
        if trouble:
            raise WrongAnswer(trouble)


@contextmanager
def worker_pool(count: int) -> Iterator[WorkerPool]:
    """Starts so many workers, and ends them."""
    workers: list[Worker] = []
    try:
        for _ in range(count):
            workers.append(Worker())  # noqa: PERF401  # those that were started are ended, whatever happens to the next
        yield WorkerPool(workers)
    finally:
        for worker in workers:
            worker.end()
