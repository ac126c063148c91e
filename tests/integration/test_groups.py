"""Groups through the client library over real sockets: every rule of roles, limits, invitations, blocks, ticks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pyrouter.client import (
    Added,
    Client,
    Created,
    Event,
    Group,
    Invitation,
    Joined,
    Message,
    Refused,
    Removed,
    Role,
    Rules,
    State,
    Who,
    direct_conversation,
    group_conversation,
)
from tests.server_process import ServerProcess, until

from .group_world import World, known, mark, refused, take, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    server = ServerProcess(tmp_path)
    server.start()
    try:
        async with world(server) as made:
            yield made
    finally:
        server.close()


def of(client: Client, group: Group) -> Group:
    """The same group as somebody else's."""
    return Group(client, group.conversation)


# Beginning.


async def test_everybody_sees_the_same_group_and_the_same_messages(w: World) -> None:
    ann, bob, carol = await w.people("ann", "bob", "carol")
    group = await ann.create_group(["bob", "carol"], name="climbing", id=b"the first")
    assert group.conversation == group_conversation("ann", 1, b"the first")
    sent = await group.send(b"Sunday?")
    for client in (bob, carol):
        created, message = await take(client, 2)
        assert isinstance(created, Message)
        assert isinstance(message, Message)
        assert isinstance(created.change, Created)
        assert created.group
        assert (message.sender, message.body, message.change) == ("ann", b"Sunday?", None)
        state = client.group_state(group.conversation)
        assert state is not None
        assert state == group.state
        assert [(member.user, member.role) for member in state.members] == [
            ("ann", Role.OWNER),
            ("bob", Role.MEMBER),
            ("carol", Role.MEMBER),
        ]
        assert (state.name, state.rules) == ("climbing", Rules(Who.EVERYONE, Who.ADMINS, Who.ADMINS))
        assert await client.groups() == [group.conversation]
    await sent.delivered()
    bob.read(group.conversation, 2)
    carol.read(group.conversation, 2)
    await sent.read()


async def test_a_group_of_one_is_a_group(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    group = await ann.create_group()
    await (await group.send(b"note")).delivered()
    await group.add("bob")
    state = await known(bob, group, 3)
    assert "bob" in state


@pytest.mark.parametrize(("others", "fits"), [(1023, True), (1024, False)])
async def test_a_group_has_1024_members_and_not_1025(w: World, others: int, fits: bool) -> None:
    users = w.users(*[f"member{n}" for n in range(others)])
    ann = await w.person("ann")
    if fits:
        group = await ann.create_group(users)
        assert len((await group.refresh()).members) == 1024
        w.users("one-more")
        await refused("group_full", group.add("one-more"))
        await group.remove(users[0])
        await group.add("one-more")
    else:
        await refused("group_full", ann.create_group(users))


async def test_whoever_does_not_exist_is_no_member(w: World) -> None:
    (ann,) = await w.people("ann")
    await refused("unknown_user", ann.create_group(["nobody"]))
    group = await ann.create_group()
    await refused("unknown_user", group.add("nobody"))


# Roles.

ACTS: dict[str, Callable[[Group], Awaitable[object]]] = {
    "add": lambda group: group.add("eve"),
    "invite": lambda group: group.invite(),
    "profile": lambda group: group.set_profile(name="new"),
    "rules": lambda group: group.set_rules(post=Who.ADMINS),
    "remove": lambda group: group.remove("dave"),
    "promote": lambda group: group.promote("dave"),
    "demote": lambda group: group.demote("bob"),
    "transfer": lambda group: group.transfer("dave"),
    "close": lambda group: group.close(),
}
MAY = {
    "owner": set(ACTS),
    "admin": set(ACTS) - {"transfer", "close"},
    "member": set[str](),
}


@pytest.mark.parametrize("act", ACTS)
async def test_who_may_what(w: World, act: str) -> None:
    ann, bob, carol = await w.people("ann", "bob", "carol")
    w.users("dave", "eve")
    for who, actor in (("member", carol), ("admin", bob), ("owner", ann)):
        group = await ann.create_group(["bob", "carol", "dave"])
        await group.promote("bob")
        call = ACTS[act](of(actor, group))
        if act in MAY[who]:
            await call
        else:
            await refused("forbidden", call)


async def test_rules_let_everyone_do_what_they_say(w: World) -> None:
    ann, carol = await w.people("ann", "carol")
    w.users("eve")
    group = await ann.create_group(["carol"], rules=Rules(Who.ADMINS, Who.EVERYONE, Who.EVERYONE))
    of_carol = of(carol, group)
    await of_carol.set_profile(description="by carol")
    invitation = await of_carol.invite()
    await of_carol.revoke(invitation)
    await of_carol.add("eve")
    refusal = await of_carol.send(b"may I?")
    await refused("forbidden", refusal.accepted())
    await group.set_rules(post=Who.EVERYONE, edit=Who.ADMINS)
    await (await of_carol.send(b"now I may")).accepted()
    await refused("forbidden", of_carol.set_profile(name="x"))
    state = await group.refresh()
    assert state.rules == Rules(Who.EVERYONE, Who.EVERYONE, Who.ADMINS)
    assert state.profile.description == b"by carol"


async def test_the_owner_can_be_neither_removed_nor_demoted(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    group = await ann.create_group(["bob"])
    await group.promote("bob")
    for actor in (ann, bob):
        await refused("forbidden", of(actor, group).remove("ann"))
        await refused("forbidden", of(actor, group).demote("ann"))


async def test_an_owner_hands_over_and_stays_as_an_admin(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    group = await ann.create_group(["bob"])
    await group.transfer("bob")
    state = await group.refresh()
    assert (state.owner, state.role("ann")) == ("bob", Role.ADMIN)
    await refused("forbidden", group.close())
    await of(bob, group).close()
    for client in (ann, bob):
        await refused("unknown_conversation", client.group(bytes(16)))
        assert await client.groups() == []
        await refused("unknown_conversation", of(client, group).refresh())


async def test_when_the_owner_leaves_the_longest_admin_owns_it_else_the_longest_member(w: World) -> None:
    ann, bob, carol, dave = await w.people("ann", "bob", "carol", "dave")
    group = await ann.create_group(["bob", "carol", "dave"])
    await group.promote("dave", "carol")
    await group.leave()
    assert (await of(bob, group).refresh()).owner == "carol"
    await of(carol, group).leave()
    await of(dave, group).leave()
    assert (await of(bob, group).refresh()).owner == "bob"
    await of(bob, group).leave()
    await refused("unknown_conversation", of(bob, group).refresh())


async def test_what_is_so_already_is_no_change_and_lists_leave_out_whom_it_does_not_concern(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    w.users("carol", "dave")
    group = await ann.create_group(["bob", "carol"])
    for call in (
        group.add("bob", "carol"),
        group.remove("dave"),
        group.promote("dave"),
        group.demote("bob"),
        group.set_rules(post=Who.EVERYONE),
        group.revoke(bytes(32)),
    ):
        await refused("no_change", call)
    await group.add("bob", "dave", "carol")
    _, added = await take(bob, 2)
    assert isinstance(added, Message)
    assert added.change == Added(("dave",))


async def test_who_is_no_member_cannot_tell_whether_there_is_a_group(w: World) -> None:
    ann, eve = await w.people("ann", "eve")
    group = await ann.create_group()
    for of_eve in (of(eve, group), Group(eve, bytes(16))):
        for call in (of_eve.add("eve"), of_eve.leave(), of_eve.refresh(), of_eve.progress(1)):
            await refused("unknown_conversation", call)
        sent = await of_eve.send(b"let me in")
        await refused("unknown_conversation", sent.accepted())


# Coming and going.


async def test_who_was_removed_while_away_gets_everything_up_to_it_and_nothing_after(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    group = await ann.create_group(["bob"])
    await take(bob, 1)
    await bob.close()
    last = await mark(group)
    await group.remove("bob")
    await mark(group)
    again = await w.person("bob")
    got = await take(again, last + 1)
    assert isinstance(got[-1], Message)
    assert got[-1].change == Removed(("bob",))
    assert [item.seq for item in got if isinstance(item, Message)] == [last, last + 1]
    await group.add("bob")
    seq = await mark(group)
    state = await known(again, group, seq)
    assert "bob" in state
    assert state == group.state


async def test_who_is_removed_while_sending_is_told_so_and_what_was_accepted_counts(w: World) -> None:
    ann, bob, carol = await w.people("ann", "bob", "carol")
    group = await ann.create_group(["bob", "carol"])
    of_bob = of(bob, group)
    sends = [await of_bob.send(b"%d" % n) for n in range(50)]
    await sends[0].accepted()
    removing = asyncio.create_task(group.remove("bob"))
    sends += [await of_bob.send(b"%d" % n) for n in range(50, 100)]
    answers = await asyncio.gather(*[sent.accepted() for sent in sends], return_exceptions=True)
    await removing
    late = await of_bob.send(b"late")
    await refused("unknown_conversation", late.accepted())
    accepted = [sent.seq for sent, answer in zip(sends, answers, strict=True) if answer is None]
    for answer in answers:
        assert answer is None or (isinstance(answer, Refused) and answer.code == "unknown_conversation")
    got = await take(carol, await mark(group))
    assert [item.seq for item in got if isinstance(item, Message) and item.sender == "bob"] == accepted


async def test_two_admins_who_demote_each_other_leave_one_admin_and_one_owner(w: World) -> None:
    ann, bob, carol = await w.people("ann", "bob", "carol")
    for _ in range(10):
        group = await ann.create_group(["bob", "carol"])
        await group.promote("bob", "carol")
        both = await asyncio.gather(
            of(bob, group).demote("carol"), of(carol, group).demote("bob"), return_exceptions=True
        )
        refusals = [answer for answer in both if isinstance(answer, Refused)]
        assert [refusal.code for refusal in refusals] == ["forbidden"]
        state = await group.refresh()
        assert sorted(member.role for member in state.members) == [Role.MEMBER, Role.ADMIN, Role.OWNER]


async def test_who_comes_late_sees_the_group_as_it_is_and_nothing_from_before(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    group = await ann.create_group(["bob"], name="old name")
    for _ in range(20):
        await mark(group)
    await group.set_profile(name="new name")
    dave = await w.person("dave")
    await group.add("dave")
    seq = await mark(group)
    got = await take(dave, seq)
    assert [item.seq for item in got if isinstance(item, Message)] == [seq - 1, seq]
    state = dave.group_state(group.conversation)
    assert state is not None
    assert (state, state.name) == (group.state, "new name")
    assert await known(bob, group, seq) == state


async def test_a_new_device_of_a_member_begins_with_the_state(w: World) -> None:
    ann, _ = await w.people("ann", "bob")
    group = await ann.create_group(["bob"], name="climbing")
    tablet = await w.person("bob", 2)
    laptop = await w.person("ann", 2)
    await mark(group)
    await group.set_profile(name="caving")
    seq = await mark(group)
    for client in (tablet, laptop):
        assert await known(client, group, seq) == group.state


async def test_all_devices_of_the_one_who_changes_it_see_the_change(w: World) -> None:
    phone, laptop = await w.person("ann"), await w.person("ann", 2)
    helper = await w.person("ann", receive=False)
    group = await phone.create_group(w.users("bob"))
    await of(helper, group).promote("bob")
    seq = await mark(of(helper, group))
    for client in (laptop, phone):
        while (state := client.group_state(group.conversation)) is None or state.seq < 2:
            message = await anext(client.messages())
            await message.ack()
        assert (state.role("bob"), seq) == (Role.ADMIN, 3)


# Invitations.


async def test_whoever_has_the_link_joins_until_it_is_revoked(w: World) -> None:
    ann, bob, carol = await w.people("ann", "bob", "carol")
    group = await ann.create_group()
    invitation = await group.invite()
    joined = await bob.join_group(invitation.link)
    assert joined.conversation == group.conversation
    assert joined.state is not None
    assert "bob" in joined.state
    await refused("no_change", bob.join_group(invitation.link))
    state = await group.refresh()
    assert [invite.hash for invite in state.invites] == [invitation.hash]
    _, _, message = await take(ann, 3)
    assert isinstance(message, Message)
    assert message.change == Joined(invitation.hash)
    await group.revoke(invitation)
    await refused("bad_invite", carol.join_group(invitation.link))


async def test_an_invitation_that_is_over_or_was_never_made_lets_nobody_in(w: World) -> None:
    ann, eve = await w.people("ann", "eve")
    group = await ann.create_group()
    await refused("bad_invite", group.invite(timedelta(seconds=-1)))
    over = await group.invite(timedelta(seconds=2))
    end = time.time() + 2.1  # the server reads a coarse clock, some ms behind
    await asyncio.to_thread(until, lambda: time.time() > end, "the invitation is over")
    await refused("bad_invite", eve.join_group(over.link))
    await refused("bad_invite", eve.join_group(Invitation.make(group.conversation).link))
    with pytest.raises(ValueError, match="pyrouter:group/"):
        await eve.join_group("pyrouter:group/1234/5678")


async def test_a_group_has_16_invitations(w: World) -> None:
    (ann,) = await w.people("ann")
    group = await ann.create_group()
    first = await group.invite()
    for _ in range(15):
        await group.invite()
    await refused("too_many", group.invite())
    await group.revoke(first)
    await group.invite()


# Blocking.


async def test_a_blocked_sender_sees_one_tick_for_ever_and_nothing_else(w: World) -> None:
    ann, bob = await w.people("ann", "bob")
    assert await bob.block("ann") == ["ann"]
    blocked = await ann.send("bob", b"are you there?")
    await blocked.accepted()
    group = await bob.create_group(["ann"])  # Bob may add Ann: she does not block him
    message = await ann.receive()
    assert isinstance(message, Message)
    await message.ack()
    assert blocked.state == State.SENT
    assert await bob.unblock("ann") == []
    await (after := await ann.send("bob", b"and now?")).accepted()
    while True:
        item = await bob.receive()
        if isinstance(item, Message) and not item.group:
            break
    assert (item.body, item.seq) == (b"and now?", 2)
    await item.ack()
    said = await of(ann, group).send(b"here I am")
    await said.accepted()
    await take(bob, said.seq)
    await said.delivered()  # what Bob acknowledged before would have been told before
    assert blocked.state == after.state == State.SENT
    assert item.conversation == direct_conversation("ann", "bob")
    assert group.conversation != item.conversation


async def test_whom_one_blocks_adds_one_to_no_group_but_both_meet_in_those_of_others(w: World) -> None:
    ann, bob, carol = await w.people("ann", "bob", "carol")
    await bob.block("ann")
    await refused("cannot_add", ann.create_group(["bob"]))
    group = await ann.create_group(["carol"])
    await refused("cannot_add", group.add("bob"))
    await group.promote("carol")
    await of(carol, group).add("bob")
    sent = await group.send(b"hello, bob")
    await sent.accepted()
    got = await take(bob, sent.seq)
    assert isinstance(got[-1], Message)
    assert got[-1].body == b"hello, bob"
    assert await bob.blocked() == ["ann"]
    await refused("unknown_user", bob.block("nobody"))


# Ticks.


async def test_one_who_has_not_got_it_keeps_a_message_at_one_tick_and_progress_tells_who(w: World) -> None:
    receipts: asyncio.Queue[Event] = asyncio.Queue()
    ann = await w.person("ann", on_event=receipts.put_nowait)
    bob, carol = await w.people("bob", "carol")
    group = await ann.create_group(["bob", "carol"])
    sent = await group.send(b"x")
    await take(bob, 2)
    bob.read(group.conversation, 2)
    while sent.state_for("bob") < State.READ:
        await receipts.get()
    assert sent.state == State.SENT
    progress = await group.progress(2)
    assert [progress.users(state) for state in (State.SENT, State.DELIVERED, State.READ)] == [["carol"], [], ["bob"]]
    await take(carol, 2)
    await sent.delivered()
    carol.read(group.conversation, 2)
    await sent.read()


async def test_a_session_that_only_sends_can_wait_for_everybody(w: World) -> None:
    ann, bob, carol = await w.person("ann", receive=False), await w.person("bob"), await w.person("carol")
    group = await ann.create_group(["bob", "carol"])
    sent = await group.send(b"x")
    waiting = asyncio.create_task(sent.delivered())
    await take(bob, 2)
    await take(carol, 2)
    await waiting
