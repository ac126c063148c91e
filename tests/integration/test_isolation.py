"""One connection's flood or stall is its own (I6): others are served meanwhile, memory is bounded, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from pyrouter.wire import ClientFrame, Ping
from tests.server_process import ServerProcess, until
from tests.wire_client import MAGIC, Wire, direct_conversation, varint

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

MESSAGES, BODY = 10_000, 4 << 10
IN_FLIGHT = 128  # sends that wait for their answer; the server takes 256 before it stops reading
MEMORY = 4 << 20
SETTINGS = '[limits]\nmemory = "4MiB"\n'
# A session may have 256 sends that wait for the disk, and another read's worth (256 KiB) before it is not read any
# more; here they are of 1 KiB, and of 256 bytes that each costs besides.
UNACCEPTED = 2 * 256 * (1024 + 256)
# What the server may take for the messages of a reader that reads nothing, above its floor: the bodies that
# `limits.memory` lets it keep; a window of `limits.window` in its own hands, and once more in the transport's; a
# reference of 64 bytes for each message, and as much again while their ring grows; what the allocator makes of all
# that, and batches on their way to the disk.
RSS_BOUND = MEMORY + 2 * (1 << 20) + 2 * 64 * MESSAGES + (6 << 20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, SETTINGS)
    server.start()
    yield server
    assert "Traceback" not in server.said()
    server.close()


@pytest.fixture
def bystanders(server: ServerProcess) -> Iterator[tuple[Wire, Wire]]:
    with Wire(server.port) as cal, Wire(server.port, "ws") as dan:
        dan.join(server.token("dan"))
        cal.join(server.token("cal"))
        exchange((cal, dan))
        yield cal, dan


def exchange(bystanders: tuple[Wire, Wire]) -> None:
    cal, dan = bystanders
    id = cal.send("dan")
    assert cal.accepted().id == id
    message = dan.message()
    assert message.id == id
    dan.ack(message.conversation, message.seq)
    cal.delivered(message.conversation, message.seq, "dan")


def body(number: int) -> bytes:
    return b"%08d" % number * (BODY // 8)


def test_a_reader_that_stalls_costs_a_bounded_memory_and_gets_all_of_it_when_it_resumes(
    server: ServerProcess, bystanders: tuple[Wire, Wire]
) -> None:
    bob = Wire(server.port, receive_bytes=4096)
    bob.join(server.token("bob"))
    with bob, Wire(server.port) as ann:
        ann.join(server.token("ann"), receive=False)
        floor = server.rss_bytes()
        peak = 0
        for number in range(MESSAGES):
            ann.send("bob", body(number))
            if number >= IN_FLIGHT:
                assert ann.accepted().seq == number + 1 - IN_FLIGHT
            if number % 500 == 0:
                exchange(bystanders)
                peak = max(peak, server.rss_bytes())
        for number in range(MESSAGES - IN_FLIGHT, MESSAGES):
            assert ann.accepted().seq == number + 1
        metrics = server.metrics()
        assert metrics["messages_pending"] == MESSAGES
        assert metrics["hot_bytes"] <= MEMORY
        peak = max(peak, server.rss_bytes())
        assert peak - floor <= RSS_BOUND, f"{(peak - floor) >> 20} MiB above the floor"

        at = direct_conversation("ann", "bob")
        for number in range(MESSAGES):
            message = bob.message()
            assert (message.seq, message.body) == (number + 1, body(number))
            if number % 16 == 15:
                bob.ack(at, number + 1)
            if number % 500 == 0:
                exchange(bystanders)
                peak = max(peak, server.rss_bytes())
        until(lambda: server.metrics()["messages_pending"] == 0, "all of it is acknowledged")
        assert peak - floor <= RSS_BOUND, f"{(peak - floor) >> 20} MiB above the floor"


def test_a_reader_that_acknowledges_and_never_reads_is_sent_no_more_than_fits(
    server: ServerProcess, bystanders: tuple[Wire, Wire]
) -> None:
    """Its acks open the window again and again; what is written for it must still fit into its connection."""
    with Wire(server.port, receive_bytes=4096) as bob, Wire(server.port) as ann:
        bob.join(server.token("bob"))
        ann.join(server.token("ann"), receive=False)
        floor = server.rss_bytes()
        at = direct_conversation("ann", "bob")
        for number in range(3000):
            ann.send("bob", body(number))
            bob_acks = ann.accepted().seq
            if number % 16 == 0:
                bob.ack(at, bob_acks)
        exchange(bystanders)
        peak = server.rss_bytes()
        assert peak - floor <= RSS_BOUND, f"{(peak - floor) >> 20} MiB above the floor"


@pytest.mark.parametrize("carrier", ["raw", "ws"])
def test_a_client_that_asks_and_never_reads_is_not_read_any_more(
    server: ServerProcess, bystanders: tuple[Wire, Wire], carrier: str
) -> None:
    """A flood of pings whose pongs nobody takes: the flood is stopped, by back-pressure or by the end."""
    floor = server.rss_bytes()
    with Wire(server.port, "raw" if carrier == "raw" else "ws", receive_bytes=4096) as mallory:
        mallory.join(server.token("mallory"))
        mallory.patience(1)
        flood = [ClientFrame(ping=Ping(nonce=2**63))] * 1000
        stopped = False
        for _ in range(10_000):
            try:
                mallory.put(*flood)
            except OSError:  # it would block for long, or the server ended it
                stopped = True
                break
        assert stopped
        exchange(bystanders)
        assert server.rss_bytes() - floor <= RSS_BOUND


def test_a_sender_that_floods_takes_turns_with_others(server: ServerProcess, bystanders: tuple[Wire, Wire]) -> None:
    """It is answered in full, in order; others go on between its answers, and what waits for the disk is bounded."""
    server.token("sink")
    with Wire(server.port) as mallory:
        mallory.join(server.token("mallory"), receive=False)
        flood = threading.Thread(target=mallory.put_bytes, args=(b"".join(map(flooding, range(MESSAGES))),))
        flood.start()
        for number in range(MESSAGES):
            assert mallory.accepted(confirm=False).seq == number + 1
            if number % 1000 == 0:
                exchange(bystanders)
                assert server.metrics()["unaccepted_bytes"] <= UNACCEPTED
        flood.join()
        exchange(bystanders)


def flooding(number: int) -> bytes:
    frame = ClientFrame()
    frame.send.id, frame.send.user, frame.send.body = b"%d" % number, "sink", bytes(1024)
    payload = frame.SerializeToString()
    return varint(len(payload)) + payload


def test_more_connections_than_the_system_allows_are_turned_away_and_nobody_else_notices(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, '[log]\nsegment = "1MiB"\n', open_files=256) as server:
        server.start()
        with Wire(server.port) as cal, Wire(server.port, "ws") as dan:
            dan.join(server.token("dan"))
            cal.join(server.token("cal"))
            flood = [Wire(server.port) for _ in range(300)]
            with suppress(ConnectionResetError):  # as the system likes
                assert flood[-1].everything() == b"", "the last ones are turned away"
            for number in range(400):  # the log needs files of its own: it begins segments meanwhile
                cal.send("dan", body(number))
                assert dan.message().body == body(number)
                dan.ack(direct_conversation("cal", "dan"), number + 1)
                cal.accepted()
            exchange((cal, dan))
            for wire in flood:
                wire.close()
            until(lambda: serves_at_most(server, 3), "they are gone")
            with Wire(server.port) as late:
                late.join(server.token("cal", 2))
        assert "raise the limit of open files" in server.said()
        assert "Traceback" not in server.said()
        assert server.stop() == 0


def serves_at_most(server: ServerProcess, most: int) -> bool:
    """Whether the server has at most so many connections, this question's among them."""
    try:
        return server.metrics()["connections"] <= most
    except (OSError, HTTPException):  # the question is turned away, too, while there are too many
        return False


def test_connections_that_say_nothing_take_nothing_from_others(
    server: ServerProcess, bystanders: tuple[Wire, Wire]
) -> None:
    idle = [Wire(server.port) for _ in range(300)]
    for number, wire in enumerate(idle):
        wire.put_bytes((b"", MAGIC[:3], MAGIC, MAGIC + varint(1000) + b"x", b"GET /v1 HTTP/1.1\r\n")[number % 5])
    exchange(bystanders)
    assert server.metrics()["connections"] >= 300
    for wire in idle:
        wire.close()
    until(lambda: server.metrics()["connections"] < 10, "they are gone")
    exchange(bystanders)
