"""What is wanted of a run. What is None is the scenario's to choose; `fitted` chooses, and refuses what cannot be."""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pyrouter.bench.errors import BenchError
from pyrouter.listener import room

__all__ = [
    "CARRIERS",
    "DURABILITIES",
    "SCENARIOS",
    "Carrier",
    "Options",
    "Scenario",
    "fitted",
    "server_connections",
    "unit",
]

Scenario = Literal["idle", "pair", "fanout", "offline", "storm", "mixed"]
Carrier = Literal["raw", "ws"]
Durability = Literal["fsync", "interval", "none"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
CARRIERS: tuple[Carrier, ...] = get_args(Carrier)
DURABILITIES: tuple[Durability, ...] = get_args(Durability)

MIN_BODY = 20  # bytes; of these 8 are the time and 12 say which message it is
MAX_BODY = 65_536
MAX_WINDOW = 240  # messages; a client with 256 that are not accepted would not be read
MAX_MEMBERS = 1024
WORKER_SOCKETS = 18_000  # of one process, of the 20,000 open files that it may commonly have
OTHERS = 50  # connections of a server that are left to others: for its metrics, say


@dataclass(frozen=True, slots=True)
class Options:
    """One run."""

    scenario: Scenario
    connections: int | None = None
    """In all; those that the scenario does not use are idle."""
    pairs: int | None = None
    """Pairs of clients; in `fanout` groups."""
    members: int | None = None
    """Of a group."""
    messages: int | None = None
    """`pair`, `fanout`: in all, instead of `seconds`. `offline`: of each pair. `storm`: for each client."""
    window: int | None = None
    """Messages in flight of each sender."""
    body: int = 160
    """Bytes of a message's body."""
    stalled: int | None = None
    """Clients that read nothing for the run; in `mixed` now and then."""
    flapping: int = 0
    """Clients that reconnect once a second."""
    durability: Durability = "fsync"
    seconds: float = 10.0
    """That are measured."""
    warmup: float | None = None
    """Seconds before these."""
    rate: float | None = None
    """Messages a second, where they are sent by the clock: `mixed`, `idle`, beside a `storm`."""
    groups: int | None = None
    """`mixed`: of a hundred messages so many go to groups."""
    carrier: Carrier | None = None
    server: str | None = None
    """ws:// or tcp:// URL; None: one of its own."""
    secret: Path | None = None
    """With `server`: the secret that tokens are made with."""
    server_pid: int | None = None
    """With `server`: its process, if it is on this machine."""
    workers: int | None = None
    directory: Path | None = None
    """Where its own server's data goes; None: where temporary files go."""
    config: Path | None = None
    """Its own server's configuration."""

    @property
    def websocket(self) -> bool:
        """Whether clients are WebSockets."""
        return self.carrier == "ws"


class _Defaults(NamedTuple):
    connections: int = 0
    pairs: int = 0
    members: int = 0
    messages: int | None = None
    window: int = 1
    warmup: float = 1.0
    carrier: Carrier = "raw"
    rate: float = 0.0


_DEFAULTS: dict[Scenario, _Defaults] = {
    "idle": _Defaults(connections=1000, carrier="ws", rate=100.0, warmup=0.0),
    "pair": _Defaults(pairs=200),
    "fanout": _Defaults(pairs=1, members=1024, window=16),
    "offline": _Defaults(pairs=100, messages=1000, window=16, warmup=0.0),
    "storm": _Defaults(connections=5000, pairs=20, messages=10, rate=200.0, warmup=3.0),
    "mixed": _Defaults(connections=1000, members=64, warmup=5.0),
}


def fitted(options: Options) -> Options:
    """The same, with the scenario's own choice wherever there was none.

    Raises:
        BenchError: something cannot be; the message says what, and what can.
    """
    chosen = _DEFAULTS[options.scenario]
    given = replace(
        options,
        pairs=chosen.pairs if options.pairs is None else options.pairs,
        members=chosen.members if options.members is None else options.members,
        messages=chosen.messages if options.messages is None else options.messages,
        window=chosen.window if options.window is None else options.window,
        warmup=chosen.warmup if options.warmup is None else options.warmup,
        carrier=options.carrier or chosen.carrier,
        groups=20 if options.groups is None else options.groups,
    )
    connections = max(used(given), chosen.connections) if given.connections is None else given.connections
    given = replace(given, connections=connections)
    if given.stalled is None:
        given = replace(given, stalled=connections // 100 if given.scenario == "mixed" else 0)
    if given.rate is None:
        given = replace(given, rate=connections / 10 if given.scenario == "mixed" else chosen.rate)
    _check(given)
    return given


def unit(options: Options) -> int:
    """As many clients belong together: all of them are of one worker."""
    match options.scenario:
        case "pair" | "offline":
            return 2
        case "fanout" | "mixed":
            return options.members or 2
        case "storm":
            return options.connections or 1
        case _:
            return 1


def used(options: Options) -> int:
    """Connections that the scenario itself needs."""
    pairs, members = options.pairs or 0, options.members or 0
    match options.scenario:
        case "pair" | "offline":
            return 2 * pairs
        case "fanout":
            return pairs * members
        case "storm":
            return 2 * pairs + 2
        case _:
            return 2


def _check(options: Options) -> None:
    at_least: list[tuple[str, float | None, float]] = [
        ("--connections", options.connections, used(options)),
        ("--body", options.body, MIN_BODY),
        ("--window", options.window, 1),
        ("--seconds", options.seconds, 0.1),
        ("--warmup", options.warmup, 0),
        ("--rate", options.rate, 0),
        ("--stalled", options.stalled, 0),
        ("--flapping", options.flapping, 0),
        ("--messages", options.messages, 1),
        ("--workers", options.workers, 1),
    ]
    if options.scenario in ("pair", "fanout", "offline", "storm"):
        at_least.append(("--pairs", options.pairs, 0 if options.scenario == "storm" else 1))
    if options.scenario in ("fanout", "mixed"):
        at_least.append(("--members", options.members, 2))
    at_most: list[tuple[str, float | None, float]] = [
        ("--body", options.body, MAX_BODY),
        ("--window", options.window, MAX_WINDOW),
        ("--members", options.members, MAX_MEMBERS),
        ("--groups", options.groups, 100),
    ]
    for name, value, bound in at_least:
        if value is not None and value < bound:
            raise BenchError(f"{name} {value:g}: for {options.scenario} it is at least {bound:g}")
    for name, value, bound in at_most:
        if value is not None and value > bound:
            raise BenchError(f"{name} {value:g}: it is at most {bound:g}")
    _check_aside(options)
    _check_server(options)


def _check_aside(options: Options) -> None:
    aside = (options.stalled or 0) + options.flapping
    if aside and options.scenario not in ("fanout", "mixed"):
        raise BenchError(f"--stalled and --flapping are for fanout and mixed, not for {options.scenario}")
    most = (options.members or 0) - 2 if options.scenario == "fanout" else (options.connections or 0) // 2
    if aside > most:
        raise BenchError(f"--stalled and --flapping: together at most {most} here, so that enough others are left")


def _check_server(options: Options) -> None:
    if options.server is None:
        for name, value in (("--secret", options.secret), ("--server-pid", options.server_pid)):
            if value is not None:
                raise BenchError(f"{name} is for a server that runs already: give its --server too")
        if options.config is not None and not options.config.is_file():
            raise BenchError(f"--config {options.config}: there is no such file")
        if options.directory is not None and not options.directory.is_dir():
            raise BenchError(f"--directory {options.directory}: there is no such directory")
        return
    if options.secret is None:
        raise BenchError(
            "--server: give its --secret too (the file `secret` in its data directory) to make tokens with"
        )
    if options.directory is not None or options.config is not None:
        raise BenchError("--directory and --config are for a server of the run's own, not for --server")


def server_connections() -> int:
    """As many clients as one server process takes, by this system's limit of open files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(WORKER_SOCKETS, max(1, room(files)[1] - OTHERS)) if files > 0 else WORKER_SOCKETS
