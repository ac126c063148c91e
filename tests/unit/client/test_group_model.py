"""Several devices and one group: connections cut and the server crashed anywhere, changes that cross each other,
members who come, go and come back, messages that expire, a second session of a device.

Holds, at every step: what a device believes of the group is exactly its state at some seq; ticks claim nothing untrue
(I7). And at the end, once the connections hold: everybody believes the same.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyrouter.client.changes import Change, Created, Promoted
from pyrouter.client.group import GroupState
from pyrouter.client.ids import IdSource
from pyrouter.client.model import Message, SentMessage, Skipped, State
from pyrouter.client.protocol import Protocol
from pyrouter.client.questions import Question

from .group_rules import wishes
from .group_server import GROUP, GroupServer, Link

# Bob has two devices; Ann's only device has a second session that only sends.
DEVICES = [("ann", 1, True), ("ann", 1, False), ("bob", 1, True), ("bob", 2, True)]
DEVICES += [("carol", 1, True), ("dave", 1, True)]
NEVER_THERE = "eve"
ANYBODY = st.integers(0, len(DEVICES) - 1)
MOSTLY_ADMINS = st.sampled_from([0, 1, 2, 0, 1, 2, 3, 4, 5])  # at least at first; others are refused most of the time


class Side:
    """One program."""

    def __init__(self, number: int, link: Link, machine: Machine) -> None:
        self.link = link
        self.client = Protocol(
            receive=link.receive, clock=lambda: machine.now, ids=IdSource(b"%08d" % number), client=str(number)
        )
        self.sent: list[SentMessage] = []
        self.inbox: list[Message] = []  # handed out, not acknowledged
        self.acked = 0
        self.handed = 0

    def settle(self) -> None:
        """Moves the client's output to the wire, and looks at its events."""
        assert self.client.broken is None
        output = self.client.take_output()
        if self.link.connected:
            self.link.to_server.extend(output)
        self.client.questions.take_answers()
        for event in self.client.events():
            if isinstance(event, Message):
                assert event.seq > self.handed, "out of order, or twice (I3)"
                self.handed = event.seq
                self.inbox.append(event)
            elif isinstance(event, Skipped):
                self.handed = event.last

    def ack(self, count: int) -> None:
        for message in self.inbox[:count]:
            self.client.ack(GROUP, message.seq)
            self.acked = message.seq
        del self.inbox[:count]

    @property
    def state(self) -> GroupState | None:
        return self.client.book.state(GROUP)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.server = GroupServer(DEVICES)
        self.sides = [Side(number, link, self) for number, link in enumerate(self.server.links)]
        for number in range(len(DEVICES)):
            self.connect(number)
        first = self.sides[0]
        first.sent.append(first.client.manage(b"", Created(("bob", "carol"))))
        self.go_on(first, through=True)
        first.sent.append(first.client.manage(GROUP, Promoted(("bob",))))
        self.go_on(first, through=True)

    def pump(self) -> None:
        while any(side.link.to_server or side.link.to_client for side in self.sides):
            for side in self.sides:
                while side.link.to_server:
                    self.server.take(side.link)
                while side.link.to_client:
                    side.client.receive(side.link.to_client.popleft())
                side.settle()

    # What may happen.

    @rule(number=ANYBODY)
    def back(self, number: int) -> None:
        """A connection that is taken up at once."""
        self.connect(number)
        self.pump()

    @rule(number=ANYBODY)
    def connect(self, number: int) -> None:
        side = self.sides[number]
        if not side.link.connected:
            side.link.connected = True
            side.client.connect("token")
            side.settle()

    @rule(number=ANYBODY, count=st.integers(1, 3))
    def from_client(self, number: int, count: int) -> None:
        for _ in range(min(count, len(self.sides[number].link.to_server))):
            self.server.take(self.sides[number].link)

    @rule(number=ANYBODY, count=st.integers(1, 3))
    def from_server(self, number: int, count: int) -> None:
        side = self.sides[number]
        for _ in range(min(count, len(side.link.to_client))):
            side.client.receive(side.link.to_client.popleft())
            side.settle()

    @rule()
    def quick(self) -> None:
        self.pump()

    @rule()
    def calm(self) -> None:
        """For once, everybody is there and has everything."""
        for number in range(len(self.sides)):
            self.back(number)
        self.server.sync()
        self.pump()
        for side in self.sides:
            side.ack(len(side.inbox))
            side.settle()
        self.pump()

    @rule(number=ANYBODY)
    def cut(self, number: int) -> None:
        side = self.sides[number]
        if side.link.connected:
            self.server.cut(side.link)
            assert side.client.connection_lost() is None

    @rule()
    def crash(self) -> None:
        connected = [side for side in self.sides if side.link.connected]
        self.server.crash()
        for side in connected:
            assert side.client.connection_lost() is None

    @rule()
    def sync(self) -> None:
        self.server.sync()

    @rule(number=MOSTLY_ADMINS, change=wishes, through=st.booleans())
    def want(self, number: int, change: Change, through: bool) -> None:
        side = self.sides[number]
        side.sent.append(side.client.manage(GROUP, change))
        self.go_on(side, through)

    @rule(number=MOSTLY_ADMINS, count=st.integers(1, 3), through=st.booleans())
    def say(self, number: int, count: int, through: bool) -> None:
        side = self.sides[number]
        side.sent.extend(side.client.send(GROUP, b"hello") for _ in range(count))
        self.go_on(side, through)

    def go_on(self, side: Side, through: bool) -> None:
        """Leaves it at that, or lets the server have it and answer."""
        side.settle()
        while through and side.link.to_server:
            self.server.take(side.link)
        if through:
            self.server.sync()

    @rule(number=ANYBODY, count=st.integers(1, 5), read=st.booleans())
    def ack(self, number: int, count: int, read: bool) -> None:
        side = self.sides[number]
        side.ack(count)
        if read and side.acked:
            side.client.read(GROUP, side.acked)
        side.settle()

    @rule(number=ANYBODY)
    def ask(self, number: int) -> None:
        self.sides[number].client.ask(Question("group", GROUP))
        self.sides[number].settle()

    @rule(number=ANYBODY, data=st.data())
    def wait_for(self, number: int, data: st.DataObject) -> None:
        """As a program does that awaits `delivered`."""
        side = self.sides[number]
        if accepted := [sent for sent in side.sent if sent.state != State.PENDING]:
            side.client.seek(data.draw(st.sampled_from(accepted)))
            side.settle()

    @precondition(lambda self: len(self.server.log) > 3)
    @rule()
    def expire(self) -> None:
        self.server.expire()

    # What must hold.

    @invariant()
    def what_a_device_believes_was_true_at_some_seq(self) -> None:
        for side in self.sides:
            if (state := side.state) is not None:
                assert state.seq <= self.server.durable
                assert state == self.server.states[state.seq], side.client.user

    @invariant()
    def ticks_are_true(self) -> None:
        server = self.server
        for side in self.sides:
            for sent in side.sent:
                state = sent.state
                if state < State.DELIVERED:
                    continue
                for user in server.audience(sent.seq):
                    assert server.delivered.get(user, 0) >= sent.seq
                    assert not server.is_lost(user, sent.seq), "a skipped message is claimed (I7)"
                    assert state < State.READ or server.read.get((user, side.client.user), 0) >= sent.seq

    def teardown(self) -> None:
        for number in range(len(self.sides)):
            self.cut(number)
            self.connect(number)
        to_come = sum(len(side.sent) for side in self.sides)  # at least one of all a round
        for _ in range(20 + len(self.server.log) + to_come):
            self.pump()
            self.server.sync()
            self.pump()
            for side in self.sides:
                side.ack(len(side.inbox))
                if side.acked:
                    side.client.read(GROUP, side.acked)
                side.settle()
            self.now += 1.5
            for side in self.sides:
                side.client.poll()
                side.settle()
        final = self.server.states[-1]
        for side in self.sides:
            assert not len(side.client.outbox)
            if side.link.receive and side.client.user in final:
                self.agrees(side, final)
        self.everything_is_told()

    def agrees(self, side: Side, final: GroupState) -> None:
        """What was never heard of is asked for; so is what a skip at the very end may have hidden."""
        if side.client.book.current(GROUP) is None:
            side.client.ask(Question("group", GROUP))
            side.settle()
            self.pump()
        assert side.client.book.current(GROUP) == final == side.state

    def everything_is_told(self) -> None:
        for side in self.sides:
            for sent in [sent for sent in side.sent if sent.error is None]:
                audience = self.server.audience(sent.seq)
                side.client.seek(sent)
                side.settle()
                self.pump()
                lost = any(self.server.is_lost(user, sent.seq) for user in audience)
                if lost or side.client.user not in self.server.states[-1] or NEVER_THERE in audience:
                    continue
                if sent.change is None and all(user in self.server.states[-1] for user in audience):
                    assert sent.state == State.READ
                else:
                    assert sent.state >= State.DELIVERED


FEWEST = 200  # examples: less of them meet too few of the coincidences that matter
examples = max(FEWEST, settings().max_examples)
Machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=60, report_multiple_bugs=False)
TestGroupModel = Machine.TestCase
