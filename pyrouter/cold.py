"""The cold store: SQLite beside the log, with the users and with the state of whatever has gone quiet.

- `ColdDatabase` is the database, blocking; `pyrouter token` uses it beside a running server.
- `ColdStore` puts one of them on a thread of its own; jobs run in the order they were given, each in one transaction.

A state is a blob of the core's, opaque here, but for its first four bytes: a checksum. `meta` has the id of the log
that the store belongs to, once a router has opened both; without its log, or beside another one, a store is of no use.
A user whose state is NULL exists and has never connected. WAL and `synchronous=FULL`: what a call has stored is on disk
when it returns, whoever else has the file open.

This module must never know what a state means, nor hold a message.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar

from pyrouter.errors import ColdStoreError

__all__ = ["Checked", "ColdDatabase", "ColdStore", "Load", "Store", "check_database", "found"]

T = TypeVar("T")
Kind = Literal["user", "conversation"]

APPLICATION_ID = 0x70797274  # "pyrt", so that `file` and a careless `--data` can tell it from other databases
SCHEMA_VERSION = 2
OPENING_MS = 10_000  # how long opening waits for another process that is opening too
BUSY_S = 30.0  # how long a transaction waits for those of other processes; each lasts milliseconds
RESERVE_BYTES = 256 << 10  # SQLite's index of the WAL takes 32 KiB, and the first commits some more
FULL_BYTES = 1 << 20  # a disk with less room than this is called full
# Between two looks. SQLite's own pauses grow to 100 ms, and would starve beside a busy writer whose pauses are shorter.
LOOK_S = (0.000_2, 0.002)

_SCHEMA = """
CREATE TABLE users (name TEXT PRIMARY KEY, version INTEGER NOT NULL DEFAULT 0, state BLOB) WITHOUT ROWID;
CREATE TABLE conversations (id BLOB PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_TABLES = ("users", "conversations")
_LOAD = {
    "user": "SELECT coalesce(state, x'') FROM users WHERE name = ?",
    "conversation": "SELECT state FROM conversations WHERE id = ?",
}
_STORE = {
    "user": "INSERT INTO users (name, version, state) VALUES (?, ?, ?) "
    "ON CONFLICT (name) DO UPDATE SET version = excluded.version, state = excluded.state",
    "conversation": "INSERT INTO conversations (id, version, state) VALUES (?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state",
}


class Load(NamedTuple):
    """Wants the state that was stored last: `b""` for a user without one, `None` for an unknown key."""

    kind: Kind
    key: bytes


class Store(NamedTuple):
    """Wants a state kept in place of the one before."""

    kind: Kind
    key: bytes
    version: int
    state: bytes


class ColdDatabase:
    """The database file. Blocking; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens the file, which is made if absent.

        Raises:
            ColdStoreError: it cannot be opened, is damaged, or is not of this version.
        """
        self.path = path
        self._reserve = _Reserve(path)
        try:
            self._open()
        except ColdStoreError:
            if not self._reserve.give_up():
                raise
            self._open()
        self._reserve.make()

    def _open(self) -> None:
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Autocommit: transactions are begun where they are meant. The thread is checked by who owns us.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise _explained(path, "opened", error) from error
        try:
            self._db.execute(f"PRAGMA busy_timeout = {OPENING_MS}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
            self._db.execute("PRAGMA busy_timeout = 1")
        except sqlite3.Error as error:
            self._db.close()
            raise _explained(path, "used", error) from error
        except ColdStoreError:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Harmless when repeated."""
        self._db.close()
        self._reserve.make()  # of what SQLite gave back, on a full disk

    def belong(self, log_id: str) -> None:
        """Says whose store this is, if nobody has said so before.

        Args:
            log_id: the id of the log beside it, as `Core.recovery` has it.

        Raises:
            ColdStoreError: it is another log's; or the disk is full, or does not work.
        """
        try:
            owner = self._owner()
            if owner is None:
                with _Transaction(self._db):
                    self._db.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('log', ?)", (log_id,))
                owner = self._owner()
        except sqlite3.Error as error:
            raise _explained(self.path, "written", error) from error
        if owner != log_id:
            raise ColdStoreError(f"the cold store {self.path} belongs to another log: put the right one back")

    def found(self) -> str:
        """Whose store this is: a log's id; or `empty`: without rows, `unowned`: of no log yet.

        Raises:
            ColdStoreError: the disk does not work.
        """
        try:
            rows = any(self._db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in _TABLES)
            owner = self._owner()
        except sqlite3.Error as error:
            raise _explained(self.path, "read", error) from error
        if not rows:
            return "empty"
        return "unowned" if owner is None else owner

    def _owner(self) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'log'").fetchone()
        return None if row is None else str(row[0])

    def create_user(self, name: str) -> bool:
        """Makes a user with an empty mailbox, unless there is one. Whether it was made.

        Raises:
            ColdStoreError: the disk is full, or does not work.
        """
        try:
            with _Transaction(self._db):
                return self._db.execute("INSERT OR IGNORE INTO users (name) VALUES (?)", (name,)).rowcount == 1
        except sqlite3.Error as error:
            raise _explained(self.path, "written", error) from error

    def has_user(self, name: str) -> bool:
        """Whether there is such a user.

        Raises:
            ColdStoreError: the disk does not work.
        """
        try:
            return self._db.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone() is not None
        except sqlite3.Error as error:
            raise _explained(self.path, "read", error) from error

    def run(self, requests: Sequence[Load | Store]) -> list[bytes | None]:
        """Does all of it in order, in one transaction, or none of it.

        Returns:
            for each request what was loaded, or `None` for a store.

        Raises:
            sqlite3.Error: nothing was done.
        """
        if not any(isinstance(request, Store) for request in requests):
            return [self._one(request) for request in requests]
        with _Transaction(self._db):
            return [self._one(request) for request in requests]

    def _one(self, request: Load | Store) -> bytes | None:
        key = request.key.decode() if request.kind == "user" else request.key
        if isinstance(request, Load):
            row = self._db.execute(_LOAD[request.kind], (key,)).fetchone()
            return row[0] if row else None
        self._db.execute(_STORE[request.kind], (key, request.version, request.state))
        return None

    def _migrate(self) -> None:
        version = self._pragma("user_version")
        if version == SCHEMA_VERSION and self._pragma("application_id") == APPLICATION_ID:
            return
        with _Transaction(self._db):  # looked at again under the lock: two processes may come first
            version, tables = self._pragma("user_version"), self._count("SELECT count(*) FROM sqlite_master")
            if version == 0 and tables == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif self._pragma("application_id") != APPLICATION_ID:
                raise ColdStoreError(f"{self.path} is a database, but not a cold store of pyrouter")
            elif version != SCHEMA_VERSION:
                raise ColdStoreError(
                    f"the cold store {self.path} has version {version}, this pyrouter knows {SCHEMA_VERSION}: "
                    "use the pyrouter that made it"
                )

    def _pragma(self, name: str) -> int:
        return self._count(f"PRAGMA {name}")

    def _count(self, statement: str) -> int:
        value: int = self._db.execute(statement).fetchone()[0]
        return value


def _explained(path: Path, what: str, error: OSError | sqlite3.Error) -> ColdStoreError:
    """The error, with what to do about it. SQLite calls a full disk by several names, so the disk itself is asked."""
    advice = "is the data directory yours, and does its disk work?"
    with suppress(OSError):
        free = os.statvfs(path.parent)
        if free.f_bavail * free.f_frsize < FULL_BYTES:
            advice = "its disk is full: free some space"
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        advice = "it is damaged, or not pyrouter's: restore it from a copy"
    return ColdStoreError(f"the cold store {path} cannot be {what}: {error}; {advice}")


def found(path: Path) -> str:
    """What stands at `path`: `missing`, `empty`, `unowned` (of no log yet), or the id of a store's log. Makes nothing.

    Raises:
        ColdStoreError: it cannot be opened, is damaged, or is not of this version.
    """
    try:
        if path.stat().st_size == 0:
            return "empty"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise _explained(path, "opened", error) from error
    with ColdDatabase(path) as database:
        return database.found()


class _Reserve:
    """Room beside the file, given up when the disk is full and SQLite needs some to open it: a start must work then."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.reserve")
        self._disk = path.parent

    def make(self) -> None:
        """Takes the room, if it is not taken and the disk has it."""
        if self._disk == Path():
            return  # not a file
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(file, 0, RESERVE_BYTES)
        except OSError:
            with suppress(OSError):
                self._path.unlink()
        finally:
            os.close(file)

    def give_up(self) -> bool:
        """Gives the room back if the disk has no other; whether it did."""
        try:
            free = os.statvfs(self._disk)
            if free.f_bavail * free.f_frsize >= FULL_BYTES:
                return False
            self._path.unlink()
        except OSError:
            return False
        return True


class Checked(NamedTuple):
    """What `check_database` found."""

    users: int
    conversations: int
    problems: tuple[str, ...]
    found: str | None
    """Whose store it is, see `found`; `None` if that cannot be read."""


def check_database(path: Path) -> Checked | None:
    """Looks a cold store over without changing it; `None` if there is none."""
    if not path.exists():
        return None
    if path.stat().st_size == 0:
        return Checked(0, 0, (), "empty")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            problems = tuple(f"cold store: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok")
            users, conversations = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES)
            rows = db.execute(
                "SELECT CAST(name AS BLOB), state FROM users WHERE state IS NOT NULL "
                "UNION ALL SELECT id, state FROM conversations"
            )
            bad = sum(1 for key, state in rows if state and zlib.crc32(state[4:], zlib.crc32(key)) != _checksum(state))
            if bad:
                problems = (*problems, f"cold store: {bad} damaged rows: what needs them is refused")
            owner = db.execute("SELECT value FROM meta WHERE key = 'log'").fetchone()
            whose = "empty" if users + conversations == 0 else "unowned" if owner is None else str(owner[0])
            return Checked(users, conversations, problems, whose)
    except sqlite3.Error as error:
        return Checked(0, 0, (f"cold store: {error}",), None)


def _checksum(state: bytes) -> int:
    return int.from_bytes(state[:4], "little")


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT: takes the write lock at the start, where waiting for it is safe, never midway."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        until = time.monotonic() + BUSY_S
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(*LOOK_S))
            else:
                return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        elif self._db.in_transaction:  # SQLite ends it by itself on a full disk
            self._db.execute("ROLLBACK")


class ColdStore:
    """A `ColdDatabase` on its own thread, for an event loop."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened before `open`."""
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pyrouter-cold")
        self._database: ColdDatabase | None = None

    async def found(self) -> str:
        """See `found`."""
        return await self._do(found, self._path)

    async def open(self, log_id: str | None = None) -> None:
        """Opens the file, which is made if absent.

        Args:
            log_id: the log that it belongs to, see `ColdDatabase.belong`.

        Raises:
            ColdStoreError: see `ColdDatabase`.
        """
        self._database = await self._do(ColdDatabase, self._path)
        if log_id is not None:
            await self._do(self._database.belong, log_id)

    async def close(self) -> None:
        """Finishes the jobs that were given, closes the file and ends the thread. Harmless when repeated."""
        if self._database is not None:
            database, self._database = self._database, None
            await self._do(database.close)
        self._thread.shutdown()

    async def run(self, requests: Sequence[Load | Store]) -> list[bytes | None]:
        """See `ColdDatabase.run`; one job."""
        return await self._do(self._opened().run, requests)

    async def create_user(self, name: str) -> bool:
        """See `ColdDatabase.create_user`."""
        return await self._do(self._opened().create_user, name)

    async def has_user(self, name: str) -> bool:
        """See `ColdDatabase.has_user`."""
        return await self._do(self._opened().has_user, name)

    def _opened(self) -> ColdDatabase:
        if self._database is None:
            raise ColdStoreError(f"the cold store {self._path} is closed")
        return self._database

    async def _do(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*arguments))
