"""The core as Python sees it: one durable router in one directory. docs/adr/0004 tells how bytes get in and out."""

from collections.abc import Callable
from typing import Literal, Self, TypeAlias, final

from typing_extensions import CapsuleType

__all__ = [
    "API_VERSION",
    "Core",
    "CoreError",
    "CoreFailed",
    "Load",
    "__version__",
    "api",
    "build_stamp",
    "fsck",
    "option_names",
]

__version__: str

API_VERSION: int
"""Version of the table of C functions that `api` and `Core.capsule` hold."""
api: CapsuleType
"""The table alone, for `pyrouter._conn` to check when it is imported."""

def build_stamp() -> str:
    """The stamp of the sources that this extension was built from; empty if built without the build backend."""

class CoreError(Exception):
    """The core could not be opened, or was used wrongly. The message says what was wrong, where, and what to do."""

class CoreFailed(CoreError):
    """The core hit a failed disk or a bug of its own and refuses everything; only opening it anew helps (I10)."""

KeyKind: TypeAlias = Literal["user", "conversation"]

Request: TypeAlias = (
    tuple[Literal["authenticate"], int, str]  # conn, token
    # conn, ticket, user, device, conversation (16 bytes), peer (other user of a direct conversation), action
    | tuple[Literal["authorize"], int, int, str, int, bytes, str | None, str]
    | tuple[Literal["load"], KeyKind, bytes]  # key: the user's name as UTF-8, or the conversation's 16 bytes
    | tuple[Literal["store"], KeyKind, bytes, int, bytes]  # key, version, blob
    | tuple[Literal["alarm"], str, str]  # code, message
    | tuple[Literal["failed"], str]  # reason; told once
)

@final
class Core:
    """The open router: an engine, its log threads and the clock.

    Every method that changes something asks the driver (`pyrouter._conn.Driver`) for a turn by itself.
    """

    def __new__(cls, path: str, options: dict[str, int | str | bool] | None = None, store: str | None = None) -> Self:
        """Open the directory `path` (made if absent) and recover what is in it; blocks, without the GIL.

        Args:
            path: the data directory; its log is held by a lock until `close`.
            options: limits and log settings by name; see `option_names`. An unknown name is an error.
            store: what was found beside the log: `missing`, `empty`, `unowned`, or the id of its log
                (`pyrouter.cold.found`); without it, whether it is the log's own is not looked at.

        Raises:
            CoreError: the directory is in use, unreadable, or an option is wrong; or something of it is missing or not
                known.
        """

    @property
    def capsule(self) -> CapsuleType:
        """The table of C functions with this core as its context, for `pyrouter._conn`."""

    @property
    def wake_fd(self) -> int:
        """An eventfd, readable when the log has news: read it, and give the core a turn. -1 once closed."""

    @property
    def recovery(self) -> dict[str, object]:
        """What opening read (`segments`, `last_time_ms`, `took_ms`), and what was not as it should be (`findings`)."""

    @property
    def failed(self) -> str | None:
        """Why the core refuses everything, if it does."""

    def attach(self, waker: Callable[[], None] | None) -> None:
        """Call `waker` whenever a method of this object left something for a turn to do. For the driver.

        Raises:
            CoreError: another one is attached; None takes it away.
        """

    def take_requests(self) -> list[Request]:
        """What the core wants from its driver, in order; each is handed out once."""

    def admit(self, conn: int, user: str, device: int, expires_ms: int) -> None:
        """The token of `conn` is good; it ends at `expires_ms` (ms since 1970; 0: never)."""

    def refuse(self, conn: int, code: str, message: str) -> None:
        """The token of `conn` is not good: tell it why (`code` as in docs/wire.md) and close it."""

    def permit(self, conn: int, ticket: int, allowed: bool) -> None:
        """The answer to an "authorize"."""

    def loaded(self, kind: KeyKind, key: bytes, blob: bytes | None) -> None:
        """The answer to a "load": what was stored last; b"" for a user who exists and has no state; None: unknown."""

    def stored(self, kind: KeyKind, key: bytes, version: int) -> None:
        """The answer to a "store": that version is durable."""

    def stop(self, reason: str, reconnect_ms: int) -> None:
        """Tell every client to go, and when to come back (ms); then close its connection."""

    def fail(self, reason: str) -> None:
        """Something that the core relies on is broken: refuse everything from now on (I10)."""

    def close(self) -> None:
        """Write and sync what is left, end the log's threads, give the directory free; blocks, without the GIL.

        Its driver, if any, is closed before. Harmless when repeated.

        Raises:
            CoreError: the log could not be written to its end.
        """

    def stats(self) -> dict[str, int]:
        """Plain counters and gauges by name."""

    def diagnosis(self) -> dict[str, int]:
        """What waits inside, by name: for a person who looks at a router that seems to stand still."""

@final
class Load:
    """A load generator: thousands of clients in one thread, which check every answer. For `pyrouter bench`.

    Clients are numbered from 0 on. Nothing happens but in `run`. A *stream* is one client's messages to one
    conversation; it has a window of messages in flight `until` they are "accepted", have a "receipt", or arrived at
    "everyone" of the group "main"; a stream with the window 0 sends by the clock only.
    """

    def __new__(
        cls,
        server: str,
        *,
        host: str,
        tag: int,
        body: int,
        websocket: bool = False,
        ack_at_once: bool = False,
        opening: int = 512,
    ) -> Self:
        """Without any client.

        Args:
            server: address and port.
            host: what a WebSocket's `Host` says.
            tag: 32 bits that tell this run's messages from others'; everything random follows from it.
            body: bytes of a message's body, from 20.
            websocket: binary WebSocket messages; else raw frames.
            ack_at_once: acknowledge when all that came was read; else every 16 messages or 100 ms.
            opening: connections that are being opened at once.

        Raises:
            CoreError: the address is none, or the body too short.
        """

    def add_peers(self, users: list[tuple[str, str]]) -> int:
        """Adds a client for each name and token; how many there are now."""

    def add_direct(self, pairs: list[tuple[int, int]], *, window: int, limit: int, until: str) -> None:
        """For each pair a stream from the first to the second; `limit` messages in all."""

    def add_groups(self, groups: list[list[int]], senders: int, *, window: int, limit: int, until: str) -> None:
        """Groups of these members, of whom the first is the owner; so many of the first have a stream to it."""

    def create_groups(self) -> None:
        """Asks the server to make the groups that are not made."""

    def set_group(self, peers: list[int], group: str) -> None:
        """Counts the times of these clients with "main", "aside" (nobody waits for these) or "others"."""

    def connect(self, peers: list[int]) -> None:
        """Connects those that are not."""

    def leave(self, peers: list[int]) -> None:
        """Ends their connections."""

    def stall(self, peers: list[int]) -> None:
        """They read nothing until `unstall`."""

    def unstall(self, peers: list[int]) -> None:
        """They read again."""

    def flap(self, peers: list[int], every_ms: int) -> None:
        """Each reconnects once in this time, until `calm`."""

    def slow(self, peers: list[int], stalled_ms: int, reading_ms: int) -> None:
        """Each reads nothing for a while, then for another while it does, until `calm`."""

    def churn(self, per_s: float, among: list[int], away_from_ms: int, away_to_ms: int) -> None:
        """So many of these a second leave, and return after a time between the two; until `calm`."""

    def rate(self, per_s: float, to_groups: int) -> None:
        """So many messages a second by the clock, `to_groups` of a hundred to groups; 0 ends it."""

    def calm(self) -> None:
        """Everybody comes back, reads, and stays; nobody sends by the clock."""

    def send(self, on: bool) -> None:
        """Keep the windows full from now on, or not."""

    def allow(self, more: int) -> None:
        """So many more messages in each stream with a window."""

    def run(self, at_most_ms: int, wake_fd: int | None = None) -> Literal["time", "woken", "trouble"]:
        """Goes on for so long, without the GIL; less if the open descriptor `wake_fd` becomes readable, or on trouble.

        Raises:
            OSError: `wake_fd` cannot be watched.
        """

    def counts(self) -> dict[str, int]:
        """What happened so far and how things stand, by name; core_rs/load/src/counts.rs explains each."""

    def take_times(self) -> dict[str, list[tuple[int, int]]]:
        """Histograms since the last call: the longest time of a bucket, ns, and how many it has, ascending."""

    def trouble(self) -> list[str]:
        """What was wrong: the first things, a sentence each. Nothing goes on after it."""

    def verify(self) -> list[str]:
        """What anybody lacks, now that nothing is under way any more."""

def option_names() -> dict[str, int | str | bool]:
    """Every option that `Core` takes, with its default."""

def fsck(path: str, store: str | None = None) -> dict[str, object]:
    """Check the log below the data directory `path`, read-only; blocks, without the GIL.

    Gives counts (`damaged` is how many findings mean a loss; a torn end does not) and `findings`, a sentence each.

    Raises:
        CoreError: there is no log, or it cannot be read.
    """
