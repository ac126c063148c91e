"""Many connections of one user, or of nobody, take a bounded memory and turn, and leave the others theirs (I6, I11).

Each attack runs beside a quiet run: the same connections, which ask for nothing. Memory and the server's counters are
bounded; how long a bystander's pings took is a property in the report (`pytest --junit-xml`), for it depends on the
machine.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from pyrouter.cold import ColdDatabase
from pyrouter.wire import ClientFrame, GroupChange, GroupCreated, GroupGet, Hello, Manage, Ping, Profile
from tests.server_process import ServerProcess, until
from tests.wire_client import MAGIC, Wire, varint

pytestmark = pytest.mark.slow  # memory is measured

SESSIONS, QUESTIONS = 300, 40  # more than the system buffers for a connection
MEMBERS, PICTURE = 500, 32 << 10
USER_BYTES = 4 << 20  # Config::user_bytes
TURN_ANSWERS = 1 << 20  # of core_rs/src/engine/accounts.rs
EARLY = 16 << 10  # Config::early_bytes, and what one read takes before welcome
JUNK = 150
# Beside what is counted: pieces that the allocator keeps, the pool of buffers (4 MiB), transports' objects.
SLACK = 12 << 20

HANGS = """
import asyncio, sys
from pathlib import Path
from pyrouter import Router

async def authenticate(token):
    await asyncio.Event().wait()

async def main():
    async with Router.open(Path(sys.argv[1]), authenticate=authenticate, hook_timeout_s=3600) as router:
        listener = await router.serve(port=0)
        print(listener.addresses[0], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def pings(wire: Wire, count: int = 20) -> float:
    """Seconds of the slowest."""
    slowest = 0.0
    for _ in range(count):
        began = time.perf_counter()
        wire.pong()
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def large_group(server: ServerProcess) -> tuple[bytes, int]:
    """A group whose snapshot is large, and how large that is, bytes."""
    names = [f"{number:064}" for number in range(MEMBERS)]
    with ColdDatabase(server.data / "cold.db") as database:
        for name in names:
            database.create_user(name)
    with Wire(server.port) as owner:
        owner.join(server.token("mallory"))
        change = GroupChange(created=GroupCreated(members=names, profile=Profile(picture=bytes(PICTURE))))
        owner.put(ClientFrame(manage=Manage(id=b"group", change=change)))
        while not (frame := owner.next()).HasField("accepted"):
            pass
        at = frame.accepted.conversation
        owner.put(ClientFrame(group_get=GroupGet(conversation=at)))
        while not (frame := owner.next()).HasField("group"):
            pass
        return at, frame.ByteSize()


def sessions_that_read_nothing(directory: Path, questions: int) -> tuple[int, dict[str, float], int, float]:
    """Growth of the server's memory, its counters, bytes of one answer, and a bystander's slowest ping."""
    directory.mkdir()
    server = ServerProcess(directory)
    server.start()
    try:
        with ExitStack() as stack:
            at, answer = large_group(server)
            token = server.token("mallory")
            wires = [stack.enter_context(Wire(server.port, receive_bytes=4096)) for _ in range(SESSIONS)]
            for wire in wires:
                wire.join(token, receive=False)
            bystander = stack.enter_context(Wire(server.port))
            bystander.join(server.token("bob"))
            floor = server.rss_bytes()
            for wire in wires:
                wire.put(*[ClientFrame(group_get=GroupGet(conversation=at))] * questions)
            slowest = pings(bystander)
            growth = server.rss_bytes() - floor
            metrics = server.metrics()
            if questions:
                # One of them begins to read: all of its questions are answered.
                for wire in wires[1:]:
                    wire.close()
                until(lambda: server.metrics()["sessions"] == 2, "the others are gone")
                for _ in range(questions):
                    assert wires[0].next().HasField("group")
            assert "Traceback" not in server.said()
            return growth, metrics, answer, slowest
    finally:
        server.close()


def test_sessions_of_one_user_that_ask_and_read_nothing_hold_a_bounded_memory_i6(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    quiet, _, _, quiet_ping = sessions_that_read_nothing(tmp_path / "quiet", 0)
    growth, metrics, answer, ping = sessions_that_read_nothing(tmp_path / "attack", QUESTIONS)
    record_testsuite_property("sessions: KiB above quiet", (growth - quiet) >> 10)
    record_testsuite_property("sessions: slowest ping, ms, quiet and attacked", (quiet_ping * 1e3, ping * 1e3))
    assert growth - quiet <= USER_BYTES + 2 * TURN_ANSWERS + SLACK, f"{(growth - quiet) >> 20} MiB above quiet"
    assert metrics["held_bytes"] <= USER_BYTES + 2 * TURN_ANSWERS
    assert metrics["turn_bytes_most"] <= 2 * TURN_ANSWERS + answer


@contextmanager
def router_whose_authentication_hangs(directory: Path) -> Iterator[tuple[int, int]]:
    """Its port and process."""
    command = [sys.executable, "-c", HANGS, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        found = re.search(rb"(\d+)\D*$", process.stdout.readline())
        assert found
        yield int(found[1]), process.pid
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def junk_before_welcome(directory: Path, junk: bytes) -> int:
    """Growth of memory when each of many connections sends a hello and `junk` behind it, as far as it is taken."""
    hello = ClientFrame(hello=Hello(protocol=1, token="t")).SerializeToString()
    with router_whose_authentication_hangs(directory) as (port, pid), ExitStack() as stack:
        wires = [stack.enter_context(Wire(port)) for _ in range(JUNK)]
        floor = rss_bytes(pid)
        for wire in wires:
            wire.put_bytes(MAGIC + varint(len(hello)) + hello)
            wire.patience(0.05)
            with suppress(TimeoutError):  # the server does not read all of it
                wire.put_bytes(junk)
        with Wire(port) as probe:  # whatever came before was read, or never will be
            probe.put_bytes(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 200 " in probe.everything()
        return rss_bytes(pid) - floor


def test_connections_that_nobody_has_vouched_for_are_not_read_i6(tmp_path: Path) -> None:
    ping = ClientFrame(ping=Ping(nonce=1)).SerializeToString()
    frame = varint(len(ping)) + ping
    quiet = junk_before_welcome(tmp_path / "quiet", b"")
    growth = junk_before_welcome(tmp_path / "attack", frame * ((1 << 20) // len(frame)))
    # Frames take up to twice their bytes while they wait, and a growing buffer twice that.
    assert growth - quiet <= 4 * JUNK * EARLY + SLACK, f"{(growth - quiet) >> 20} MiB above quiet"


def test_a_first_frame_that_is_too_long_is_refused_before_it_is_there_i6(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.start()
    try:
        server.token("ann")
        with Wire(server.port) as wire:
            wire.put_bytes(MAGIC + varint(200 << 10) + bytes(64 << 10))
            assert wire.error().code == "too_large"
    finally:
        server.close()
