"""A router inside this process: messages without a network, hooks, closing, failing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import pyrouter
from pyrouter import (
    AuthError,
    DataDirError,
    Identity,
    Limits,
    ListenError,
    Log,
    Router,
    RouterClosed,
    RouterFailed,
    sessions,
)
from pyrouter.client import Client, Message, Refused, Replaced, SessionRefused, direct_conversation
from pyrouter.units import Size


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def take(router: Router, user: str, count: int) -> list[Message]:
    """The next messages of a mailbox, acknowledged."""
    messages = []
    async with router.mailbox(user) as mailbox:
        async for message in mailbox:
            await message.ack()
            messages.append(message)
            if len(messages) == count:
                return messages
    raise AssertionError("the mailbox ended")


class TestMessages:
    async def test_they_arrive_in_order_numbered_from_one(self, data: Path) -> None:
        async with Router.open(data) as router:
            await router.create_user("bob")
            sent = [await router.send("alice", "bob", b"%d" % number) for number in range(50)]
            got = await take(router, "bob", 50)
        assert [message.seq for message in sent] == [message.seq for message in got] == list(range(1, 51))
        assert [message.body for message in got] == [b"%d" % number for number in range(50)]
        assert {message.conversation for message in got} == {direct_conversation("alice", "bob")}
        assert {(message.sender, message.device) for message in got} == {("alice", 1)}

    async def test_many_senders_at_once_share_the_wait_for_the_disk(self, data: Path) -> None:
        async with Router.open(data) as router:
            await router.create_user("bob")
            async with asyncio.TaskGroup() as tasks:
                for number in range(40):
                    tasks.create_task(router.send(f"user{number}", "bob", b"x"))
            got = await take(router, "bob", 40)
        assert {message.sender for message in got} == {f"user{number}" for number in range(40)}

    async def test_a_sender_learns_of_delivery_and_reading(self, data: Path) -> None:
        async with Router.open(data) as router:
            await router.create_user("bob")
            sent = await router.send("alice", "bob", b"hello")
            async with router.mailbox("bob") as mailbox:
                message = await anext(mailbox)
                await message.ack()
                await sent.delivered()
                await message.read()
                await sent.read()

    async def test_what_was_not_acknowledged_comes_again_after_opening_anew_and_nothing_else(self, data: Path) -> None:
        """I1, I3."""
        async with Router.open(data) as router:
            await router.create_user("bob")
            for number in range(4):
                await router.send("alice", "bob", b"%d" % number)
            async with router.mailbox("bob") as mailbox:
                await anext(mailbox)
                await (await anext(mailbox)).ack()
                await anext(mailbox)
        async with Router.open(data) as router:
            assert [message.seq for message in await take(router, "bob", 2)] == [3, 4]

    async def test_a_repeat_with_the_same_id_is_the_same_message_also_after_opening_anew(self, data: Path) -> None:
        """I4."""
        async with Router.open(data) as router:
            await router.create_user("bob")
            first = await router.send("alice", "bob", b"once", id=b"n1")
        async with Router.open(data) as router:
            again = await router.send("alice", "bob", b"once", id=b"n1")
            other = await router.send("alice", "bob", b"two", id=b"n2")
            assert (again.conversation, again.seq, again.time) == (first.conversation, first.seq, first.time)
            assert other.seq == first.seq + 1
            assert [message.body for message in await take(router, "bob", 2)] == [b"once", b"two"]

    async def test_a_user_who_does_not_exist_is_refused_unless_told_otherwise(self, data: Path) -> None:
        async with Router.open(data) as router:
            with pytest.raises(Refused) as caught:
                await router.send("alice", "nobody", b"x")
            assert caught.value.code == "unknown_user"
            assert await router.create_user("nobody") is True
            assert await router.create_user("nobody") is False
            assert (await router.send("alice", "nobody", b"x")).seq == 1
        async with Router.open(data, create_unknown_users=True) as router:
            assert (await router.send("alice", "somebody", b"x")).seq == 1

    async def test_a_body_at_the_limit_passes_and_one_byte_more_is_refused(self, data: Path) -> None:
        async with Router.open(data, limits=Limits(body=Size(100))) as router:
            await router.create_user("bob")
            assert (await router.send("alice", "bob", b"x" * 100)).seq == 1
            with pytest.raises(Refused) as caught:
                await router.send("alice", "bob", b"x" * 101)
            assert caught.value.code == "body_too_large"
            assert (await router.send("alice", "bob", b"")).seq == 2

    async def test_a_mailbox_is_sent_no_more_than_its_window(self, data: Path) -> None:
        """I6."""
        async with Router.open(data, limits=Limits(window_messages=5)) as router:
            await router.create_user("bob")
            for _ in range(12):
                await router.send("alice", "bob", b"x")
            async with router.mailbox("bob") as mailbox:
                got = [await anext(mailbox) for _ in range(5)]
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(mailbox), 0.05)
                await got[-1].ack()
                assert [(await anext(mailbox)).seq for _ in range(5)] == [6, 7, 8, 9, 10]

    @pytest.mark.parametrize(("user", "device"), [("", 1), ("x" * 65, 1), ("a\n", 1), ("bob", 0), ("bob", 2**32)])
    async def test_names_and_devices_that_cannot_be_are_refused(self, data: Path, user: str, device: int) -> None:
        async with Router.open(data) as router:
            with pytest.raises(ValueError, match=r"user's name|device"):
                await router.send(user, "bob", b"x", device=device)
            with pytest.raises(ValueError, match=r"user's name|device"):
                router.mailbox(user, device)

    async def test_sessions_of_idle_senders_are_ended_beyond_a_bound_and_made_again(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sessions, "SENDERS", 3)
        async with Router.open(data) as router:
            await router.create_user("bob")
            for number in range(20):
                await router.send(f"user{number % 10}", "bob", b"x")
                assert router.stats()["connections"] <= 4
            async with asyncio.TaskGroup() as tasks:
                for number in range(20):
                    tasks.create_task(router.send(f"user{number}", "bob", b"x"))
            assert len(await take(router, "bob", 40)) == 40


class TestMailbox:
    async def test_a_second_one_of_the_same_device_takes_over(self, data: Path) -> None:
        async with Router.open(data) as router, router.mailbox("bob") as first:
            waiting = asyncio.ensure_future(anext(first))
            async with router.mailbox("bob") as second:
                await router.send("alice", "bob", b"x")
                assert (await anext(second)).body == b"x"
                with pytest.raises(Replaced):
                    await waiting

    async def test_each_device_has_its_own(self, data: Path) -> None:
        async with Router.open(data) as router, router.mailbox("bob", 1) as one:
            await router.send("alice", "bob", b"first")
            assert (await anext(one)).body == b"first"
            async with router.mailbox("bob", 2) as two:
                await router.send("alice", "bob", b"second")
                assert (await anext(one)).body == b"second"
                assert (await anext(two)).body == b"second"

    async def test_it_ends_with_the_router(self, data: Path) -> None:
        async def read(router: Router) -> list[bytes]:
            return [message.body async for message in router.mailbox("bob")]

        async with Router.open(data) as router:
            await router.create_user("bob")
            reading = asyncio.create_task(read(router))
            sent = await router.send("alice", "bob", b"x")
            with suppress(TimeoutError):
                await asyncio.wait_for(sent.delivered(), 0.01)  # never acknowledged
        assert await reading == [b"x"]

    async def test_once_closed_it_has_nothing_more(self, data: Path) -> None:
        async with Router.open(data) as router:
            mailbox = router.mailbox("bob")
            async with mailbox:
                pass
            await mailbox.close()
            assert [message async for message in mailbox] == []


class TestHooks:
    async def test_authorize_decides_about_sends(self, data: Path) -> None:
        asked = []

        async def authorize(sender: str, conversation: bytes, action: str) -> bool:
            asked.append((sender, conversation, action))
            return sender != "eve"

        async with Router.open(data, authorize=authorize) as router:
            await router.create_user("bob")
            assert (await router.send("alice", "bob", b"x")).seq == 1
            with pytest.raises(Refused) as caught:
                await router.send("eve", "bob", b"x")
            assert caught.value.code == "forbidden"
        assert ("alice", direct_conversation("alice", "bob"), "send") in asked

    async def test_authenticate_names_network_clients(self, data: Path) -> None:
        async def authenticate(token: str) -> Identity:
            if token != "s3cret":
                raise AuthError("no such token")
            return Identity("alice", 4)

        async with Router.open(data, authenticate=authenticate) as router:
            await router.create_user("bob")
            listener = await router.serve(port=0)
            url = f"ws://{listener.addresses[0]}"
            async with Client(url, "s3cret") as client:
                await (await client.send("bob", b"hi")).accepted()
                assert (client.user, client.device) == ("alice", 4)
            async with Client(url, "wrong") as client:
                with pytest.raises(SessionRefused) as caught:
                    await client.connected()
                assert (caught.value.code, caught.value.message) == ("bad_token", "no such token")
            assert (await take(router, "bob", 1))[0].device == 4


class TestNetwork:
    @pytest.mark.parametrize("scheme", ["ws", "tcp"])
    async def test_a_client_with_a_token_of_the_router_talks_to_this_process(self, data: Path, scheme: str) -> None:
        async with Router.open(data) as router:
            listener = await router.serve(port=0)
            token = await router.issue_token("alice", 2, timedelta(hours=1))
            async with Client(f"{scheme}://{listener.addresses[0]}", token) as client, router.mailbox("bob") as mailbox:
                await client.connected()
                sent = await client.send("bob", b"from outside")
                message = await anext(mailbox)
                assert (message.sender, message.device, message.body) == ("alice", 2, b"from outside")
                await message.ack()
                await sent.delivered()
                await router.send("bob", "alice", b"from inside")
                async for answer in client.messages():
                    assert answer.body == b"from inside"
                    await answer.ack()
                    break

    async def test_http_is_answered_on_the_same_port(self, data: Path) -> None:
        async with Router.open(data) as router:
            listener = await router.serve(port=0)
            async with httpx.AsyncClient(base_url=f"http://{listener.addresses[0]}") as client:
                for path in ("/healthz", "/readyz"):
                    assert (await client.get(path)).text == "ok\n"
                assert "pyrouter_accepted_total" in (await client.get("/metrics")).text
                assert pyrouter.__version__ in (await client.get("/")).text

    async def test_a_port_in_use_is_named(self, data: Path) -> None:
        async with Router.open(data) as router:
            first = await router.serve(port=0)
            with pytest.raises(ListenError, match=rf"{first.addresses[0]} is in use"):
                await router.serve(port=first.addresses[0].port)
            with pytest.raises(ListenError, match=r"has no address|no such address"):
                await router.serve("no-such-host.invalid", 0)

    async def test_clients_are_told_when_to_come_back(self, data: Path) -> None:
        events: list[Any] = []
        async with Router.open(data, reconnect_s=60) as router:
            listener = await router.serve(port=0)
            token = await router.issue_token("alice")
            client = Client(f"ws://{listener.addresses[0]}", token, on_event=events.append)
            await client.__aenter__()
            await client.connected()
        await client.close()
        assert next(event.retry_s for event in events if hasattr(event, "retry_s")) >= 60


class TestOpening:
    async def test_a_second_router_on_the_directory_is_refused_with_the_process_that_has_it(self, data: Path) -> None:
        async with Router.open(data):
            with pytest.raises(DataDirError, match=r"in use by process \d+"):
                async with Router.open(data):
                    pass
        async with Router.open(data):
            pass

    async def test_a_directory_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DataDirError, match="file"):
            async with Router.open(tmp_path / "file" / "data"):
                pass

    async def test_a_cold_store_that_is_none_is_refused_and_the_directory_is_free_again(self, tmp_path: Path) -> None:
        (tmp_path / "cold.db").write_bytes(b"x" * 4096)
        for _ in range(2):
            with pytest.raises(pyrouter.ColdStoreError):
                async with Router.open(tmp_path):
                    pass

    @pytest.mark.parametrize("durability", ["fsync", "interval", "none"])
    async def test_every_durability_works_and_is_told(self, data: Path, durability: Any) -> None:
        async with Router.open(data, log=Log(durability=durability, segment=Size.parse("1MiB"))) as router:
            await router.create_user("bob")
            await router.send("alice", "bob", b"x")
            assert router.info["durability"] == durability
            assert len(await take(router, "bob", 1)) == 1


class TestClosing:
    async def test_nothing_works_outside_the_block(self, data: Path) -> None:
        router = Router.open(data)
        for _ in range(2):
            with pytest.raises(RouterClosed):
                await router.send("alice", "bob", b"x")
            with pytest.raises(RouterClosed):
                await router.create_user("bob")
            with pytest.raises(RouterClosed):
                await router.serve(port=0)
            assert router.unready is not None
            if router.failure is None and router._core is None:
                async with router:
                    assert router.unready is None
        with pytest.raises(RouterClosed, match="entered once"):
            async with router:
                pass

    async def test_an_exception_of_the_block_passes_through(self, data: Path) -> None:
        with pytest.raises(KeyError):
            async with Router.open(data):
                raise KeyError
        async with Router.open(data):
            pass

    async def test_cancelling_closes_it_whole(self, data: Path) -> None:
        inside = asyncio.Event()

        async def embedder() -> None:
            async with Router.open(data) as router:
                await router.serve(port=0)
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(embedder())
        await inside.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # also while it closes
        with pytest.raises(asyncio.CancelledError):
            await task
        async with Router.open(data):
            pass


class TestFailing:
    """I10: what the router must not survive ends the block with `RouterFailed`, and everything in it."""

    async def test_the_block_ends_wherever_it_waits(self, data: Path) -> None:
        with pytest.raises(RouterFailed, match="the disk is gone"):
            await run_until_it_fails(data, nothing)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def test_also_if_the_block_was_about_to_end_anyway(self, data: Path) -> None:
        with pytest.raises(RouterFailed):
            async with Router.open(data) as router:
                fail(router)

    async def test_sends_and_mailboxes_of_other_tasks_end_too(self, data: Path) -> None:
        routers: list[Router] = []
        tasks: list[asyncio.Future[Any]] = []

        async def before(router: Router) -> None:
            await router.create_user("bob")
            await router.send("alice", "bob", b"x")
            tasks.append(asyncio.ensure_future(anext(router.mailbox("carol"))))
            await asyncio.sleep(0)
            tasks.append(asyncio.ensure_future(router.send("alice", "bob", b"y")))
            routers.append(router)

        with pytest.raises(RouterFailed):
            await run_until_it_fails(data, before)
        for task in tasks:
            with pytest.raises(RouterFailed):
                await task
        with pytest.raises(RouterFailed):
            await routers[0].send("alice", "bob", b"z")
        assert "the disk is gone" in str(routers[0].failure)
        assert "the disk is gone" in str(routers[0].unready)

    async def test_what_was_accepted_is_there_after_opening_anew(self, data: Path) -> None:
        """I1."""

        async def before(router: Router) -> None:
            await router.create_user("bob")
            await router.send("alice", "bob", b"kept")

        with pytest.raises(RouterFailed):
            await run_until_it_fails(data, before)
        async with Router.open(data) as router:
            assert [message.body for message in await take(router, "bob", 1)] == [b"kept"]


async def nothing(_: Router) -> None:
    """What some blocks do before they fail."""


async def run_until_it_fails(data: Path, before: Callable[[Router], Awaitable[None]]) -> None:
    async with Router.open(data) as router:
        await before(router)
        fail(router)
        await asyncio.Event().wait()


def fail(router: Router) -> None:
    assert router._core is not None
    router._core.fail("the disk is gone")


async def test_users_of_the_embedded_router_have_groups_and_blocks(tmp_path: Path) -> None:
    async with Router.open(tmp_path) as router:
        for name in ("bob", "carol"):
            await router.create_user(name)
        ann = router.as_user("ann")
        group = await ann.create_group(["bob"], name="climbing")
        sent = await group.send(b"Sunday?")
        link = (await group.invite()).link
        joined = await router.as_user("carol").join_group(link)
        assert joined.state is not None
        assert [member.user for member in joined.state.members] == ["ann", "bob", "carol"]
        assert await router.as_user("bob").groups() == [group.conversation]
        async with router.mailbox("bob") as mailbox:
            for _ in range(4):
                message = await anext(mailbox)
                await message.ack()
            assert (message.sender, message.change is not None) == ("carol", True)
        await sent.delivered()
        with pytest.raises(Refused, match="forbidden"):
            await joined.remove("bob")
        assert await router.as_user("bob").block("carol") == ["carol"]
    with pytest.raises(RouterClosed):
        await ann.groups()
