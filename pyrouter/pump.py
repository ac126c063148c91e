"""Answers what the core asks of the world outside: who is this, may they, what was stored, please store.

- Hooks run as tasks, a bounded number at once and a bounded number of starts a turn; one that is slow, hangs or raises
  holds up its own connection and nothing else (I6, I11).
- What one loop turn wants loaded goes to the cold store's thread in one job, what it wants stored in another. A full or
  busy disk is tried again until it works; a damaged database is fatal to the router (I10), for no state may vanish
  silently (I12).
- Loads do not wait for stores: on a full disk who is quiet can still come back and read. The order of the two does not
  matter, since the core loads only what it has not, and stores only what it has until that is stored.

This module must never log what a hook raised in words: an embedder's message may well contain the token.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Generic, ParamSpec, Protocol, TypeVar

from pyrouter._core import CoreError
from pyrouter.auth import Authenticate, Authorize, check_device, check_user
from pyrouter.cold import ColdStore, Kind, Load, Store
from pyrouter.errors import AuthError
from pyrouter.log import get_logger

if TYPE_CHECKING:
    from pyrouter._core import Request

__all__ = ["Pump"]

HOOKS_AT_ONCE = 1024
HOOKS_A_TURN = 32  # starts; a token costs some 100 µs of arithmetic
JOB_REQUESTS = 512  # so that one transaction stays short
RETRY_S = (0.1, 0.5, 1.0, 5.0)  # then 5 s for ever

P = ParamSpec("P")
R = TypeVar("R", Load, Store)

log = get_logger("pyrouter.pump")


class Asker(Protocol):
    """The part of `pyrouter._core.Core` that asks and is answered."""

    def take_requests(self) -> list[Request]: ...
    def admit(self, conn: int, user: str, device: int, expires_ms: int) -> None: ...
    def refuse(self, conn: int, code: str, message: str) -> None: ...
    def permit(self, conn: int, ticket: int, allowed: bool) -> None: ...
    def loaded(self, kind: Kind, key: bytes, blob: bytes | None) -> None: ...
    def stored(self, kind: Kind, key: bytes, version: int) -> None: ...
    def fail(self, reason: str) -> None: ...


class Pump:
    """One core's pump. `on_requests` is for its driver; `run` is the task that everything lives in."""

    def __init__(
        self,
        core: Asker,
        cold: ColdStore,
        *,
        authenticate: Authenticate,
        authorize: Authorize | None,
        hook_timeout_s: float,
        on_failed: Callable[[str], None],
    ) -> None:
        """Makes one; nothing runs before `run`.

        Args:
            core: who asks.
            cold: an open store.
            authenticate: the hook for tokens.
            authorize: the hook for sends, if the core was told to ask.
            hook_timeout_s: after which a hook has refused.
            on_failed: told once why the core refuses everything from now on.
        """
        self.trouble: str | None = None  # why the cold store does not answer loads at the moment
        self._core = core
        self._cold = cold
        self._authenticate = authenticate
        self._authorize = authorize
        self._hook_timeout_s = hook_timeout_s
        self._on_failed = on_failed
        self._loads: _Lane[Load] = _Lane()
        self._stores: _Lane[Store] = _Lane()
        self._waiting: deque[Coroutine[None, None, None]] = deque()
        self._hooks = 0  # running
        self._start_scheduled = False
        self._tasks: asyncio.TaskGroup | None = None
        self._loop = asyncio.get_running_loop()

    def on_requests(self) -> None:
        """Takes what the core asks; never blocks, never raises."""
        for request in self._core.take_requests():
            match request:
                case ("load", kind, key):
                    self._loads.put(Load(kind, key))
                case ("store", kind, key, version, blob):
                    self._stores.put(Store(kind, key, version, blob))
                case ("authenticate", conn, token):
                    self._waiting.append(self._ask_authenticate(conn, token))
                case ("authorize", conn, ticket, user, _device, conversation, _peer, action):
                    self._waiting.append(self._ask_authorize(conn, ticket, user, conversation, action))
                case ("alarm", code, message):
                    log.warning("alarm", code=code, message=message)
                case ("failed", reason):
                    log.error("router failed", reason=reason)
                    self._on_failed(reason)
        if self._waiting:
            self._start_hooks()

    async def run(self) -> None:
        """Works until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._start_hooks()
                self._tasks.create_task(self._serve_loads())
                await self._serve_stores()
        finally:
            self._tasks = None
            while self._waiting:
                self._waiting.popleft().close()

    # Hooks.

    def _start_hooks(self) -> None:
        self._start_scheduled = False
        if self._tasks is None:
            return
        started = 0
        while self._waiting and self._hooks < HOOKS_AT_ONCE:
            if started == HOOKS_A_TURN:
                self._schedule_start()
                return
            started += 1
            self._hooks += 1
            self._tasks.create_task(self._waiting.popleft()).add_done_callback(self._hook_done)

    def _hook_done(self, _: object) -> None:
        self._hooks -= 1
        if self._waiting:
            self._schedule_start()

    def _schedule_start(self) -> None:
        if not self._start_scheduled:
            self._start_scheduled = True
            self._loop.call_soon(self._start_hooks)

    async def _ask_authenticate(self, conn: int, token: str) -> None:
        try:
            async with asyncio.timeout(self._hook_timeout_s):
                identity = await self._authenticate(token)
            user, device, expires_ms = check_user(identity.user), check_device(identity.device), identity.expires_ms
        except AuthError as error:
            self._answer(self._core.refuse, conn, error.code, str(error))
        except TimeoutError:
            log.warning("authenticate timed out", after_s=self._hook_timeout_s)
            self._answer(self._core.refuse, conn, "internal", "authentication takes too long at the moment, try again")
        except Exception as error:  # noqa: BLE001  # whatever an embedder's hook does ends that one connection (I10)
            log.error("authenticate raised", **_where(error))  # noqa: TRY400  # without its words
            self._answer(self._core.refuse, conn, "internal", "authentication failed on the server's side, try again")
        else:
            self._answer(self._core.admit, conn, user, device, expires_ms)

    async def _ask_authorize(self, conn: int, ticket: int, user: str, conversation: bytes, action: str) -> None:
        allowed = False
        try:
            if self._authorize is not None:
                async with asyncio.timeout(self._hook_timeout_s):
                    allowed = bool(await self._authorize(user, conversation, action))
        except TimeoutError:
            log.warning("authorize timed out", after_s=self._hook_timeout_s)
        except Exception as error:  # noqa: BLE001  # as above; what cannot be decided is refused
            log.error("authorize raised", **_where(error))  # noqa: TRY400
        self._answer(self._core.permit, conn, ticket, allowed)

    def _answer(self, tell: Callable[P, None], *values: P.args, **named: P.kwargs) -> None:
        """Tells the core; one that has failed or was closed meanwhile has no use for it."""
        try:
            tell(*values, **named)
        except CoreError as error:
            log.debug("the core takes no answers", reason=str(error))

    # The cold store.

    async def _serve_loads(self) -> None:
        async for job in self._loads.jobs():
            answers = await self._run_until_done(job, loading=True)
            if answers is None:
                return
            for request, answer in zip(job, answers, strict=True):
                self._answer(self._core.loaded, request.kind, request.key, answer)

    async def _serve_stores(self) -> None:
        async for job in self._stores.jobs():
            if await self._run_until_done(job, loading=False) is None:
                return
            for request in job:
                self._answer(self._core.stored, request.kind, request.key, request.version)

    async def _run_until_done(self, job: Sequence[Load | Store], *, loading: bool) -> list[bytes | None] | None:
        attempt = 0
        while True:
            try:
                answers = await self._cold.run(job)
            except sqlite3.OperationalError as error:  # full, busy, unreadable at the moment
                pause_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                if loading:
                    self.trouble = f"the cold store does not work: {error}"
                log.warning("cold store failed", error=str(error), retry_s=pause_s, requests=len(job))
                await asyncio.sleep(pause_s)
            except sqlite3.Error as error:
                self._answer(self._core.fail, f"the cold store is damaged: {error}; restore it from a copy")
                return None
            else:
                if loading:
                    self.trouble = None
                return answers


class _Lane(Generic[R]):
    """Requests on their way to the cold store, taken in their order, as many at once as have come."""

    def __init__(self) -> None:
        self._waiting: deque[R] = deque()
        self._wake = asyncio.Event()

    def put(self, request: R) -> None:
        self._waiting.append(request)
        self._wake.set()

    async def jobs(self) -> AsyncIterator[list[R]]:
        """Without end."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                yield [self._waiting.popleft() for _ in range(min(JOB_REQUESTS, len(self._waiting)))]


def _where(error: BaseException) -> dict[str, str]:
    """What may be told of somebody else's exception: its kind and its place, not its words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return {"error": type(error).__name__, "at": place}
