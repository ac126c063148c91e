"""The core's steps through its extension, each beside what plain Python takes for the same frames (benches/plain.py).

CPU of this thread is counted: the log has threads of its own, and the time that they take is the last two tests'
affair.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benches.conftest import Beside
from benches.harness import scratch
from benches.inprocess import Peer, World
from benches.log_bytes import used
from benches.plain import Plain
from benches.reference import direct_id
from pyrouter.client.framing import frame
from pyrouter.wire import wire_pb2 as wire

PAIRS = 100
MEMBERS = 256
BODY = b"\x5a" * 160
CPU = pytest.mark.benchmark(timer=time.thread_time)


class Pairs:
    """Senders and recipients in a core and in the plain router, who say the same."""

    def __init__(self, world: World) -> None:
        self.world, self.plain = world, Plain()
        self.senders = [world.join(f"s{number}") for number in range(PAIRS)]
        self.recipients = [world.join(f"r{number}") for number in range(PAIRS)]
        for peer in [*self.senders, *self.recipients]:
            self.plain.join(peer.user)
        world.run(lambda: all(peer.chunks for peer in [*self.senders, *self.recipients]))
        self.sent = {id(world): 0, id(self.plain): 0}
        self.forget()
        self.feed(self.senders, self.sends(world))  # the conversations are made
        self.feed_plain("s", self.sends(self.plain))
        self.drain()
        self.drain_plain()

    def sends(self, side: object) -> list[bytes]:
        """The next send of each sender, as frames. Beside it, what it saw of the answers."""
        self.sent[id(side)] += 1
        count = self.sent[id(side)]
        return [
            frame(
                [_send(b"%d" % count, user=f"r{number}"), _confirm((direct_id(f"s{number}", f"r{number}"), count - 1))]
            )
            for number in range(PAIRS)
        ]

    def acks(self, side: object) -> list[bytes]:
        """Of each recipient, for all that there is."""
        count = self.sent[id(side)]
        return [frame([_ack(direct_id(f"s{number}", f"r{number}"), count)]) for number in range(PAIRS)]

    def feed(self, peers: list[Peer], data: list[bytes]) -> None:
        """Each peer's bytes into the core."""
        for peer, bytes_ in zip(peers, data, strict=True):
            peer.feed(bytes_)

    def feed_plain(self, prefix: str, data: list[bytes]) -> None:
        """The same into the plain router."""
        for number, bytes_ in enumerate(data):
            self.plain.feed(f"{prefix}{number}", 1, bytes_)

    def take_turns(self, *, until: list[Peer]) -> None:
        """Turns until all of these were written to; a turn has a bound of its own."""
        for _ in range(10):
            self.world.driver.turn()
            if all(peer.chunks for peer in until):
                return
        raise AssertionError("not everybody was written to")

    def forget(self) -> None:
        """What was written is of no interest."""
        for peer in [*self.senders, *self.recipients]:
            peer.chunks.clear()
        self.plain.take()

    def drain(self) -> None:
        """What is in the core goes all the way, acknowledged."""
        self.world.run(lambda: all(peer.chunks for peer in self.recipients))
        self.feed(self.recipients, self.acks(self.world))
        for peer in self.senders:
            peer.chunks.clear()
        self.world.run(lambda: all(peer.chunks for peer in self.senders))
        self.world.rest()
        self.forget()

    def drain_plain(self) -> None:
        """The same there."""
        self.plain.deliver()
        self.feed_plain("r", self.acks(self.plain))
        self.plain.take()


@pytest.fixture
def pairs(loop: asyncio.AbstractEventLoop) -> Iterator[Pairs]:
    with scratch() as path, World(path / "data", loop, durability="none") as world:
        yield Pairs(world)


def _send(number: bytes, **target: object) -> bytes:
    return wire.ClientFrame(send=wire.Send(id=number, body=BODY, **target)).SerializeToString()  # type: ignore[arg-type]


def _ack(conversation: bytes, seq: int) -> bytes:
    return wire.ClientFrame(ack=wire.Ack(conversation=conversation, seq=seq)).SerializeToString()


def _confirm(*messages: tuple[bytes, int]) -> bytes:
    accepted = [wire.Seqs(conversation=conversation, seqs=[seq]) for conversation, seq in messages]
    return wire.ClientFrame(ack=wire.Ack(accepted=accepted)).SerializeToString()


@CPU
def test_decode(beside: Beside, pairs: Pairs) -> None:
    """An ack that says nothing new: decoded, looked up, and that is all."""
    payload = _ack(direct_id("s0", "r0"), 1)
    data, peer = frame([payload] * 1000), pairs.recipients[0]

    def parse() -> None:
        for _ in range(1000):
            assert wire.ClientFrame.FromString(payload).ack.seq == 1

    beside(lambda: peer.feed(data), parse, what="parsing it with protobuf's C parser", at_most=1.5, operations=1000)
    pairs.world.driver.turn()
    assert not peer.chunks, "an ack is not answered"


@CPU
def test_sequence(beside: Beside, pairs: Pairs) -> None:
    """From a send's bytes to its number and its record in the open batch."""
    ready: list[list[bytes]] = [[], []]
    begun = [False, False]

    def prepare() -> None:
        if begun[0]:
            pairs.drain()
        begun[0], ready[0] = True, pairs.sends(pairs.world)

    def prepare_plain() -> None:
        if begun[1]:
            pairs.drain_plain()
        begun[1], ready[1] = True, pairs.sends(pairs.plain)

    beside(
        lambda: pairs.feed(pairs.senders, ready[0]),
        lambda: pairs.feed_plain("s", ready[1]),
        what="plain Python, which writes no record",
        at_most=0.6,
        operations=PAIRS,
        prepare=prepare,
        prepare_yardstick=prepare_plain,
    )


@CPU
def test_deliver(beside: Beside, pairs: Pairs) -> None:
    """From durable to the bytes of `accepted` and of the message."""
    begun = [False, False]

    def prepare() -> None:
        if begun[0]:
            pairs.drain()
        begun[0] = True
        pairs.feed(pairs.senders, pairs.sends(pairs.world))
        pairs.world.until_durable()

    def prepare_plain() -> None:
        if begun[1]:
            pairs.drain_plain()
        begun[1] = True
        pairs.feed_plain("s", pairs.sends(pairs.plain))

    def deliver_plain() -> None:
        pairs.plain.deliver()
        assert len(pairs.plain.take()) == 2 * PAIRS

    beside(
        lambda: pairs.take_turns(until=[*pairs.senders, *pairs.recipients]),
        deliver_plain,
        what="plain Python",
        at_most=0.6,
        operations=PAIRS,
        prepare=prepare,
        prepare_yardstick=prepare_plain,
    )


@CPU
def test_fan_out(beside: Beside, loop: asyncio.AbstractEventLoop) -> None:
    """From durable to the bytes of one group message for each of its members."""
    names = [f"m{number}" for number in range(MEMBERS)]
    plain, count = Plain(), [0, 0]
    for name in names:
        plain.join(name)
    there = plain.rules.create(names[0], 1, b"group", names[1:]).conversation
    with scratch() as path, World(path / "data", loop, durability="none") as world:
        members = [world.join(name) for name in names]
        created = wire.GroupChange(created=wire.GroupCreated(members=names[1:]))
        members[0].put(wire.ClientFrame(manage=wire.Manage(id=b"group", change=created)))
        world.run(lambda: any(peer.chunks for peer in members[1:]) and all(peer.chunks for peer in members))
        world.rest()
        (group,) = [each.accepted.conversation for each in members[0].frames() if each.HasField("accepted")]

        def prepare() -> None:
            world.run(lambda: all(peer.chunks for peer in members[1:]))
            for peer in members:
                peer.feed(frame([_ack(group, count[0] + 1)]))
            world.rest()
            for peer in members:
                peer.chunks.clear()
            count[0] += 1
            members[0].feed(frame([_send(b"%d" % count[0], conversation=group)]))
            world.until_durable()

        def prepare_plain() -> None:
            for name in names:
                plain.feed(name, 1, frame([_ack(there, count[1] + 1)]))
            plain.take()
            count[1] += 1
            plain.feed(names[0], 1, frame([_send(b"%d" % count[1], conversation=there)]))

        def fan_out() -> None:
            for _ in range(10):
                world.driver.turn()
                if all(peer.chunks for peer in members):
                    return
            raise AssertionError("not everybody was written to")

        def fan_out_plain() -> None:
            plain.deliver()
            assert len(plain.take()) == MEMBERS

        beside(
            fan_out, fan_out_plain, what="plain Python", at_most=1, operations=MEMBERS, prepare=prepare,
            prepare_yardstick=prepare_plain,
        )  # fmt: skip
        got = [each for each in members[-1].frames() if each.HasField("message")]
        assert [each.message.body for each in got] == [BODY]


@CPU
def test_ack(beside: Beside, pairs: Pairs) -> None:
    """From an ack's bytes to the receipt's."""
    ready: list[list[bytes]] = [[], []]

    def prepare() -> None:
        pairs.feed(pairs.senders, pairs.sends(pairs.world))
        pairs.world.run(lambda: all(peer.chunks for peer in [*pairs.senders, *pairs.recipients]))
        pairs.forget()
        ready[0] = pairs.acks(pairs.world)

    def prepare_plain() -> None:
        pairs.feed_plain("s", pairs.sends(pairs.plain))
        pairs.plain.deliver()
        pairs.plain.take()
        ready[1] = pairs.acks(pairs.plain)

    def ack() -> None:
        pairs.feed(pairs.recipients, ready[0])
        pairs.take_turns(until=pairs.senders)

    def ack_plain() -> None:
        pairs.feed_plain("r", ready[1])
        assert len(pairs.plain.take()) == PAIRS

    beside(
        ack, ack_plain, what="plain Python", at_most=0.6, operations=PAIRS, prepare=prepare,
        prepare_yardstick=prepare_plain,
    )  # fmt: skip


@CPU
def test_encode(beside: Beside, pairs: Pairs) -> None:
    """What waited for a device, to the device: frames from their stored form."""
    waiting = 200
    recipient, back = pairs.recipients[0], [pairs.recipients[0]]
    recipient.close()
    sender = pairs.senders[0]
    for number in range(waiting):
        sender.put(wire.ClientFrame.FromString(_send(b"w%d" % number, user="r0")))
    answered = [0]

    def all_answered() -> bool:
        answered[0] += len(sender.frames())
        return answered[0] == waiting

    pairs.world.run(all_answered)
    message = wire.Message(
        conversation=direct_id("s0", "r0"), seq=7, sender="s0", device=1, id=b"w7", time=1 << 40, body=BODY
    )

    def prepare() -> None:
        back[0].close()
        back[0] = pairs.world.join("r0", receive=True)

    def take() -> None:
        pairs.take_turns(until=back)
        while sum(map(len, back[0].chunks)) < waiting * len(BODY):
            pairs.world.driver.turn()

    def encode() -> None:
        frames = [wire.ServerFrame(message=message).SerializeToString() for _ in range(waiting)]
        assert len(frame(frames)) > waiting * len(BODY)

    beside(take, encode, what="encoding it with protobuf's C encoder", at_most=2, operations=waiting, prepare=prepare)
    got = [each.message.seq for each in back[0].frames() if each.HasField("message")]
    assert got == list(range(2, waiting + 2)), "in order, each once"


def test_append(beside: Beside, loop: asyncio.AbstractEventLoop) -> None:
    """A batch of records to the disk and back to the loop: time, not CPU."""
    with scratch() as path, World(path / "data", loop) as world:
        pairs = Pairs(world)
        plain = os.open(path / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        records = [BODY + b"%060d" % number for number in range(PAIRS)]
        begun = [False]

        def prepare() -> None:
            if begun[0]:
                pairs.drain()
            begun[0] = True
            pairs.feed(pairs.senders, pairs.sends(world))

        def write() -> None:
            data = b"".join(record + zlib.crc32(record).to_bytes(4, "little") for record in records)
            assert os.write(plain, data) == len(data)
            os.fdatasync(plain)

        try:
            beside(
                world.until_durable, write, what="one write and one fdatasync of as many bytes", at_most=4,
                operations=PAIRS, prepare=prepare,
            )  # fmt: skip
        finally:
            os.close(plain)


def test_recover(beside: Beside, loop: asyncio.AbstractEventLoop) -> None:
    """Opening a log with messages pending: time, beside reading its bytes and their checksum."""
    count = 20_000
    with scratch() as path:
        cold: dict[tuple[str, bytes], bytes] = {}
        with World(path / "data", loop, cold, durability="none") as world:
            sender, seen, answers = world.join("s0"), 0, list[tuple[bytes, int]]()
            for begin in range(0, count, 200):
                numbers = range(begin, begin + 200)
                payloads = [_send(b"%d" % number, user=f"r{number % 50}") for number in numbers]
                payloads.append(_confirm(*answers))
                answers.clear()
                sender.feed(frame(payloads))
                while seen < begin + 200:
                    world.run(lambda: bool(sender.chunks))
                    accepted = [each.accepted for each in sender.frames() if each.HasField("accepted")]
                    answers += [(each.conversation, each.seq) for each in accepted]
                    seen += len(accepted)
        opened: list[World] = []

        def close() -> None:
            while opened:
                opened.pop().close()

        try:
            beside(
                lambda: opened.append(World(path / "data", loop, cold, durability="none")),
                lambda: _read(path / "data" / "log"),
                what="reading the same files with their CRC-32",
                at_most=30,
                operations=count,
                rounds=10,
                prepare=close,
            )
            assert opened[-1].core.recovery["findings"] == []
            recipient = opened[-1].join("r0")
            opened[-1].run(lambda: any(each.HasField("message") for each in recipient.frames()))
        finally:
            close()


def _read(log: Path) -> None:
    total = 0
    for segment in log.glob("*.seg"):
        with segment.open("rb") as file:
            data = file.read(used(segment))
        total += len(data)
        assert zlib.crc32(data)
    assert total > 0
