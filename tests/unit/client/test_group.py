"""The fold of a group's changes, against the rules written down a second time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrouter.client.changes import (
    Added,
    Change,
    Closed,
    Created,
    Demoted,
    Invite,
    Invited,
    Joined,
    Left,
    NewOwner,
    Profile,
    Promoted,
    Removed,
    Revoked,
    Role,
    Rules,
    UnknownChange,
    Who,
)
from pyrouter.client.group import GroupState, Member
from pyrouter.client.group_wire import change_from_wire, change_to_wire, state_from_wire
from pyrouter.wire import wire_pb2 as wire

from .group_rules import USERS, Room, created, ends, user, wishes

GROUP = bytes(range(16))
History = list[tuple[int, str, Change]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, list[GroupState]]:
    """Changes that a server allowed, between messages that are none; and the state at every seq, from 0."""
    room, history, states = Room(), [], [GroupState(GROUP)]
    seq = 0
    wanted = [(draw(user), draw(created)), *draw(st.lists(st.tuples(user, wishes), max_size=25))]
    if draw(st.booleans()):
        wanted.append((draw(user), draw(ends)))
    for sender, wish in wanted:
        for _ in range(draw(st.integers(0, 2)) if seq else 0):
            seq += 1
            states.append(states[-1])
        if (stored := room.want(sender, wish)) is not None:
            seq += 1
            history.append((seq, sender, stored))
            states.append(room.state(GROUP, seq))
    return history, states


def fold(state: GroupState, history: History) -> GroupState:
    for seq, sender, change in history:
        state = state.apply(seq, sender, change)
    return state


@given(histories())
def test_the_state_at_any_seq_is_the_fold_of_the_changes_up_to_it(made: tuple[History, list[GroupState]]) -> None:
    history, states = made
    for seq, state in enumerate(states):
        assert fold(GroupState(GROUP), [change for change in history if change[0] <= seq]) == state


@given(histories(), st.data())
def test_whoever_starts_from_a_snapshot_and_gets_anything_twice_comes_to_the_same_state(
    made: tuple[History, list[GroupState]], data: st.DataObject
) -> None:
    history, states = made
    snapshot = states[data.draw(st.integers(0, len(states) - 1), label="snapshot at")]
    after = 0 if snapshot.seq == 0 else data.draw(st.integers(0, snapshot.seq), label="its messages begin after")
    seen: History = []
    for change in history:
        if change[0] > after:
            seen.append(change)
            repeats = data.draw(st.integers(0, min(3, len(seen))), label="repeated")
            seen.extend(seen[len(seen) - repeats :])
    assert fold(snapshot, seen) == states[-1]


@given(histories())
def test_there_is_one_owner_as_long_as_there_is_anybody(made: tuple[History, list[GroupState]]) -> None:
    history, _ = made
    state = GroupState(GROUP)
    for seq, sender, change in history:
        state = state.apply(seq, sender, change)
        assert [member.role for member in state.members].count(Role.OWNER) == bool(state.members)
        assert len({member.user for member in state.members}) == len(state.members)


@given(st.lists(st.tuples(user, wishes), max_size=25), created)
def test_what_is_wanted_and_what_is_stored_of_it_fold_to_the_same(
    wanted: list[tuple[str, Change]], begin: Created
) -> None:
    """So a device need not be told its own changes: the fold passes over whom the server leaves out."""
    room, state = Room(), GroupState(GROUP)
    for seq, (sender, wish) in enumerate([(USERS[0], begin), *wanted], 1):
        before = state
        if (stored := room.want(sender, wish)) is None:
            continue
        state = before.apply(seq, sender, stored)
        if isinstance(stored, Left):
            assert stored.successor == (before.successor(sender) if before.owner == sender else "")
        else:
            assert before.apply(seq, sender, wish) == state


@given(histories())
def test_changes_and_snapshots_are_the_same_after_a_way_over_the_wire(made: tuple[History, list[GroupState]]) -> None:
    history, states = made
    for _, _, change in history:
        assert change_from_wire(wire.GroupChange.FromString(change_to_wire(change).SerializeToString())) == change
    for state in states[1:]:
        assert state_from_wire(wire.Group.FromString(snapshot_of(state).SerializeToString())) == state


def snapshot_of(state: GroupState) -> wire.Group:
    """As a server says it; spelled out here, for the library only reads it."""
    profile = wire.Profile(
        name=state.profile.name, description=state.profile.description, picture=state.profile.picture
    )
    whole = wire.Group(conversation=state.conversation, seq=state.seq, profile=profile, closed=state.closed)
    whole.rules.CopyFrom(change_to_wire(state.rules).rules)
    for member in state.members:
        whole.members.add(user=member.user, role=wire.Role.Name(member.role))  # type: ignore[arg-type]  # names do too
    for invite in state.invites:
        whole.invites.add(hash=invite.hash, expires=invite.expires)
    return whole


def begun(*members: Member) -> GroupState:
    return GroupState(GROUP, 1, members)


ANN, BOB, EVE = Member("ann", Role.OWNER), Member("bob", Role.ADMIN), Member("eve", Role.MEMBER)


@pytest.mark.parametrize(
    ("change", "members"),
    [
        (Added(("dave", "eve")), [ANN, BOB, EVE, ("dave", Role.MEMBER)]),
        (Removed(("eve", "dave")), [ANN, BOB]),
        (Removed(("ann",)), [ANN, BOB, EVE]),  # no server says that; nobody can be without an owner by it
        (Left("bob"), [("bob", Role.OWNER), EVE]),
        (Promoted(("eve", "ann")), [ANN, BOB, ("eve", Role.ADMIN)]),
        (Demoted(("bob", "ann")), [ANN, ("bob", Role.MEMBER), EVE]),
        (NewOwner("eve"), [("ann", Role.ADMIN), BOB, ("eve", Role.OWNER)]),
        (Joined(bytes(32)), [ANN, BOB, EVE]),
        (UnknownChange(), [ANN, BOB, EVE]),
        (Closed(), []),
    ],
)
def test_each_change_of_members_by_example(change: Change, members: list[tuple[str, Role]]) -> None:
    assert list(begun(ANN, BOB, EVE).apply(2, "ann", change).members) == members


def test_a_profile_changes_by_parts_and_an_empty_part_takes_it_away() -> None:
    state = begun(ANN).apply(2, "ann", Profile(name=b"a", picture=b"p"))
    state = state.apply(3, "ann", Profile(description=b"d", picture=b""))
    assert state.profile == Profile(b"a", b"d", b"")
    assert (state.name, state.owner) == ("a", "ann")


def test_an_invite_with_a_known_hash_replaces_the_older_one() -> None:
    state = begun(ANN)
    for seq, made in enumerate([Invite(b"1", 5), Invite(b"2", 5), Invite(b"1", 9)], 2):
        state = state.apply(seq, "ann", Invited(made))
    assert state.invites == (Invite(b"2", 5), Invite(b"1", 9))
    assert state.apply(5, "ann", Revoked(b"2")).invites == (Invite(b"1", 9),)


def test_of_sixteen_invites_the_one_that_expired_first_gives_way() -> None:
    state = begun(ANN)
    made = [Invite(b"%02d" % n, 0 if n in (0, 9) else 100 - n // 3) for n in range(16)]
    for seq, invite in enumerate([*made, Invite(b"03", 7), Invite(b"16"), Invite(b"17")], 2):
        state = state.apply(seq, "ann", Invited(invite))
    # "03" was given another end and was the first to expire then; after it, "15".
    assert state.invites == (*made[:3], *made[4:15], Invite(b"16"), Invite(b"17"))


def test_rules_say_who_may() -> None:
    state = GroupState(GROUP).apply(1, "ann", Created(("bob",), rules=Rules(Who.EVERYONE, Who.ADMINS, Who.ADMINS)))
    assert [state.may(name, state.rules.post) for name in ("ann", "bob", "eve")] == [True, True, False]
    assert [state.may(name, state.rules.add) for name in ("ann", "bob", "eve")] == [True, False, False]
