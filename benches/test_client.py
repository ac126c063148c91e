"""The client library's state machine: what a message costs a Python client beside reading or writing its frame."""

from __future__ import annotations

from benches.conftest import Beside
from pyrouter.client.model import Message
from pyrouter.client.protocol import Protocol
from pyrouter.wire import wire_pb2 as wire

COUNT = 256
BODY = b"\x5a" * 160
CONVERSATION = b"c" * 16
WELCOME = wire.ServerFrame(
    welcome=wire.Welcome(protocol=1, user="bob", device=1, time=1, limits=wire.Limits(body_bytes=65536), receive=True)
).SerializeToString()


def _welcomed() -> Protocol:
    protocol = Protocol()
    protocol.connect("token")
    protocol.receive(WELCOME)
    protocol.events()
    protocol.take_output()
    return protocol


def test_a_message_is_received_and_acknowledged(beside: Beside) -> None:
    payloads = [
        wire.ServerFrame(
            message=wire.Message(
                conversation=CONVERSATION, seq=seq, sender="alice", device=1, id=b"%012d" % seq, time=seq, body=BODY
            )
        ).SerializeToString()
        for seq in range(1, COUNT + 1)
    ]

    def receive() -> None:
        protocol, got = _welcomed(), 0
        for payload in payloads:
            protocol.receive(payload)
            for event in protocol.events():
                assert isinstance(event, Message)
                assert event.body == BODY
                protocol.ack(event.conversation, event.seq)
                got += 1
        protocol.flush()
        last = wire.ClientFrame.FromString(protocol.take_output()[-1])
        assert (got, last.ack.seq) == (COUNT, COUNT)

    def parse() -> None:
        for payload in payloads:
            assert wire.ServerFrame.FromString(payload).message.body == BODY

    beside(receive, parse, what="parsing its frame", at_most=60, operations=COUNT)


def test_a_message_is_sent(beside: Beside) -> None:
    def send() -> None:
        protocol = _welcomed()
        for _ in range(COUNT):
            protocol.send("bob", BODY)
        assert len(protocol.take_output()) == COUNT

    def build() -> None:
        for number in range(COUNT):
            frame = wire.ClientFrame(send=wire.Send(id=b"%012d" % number, user="bob", body=BODY)).SerializeToString()
            assert len(frame) > len(BODY)

    beside(send, build, what="building its frame", at_most=60, operations=COUNT)
