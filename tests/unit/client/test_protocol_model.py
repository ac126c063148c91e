"""The client's state machine against a plain model of the server, with connections cut and the server crashed anywhere.

Holds, at every step: a conversation's messages are handed out in order, each once (I3); a repeated send is one message
(I4, on the client's side: same ids, in the first order); states only move forward and claim nothing untrue (I7); no ack
passes what the program acknowledged. And at the end, once the connection holds: nothing is left over.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyrouter.client.errors import Refused
from pyrouter.client.ids import IdSource
from pyrouter.client.model import Message, SentMessage, Skipped, State
from pyrouter.client.protocol import Protocol

from .fake_server import ME, FakeServer

OTHERS = st.sampled_from(["bob", "carol", ME])


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.server = FakeServer()
        self.client = Protocol(clock=lambda: self.now, ids=IdSource(b"12345678"))
        self.sent: list[SentMessage] = []
        self.states: list[State] = []
        self.inbox: list[Message] = []  # handed out, not acknowledged by the program
        self.handed: dict[bytes, int] = {}  # conversation → seq
        self.acked: dict[bytes, int] = {}

    # The two ends.

    def settle(self) -> None:
        """Moves the client's output to the wire, and looks at its events."""
        assert self.client.broken is None
        output = self.client.take_output()
        if self.server.connected:
            self.server.to_server.extend(output)
        for event in self.client.events():
            match event:
                case Message(conversation=conversation, seq=seq):
                    assert seq > self.handed.get(conversation, 0), "out of order, or twice (I3)"
                    original = self.server.conversations[conversation].log[seq - 1]
                    assert (event.sender, event.body) == (original.sender, original.body)
                    assert event.sender != ME
                    missed = range(self.handed.get(conversation, 0) + 1, seq)
                    for gap in missed:
                        assert self.server.conversations[conversation].log[gap - 1].sender == ME, "a gap (I3)"
                    self.handed[conversation] = seq
                    self.inbox.append(event)
                case Skipped(conversation=conversation, last=last):
                    assert last > self.handed.get(conversation, 0)
                    self.handed[conversation] = last
                case _:
                    pass

    def pump(self) -> None:
        while self.server.to_server or self.server.to_client:
            self.from_client() if self.server.to_server else self.from_server()

    # What may happen.

    @precondition(lambda self: not self.server.connected)
    @rule()
    def connect(self) -> None:
        self.server.connect()
        self.client.connect("token")
        self.settle()

    @precondition(lambda self: self.server.to_server)
    @rule()
    def from_client(self) -> None:
        self.server.take()

    @precondition(lambda self: self.server.to_client)
    @rule()
    def from_server(self) -> None:
        self.client.receive(self.server.to_client.popleft())
        self.settle()

    @rule()
    def quick(self) -> None:
        self.pump()

    @precondition(lambda self: self.server.connected)
    @rule(crash=st.booleans())
    def cut(self, crash: bool) -> None:
        self.server.crash() if crash else self.server.cut()
        assert self.client.connection_lost() is None

    @rule()
    def sync(self) -> None:
        self.server.sync()
        self.server.deliver()

    @rule(to=st.one_of(OTHERS, st.just("nobody")), count=st.integers(1, 4))
    def send(self, to: str, count: int) -> None:
        for _ in range(count):
            self.sent.append(self.client.send(to, b"%d" % len(self.sent)))
            self.states.append(State.PENDING)
        self.settle()

    @precondition(lambda self: self.inbox)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        message = self.inbox[data.draw(st.integers(0, min(3, len(self.inbox) - 1)))]
        self.client.ack(message.conversation, message.seq)
        self.acked[message.conversation] = max(message.seq, self.acked.get(message.conversation, 0))
        self.inbox = [m for m in self.inbox if m.conversation != message.conversation or m.seq > message.seq]
        self.settle()

    @rule(other=OTHERS)
    def read(self, other: str) -> None:
        conversation = self.server.conversation(other).id
        if seq := self.acked.get(conversation, 0):
            self.client.read(conversation, seq)
            self.settle()

    @rule(other=OTHERS.filter(lambda other: other != ME), count=st.integers(1, 4))
    def other_sends(self, other: str, count: int) -> None:
        for n in range(count):
            self.server.other_sends(other, b"from %d" % n)

    @rule(other=OTHERS, read=st.booleans())
    def other_acks(self, other: str, read: bool) -> None:
        self.server.other_acks(other, read)

    @rule(other=OTHERS, mine=st.booleans())
    def expire(self, other: str, mine: bool) -> None:
        self.server.expire_for_me(other) if mine else self.server.expire_for_other(other)

    @rule(full=st.booleans())
    def storage(self, full: bool) -> None:
        self.server.full = full

    @rule(seconds=st.sampled_from([0.05, 0.2, 1.5, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.client.poll()
        if self.client.broken:
            self.server.cut()
            assert self.client.connection_lost() is None
            self.client.broken = None
        self.settle()

    # What must hold.

    @invariant()
    def states_only_grow_and_are_true(self) -> None:
        for index, sent in enumerate(self.sent):
            state = sent.state
            assert state >= self.states[index], "a state went back (I7)"
            self.states[index] = state
            if state == State.PENDING:
                continue
            conversation = self.server.conversations[sent.conversation]
            kept = conversation.log[sent.seq - 1]
            assert (kept.id, kept.body) == (sent.id, b"%d" % index), "accepted, but not kept as it was (I1)"
            if state >= State.DELIVERED:
                assert sent.seq <= conversation.delivered
                assert not any(a <= sent.seq <= b for a, b in conversation.lost), "a skipped message is claimed (I7)"
            if state == State.READ:
                assert sent.seq <= conversation.read

    @invariant()
    def each_id_is_one_message_and_order_holds(self) -> None:
        position = {sent.id: index for index, sent in enumerate(self.sent)}
        for conversation in self.server.conversations.values():
            mine = [position[message.id] for message in conversation.log if message.sender == ME]
            assert len(set(mine)) == len(mine), "one id became two messages (I4)"
            if not self.server.refusals:
                assert mine == sorted(mine), "sends were numbered out of order"

    @invariant()
    def no_ack_without_the_program(self) -> None:
        for conversation in self.server.conversations.values():
            allowed = max(self.acked.get(conversation.id, 0), conversation.floor)
            passed = range(allowed + 1, conversation.cursor + 1)
            assert all(conversation.log[seq - 1].sender == ME for seq in passed)

    def teardown(self) -> None:
        self.server.full = False
        if self.server.connected:
            self.cut(crash=True)
        self.connect()
        for _ in range(10 + len(self.sent) + sum(len(c.log) for c in self.server.conversations.values())):
            self.pump()
            self.sync()
            self.pump()
            for message in self.inbox:
                self.client.ack(message.conversation, message.seq)
            self.inbox.clear()
            self.settle()
            self.wait(1.5)
        assert not len(self.client.outbox)
        for index, sent in enumerate(self.sent):
            if sent.to == "nobody":
                assert isinstance(sent.error, Refused)
            else:
                assert sent.error is None, index
                assert sent.state >= State.SENT
        for conversation in self.server.conversations.values():
            theirs = [message.seq for message in conversation.log if message.sender != ME]
            assert conversation.cursor >= max(theirs, default=0)
        assert self.server.answers <= self.server.confirmed, "the server was not told which answers were seen"


Machine.TestCase.settings = settings(stateful_step_count=60, report_multiple_bugs=False)
TestProtocolModel = Machine.TestCase
