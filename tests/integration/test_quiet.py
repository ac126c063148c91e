"""A hundred thousand conversations that went quiet are in the cold store, not in memory, and come back when wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrouter.wire import Ack, ClientFrame, Send
from tests.server_process import ServerProcess, until
from tests.wire_client import Wire, direct_conversation

USERS, ROUNDS, PEERS = 450, 4, 56  # in each round, each user writes to so many others for the first time
CONVERSATIONS = USERS * ROUNDS * PEERS
# What may stay above the floor, of the 100 MiB or so that the conversations take: buffers kept for reuse (4 MiB), the
# database's cache (2 MiB), what Python and the allocator keep in pieces. Nothing that grows with their number.
RSS_BOUND = 20 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, '[limits]\nquiet = "1s"\n')
    server.start()
    yield server
    server.close()
    assert "Traceback" not in server.said()


def name(number: int) -> str:
    return f"user{number % USERS:03}"


def write(wires: list[Wire], peers: range) -> None:
    """Everybody writes to the others that are so far away; all is delivered, acknowledged, and told to its sender."""
    for user, wire in enumerate(wires):
        sends = (Send(id=b"%d" % away, user=name(user + away), body=b"hello") for away in peers)
        wire.put(*(ClientFrame(send=send) for send in sends))
    for wire in wires:
        acks = []
        for _ in range(2 * len(peers)):  # the answers to its own, and the others'
            frame = wire.next()
            while wire.keep(frame):
                frame = wire.next()
            if frame.HasField("message"):
                acks.append(ClientFrame(ack=Ack(conversation=frame.message.conversation, seq=frame.message.seq)))
            else:
                assert frame.HasField("accepted"), frame
                wire.unconfirmed.append(frame.accepted)
        wire.confirm()
        wire.put(*acks)
    for user, wire in enumerate(wires):
        for away in peers:
            wire.delivered(direct_conversation(name(user), name(user + away)), 1, name(user + away))
        wire.ack_receipts()


@pytest.mark.slow
def test_quiet_conversations_leave_memory_and_a_send_to_one_of_them_goes_on_where_it_was(server: ServerProcess) -> None:
    """I2, I5."""
    tokens = [server.token(name(user)) for user in range(USERS)]
    floor = server.rss_bytes()
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)) for _ in range(USERS)]
        for wire, token in zip(wires, tokens, strict=True):
            wire.join(token)
        for turn in range(ROUNDS):
            write(wires, range(1 + turn * PEERS, 1 + (turn + 1) * PEERS))
        busy = server.rss_bytes()
    assert server.metrics()["accepted_total"] == CONVERSATIONS
    until(lambda: server.metrics()["conversations_in_memory"] == 0, "all conversations are quiet")
    until(lambda: server.metrics()["users_in_memory"] == 0, "and so are their users")
    left = server.rss_bytes()
    assert left - floor <= RSS_BOUND, f"{(left - floor) >> 20} MiB above the floor; busy {(busy - floor) >> 20} MiB"

    with Wire(server.port) as one, Wire(server.port) as other:
        one.join(tokens[7])
        one.send(name(8))
        assert one.accepted().seq == 2
        other.join(tokens[8])
        assert other.message().seq == 2
        other.ack(direct_conversation(name(7), name(8)), 2)
        one.delivered(direct_conversation(name(7), name(8)), 2, name(8))
        assert server.metrics()["conversations_in_memory"] == 1
