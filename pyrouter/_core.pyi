"""The core as Python sees it: one durable router in one directory. docs/adr/0004 tells how bytes get in and out."""

from collections.abc import Callable
from typing import Literal, Self, TypeAlias, final

from typing_extensions import CapsuleType

__all__ = [
    "API_VERSION",
    "Core",
    "CoreError",
    "CoreFailed",
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

    def __new__(cls, path: str, options: dict[str, int | str | bool] | None = None) -> Self:
        """Open the directory `path` (made if absent) and recover what is in it; blocks, without the GIL.

        Args:
            path: the data directory; its log is held by a lock until `close`.
            options: limits and log settings by name; see `option_names`. An unknown name is an error.

        Raises:
            CoreError: the directory is in use, unreadable, or an option is wrong.
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

def option_names() -> dict[str, int | str | bool]:
    """Every option that `Core` takes, with its default."""

def fsck(path: str) -> dict[str, object]:
    """Check the log below the data directory `path`, read-only; blocks, without the GIL.

    Gives counts (`damaged` is how many findings mean a loss; a torn end does not) and `findings`, a sentence each.

    Raises:
        CoreError: there is no log, or it cannot be read.
    """
