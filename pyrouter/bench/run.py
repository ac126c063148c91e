"""One run, from options to a result: servers, workers, clients; then the scenario; then the ends are tied up.

`Bench` is what a scenario works with. It waits for things to happen, and notices when they do not; it measures what was
used between two marks.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from pyrouter.bench.errors import BenchError, WrongAnswer
from pyrouter.bench.options import Options, fitted, server_connections, unit
from pyrouter.bench.pool import Seen, WorkerPool, worker_pool
from pyrouter.bench.progress import Progress
from pyrouter.bench.result import Result
from pyrouter.bench.target import Target, filesystem, own_server, running_server, tokens

__all__ = ["Bench", "Mark", "Used", "run"]

REACH_S = 10.0  # a server that runs already can be connected to within this
LOOK_S = 0.1  # between two looks at how things stand
STUCK_S = 60.0  # without any progress: the server owes something and does not give it

Counts = Counter[str]


class Mark(NamedTuple):
    """An instant, and what was used and done up to it."""

    at_ns: int
    counts: Counts
    client_ns: int
    server_ns: int | None
    waited_ns: int | None
    metrics: dict[str, float]


class Used(NamedTuple):
    """Between two marks."""

    seconds: float
    counts: Counts
    client_us: float
    server_us: float | None
    waited_us: float | None
    """That the server was ready to run and had no core."""
    metrics: dict[str, float]
    """How much each counter grew; and by how much each gauge is higher."""


class Bench:
    """Servers and clients, ready to be told what to do. Worker `n` has clients 0 … `sizes[n]` - 1."""

    def __init__(
        self, options: Options, progress: Progress, servers: Sequence[Target], pool: WorkerPool, sizes: Sequence[int]
    ) -> None:
        self.options = options
        self.progress = progress
        self.servers = servers
        self.pool = pool
        self.sizes = sizes
        self.notes: list[str] = []
        """What a reader of the result should know."""

    # Clients.

    def everybody(self) -> list[list[int]]:
        """The clients of each worker."""
        return [list(range(size)) for size in self.sizes]

    def tell(self, call: str, peers: Sequence[Sequence[int]], *args: object, **options: object) -> None:
        """Asks each worker for something about clients of its own."""
        self.pool.every(call, lambda number: ((list(peers[number]), *args), options))

    def share(self, what: int) -> list[int]:
        """`what` split among the workers, as evenly as can be."""
        workers = len(self.sizes)
        return [what // workers + (number < what % workers) for number in range(workers)]

    # Waiting.

    def wait(self, phase: str, done: Callable[[Counts], bool], detail: Callable[[Counts], str] | None = None) -> Seen:
        """Looks until `done` is content.

        Raises:
            WrongAnswer: something was wrong, or nothing has moved for a minute.
        """
        moved_at, before = time.monotonic(), -1
        while True:
            seen = self.pool.look()
            if done(seen.counts):
                return seen
            self._alive()
            self.progress.show(phase, detail(seen.counts) if detail else "")
            sum_of_all = (
                seen.counts["logins"] + seen.counts["accepted"] + seen.counts["deliveries"] + seen.counts["done"]
            )
            if sum_of_all != before:
                moved_at, before = time.monotonic(), sum_of_all
            elif time.monotonic() - moved_at > STUCK_S:
                raise WrongAnswer([f"{phase}: nothing has moved for {STUCK_S:.0f} s; {_standing(seen.counts)}"])
            time.sleep(LOOK_S)

    def hold(self, phase: str, seconds: float) -> None:
        """Lets it go on for so long."""
        end = time.monotonic() + seconds
        before: tuple[float, Counts] | None = None
        while (left := end - time.monotonic()) > 0:
            seen, now = self.pool.look(), time.monotonic()
            self._alive()
            rates = _rates(before, (now, seen.counts))
            self.progress.show(phase, f"{left:.0f} s left{rates}")
            before = now, seen.counts
            time.sleep(min(left, 0.5))

    def connect(self, peers: Sequence[Sequence[int]], phase: str = "connecting") -> Seen:
        """Connects these clients and waits until all are welcome."""
        self.tell("connect", peers)
        return self.wait(phase, connected, lambda counts: f"{counts['open']:,} of {counts['wanted']:,}")

    def make_groups(self) -> None:
        """Makes the groups that were added, and waits until everybody knows."""
        self.pool.each("create_groups")
        self.wait("making groups", lambda counts: not counts["groups_to_make"] and not counts["owed"])

    def finish(self, phase: str = "until everybody has everything") -> None:
        """Waits until nothing is under way any more, and looks at everything once again.

        Raises:
            WrongAnswer: somebody lacks something.
        """
        self.wait(phase, settled, lambda counts: f"{counts['owed']:,} deliveries are owed")
        self.pool.verify()

    def _alive(self) -> None:
        for server in self.servers:
            server.check()

    # Measuring.

    def mark(self, *, begins: bool = False) -> Mark:
        """What was used so far. With `begins` times are counted anew from here on."""
        if begins:
            self.pool.take_times()
            metrics = self._metrics()
        seen = self.pool.look()
        server = _sum(one.cpu_ns() for one in self.servers)
        waited = _sum(one.waited_ns() for one in self.servers)
        at_ns = time.monotonic_ns()
        if not begins:
            metrics = self._metrics()
        return Mark(at_ns, seen.counts, seen.cpu_ns, server, waited, metrics)

    def rss_bytes(self) -> int | None:
        """Of all servers."""
        return _sum(server.rss_bytes() for server in self.servers)

    def settle(self) -> None:
        """Waits until no server is at work."""
        self.progress.show("until the server is quiet")
        for server in self.servers:
            server.settle()

    def _metrics(self) -> dict[str, float]:
        total: defaultdict[str, float] = defaultdict(float)
        for server in self.servers:
            for name, value in server.metrics().items():
                total[name] += value
        return dict(total)


def between(begin: Mark, end: Mark) -> Used:
    """What was used from one mark to the next."""
    counts = Counter(end.counts)
    counts.subtract(begin.counts)
    server = None if begin.server_ns is None or end.server_ns is None else (end.server_ns - begin.server_ns) / 1e3
    waited = None if begin.waited_ns is None or end.waited_ns is None else (end.waited_ns - begin.waited_ns) / 1e3
    metrics = {name: value - begin.metrics.get(name, 0.0) for name, value in end.metrics.items()}
    seconds = (end.at_ns - begin.at_ns) / 1e9
    return Used(seconds, counts, (end.client_ns - begin.client_ns) / 1e3, server, waited, metrics)


def _sum(values: Iterable[int | None]) -> int | None:
    """None if one of them is not known."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def connected(counts: Counts) -> bool:
    """Whether everybody who is to be is welcome."""
    return counts["open"] == counts["wanted"]


def accepted(counts: Counts) -> bool:
    """Whether all that was sent is accepted."""
    return not counts["unaccepted"]


def settled(counts: Counts) -> bool:
    """Whether everybody has everything."""
    return connected(counts) and accepted(counts) and not counts["owed"] and not counts["in_flight"]


def run(options: Options, progress: Progress) -> Result:
    """Makes the run.

    Raises:
        BenchError: it could not be made.
        WrongAnswer: the server did something wrong.
    """
    from pyrouter.bench.scenarios import PLAY  # noqa: PLC0415  # they need this module

    options = fitted(options)
    try:
        with _ready(options, progress) as bench:
            result = PLAY[options.scenario](bench)
            bench.pool.look()
            return result
    finally:
        progress.end()


@contextmanager
def _ready(options: Options, progress: Progress) -> Iterator[Bench]:
    assert options.connections is not None
    most = server_connections()
    with ExitStack() as stack:
        if options.server is not None:
            assert options.secret is not None
            progress.show("looking at the server")
            servers = [stack.enter_context(running_server(options.server, options.secret, options.server_pid))]
            workers = options.workers or -(-options.connections // most)
        else:
            count = -(-options.connections // most)
            if count > 1 and options.scenario != "idle":
                raise BenchError(
                    f"--connections {options.connections}: one server process takes {most:,} here (open files); "
                    "only idle starts several"
                )
            progress.show("starting the server")
            servers = [
                stack.enter_context(own_server(options.directory, options.durability, options.config))
                for _ in range(count)
            ]
            workers = max(options.workers or count, count)
            workers += -workers % count
        # Those who belong together are in one process.
        workers = min(workers, max(1, options.connections // unit(options)))
        pool = stack.enter_context(worker_pool(workers))
        sizes = _sizes(options, workers)
        bench = Bench(options, progress, servers, pool, sizes)
        kind = None if options.server else filesystem(options.directory or Path(tempfile.gettempdir()))
        if kind in ("tmpfs", "ramfs") and options.durability != "none":
            bench.notes.append(f"the log was on {kind}, where {options.durability} costs nothing: choose a --directory")
        progress.show("making clients", f"{options.connections:,}")
        _make_clients(bench)
        yield bench


def _sizes(options: Options, workers: int) -> list[int]:
    """How many clients each worker has; see the scenarios for how they use them."""
    assert options.connections is not None
    together = unit(options)
    units, rest = divmod(options.connections, together)
    sizes = [together * (units // workers + (number < units % workers)) for number in range(workers)]
    for number in range(rest):
        sizes[number % workers] += 1
    return sizes


def _make_clients(bench: Bench) -> None:
    tag = secrets.randbits(32)
    options, servers = bench.options, bench.servers
    addresses = [_address(server) for server in servers]

    def begin(number: int) -> tuple[tuple[object, ...], dict[str, object]]:
        server = number % len(servers)
        return (addresses[server],), {
            "host": f"{servers[server].host}:{servers[server].port}",
            "tag": tag + number & 0xFFFF_FFFF,
            "body": options.body,
            "websocket": options.websocket,
            "ack_at_once": options.scenario != "fanout",
        }

    def peers(number: int) -> tuple[tuple[object, ...], dict[str, object]]:
        names = [f"bench-{tag:08x}-{number}-{client}" for client in range(bench.sizes[number])]
        made = tokens(servers[number % len(servers)].secret, names)
        return (list(zip(names, made, strict=True)),), {}

    bench.pool.every("begin", begin)
    bench.pool.every("add_peers", peers)


def _address(server: Target) -> str:
    """The address by which it can be reached: a name may have several, and the server listen on one of them only."""
    try:
        with socket.create_connection((server.host, server.port), timeout=REACH_S) as probe:
            host = str(probe.getpeername()[0])
    except OSError as error:
        raise BenchError(f"{server.host}:{server.port} cannot be reached: {error.strerror or error}") from error
    return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"


def _rates(before: tuple[float, Counts] | None, now: tuple[float, Counts]) -> str:
    if before is None or now[0] <= before[0]:
        return ""
    took = now[0] - before[0]
    parts = [
        f"{(now[1][name] - before[1][name]) / took:,.0f} {label}/s"
        for name, label in (("accepted", "messages"), ("deliveries", "deliveries"))
    ]
    return f"; {', '.join(parts)}; {now[1]['open']:,} connected"


def _standing(counts: Counts) -> str:
    names = ("open", "wanted", "unaccepted", "owed", "in_flight", "groups_to_make")
    return ", ".join(f"{name.replace('_', ' ')} {counts[name]:,}" for name in names)
