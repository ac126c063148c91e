"""Single rules of what a device believes of its groups, by way of the protocol; the model test has their interplay."""

from __future__ import annotations

import pytest

from pyrouter.client import book
from pyrouter.client.changes import Added, Change, Created, Joined, Left, NewOwner, Removed, Role
from pyrouter.client.errors import Refused
from pyrouter.client.group import GroupState
from pyrouter.client.group_wire import change_to_wire
from pyrouter.client.ids import device_conversation, direct_conversation
from pyrouter.client.model import Message, Receipt, Refreshed, SentMessage, State
from pyrouter.client.protocol import Protocol
from pyrouter.client.questions import Question
from pyrouter.wire import wire_pb2 as wire

GROUP = bytes(range(16))
THE_STATE = Question("group", GROUP)


class Session:
    """A protocol of Alice, in a group with Bob and Carol since message 1, and words for what the server says."""

    def __init__(self, *, begun: bool = True, receive: bool = True) -> None:
        self.protocol = Protocol(clock=lambda: 100.0, receive=receive)
        self.connect()
        if begun:
            self.message(1, Created(("alice", "carol")))

    def connect(self) -> list[str | None]:
        self.protocol.connect("secret")
        self.said()
        self.hear(welcome=wire.Welcome(protocol=1, user="alice", device=1))
        return self.said()

    def hear(self, **frame: object) -> None:
        self.protocol.receive(wire.ServerFrame(**frame).SerializeToString())  # type: ignore[arg-type]  # one member

    def said(self) -> list[str | None]:
        return [wire.ClientFrame.FromString(payload).WhichOneof("frame") for payload in self.protocol.take_output()]

    def message(self, seq: int, change: Change | None = None, sender: str = "bob") -> None:
        said = wire.Message(conversation=GROUP, seq=seq, sender=sender, device=1, id=b"i")
        if change is not None:
            said.change.CopyFrom(change_to_wire(change))
        self.hear(message=said)

    def snapshot(self, seq: int, *members: str) -> None:
        group = wire.Group(conversation=GROUP, seq=seq)
        for member in members:
            group.members.add(user=member)
        self.hear(group=group)

    def skip(self, first: int, last: int, reason: wire.SkipReason.ValueType, user: str = "") -> None:
        skip = wire.Skip(conversation=GROUP, to=last, reason=reason, user=user)
        setattr(skip, "from", first)
        self.hear(skip=skip)

    def accept(self, sent: SentMessage, seq: int) -> SentMessage:
        self.hear(accepted=wire.Accepted(id=sent.id, conversation=GROUP, seq=seq, time=1))
        return sent

    def send(self, seq: int) -> SentMessage:
        return self.accept(self.protocol.send(GROUP, b"hello"), seq)

    def change(self, seq: int, change: Change) -> SentMessage:
        return self.accept(self.protocol.manage(b"" if seq == 1 else GROUP, change), seq)

    def receipts(self, **cursors: tuple[int, int]) -> None:
        told = wire.Receipts(conversation=GROUP, version=b"1")
        for user, (delivered, read) in cursors.items():
            told.cursors.add(user=user, delivered=delivered, read=read)
        self.hear(receipts=told)

    @property
    def state(self) -> GroupState:
        state = self.protocol.book.state(GROUP)
        assert state is not None
        return state

    def members(self) -> list[str]:
        return [member.user for member in self.state.members]

    @property
    def asks(self) -> bool:
        return THE_STATE in self.protocol.questions


# Folding.


def test_a_group_that_this_device_made_is_known_from_the_answer() -> None:
    session = Session(begun=False)
    session.change(1, Created(("bob",)))
    assert session.members() == ["alice", "bob"]
    assert session.state.owner == "alice"
    assert not session.asks


def test_changes_of_others_and_our_own_are_folded_in_their_order() -> None:
    session = Session()
    session.message(2)
    session.change(3, Added(("dave",)))
    session.message(4, Added(("eve",)))
    assert session.members() == ["bob", "alice", "carol", "dave", "eve"]
    assert not session.asks


def test_a_change_of_ours_is_known_from_the_answer_and_comes_as_a_message_too() -> None:
    session = Session()
    session.change(2, Added(("dave",)))
    assert session.members()[-1] == "dave"
    session.message(2, Added(("dave",)), sender="alice")
    session.message(3, Added(("eve",)))
    assert session.members() == ["bob", "alice", "carol", "dave", "eve"]
    assert [event.seq for event in session.protocol.events() if isinstance(event, Message)] == [1, 2, 3]


def test_a_change_of_ours_below_which_something_has_not_come_yet_waits_for_its_turn() -> None:
    session = Session()
    session.change(3, Added(("dave",)))
    assert session.members()[-1] == "carol"
    session.message(2, Added(("eve",)))
    session.message(3, Added(("dave",)), sender="alice")
    assert session.members()[-2:] == ["eve", "dave"]


def test_numbers_that_do_not_come_are_messages_of_our_own() -> None:
    session = Session()
    session.message(7, Added(("dave",)))  # the others are of an earlier run, or of another session of this device
    assert session.members()[-1] == "dave"
    assert session.protocol.book.current(GROUP) == session.state


def test_a_question_that_a_lost_connection_left_open_is_asked_again() -> None:
    session = Session()
    session.protocol.ask(THE_STATE)
    session.said()
    session.protocol.connection_lost()
    assert "group_get" in session.connect()


def test_an_older_snapshot_changes_nothing() -> None:
    session = Session()
    session.message(2, Added(("dave",)))
    session.snapshot(1, "bob")
    assert session.members()[-1] == "dave"
    assert not [event for event in session.protocol.events() if isinstance(event, Refreshed)]


def test_a_snapshot_before_the_first_message_is_the_state() -> None:
    session = Session(begun=False)
    session.snapshot(7, "bob", "alice")
    assert [event.state.seq for event in session.protocol.events() if isinstance(event, Refreshed)] == [7]
    session.message(7, Added(("alice",)))
    session.message(8, Added(("dave",)))
    assert session.members() == ["bob", "alice", "dave"]


def test_a_skip_may_hide_changes_so_the_state_rests_until_the_snapshot_comes() -> None:
    session = Session()
    session.skip(2, 9, wire.EXPIRED)
    assert session.protocol.book.current(GROUP) is None
    session.snapshot(8, "alice", "dave")
    session.message(10, Added(("eve",)))
    assert session.members() == ["alice", "dave", "eve"]
    assert not session.asks


def test_after_a_skip_without_a_snapshot_the_next_message_asks() -> None:
    session = Session()
    session.skip(2, 9, wire.EXPIRED)
    session.message(10)
    assert session.asks


def test_a_group_that_is_not_known_is_not_asked_for_by_itself() -> None:
    session = Session(begun=False)
    session.message(5)
    session.send(6)
    assert not session.asks
    assert session.protocol.book.state(GROUP) is None


def test_an_owner_who_leaves_knows_the_successor() -> None:
    session = Session()
    session.message(2, NewOwner("alice"))
    session.change(3, Left())
    assert [(member.user, member.role) for member in session.state.members] == [
        ("bob", Role.OWNER),
        ("carol", Role.MEMBER),
    ]


def test_a_change_of_a_later_version_is_asked_for() -> None:
    session = Session()
    session.hear(
        message=wire.Message(conversation=GROUP, seq=2, sender="bob", device=1, id=b"i", change=wire.GroupChange())
    )
    assert session.asks


def test_direct_and_device_conversations_are_no_groups() -> None:
    session = Session(begun=False)
    for conversation, sender, to in [
        (direct_conversation("alice", "bob"), "bob", ""),
        (direct_conversation("alice", "carol"), "alice", "carol"),
        (device_conversation(("alice", 1), ("bob", 7)), "bob", ""),
    ]:
        session.hear(message=wire.Message(conversation=conversation, seq=1, sender=sender, device=7, to=to, id=b"i"))
        assert conversation not in session.protocol.book


def test_a_session_that_only_sends_believes_nothing_but_what_it_is_told() -> None:
    session = Session(begun=False, receive=False)
    session.change(1, Created(("bob",)))
    assert session.protocol.book.state(GROUP) is None
    session.protocol.ask(THE_STATE)
    session.snapshot(1, "alice", "bob")
    session.change(9, Added(("carol",)))
    assert session.members() == ["alice", "bob"]
    assert not session.asks


def test_messages_that_wait_for_others_are_bounded_i6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "OWN_KEPT", 2)
    session = Session()
    sent = [session.send(seq) for seq in (3, 4, 5)]
    session.message(2)
    session.receipts(bob=(9, 0), carol=(9, 0))
    assert [one.state for one in sent] == [State.DELIVERED, State.DELIVERED, State.SENT]  # of the last nothing is known


# Changes on their way.


def test_a_change_is_repeated_with_the_same_bytes_and_in_its_place_i4() -> None:
    session = Session()
    session.said()
    session.protocol.send(GROUP, b"1")
    session.protocol.manage(GROUP, Added(("dave",)))
    session.protocol.send(GROUP, b"2")
    before = session.protocol.take_output()
    session.protocol.connection_lost()
    session.protocol.connect("secret")
    session.said()
    session.hear(welcome=wire.Welcome(protocol=1, user="alice", device=1))
    assert session.protocol.take_output() == before


def test_a_refused_change_says_why_and_changes_nothing() -> None:
    session = Session()
    sent = session.protocol.manage(GROUP, Added(("dave",)))
    session.hear(error=wire.Error(code="forbidden", message="Not yours.", id=sent.id, conversation=GROUP))
    assert isinstance(sent.error, Refused)
    assert sent.error.code == "forbidden"
    assert "dave" not in session.state


def test_a_secret_goes_to_the_server_and_into_no_text() -> None:
    secret = b"sixteen bytes it"
    session = Session()
    session.protocol.take_output()
    sent = session.protocol.manage(GROUP, Joined(b"h" * 32, secret))
    (payload,) = session.protocol.take_output()
    assert wire.ClientFrame.FromString(payload).manage.change.joined == wire.Invite(secret=secret)
    assert "sixteen" not in repr(sent.change)


@pytest.mark.parametrize(("conversation", "change"), [(GROUP, Created()), (b"", Left()), (b"short", Left())])
def test_a_change_that_cannot_be_is_refused_here(conversation: bytes, change: Change) -> None:
    with pytest.raises(ValueError, match="conversation"):
        Session().protocol.manage(conversation, change)


# Ticks.


def tick(sent: SentMessage) -> State:
    """The state; a call, so that nobody thinks that it stays as it is."""
    return sent.state


def test_a_message_is_delivered_when_everybody_has_it_and_read_when_all_read_it_i7() -> None:
    session = Session()
    sent = session.send(2)
    states = [sent.state]
    for user, cursors in [("bob", (2, 0)), ("alice", (2, 2)), ("carol", (2, 2)), ("bob", (2, 2))]:
        session.receipts(**{user: cursors})
        states.append(sent.state)
    assert states == [State.SENT, State.SENT, State.SENT, State.DELIVERED, State.READ]
    assert [event.user for event in session.protocol.events() if isinstance(event, Receipt)] == ["bob", "carol", "bob"]


def test_each_members_state_can_be_seen() -> None:
    session = Session()
    sent = session.send(2)
    session.receipts(bob=(2, 2), carol=(1, 0))
    assert [sent.state_for(user) for user in ("bob", "carol", "eve")] == [State.READ, State.SENT, State.SENT]


def test_who_comes_later_and_who_goes_changes_nothing_about_who_is_to_get_it() -> None:
    session = Session()
    sent = session.send(2)
    session.message(3, Added(("dave",)))
    session.receipts(bob=(3, 0))
    assert tick(sent) == State.SENT  # Carol is to get it, and may be removed before she has it
    session.receipts(carol=(3, 0))
    assert tick(sent) == State.DELIVERED
    assert session.send(4).state == State.SENT


def test_who_is_to_get_it_is_told_by_what_stood_before_it_whenever_that_comes() -> None:
    session = Session()
    early, late = session.send(3), session.send(5)
    session.receipts(bob=(9, 0), carol=(9, 0))
    assert tick(early) == State.SENT
    session.message(2, Added(("dave",)))
    session.message(4, Removed(("dave",)))
    assert (tick(early), tick(late)) == (State.SENT, State.DELIVERED)
    session.receipts(dave=(4, 0))
    assert tick(early) == State.DELIVERED


def test_nobody_knows_who_was_to_get_what_lies_in_a_skip_i7() -> None:
    session = Session()
    sent = session.send(3)
    session.skip(2, 4, wire.EXPIRED)
    session.snapshot(2, "alice", "bob")
    session.message(5)
    session.receipts(bob=(9, 9))
    assert tick(sent) == State.SENT


def test_a_member_who_will_never_get_it_keeps_it_at_one_tick_i7() -> None:
    session = Session()
    sent = session.send(2)
    session.skip(2, 2, wire.EXPIRED, user="carol")
    session.receipts(bob=(2, 2), carol=(2, 2))
    assert tick(sent) == State.SENT
    assert sent.undeliverable is not None
    assert sent.undeliverable.name == "EXPIRED"


def test_receipts_before_the_answer_count() -> None:
    session = Session()
    sent = session.protocol.send(GROUP, b"x")
    session.receipts(bob=(2, 0), carol=(2, 0))
    assert session.accept(sent, 2).state == State.DELIVERED


def test_while_nobody_knows_who_is_to_get_it_nothing_is_claimed_and_it_can_be_asked_i7() -> None:
    session = Session(begun=False, receive=False)
    sent = session.send(5)
    session.receipts(bob=(5, 0))
    assert tick(sent) == State.SENT
    session.protocol.seek(sent)
    assert "progress_get" in session.said()
    progress = wire.Progress(conversation=GROUP, seq=5)
    progress.cursors.add(user="bob", delivered=5)
    progress.cursors.add(user="carol", delivered=9, read=7)
    session.hear(progress=progress)
    assert tick(sent) == State.DELIVERED
    session.receipts(bob=(5, 6))
    assert tick(sent) == State.READ


def test_what_progress_says_of_one_message_claims_nothing_of_others_i7() -> None:
    session = Session()
    session.protocol.ask(Question("progress", GROUP, 3))
    sent = session.send(2)
    progress = wire.Progress(conversation=GROUP, seq=3)
    progress.cursors.add(user="bob", delivered=3)
    progress.cursors.add(user="carol", delivered=3, skipped=True)
    session.hear(progress=progress)
    assert tick(sent) == State.SENT


def test_a_message_to_a_direct_conversation_by_its_id_has_its_ticks() -> None:
    direct = direct_conversation("alice", "bob")
    session = Session(begun=False, receive=False)
    sent = session.protocol.send(direct, b"x")
    session.hear(accepted=wire.Accepted(id=sent.id, conversation=direct, seq=1, time=1))
    session.protocol.seek(sent)
    session.hear(error=wire.Error(code="unknown_conversation", conversation=direct))
    session.hear(receipt=wire.Receipt(conversation=direct, user="bob", delivered=1, version=b"1"))
    assert tick(sent) == State.DELIVERED


# Reading.


def authors(session: Session, seq: int, *named: str) -> list[str]:
    session.said()
    session.protocol.read(GROUP, seq, named)
    frames = [wire.ClientFrame.FromString(payload) for payload in session.protocol.take_output()]
    return [author for frame in frames for author in frame.read.authors]


def test_a_read_names_the_authors_of_what_it_covers_and_each_once() -> None:
    session = Session()
    for seq, sender in [(2, "bob"), (3, "carol"), (4, "bob"), (5, "alice"), (6, "dave")]:
        session.message(seq, sender=sender)
    session.protocol.ack(GROUP, 6)
    assert authors(session, 3) == ["bob", "carol"]
    assert authors(session, 5) == ["bob"]
    assert authors(session, 5) == []
    assert authors(session, 6) == ["dave"]


def test_a_read_names_whom_the_program_names_too_but_not_ourselves() -> None:
    session = Session()
    session.message(2, sender="carol")
    session.protocol.ack(GROUP, 2)
    assert authors(session, 2, "bob", "alice") == ["bob", "carol"]


def test_after_a_lost_connection_all_recent_authors_are_told_again() -> None:
    session = Session()
    for seq, sender in [(2, "bob"), (3, "carol")]:
        session.message(seq, sender=sender)
    session.protocol.ack(GROUP, 3)
    session.protocol.read(GROUP, 2)
    session.protocol.read(GROUP, 3)
    session.protocol.connection_lost()
    session.protocol.connect("secret")
    session.said()
    session.hear(welcome=wire.Welcome(protocol=1, user="alice", device=1))
    (read,) = [
        frame.read
        for frame in map(wire.ClientFrame.FromString, session.protocol.take_output())
        if frame.HasField("read")
    ]
    assert (read.seq, list(read.authors)) == (3, ["bob", "carol"])


def test_what_was_skipped_before_anything_came_may_have_hidden_changes() -> None:
    session = Session(begun=False)
    made = session.protocol.manage(b"", Created(("bob", "carol")))
    session.skip(1, 4, wire.EXPIRED)
    session.accept(made, 1)
    assert session.protocol.book.current(GROUP) is None
    session.snapshot(4, "alice", "bob")
    assert session.protocol.book.current(GROUP) is not None
