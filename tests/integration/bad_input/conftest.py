"""One server for each file here bears all that clients get wrong in it.

After each test two bystanders, connected from the beginning, still exchange a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.server_process import ServerProcess
from tests.wire_client import CARRIERS, Wire


@dataclass
class Bystanders:
    """Two users who have nothing to do with it."""

    sender: Wire
    receiver: Wire

    def exchange(self) -> None:
        id = self.sender.send("bystander 2", b"all is well")
        assert self.sender.accepted().id == id
        message = self.receiver.message()
        assert message.id == id
        self.receiver.ack(message.conversation, message.seq)
        self.sender.delivered(message.conversation, message.seq, "bystander 2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("bad-input"))
    server.start()
    yield server
    status, said = server.stop(), server.said()
    assert status == 0
    assert "Traceback" not in said
    assert "panicked" not in said


@pytest.fixture(scope="module")
def bystanders(server: ServerProcess) -> Iterator[Bystanders]:
    with Wire(server.port) as sender, Wire(server.port, "ws") as receiver:
        receiver.join(server.token("bystander 2"))
        sender.join(server.token("bystander 1"))
        yield Bystanders(sender, receiver)


@pytest.fixture(autouse=True)
def bystanders_notice_nothing(bystanders: Bystanders) -> Iterator[None]:
    yield
    bystanders.exchange()


@pytest.fixture(params=CARRIERS)
def wire(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Wire]:
    """A connection that has said nothing yet."""
    with Wire(server.port, request.param) as wire:
        yield wire


@pytest.fixture
def ann(wire: Wire, server: ServerProcess) -> Wire:
    """The same, identified."""
    wire.join(server.token("ann"))
    return wire
