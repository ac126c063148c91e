"""The pump: every question of the core gets one answer, whatever hooks and the database do; nobody waits for others."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from pyrouter import pump as module
from pyrouter._core import CoreFailed
from pyrouter.auth import Identity
from pyrouter.cold import ColdStore, Load, Store
from pyrouter.errors import AuthError
from pyrouter.pump import HOOKS_A_TURN, HOOKS_AT_ONCE, Pump

C = b"c" * 16


class FakeCore:
    """Asks what the test wants asked; keeps the answers, and wakes whoever waits for them."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.answers: list[tuple[Any, ...]] = []
        self.failed = False
        self._news = asyncio.Event()

    def take_requests(self) -> list[Any]:
        requests, self.requests = self.requests, []
        return requests

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in ("admit", "refuse", "permit", "loaded", "stored", "fail"):
            raise AttributeError(name)

        def answer(*values: Any) -> None:
            if self.failed:
                raise CoreFailed("dead")
            self.answers.append((name, *values))
            self._news.set()

        return answer

    async def answered(self, count: int) -> list[tuple[Any, ...]]:
        while len(self.answers) < count:
            self._news.clear()
            await self._news.wait()
        return self.answers


class FakeCold:
    """A cold store that fails as told, then does what a dictionary does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}
        self.jobs: list[int] = []
        self.errors: list[sqlite3.Error] = []
        self.full = False
        self.failed = asyncio.Event()

    async def run(self, requests: Sequence[Load | Store]) -> list[bytes | None]:
        await asyncio.sleep(0)
        if self.errors:
            self.failed.set()
            raise self.errors.pop(0)
        if self.full and any(isinstance(request, Store) for request in requests):
            self.failed.set()
            raise sqlite3.OperationalError("database or disk is full")
        self.jobs.append(len(requests))
        answers: list[bytes | None] = []
        for request in requests:
            if isinstance(request, Store):
                self.rows[request.kind, request.key] = request.state
            answers.append(self.rows.get((request.kind, request.key)) if isinstance(request, Load) else None)
        return answers


class Bench:
    def __init__(self, **options: Any) -> None:
        self.core = FakeCore()
        self.cold = FakeCold()
        self.failures: list[str] = []
        settings = {"authenticate": good, "authorize": None, "hook_timeout_s": 60.0, **options}
        self.pump = Pump(cast(Any, self.core), cast(ColdStore, self.cold), on_failed=self.failures.append, **settings)

    def ask(self, *requests: tuple[Any, ...]) -> None:
        self.core.requests.extend(requests)
        self.pump.on_requests()


async def good(token: str) -> Identity:
    return Identity(token, 3, 99)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Bench]:
    bench = Bench(**options)
    task = asyncio.create_task(bench.pump.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.wait([task])


class TestAuthenticate:
    async def test_a_good_token_is_admitted_with_its_identity(self) -> None:
        async with running() as bench:
            bench.ask(("authenticate", 1, "bob"))
            assert await bench.core.answered(1) == [("admit", 1, "bob", 3, 99)]

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (AuthError("no"), "bad_token"),
            (AuthError("late", "token_expired"), "token_expired"),
            (ValueError("PRIVATE"), "internal"),
            (KeyError("PRIVATE"), "internal"),
        ],
    )
    async def test_what_the_hook_raises_ends_that_one_connection_and_no_word_of_it_is_logged(
        self, error: Exception, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def authenticate(token: str) -> Identity:
            if token == "bad":
                raise error
            return Identity(token)

        async with running(authenticate=authenticate) as bench:
            bench.ask(("authenticate", 1, "bad"), ("authenticate", 2, "bob"))
            first, second = await bench.core.answered(2)
            assert first[:3] == ("refuse", 1, code)
            assert second == ("admit", 2, "bob", 1, 0)
        assert "PRIVATE" not in caplog.text + str(first)

    @pytest.mark.parametrize("identity", [Identity(""), Identity("x" * 65), Identity("bob", 0), None, ("bob",)])
    async def test_an_identity_that_cannot_be_is_refused(self, identity: Any) -> None:
        async def authenticate(_: str) -> Identity:
            return cast(Identity, identity)

        async with running(authenticate=authenticate) as bench:
            bench.ask(("authenticate", 1, "x"))
            assert (await bench.core.answered(1))[0][:3] == ("refuse", 1, "internal")

    async def test_a_hook_that_hangs_is_given_up_and_holds_up_nobody(self) -> None:
        async def authenticate(token: str) -> Identity:
            if token == "slow":
                await asyncio.Event().wait()
            return Identity(token)

        async with running(authenticate=authenticate, hook_timeout_s=0.01) as bench:
            bench.ask(("authenticate", 1, "slow"), ("authenticate", 2, "bob"))
            first, second = await bench.core.answered(2)
            assert first[:2] == ("admit", 2)
            assert second[:3] == ("refuse", 1, "internal")

    async def test_a_flood_starts_few_hooks_a_turn_and_keeps_few_at_once(self) -> None:
        at_once = most_at_once = starts = most_starts = 0
        gate = asyncio.Event()

        async def authenticate(token: str) -> Identity:
            nonlocal at_once, most_at_once, starts
            at_once, starts = at_once + 1, starts + 1
            most_at_once = max(most_at_once, at_once)
            await gate.wait()
            at_once -= 1
            return Identity(token)

        async with running(authenticate=authenticate) as bench:
            flood = 3 * HOOKS_AT_ONCE
            bench.ask(*[("authenticate", number, "bob") for number in range(flood)])
            while at_once < HOOKS_AT_ONCE:
                starts = 0
                await asyncio.sleep(0)
                most_starts = max(most_starts, starts)
            gate.set()
            await bench.core.answered(flood)
        assert most_at_once == HOOKS_AT_ONCE
        assert most_starts <= HOOKS_A_TURN

    async def test_what_is_asked_before_the_pump_runs_is_not_forgotten(self) -> None:
        bench = Bench()
        bench.ask(("authenticate", 1, "bob"))
        task = asyncio.create_task(bench.pump.run())
        assert len(await bench.core.answered(1)) == 1
        task.cancel()

    async def test_an_answer_that_comes_after_the_core_failed_is_dropped(self) -> None:
        async with running() as bench:
            bench.core.failed = True
            bench.ask(("authenticate", 1, "bob"), ("load", "user", b"bob"))
            await asyncio.sleep(0)
            bench.core.failed = False
            bench.ask(("authenticate", 2, "bob"))
            assert ("admit", 2, "bob", 3, 99) in await bench.core.answered(1)


class TestAuthorize:
    @pytest.mark.parametrize("allowed", [True, False])
    async def test_the_hook_decides(self, allowed: bool) -> None:
        asked: list[tuple[Any, ...]] = []

        async def authorize(*what: Any) -> bool:
            asked.append(what)
            return allowed

        async with running(authorize=authorize) as bench:
            bench.ask(("authorize", 1, 7, "bob", 2, C, "eve", "send"))
            assert await bench.core.answered(1) == [("permit", 1, 7, allowed)]
        assert asked == [("bob", C, "send")]

    async def test_a_hook_that_raises_or_hangs_has_refused(self) -> None:
        async def authorize(sender: str, *_: Any) -> bool:
            if sender == "slow":
                await asyncio.Event().wait()
            raise RuntimeError("PRIVATE")

        async with running(authorize=authorize, hook_timeout_s=0.01) as bench:
            bench.ask(("authorize", 1, 7, "bad", 2, C, None, "send"), ("authorize", 2, 8, "slow", 2, C, None, "send"))
            assert await bench.core.answered(2) == [("permit", 1, 7, False), ("permit", 2, 8, False)]


class TestColdStore:
    async def test_what_one_turn_asks_is_one_job_of_loads_and_one_of_stores_each_in_order(self) -> None:
        async with running() as bench:
            bench.cold.rows["user", b"eve"] = b"e"
            bench.ask(
                ("load", "user", b"eve"),
                ("store", "user", b"bob", 1, b"s"),
                ("load", "conversation", C),
                ("store", "conversation", b"d" * 16, 2, b"d"),
            )
            answers = await bench.core.answered(4)
            assert [answer for answer in answers if answer[0] == "loaded"] == [
                ("loaded", "user", b"eve", b"e"),
                ("loaded", "conversation", C, None),
            ]
            assert [answer for answer in answers if answer[0] == "stored"] == [
                ("stored", "user", b"bob", 1),
                ("stored", "conversation", b"d" * 16, 2),
            ]
            assert bench.cold.jobs == [2, 2]

    async def test_a_flood_is_cut_into_short_jobs(self) -> None:
        async with running() as bench:
            bench.ask(*[("load", "conversation", number.to_bytes(16)) for number in range(1300)])
            await bench.core.answered(1300)
            assert bench.cold.jobs == [512, 512, 276]

    async def test_loads_that_fail_are_tried_again_until_they_work_and_readiness_tells(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RETRY_S", (0.0,))
        async with running() as bench:
            bench.cold.errors = [sqlite3.OperationalError("disk I/O error")] * 3
            bench.ask(("load", "user", b"bob"))
            await bench.cold.failed.wait()
            assert bench.pump.trouble == "the cold store does not work: disk I/O error"
            assert await bench.core.answered(1) == [("loaded", "user", b"bob", None)]
            assert bench.pump.trouble is None

    async def test_a_full_disk_holds_up_stores_and_no_loads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "RETRY_S", (0.0,))
        async with running() as bench:
            bench.cold.full = True
            bench.ask(("store", "user", b"bob", 1, b"s"))
            await bench.cold.failed.wait()
            bench.ask(("load", "user", b"eve"))
            assert await bench.core.answered(1) == [("loaded", "user", b"eve", None)]
            assert bench.pump.trouble is None, "who comes is welcome"
            bench.cold.full = False
            assert (await bench.core.answered(2))[1] == ("stored", "user", b"bob", 1)

    async def test_a_damaged_database_fails_the_router_and_nothing_is_answered_wrongly(self) -> None:
        async with running() as bench:
            bench.cold.errors = [sqlite3.DatabaseError("database disk image is malformed")]
            bench.ask(("load", "user", b"bob"))
            answers = await bench.core.answered(1)
            assert answers[0][0] == "fail"
            assert "database disk image is malformed" in answers[0][1]
            assert len(answers) == 1


async def test_a_failure_is_told_on_and_an_alarm_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.ask(("alarm", "clock_jumped", "by an hour"), ("failed", "the disk is gone"))
        assert bench.failures == ["the disk is gone"]
    assert "alarm code=clock_jumped message=by an hour" in caplog.text
