"""`python -m pyrouter.bench.worker`: some of a run's clients, in a process of their own.

It is led through its standard input: one JSON object a line, `{"call": NAME, "args": […], "options": {…}}`, each
answered with one line on standard output, `{"result": …}` or `{"error": TEXT}`. Between two calls its clients go on. It
ends with its input.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from typing import Any

import orjson

from pyrouter._core import CoreError, Load

__all__ = ["main"]

SLICE_MS = 1000  # of turns without a look at anything else; a call ends it early
READ_BYTES = 1 << 20

# What may be called, of `Load`.
CALLS = frozenset(
    (
        *("add_peers", "add_direct", "add_groups", "create_groups", "set_group"),
        *("connect", "leave", "stall", "unstall", "flap", "slow", "churn", "calm"),
        *("rate", "send", "allow", "take_times", "verify"),
    )
)


class Worker:
    """The clients, once they were asked for."""

    def __init__(self) -> None:
        self._load: Load | None = None

    def turn(self, fd: int) -> None:
        """Lets the clients go on until `fd` has something to read."""
        while self._load is not None:
            ended = self._load.run(SLICE_MS, fd)
            if ended != "time":
                return

    def answer(self, line: bytes) -> bytes:
        """Does what a line asks for."""
        request = orjson.loads(line)
        try:
            return orjson.dumps({"result": self._call(request["call"], request["args"], request["options"])})
        except (CoreError, OSError) as error:
            return orjson.dumps({"error": str(error)})

    def _call(self, name: str, args: list[Any], options: dict[str, Any]) -> Any:
        if name == "begin":
            self._load = Load(*args, **options)
            return None
        if self._load is None:
            raise CoreError("the first call is `begin`")
        if name == "look":
            return {
                "counts": self._load.counts(),
                "trouble": self._load.trouble(),
                "cpu_ns": time.process_time_ns(),
            }
        if name not in CALLS:
            raise CoreError(f"there is no call {name!r}")
        return getattr(self._load, name)(*map(_as_given, args), **options)


def _as_given(argument: Any) -> Any:
    """JSON knows no tuples: the lists in a list were some."""
    if isinstance(argument, list):
        return [tuple(one) if isinstance(one, list) else one for one in argument]
    return argument


def main() -> int:
    """Works until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever leads: it ends us with our input
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    worker = Worker()
    came = bytearray()
    while True:
        worker.turn(0)
        chunk = os.read(0, READ_BYTES)
        if not chunk:
            return 0
        came += chunk
        while (end := came.find(b"\n")) >= 0:
            line = bytes(came[:end])
            del came[: end + 1]
            sys.stdout.buffer.write(worker.answer(line) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
