"""Guesses of who is online, and of who talks with whom, by how long the server takes to answer (I8, I13).

What an answer from memory lacks is the trip to the cold store. So the tests count trips, for each question, by the
server's own counter: where every question makes the same number of them, a guess by time is no better than chance. How
good guesses by the clock would have been is a property in the report (`pytest --junit-xml`): it depends on the machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrouter.wire import Ack, Block, ClientFrame, DevicesGet, GroupGet, Ping, Read, Send
from tests.server_process import ServerProcess, until
from tests.wire_client import Wire, direct_conversation

GUESSES = 30
Question = Callable[[int], ClientFrame]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, '[limits]\nquiet = "1s"\n')
    server.start()
    yield server
    server.close()
    assert "Traceback" not in server.said()


def name(number: int) -> str:
    return f"user{number:02}"


def ask(server: ServerProcess, wire: Wire, question: ClientFrame) -> tuple[int, float]:
    """Rows asked of the store until a question is dealt with, and seconds. A ping behind it tells when that is."""
    before = server.metrics()["loads_total"]
    began = time.perf_counter()
    wire.put(question, ClientFrame(ping=Ping(nonce=1)))
    while not wire.next().HasField("pong"):
        pass
    took = time.perf_counter() - began
    return int(server.metrics()["loads_total"] - before), took


def best_guesses(times: list[float], truths: list[bool]) -> str:
    """How many guesses by the clock are right, with the best threshold, which is chosen afterwards."""
    guesses = ([took < limit for took in times] for limit in [*times, 1e9])
    right = max(sum(guess == truth for guess, truth in zip(some, truths, strict=True)) for some in guesses)
    return f"{right} of {len(times)}"


def check(server: ServerProcess, asker: str, truths: list[bool], question: Question, loads: int) -> str:
    """Asks about each of a number of things that are so, or not: the same rows are asked for. The best guesses."""
    with Wire(server.port) as wire:
        wire.join(server.token(asker), receive=False)
        answers = [ask(server, wire, question(number)) for number in range(len(truths))]
    assert [rows for rows, _ in answers] == [loads] * len(truths), asker
    return best_guesses([took for _, took in answers], truths)


def test_a_stranger_guesses_no_better_than_by_chance_who_is_online_i13(
    server: ServerProcess, record_testsuite_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(8)
    online = [chance.random() < 0.5 for _ in range(GUESSES)]
    tokens = [server.token(name(number)) for number in range(GUESSES)]
    with ExitStack() as stack:
        for number, token in enumerate(tokens):
            wire = Wire(server.port)
            wire.join(token)
            if online[number]:
                stack.enter_context(wire)
            else:
                wire.close()

        def devices(number: int) -> ClientFrame:
            return ClientFrame(devices_get=DevicesGet(user=name(number)))

        def block(number: int) -> ClientFrame:
            return ClientFrame(block=Block(user=name(number)))

        def send(number: int) -> ClientFrame:
            return ClientFrame(send=Send(id=b"%d" % number, user=name(number), body=b"x"))

        questions: list[tuple[str, Question, int]] = [
            ("devices_get", devices, 1),
            ("block", block, 1),
            ("send", send, 2),
        ]
        for asker, question, loads in questions:
            until(lambda: server.metrics()["users_in_memory"] == sum(online), "whoever is away is in the store")
            record_testsuite_property(asker, check(server, asker, online, question, loads))


def test_a_stranger_guesses_no_better_than_by_chance_who_talks_with_whom_i8(
    server: ServerProcess, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Of a third of the pairs a message waits in memory, a third has written before, and a third never has."""
    chance = random.Random(8)
    kinds = [number % 3 for number in range(GUESSES)]
    chance.shuffle(kinds)
    pairs = [(f"{name(number)}a", f"{name(number)}b") for number in range(GUESSES)]
    with ExitStack() as stack:
        for (one, other), kind in zip(pairs, kinds, strict=True):
            a, b = (stack.enter_context(Wire(server.port)) for _ in range(2))
            a.join(server.token(one))
            b.join(server.token(other))
            if kind == 1:
                a.send(other)
                a.accepted()
                message = b.message()
                b.ack(message.conversation, message.seq)
                a.delivered(message.conversation, message.seq, other)
                a.confirm()
                a.ack_receipts()
        until(lambda: server.metrics()["conversations_in_memory"] == 0, "those are in the store")
        for (one, other), kind in zip(pairs, kinds, strict=True):
            if kind == 0:
                with Wire(server.port) as a:
                    a.join(server.token(one, 2))
                    a.send(other)
                    a.accepted()
        assert server.metrics()["conversations_in_memory"] == kinds.count(0)

        def at(number: int) -> bytes:
            return direct_conversation(*pairs[number])

        def ack(number: int) -> ClientFrame:
            return ClientFrame(ack=Ack(conversation=at(number), seq=1))

        def read(number: int) -> ClientFrame:
            return ClientFrame(read=Read(conversation=at(number), seq=1))

        def send(number: int) -> ClientFrame:
            return ClientFrame(send=Send(id=b"%d" % number, conversation=at(number), body=b"x"))

        def group(number: int) -> ClientFrame:
            return ClientFrame(group_get=GroupGet(conversation=at(number)))

        questions: list[tuple[str, Question, int]] = [("ack", ack, 1), ("read", read, 1), ("send", send, 1)]
        for asker, question, loads in [*questions, ("group_get", group, 0)]:
            until(lambda: server.metrics()["conversations_in_memory"] == kinds.count(0), "the rest is in the store")
            talk = [kind < 2 for kind in kinds]
            record_testsuite_property(asker, check(server, asker, talk, question, loads))
