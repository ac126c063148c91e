"""Single rules of the client's state machine that the model test would not point at."""

from __future__ import annotations

import pytest

from pyrouter.client import liveness, outbox, reads
from pyrouter.client import protocol as module
from pyrouter.client.errors import DevicesChanged, OutboxFull, Refused, Replaced, SessionRefused
from pyrouter.client.ids import direct_conversation
from pyrouter.client.model import Connected, Delayed, Device, DeviceList, Message, Rejected, State, Trouble
from pyrouter.client.protocol import Protocol
from pyrouter.client.questions import Question
from pyrouter.wire import wire_pb2 as wire

BOB = direct_conversation("alice", "bob")
GROUP = bytes(range(16))


class Session:
    """A protocol, a clock, and words for what the server says."""

    def __init__(self, **options: object) -> None:
        self.now = 100.0
        self.protocol = Protocol(clock=lambda: self.now, **options)  # type: ignore[arg-type]  # options of the test

    def connect(self, **limits: int) -> list[wire.ClientFrame]:
        self.protocol.connect("secret")
        (hello,) = self.said()
        assert hello.hello.token == "secret"
        welcome = wire.Welcome(protocol=1, user="alice", device=1, limits=wire.Limits(**limits))
        self.hear(welcome=welcome)
        return self.said()

    def hear(self, **frame: object) -> None:
        self.protocol.receive(wire.ServerFrame(**frame).SerializeToString())  # type: ignore[arg-type]  # one member

    def said(self) -> list[wire.ClientFrame]:
        return [wire.ClientFrame.FromString(payload) for payload in self.protocol.take_output()]

    def message(self, seq: int, conversation: bytes = BOB) -> None:
        self.hear(message=wire.Message(conversation=conversation, seq=seq, sender="bob", device=1, id=b"i", body=b"b"))

    def accept(self, sent: wire.Send, seq: int) -> None:
        self.hear(accepted=wire.Accepted(id=sent.id, conversation=BOB, seq=seq, time=1))


def seen(frame: wire.ClientFrame) -> list[tuple[bytes, int]]:
    """The messages whose `accepted` an ack confirms."""
    return [(of.conversation, seq) for of in frame.ack.accepted for seq in of.seqs]


def test_nothing_but_hello_leaves_before_welcome() -> None:
    session = Session()
    session.protocol.send("bob", b"early")
    session.protocol.ask(Question("devices", user="bob"))
    session.protocol.connect("secret")
    assert [frame.WhichOneof("frame") for frame in session.said()] == ["hello"]
    session.hear(welcome=wire.Welcome(protocol=1, user="alice", device=1))
    assert [frame.WhichOneof("frame") for frame in session.said()] == ["devices_get", "send"]


def test_an_error_instead_of_welcome_lets_nothing_leave_and_ends_the_session() -> None:
    session = Session()
    session.protocol.send("bob", b"early")
    session.protocol.connect("stale")
    session.said()
    session.hear(error=wire.Error(code="bad_token", message="not yours"))
    assert session.said() == []
    end = session.protocol.connection_lost()
    assert isinstance(end, SessionRefused)
    assert end.code == "bad_token"


def test_one_message_is_acknowledged_at_once() -> None:
    session = Session()
    session.connect()
    session.message(1)
    session.protocol.ack(BOB, 1)
    (frame,) = session.said()
    assert (frame.ack.conversation, frame.ack.seq) == (BOB, 1)


def test_while_others_wait_acks_leave_every_16_messages_or_100_ms() -> None:
    session = Session()
    session.connect()
    for seq in range(1, 31):
        session.message(seq)
    for seq in range(1, 16):
        session.protocol.ack(BOB, seq)
    assert session.said() == []
    session.protocol.ack(BOB, 16)
    assert [frame.ack.seq for frame in session.said()] == [16]
    session.protocol.ack(BOB, 17)
    assert session.said() == []
    assert session.protocol.deadline() == pytest.approx(session.now + 0.1)
    session.now += 0.1
    session.protocol.poll()
    assert [frame.ack.seq for frame in session.said()] == [17]


def test_between_connections_and_before_welcome_nothing_is_due_but_the_welcome() -> None:
    session = Session()
    session.connect()
    session.message(1)
    session.message(2)
    session.protocol.connection_lost()
    session.protocol.ack(BOB, 1)
    assert session.protocol.deadline() is None
    session.protocol.connect("secret")
    assert session.protocol.deadline() == session.now + liveness.WELCOME_WITHIN_S


def test_an_ack_of_what_never_came_is_refused() -> None:
    session = Session()
    session.connect()
    session.message(1)
    with pytest.raises(ValueError, match="never came"):
        session.protocol.ack(BOB, 2)


def test_a_repeat_of_an_acknowledged_message_is_acknowledged_again_and_not_handed_out() -> None:
    session = Session()
    session.connect()
    session.message(1)
    session.protocol.ack(BOB, 1)
    session.protocol.connection_lost()
    session.connect()
    session.protocol.events()
    session.message(1)
    assert not [event for event in session.protocol.events() if isinstance(event, Message)]
    session.now += 0.1
    session.protocol.poll()
    assert [frame.ack.seq for frame in session.said()] == [1]


def test_cursors_of_an_earlier_run_drop_what_was_acknowledged_then() -> None:
    session = Session(cursors={BOB: 7})
    session.connect()
    session.protocol.events()
    session.message(7)
    session.message(8)
    assert [event.seq for event in session.protocol.events() if isinstance(event, Message)] == [8]
    assert session.protocol.cursors() == {BOB: 7}


def test_a_skip_is_acknowledged_only_once_everything_before_it_is() -> None:
    session = Session()
    session.connect()
    session.message(1)
    skip = wire.Skip(conversation=BOB, to=5, reason=wire.EXPIRED)
    setattr(skip, "from", 2)
    session.hear(skip=skip)
    assert session.protocol.cursors() == {}
    session.protocol.ack(BOB, 1)
    assert session.protocol.cursors() == {BOB: 5}
    assert [frame.ack.seq for frame in session.said()] == [5]


def test_a_resend_has_the_same_bytes_and_comes_before_new_sends_i4() -> None:
    session = Session()
    session.connect()
    first, second = session.protocol.send("bob", b"1"), session.protocol.send("carol", b"2")
    before = session.protocol.take_output()
    session.protocol.connection_lost()
    third = session.protocol.send("bob", b"3")
    again = session.connect()
    assert [frame.send.id for frame in again] == [first.id, second.id, third.id]
    assert [frame.SerializeToString() for frame in again[:2]] == before


def test_answers_are_confirmed_before_the_server_would_forget_ids() -> None:
    session = Session()
    session.connect(repeats=5, unaccepted_messages=100)
    for n in range(8):
        session.protocol.send("bob", b"%d" % n)
    flying = session.said()
    assert len(flying) == 4
    session.accept(flying[0].send, 1)
    confirmation, fifth = session.said()
    assert (seen(confirmation), fifth.send.body) == ([(BOB, 1)], b"4")


def test_answers_that_were_not_confirmed_when_a_connection_ended_are_confirmed_on_the_next() -> None:
    session = Session()
    session.connect()
    for n in (1, 2):
        session.protocol.send("bob", b"%d" % n)
    first, second = session.said()
    session.accept(first.send, 1)
    session.protocol.connection_lost()
    confirmation, again = session.connect()
    assert (seen(confirmation), again.send.id) == ([(BOB, 1)], second.send.id)
    # The server has its word now: nothing is confirmed twice.
    session.accept(again.send, 2)
    session.now += module.CONFIRM_DELAY_S
    session.protocol.poll()
    assert [seen(frame) for frame in session.said()] == [[(BOB, 2)]]


def test_a_send_that_the_server_cannot_take_now_holds_back_later_ones_for_the_same_target() -> None:
    session = Session()
    session.connect()
    refused = session.protocol.send("bob", b"1")
    session.said()
    error = wire.Error(code="conversation_full", retry=wire.RETRY_AFTER, retry_ms=2000, id=refused.id)
    session.hear(error=error)
    later, other = session.protocol.send("bob", b"2"), session.protocol.send("carol", b"3")
    assert [frame.send.id for frame in session.said()] == [other.id]
    assert isinstance(session.protocol.events()[-1], Delayed)
    assert session.protocol.deadline() == session.now + 2
    session.now += 2
    session.protocol.poll()
    assert [frame.send.id for frame in session.said()] == [refused.id, later.id]
    assert refused.state == State.PENDING


def test_changed_devices_are_told_with_the_current_lists() -> None:
    session = Session()
    session.connect()
    sent = session.protocol.send("bob", bodies={Device("bob", 1): b"x"}, lists={"bob": (1, [1])})
    lists = [wire.DeviceList(user="bob", version=2, devices=[1, 2])]
    session.hear(error=wire.Error(code="devices_changed", retry=wire.RETRY_CHANGED, id=sent.id, lists=lists))
    assert isinstance(sent.error, DevicesChanged)
    assert sent.error.lists == {"bob": (2, (1, 2))}
    assert isinstance(session.protocol.events()[-1], Rejected)


def test_a_message_above_the_frame_limit_is_rejected_here_and_costs_no_connection() -> None:
    session = Session()
    session.connect(frame_bytes=100)
    large, small = session.protocol.send("bob", bytes(200)), session.protocol.send("bob", b"ok")
    assert [frame.send.id for frame in session.said()] == [small.id]
    assert isinstance(large.error, Refused)
    assert large.error.code == "too_large"


def test_the_outbox_is_bounded_i6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "OUTBOX_MESSAGES", 3)
    session = Session()
    for _ in range(3):
        session.protocol.send("bob", b"x")
    with pytest.raises(OutboxFull):
        session.protocol.send("bob", b"x")


def test_an_id_cannot_be_on_its_way_twice() -> None:
    session = Session()
    session.protocol.send("bob", b"x", id=b"one")
    with pytest.raises(ValueError, match="already on its way"):
        session.protocol.send("bob", b"y", id=b"one")


@pytest.mark.parametrize("id", [b"", bytes(33)])
def test_an_id_has_1_to_32_bytes(id: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 32 bytes"):
        Session().protocol.send("bob", b"x", id=id)


def test_replaced_ends_the_session() -> None:
    session = Session()
    session.connect()
    session.hear(replaced=wire.Replaced())
    assert isinstance(session.protocol.connection_lost(), Replaced)


def test_goodbye_says_when_to_come_back() -> None:
    session = Session()
    session.connect()
    session.hear(goodbye=wire.Goodbye(reason="restart", reconnect_ms=1500))
    assert session.protocol.connection_lost() is None
    assert session.protocol.reconnect_s == 1.5


def test_an_error_that_the_connection_outlives_does_not_end_the_session() -> None:
    session = Session()
    session.connect()
    session.hear(error=wire.Error(code="ack_beyond_head", conversation=BOB))
    assert isinstance(session.protocol.events()[-1], Trouble)
    assert session.protocol.connection_lost() is None  # though nothing came after it


@pytest.mark.parametrize("code", ["unknown_frame", "unknown_conversation"])
def test_neither_does_one_that_answers_a_question(code: str) -> None:
    session = Session()
    session.connect()
    session.protocol.ask(Question("group", GROUP))
    session.hear(error=wire.Error(code=code, conversation=GROUP if code == "unknown_conversation" else b""))
    ((question, answer),) = session.protocol.questions.take_answers()
    assert isinstance(answer, Refused)
    assert (question.kind, answer.code) == ("group", code)
    assert session.protocol.connection_lost() is None


def test_an_overloaded_server_is_left_alone_as_long_as_it_asks() -> None:
    session = Session()
    session.connect()
    error = wire.Error(code="overload", message="too much", retry=wire.RETRY_RECONNECT, retry_ms=3000)
    session.hear(error=error)
    assert session.protocol.broken == "too much (overload)"
    assert session.protocol.connection_lost() is None
    assert session.protocol.reconnect_s == 3


def test_a_silent_server_is_pinged_and_then_left() -> None:
    session = Session()
    session.connect()
    session.now += liveness.PING_AFTER_S
    session.protocol.poll()
    assert [frame.WhichOneof("frame") for frame in session.said()] == ["ping"]
    session.hear(pong=wire.Pong(nonce=1))
    session.now += liveness.PING_AFTER_S
    session.protocol.poll()
    session.now += liveness.PONG_WITHIN_S
    session.protocol.poll()
    assert session.protocol.broken is not None


def test_a_server_that_does_not_welcome_is_left() -> None:
    session = Session()
    session.protocol.connect("secret")
    session.now += liveness.WELCOME_WITHIN_S
    session.protocol.poll()
    assert session.protocol.broken is not None


def test_a_ping_is_answered() -> None:
    session = Session()
    session.connect()
    session.hear(ping=wire.Ping(nonce=77))
    assert [frame.pong.nonce for frame in session.said()] == [77]


def test_what_cannot_be_read_breaks_the_connection_only() -> None:
    session = Session()
    session.connect()
    session.protocol.receive(b"\xff\xff\xff")
    assert session.protocol.broken is not None
    assert session.protocol.connection_lost() is None


def test_a_frame_of_a_later_version_is_ignored() -> None:
    session = Session()
    session.connect()
    session.protocol.receive(b"\xaa\x06\x00")  # field 101, empty
    assert session.protocol.broken is None


def test_recent_reads_are_repeated_after_a_reconnect_old_ones_are_not() -> None:
    session = Session()
    session.connect()
    session.protocol.read(BOB, 1)
    session.now += reads.READ_REPEAT_S + 1
    other = direct_conversation("alice", "carol")
    session.protocol.read(other, 4)
    session.said()
    session.protocol.connection_lost()
    again = session.connect()
    assert [(frame.read.conversation, frame.read.seq) for frame in again] == [(other, 4)]


def test_a_read_is_preceded_by_the_ack_that_it_needs_also_on_a_later_connection() -> None:
    session = Session()
    session.connect()
    session.message(1)
    session.message(2)
    session.protocol.ack(BOB, 1)
    assert session.said() == []  # another message is waiting: not at once
    session.protocol.read(BOB, 1)
    assert [frame.WhichOneof("frame") for frame in session.said()] == ["ack", "read"]
    session.protocol.read(BOB, 1)
    assert [frame.WhichOneof("frame") for frame in session.said()] == ["read"]
    session.protocol.connection_lost()  # whatever of it was lost
    assert [frame.WhichOneof("frame") for frame in session.connect()] == ["ack", "read"]


def test_our_own_receipts_from_another_device_claim_nothing_about_what_we_sent_i7() -> None:
    session = Session()
    session.connect()
    sent = session.protocol.send("bob", b"x")
    session.accept(session.said()[0].send, 1)
    session.hear(receipt=wire.Receipt(conversation=BOB, user="alice", delivered=1, read=1, version=b"1"))
    states = [sent.state]
    session.hear(receipt=wire.Receipt(conversation=BOB, user="bob", read=1, version=b"2"))
    states.append(sent.state)
    assert states == [State.SENT, State.READ]


def test_the_receipt_version_is_acknowledged_by_receiving_sessions_only() -> None:
    for receive in (True, False):
        session = Session(receive=receive)
        session.connect()
        session.hear(receipt=wire.Receipt(conversation=BOB, user="bob", delivered=1, version=b"nine"))
        session.now += module.CONFIRM_DELAY_S
        session.protocol.poll()
        assert [frame.ack.receipts for frame in session.said()] == ([b"nine"] if receive else [])
        session.protocol.connection_lost()
        session.protocol.connect("secret")
        assert session.said()[0].hello.receipts == b"nine"


def test_the_last_receipt_version_counts_whatever_is_in_it() -> None:
    session = Session()
    session.connect()
    for version in (b"z", b"a", b"", b"m" * 64, b"b"):
        session.hear(receipt=wire.Receipt(conversation=BOB, user="bob", version=version))
    session.hear(receipts=wire.Receipts(version=b"alone"))
    session.hear(receipts=wire.Receipts(conversation=b"g" * 16, cursors=[wire.Cursor(user="bob", delivered=1)]))
    session.protocol.flush()
    assert [frame.ack.receipts for frame in session.said()] == [b"alone"], "an empty one leaves it in force"
    session.protocol.flush()
    assert session.said() == [], "it was told"


@pytest.mark.parametrize("begins", [b"", b"other", b"kept"])
def test_a_session_begins_at_the_receipt_version_that_welcome_names(begins: bytes) -> None:
    session = Session(receipts=b"kept")
    session.protocol.connect("secret")
    assert session.said()[0].hello.receipts == b"kept"
    session.hear(welcome=wire.Welcome(protocol=1, user="alice", device=1, receipts=begins))
    assert [frame.ack.receipts for frame in session.said()] == ([begins] if begins else [])
    session.protocol.connection_lost()
    session.protocol.connect("secret")
    assert session.said()[0].hello.receipts == begins


def test_devices_are_asked_for_again_until_they_are_told() -> None:
    session = Session()
    session.connect()
    session.protocol.ask(Question("devices", user="bob"))
    session.said()
    session.protocol.connection_lost()
    assert [frame.devices_get.user for frame in session.connect()] == ["bob"]
    session.hear(devices=wire.Devices(user="bob", version=3, devices=[1, 2]))
    assert session.protocol.questions.take_answers() == [
        (Question("devices", user="bob"), DeviceList("bob", 3, (1, 2)))
    ]
    session.protocol.connection_lost()
    assert session.connect() == []


def test_welcome_tells_who_we_are() -> None:
    session = Session()
    session.connect(body_bytes=65536)
    (event,) = session.protocol.events()
    assert isinstance(event, Connected)
    assert (event.user, event.device, event.limits.body_bytes) == ("alice", 1, 65536)


def test_every_server_frame_of_the_schema_has_a_handler() -> None:
    for field in wire.ServerFrame.DESCRIPTOR.oneofs_by_name["frame"].fields:
        assert hasattr(Protocol, f"_on_{field.name}"), field.name
