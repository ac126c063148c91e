"""The router as a library: one durable store and its sessions inside an asyncio program, with or without a network.

    async with Router.open("data") as router:
        await router.send("alice", "bob", b"hello")
        async for message in router.mailbox("bob"):
            await message.ack()

Rules: everything runs on the loop that opened it; what blocks runs in threads (I11); a failure that the router must not
survive ends the `async with` block with `RouterFailed` (I10). Signals, logging set-up and garbage collection are the
program's own: this module touches none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from pyrouter import __version__, bounds
from pyrouter._conn import Driver
from pyrouter._core import Core, CoreError, CoreFailed
from pyrouter.actor import Actor
from pyrouter.auth import Authenticate, Authorize, Identity, LocalTokens, check_device, check_user
from pyrouter.client.client import Client
from pyrouter.client.model import SentMessage, Skipped, Target
from pyrouter.cold import ColdStore
from pyrouter.config import Limits, Log, core_options
from pyrouter.errors import ConfigError, DataDirError, RouterClosed, RouterFailed
from pyrouter.listener import Gate, Listener
from pyrouter.log import get_logger
from pyrouter.mailbox import Mailbox
from pyrouter.pump import Pump
from pyrouter.sessions import Sessions

if TYPE_CHECKING:
    import socket

    from prometheus_client.registry import Collector

    from pyrouter.http import HttpHandoff

__all__ = ["Router"]

log = get_logger("pyrouter.router")


class Router:
    """One open router. Made by `Router.open`, alive inside its `async with` block."""

    def __init__(
        self,
        path: Path,
        *,
        log_settings: Log,
        limits: Limits,
        authenticate: Authenticate | None,
        authorize: Authorize | None,
        create_unknown_users: bool,
        hook_timeout_s: float,
        drain_s: float,
        reconnect_s: float,
    ) -> None:
        self._path = path
        self._options = core_options(
            log_settings, limits, authorize=authorize is not None, create_unknown=create_unknown_users
        )
        self._authenticate = authenticate
        self._authorize = authorize
        self._hook_timeout_s = hook_timeout_s
        self._drain_s = drain_s
        self._reconnect_ms = int(reconnect_s * 1000)
        self._core: Core | None = None
        self._driver: Driver | None = None
        self._cold = ColdStore(path / "cold.db")
        self._pump: Pump | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._http: HttpHandoff | None = None
        self._listeners: list[Listener] = []
        self.collectors: list[Collector] = []
        """What the metrics page tells beside the router's own counters."""
        self._sessions = Sessions(self._opened)
        self._local_tokens: LocalTokens | None = None
        self._failure: str | None = None
        self._closing = False
        self._owner: asyncio.Task[object] | None = None  # the task in the `async with` block
        self._owner_cancels = 0
        self._cancelled_owner = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        log: Log | None = None,
        limits: Limits | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        create_unknown_users: bool = False,
        hook_timeout_s: float = 10.0,
        drain_s: float = 5.0,
        reconnect_s: float = 0.5,
    ) -> Router:
        """A router on the data directory `path`, to be entered with `async with`; it recovers what is there.

        Args:
            path: the data directory, made if absent; one router at a time.
            log: durability and the size of segments.
            limits: bounds, see `pyrouter.Limits`.
            authenticate: turns the token of a network client into an identity; without it, tokens under the directory's
                own secret (`issue_token`, or `pyrouter token`).
            authorize: says whether a user may do something in a conversation; without it, everybody may write to
                everybody. Asked for network clients and for `send` alike.
            create_unknown_users: a send to a user who does not exist makes that user, instead of being refused.
            hook_timeout_s: seconds after which a hook has refused.
            drain_s: seconds that closing waits for connections to take what they are owed.
            reconnect_s: seconds that closing tells clients to wait before they connect again.

        Raises:
            ConfigError: limits or log settings cannot work, alone or together.

        Raises, on entering:
            DataDirError: another router holds the directory, or it cannot be used.
            ColdStoreError: the database in it cannot be used.
        """
        log, limits = log or Log(), limits or Limits()
        if found := [f"{keys[-1]}: {reason}" for keys, reason in bounds.problems(log, limits)]:
            raise ConfigError(found)
        return cls(
            Path(path),
            log_settings=log,
            limits=limits,
            authenticate=authenticate,
            authorize=authorize,
            create_unknown_users=create_unknown_users,
            hook_timeout_s=hook_timeout_s,
            drain_s=drain_s,
            reconnect_s=reconnect_s,
        )

    # Messages.

    async def send(
        self, sender: str, to: Target, body: bytes, *, id: bytes | None = None, device: int = 1
    ) -> SentMessage:
        """Sends as `sender` and returns once the message is accepted: durable, and numbered in its conversation.

        While the disk is full it waits for room: `stats()["storage_ok"]` is 0 then. `asyncio.timeout` bounds that.

        Args:
            sender: a user, made if there is none.
            to: a user, a conversation's 16-byte id, or a `pyrouter.client.Device`.
            body: opaque bytes.
            id: 1 to 32 bytes; a repeat with the same id is the same message (I4). Without it, a fresh one.
            device: which device of the sender it comes from.

        Returns:
            the message, with `conversation`, `seq` and `time`; `await sent.delivered()`, `await sent.read()` wait on.

        Raises:
            pyrouter.client.Refused: with the code of docs/wire.md (`unknown_user`, `body_too_large`, `forbidden`, …).
            RouterClosed, RouterFailed: it may or may not have been accepted; repeat it with the same id.
        """
        return await self.as_user(sender, device).send(to, body, id=id)

    def as_user(self, user: str, device: int = 1) -> Actor:
        """What `user`, who is made if there is none, does beside sending: groups, blocks. See `Actor`.

        Args:
            user: who acts.
            device: which device of the user it comes from.
        """
        return Actor(self._sessions, self._opened, check_user(user), check_device(device))

    def mailbox(self, user: str, device: int = 1, *, on_skip: Callable[[Skipped], None] | None = None) -> Mailbox:
        """The messages for one device of `user`, which is made if there is none. See `Mailbox`.

        Args:
            user: whose.
            device: which device.
            on_skip: told of messages that will never come; without it, the log is.
        """
        check_user(user)
        check_device(device)

        def open_session() -> Awaitable[Client]:
            return self._sessions.open(user, device, receive=True)

        return Mailbox(open_session, self._sessions.end, on_skip or _log_skip, lambda: self._failure)

    async def create_user(self, name: str) -> bool:
        """Makes a user with an empty mailbox, unless there is one. Whether it was made."""
        self._opened()
        return await self._cold.create_user(check_user(name))

    async def has_user(self, name: str) -> bool:
        """Whether there is such a user, as far as the disk knows."""
        self._opened()
        return await self._cold.has_user(name)

    async def issue_token(self, user: str, device: int = 1, lifetime: timedelta = timedelta(days=30)) -> str:
        """A token under the directory's own secret for a network client, as `pyrouter token` makes it; makes the user.

        Only useful without an `authenticate` of one's own.
        """
        tokens = await self._tokens()
        token = tokens.issue(user, device, int(lifetime.total_seconds() * 1000))
        await self.create_user(user)
        return token

    # The network.

    async def serve(
        self, host: str | None = "127.0.0.1", port: int = 7400, *, sock: socket.socket | None = None
    ) -> Listener:
        """Starts to listen, and returns: WebSocket, raw frames and HTTP on one port. May be called more than once.

        Args:
            host: an address or name; loopback by default, see docs/security.md before changing it.
            port: 0 lets the system choose, see `Listener.addresses`.
            sock: a bound socket instead of both.

        Raises:
            ListenError: the address is in use or cannot be had.
            ConfigError: without an `authenticate`: the local secret cannot be used.
        """
        _, driver = self._opened()
        if self._authenticate is None:
            await self._tokens()
        if self._http is None:
            self._http = await asyncio.to_thread(self._make_http)  # for the sake of its imports
        http = self._http
        gate = Gate(driver.accept, lambda: driver.connections + http.connections)
        listener = await Listener.start(gate, host, port, sock)
        self._listeners.append(listener)
        return listener

    # What can be known of it.

    @property
    def failure(self) -> str | None:
        """Why the router refuses everything, if it does."""
        return self._failure

    @property
    def unready(self) -> str | None:
        """Why no new client should be sent here now, if so."""
        if self._failure is not None:
            return self._failure
        if self._closing or self._pump is None:
            return "the router is not open" if self._pump is None else "the router is being closed"
        return self._pump.trouble

    @property
    def info(self) -> Mapping[str, str]:
        """Version and durability."""
        return {"version": __version__, "durability": str(self._options["durability"])}

    @property
    def recovery(self) -> Mapping[str, object]:
        """What opening the directory found, and what it had to set aside (I12)."""
        if self._core is None:
            raise RouterClosed("the router is not open")
        return self._core.recovery

    def turn_times(self) -> tuple[int, Sequence[tuple[int, int]]]:
        """How long turns of the loop took, ns: the sum, and buckets (the longest time of each, how many turns)."""
        return (0, ()) if self._driver is None else self._driver.turn_times()

    def stats(self) -> Mapping[str, int]:
        """Counters and gauges by name; docs/operations.md explains each."""
        if self._core is None:
            return {}
        try:
            return self._core.stats()
        except CoreError:  # it has failed: there is nothing to count
            return {}

    # Opening and closing.

    async def __aenter__(self) -> Self:
        if self._core is not None or self._closing:
            raise RouterClosed("a router can be entered once: open another")
        try:
            store = await self._cold.found()
            self._core = await asyncio.to_thread(Core, str(self._path), dict(self._options), store)
        except CoreError as error:
            await self._cold.close()
            raise DataDirError(str(error)) from error
        except BaseException:
            await self._cold.close()
            raise
        try:
            await self._cold.open(str(self._core.recovery["log_id"]))
        except BaseException:
            await asyncio.to_thread(self._core.close)
            await self._cold.close()
            raise
        log.info("opened", data=str(self._path), took_ms=self._core.recovery["took_ms"])
        for finding in cast("list[dict[str, object]]", self._core.recovery["findings"]):
            log.warning("recovery found", finding=finding["message"])
        self._pump = Pump(
            self._core,
            self._cold,
            authenticate=self._authenticate or self._local_authenticate,
            authorize=self._authorize,
            hook_timeout_s=self._hook_timeout_s,
            on_failed=self._on_failed,
        )
        self._owner = asyncio.current_task()
        self._owner_cancels = self._owner.cancelling() if self._owner else 0
        self._pumping = asyncio.create_task(self._pump.run(), name="pyrouter pump")
        self._pumping.add_done_callback(self._on_pump_done)
        self._driver = Driver(self._core, asyncio.get_running_loop(), self._pump.on_requests, self._on_http)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        closing = asyncio.create_task(self._close(), name="pyrouter close")
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():  # closing is not given up halfway, however often this task is cancelled
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError as again:
                if not closing.done():
                    cancelled = again
            except Exception:  # noqa: BLE001  # raised by `result` below
                pass
        ours = False
        if self._cancelled_owner and self._owner is not None:
            ours = self._owner.uncancel() <= self._owner_cancels
        closing.result()
        if self._failure is not None and (kind is None or (ours and kind is asyncio.CancelledError)):
            raise RouterFailed(self._failure) from None
        if cancelled is not None and not ours:
            raise cancelled

    async def _close(self) -> None:
        core, driver, pumping = self._core, self._driver, self._pumping
        if core is None or driver is None or pumping is None:
            return
        for listener in self._listeners:
            listener.close()
        await self._sessions.close()
        if self._failure is None:
            await self._drain(core, driver)
        if self._http is not None:
            await self._http.close()
        driver.close()
        pumping.cancel()
        await asyncio.wait([pumping])
        try:
            await asyncio.to_thread(core.close)
        except CoreError as error:
            if self._failure is None:
                self._failure = str(error)
        await self._cold.close()

    async def _drain(self, core: Core, driver: Driver) -> None:
        try:
            core.stop("the router is stopping", self._reconnect_ms)
            async with asyncio.timeout(self._drain_s):
                await driver.emptied()
        except TimeoutError:
            log.warning("some connections did not take what they were owed in time", connections=driver.connections)
        except CoreFailed as error:
            self._failure = str(error)

    # Failing.

    def _on_failed(self, reason: str) -> None:
        if self._failure is not None:
            return
        self._failure = reason
        for listener in self._listeners:
            listener.close()
        if self._owner is not None and not self._closing and not self._owner.done():
            self._cancelled_owner = True
            self._owner.cancel()

    def _on_pump_done(self, pumping: asyncio.Task[None]) -> None:
        if pumping.cancelled():
            return
        error = pumping.exception()
        if error is not None:
            log.error("the pump ended", exc_info=error)
            self._on_failed(f"a fault of pyrouter's own: {type(error).__name__}")

    # Parts.

    def _opened(self) -> tuple[Core, Driver]:
        if self._failure is not None:
            raise RouterFailed(self._failure)
        if self._core is None or self._driver is None or self._closing:
            raise RouterClosed("the router is not open")
        return self._core, self._driver

    async def _tokens(self) -> LocalTokens:
        if self._local_tokens is None:
            self._local_tokens = await asyncio.to_thread(LocalTokens.open, self._path)
        return self._local_tokens

    async def _local_authenticate(self, token: str) -> Identity:
        return await (await self._tokens())(token)

    def _make_http(self) -> HttpHandoff:
        from pyrouter.http import HttpHandoff, application  # noqa: PLC0415  # only a router with a network needs them

        return HttpHandoff(application(self))

    def _on_http(self, transport: asyncio.Transport, prefix: bytes) -> None:
        if self._http is not None:
            self._http(transport, prefix)


def _log_skip(skip: Skipped) -> None:
    log.warning("messages will never come", first=skip.first, last=skip.last, reason=skip.reason.name.lower())
