"""A disk that fills up under a server, on a small file system of its own that the test mounts (so: as root, on Linux).

Ballast files take the room and give it back. A segment's room is reserved before it is begun, so a full disk shows in
time: sends are refused, acknowledgements and reading go on. Only by taking a segment's reserved room away behind the
server's back is the log made to fail, as it would on a file system that breaks its promise.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrouter import Log, Router
from pyrouter.units import Size
from pyrouter.wire import Retry
from tests.server_process import ServerProcess, until
from tests.wire_client import Wire, direct_conversation

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

DISK, SEGMENT, BODY = 16 << 20, 1 << 20, 32 << 10
SETTINGS = '[log]\nsegment = "1MiB"\n[limits]\nquiet = "1s"\n'
FEW = 20  # messages: not enough for a segment to be let go of
AT = direct_conversation("ann", "bob")
PAGE = 4096
_PUNCH_HOLE = 1 | 2  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


class SmallDisk:
    """A mounted file system of `DISK` bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Takes all room but `leave` bytes."""
        self._ballast.touch()
        for _ in range(100):
            free = os.statvfs(self.path)
            grown = self._ballast.stat().st_size + free.f_bavail * free.f_bsize - leave
            try:
                with self._ballast.open("r+b") as ballast:
                    os.posix_fallocate(ballast.fileno(), 0, max(1, grown))
            except OSError as error:
                # The server took some of it meanwhile, for a segment in reserve: look again.
                if error.errno != errno.ENOSPC:
                    raise
            else:
                return
        raise AssertionError("the disk does not come to rest")

    def give_back(self) -> None:
        """Gives it back."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "data"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(path)]
    if (done := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    yield SmallDisk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def server(disk: SmallDisk) -> Iterator[ServerProcess]:
    server = ServerProcess(disk.path.parent, SETTINGS)
    assert server.data == disk.path
    server.start()
    yield server
    server.close()


def body(number: int) -> bytes:
    return b"%08d" % number * (BODY // 8)


def fill_log(ann: Wire, first: int) -> tuple[int, bytes]:
    """Sends numbered bodies one after the other until the disk is full; how many were accepted, and the id refused."""
    accepted = first
    while True:
        id = ann.send("bob", body(accepted))
        frame = ann.next()
        if frame.HasField("accepted"):
            accepted += 1
            assert (frame.accepted.id, frame.accepted.seq) == (id, accepted)
            continue
        error = frame.error
        assert (error.code, error.retry, error.id) == ("storage_full", Retry.RETRY_AFTER, id), frame
        assert "disk is full" in error.message
        assert error.retry_ms > 0
        return accepted, id


async def test_a_send_in_this_process_waits_for_room_and_goes_on(disk: SmallDisk) -> None:
    async with Router.open(disk.path, log=Log(segment=Size(SEGMENT))) as router:
        await router.create_user("bob")
        disk.fill()
        sent = asyncio.ensure_future(fill_router(router))
        await asyncio.to_thread(until, lambda: router.stats()["refused_total"], "a send is refused")
        assert router.stats()["storage_ok"] == 0
        assert not sent.done()
        disk.give_back()
        accepted = await sent
        async with router.mailbox("bob") as mailbox:
            for number in range(accepted):
                message = await anext(mailbox)
                assert message.body == body(number)
                await message.ack()


async def fill_router(router: Router) -> int:
    """Sends until one was refused for want of room, and accepted all the same; how many were sent."""
    count = 0
    while not router.stats()["refused_total"]:
        await router.send("ann", "bob", body(count))
        count += 1
    return count


def test_a_full_disk_refuses_sends_while_acks_and_reading_go_on(disk: SmallDisk, server: ServerProcess) -> None:
    tokens = {user: server.token(user) for user in ("ann", "bob", "cal", "dan")}
    with Wire(server.port) as dan:
        dan.join(tokens["dan"])
    until(lambda: server.metrics()["users_in_memory"] == 0, "dan is quiet, and his state in the cold store")
    with ExitStack() as stack:
        ann = stack.enter_context(Wire(server.port))
        ann.join(tokens["ann"])
        ann.send("cal", b"for cal")
        ann.accepted()
        disk.fill(leave=3 * SEGMENT)
        accepted, refused = fill_log(ann, 0)
        assert accepted > 2 * SEGMENT // BODY
        disk.fill()
        assert server.metrics()["storage_ok"] == 0
        command = [sys.executable, "-m", "pyrouter", "token", "somebody new", "--data", str(disk.path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (made.returncode, made.stdout, made.stderr.count("\n")) == (1, "", 1), made
        assert "its disk is full: free some space" in made.stderr

        # Reading goes on, and so do acknowledgements: they count, and their receipts come.
        with Wire(server.port) as sending:
            sending.join(tokens["bob"], receive=False)
            sending.send("ann", body(0))
            assert sending.error().code == "storage_full"
        bob = stack.enter_context(Wire(server.port))
        assert bob.join(tokens["bob"]).pending.messages == accepted
        for number in range(FEW):
            assert bob.message().body == body(number)
            bob.ack(AT, number + 1)
        ann.delivered(AT, FEW, "bob")

        # Even for who is quiet, and although what becomes quiet now cannot be put away.
        with Wire(server.port) as cal:
            cal.join(tokens["cal"])
            message = cal.message()
            cal.ack(message.conversation, message.seq)
            ann.delivered(message.conversation, message.seq, "cal")
        ann.ack_receipts()
        until(lambda: "cold store failed" in server.said(), "the cold store has no room either")
        with Wire(server.port) as dan:
            dan.join(tokens["dan"])
        assert server.metrics()["storage_ok"] == 0

        # And sending goes on by itself once there is room.
        disk.give_back()
        until(lambda: server.metrics()["storage_ok"] == 1, "there is room again")
        ann.send("bob", b"at last", id=refused)
        assert ann.accepted().seq == accepted + 1, "the refused ones took no number (I2)"
        for number in range(FEW, accepted):
            assert bob.message().body == body(number)
            bob.ack(AT, number + 1)
        assert bob.message().body == b"at last"
        bob.ack(AT, accepted + 1)
        ann.delivered(AT, accepted + 1, "bob")
        ann.ack_receipts()
    until(lambda: server.metrics()["users_in_memory"] == 0, "what became quiet is put away at last")
    said = server.said()
    assert "storage_full" in said
    assert "Traceback" not in said
    assert server.stop() == 0


def test_a_server_killed_on_a_full_disk_starts_and_serves_readers(disk: SmallDisk, server: ServerProcess) -> None:
    ann_token, bob_token = server.token("ann"), server.token("bob")
    with Wire(server.port) as bob:
        bob.join(bob_token)  # so that both are known
    disk.fill(leave=3 * SEGMENT)
    with Wire(server.port) as ann:
        ann.join(ann_token)
        accepted, _ = fill_log(ann, 0)
    server.kill()
    disk.fill()
    server.start()
    with Wire(server.port) as ann, Wire(server.port) as bob:
        ann.join(ann_token)
        ann.send("bob")
        assert ann.error().code == "storage_full", "the last reserve is for acknowledgements"
        assert bob.join(bob_token).pending.messages == accepted
        for number in range(accepted):
            assert bob.message().body == body(number)
            bob.ack(AT, number + 1)
        ann.delivered(AT, accepted, "bob")
        until(lambda: server.metrics()["log_segments"] == 1, "what everybody has is let go")
        until(lambda: server.metrics()["storage_ok"] == 1, "and that gives room")
        ann.send("bob")
        assert ann.accepted().seq == accepted + 1
    assert server.stop() == 0


def test_a_server_starts_on_a_full_disk_again_and_again_until_readers_give_room(
    disk: SmallDisk, server: ServerProcess
) -> None:
    """However it ended: the last start has neither a segment in reserve nor a byte that is free."""
    ann_token, bob_token = server.token("ann"), server.token("bob")
    with Wire(server.port) as bob:
        bob.join(bob_token)
    disk.fill(leave=3 * SEGMENT)
    with Wire(server.port) as ann:
        ann.join(ann_token)
        accepted, _ = fill_log(ann, 0)
    for ending in ("kill", "kill", "stop", "kill", "stop"):
        server.kill() if ending == "kill" else server.stop()
        disk.fill()
        server.start()
    assert not list((disk.path / "log").glob("reserve-*"))
    with Wire(server.port) as ann, Wire(server.port) as bob:
        ann.join(ann_token)
        ann.send("bob")
        assert ann.error().code == "storage_full"
        assert bob.join(bob_token).pending.messages == accepted
        for number in range(accepted):
            assert bob.message().body == body(number)
            bob.ack(AT, number + 1)
        ann.delivered(AT, accepted, "bob")
        until(lambda: server.metrics()["storage_ok"] == 1, "that gives room")
        ann.send("bob")
        assert ann.accepted().seq == accepted + 1
    assert server.stop() == 0


def test_a_server_that_cannot_begin_for_want_of_room_says_so(disk: SmallDisk, server: ServerProcess) -> None:
    assert server.stop() == 0
    for path in (*(disk.path / "log").iterdir(), *disk.path.glob("cold.db*")):
        path.unlink()
    disk.fill()
    server.spawn()
    assert server.exit_status() == 1
    last = server.said().splitlines()[-1]
    assert last.startswith("pyrouter: ")
    assert "free some space on its disk" in last
    disk.give_back()
    server.start()


def test_no_room_in_a_segment_ends_the_server_and_a_restart_recovers(disk: SmallDisk, server: ServerProcess) -> None:
    """I1, I10: the room that was reserved is taken away."""
    ann_token, bob_token = server.token("ann"), server.token("bob")
    with Wire(server.port) as ann:
        ann.join(ann_token)
        ann.send("bob", body(0))
        assert ann.accepted().seq == 1
        punch(current_segment(server), BODY * 2)
        disk.fill()
        accepted = 1
        while accepted < SEGMENT // BODY:
            ann.send("bob", body(accepted))
            frame = ann.next()
            if not frame.HasField("accepted"):
                break
            accepted += 1
        assert (frame.error.code, frame.error.retry) == ("internal", Retry.RETRY_RECONNECT), frame
        assert "No space left on device" in frame.error.message
        ann.ended()
    assert server.exit_status() == 1
    said = server.said()
    assert "free some space on its disk, then restart" in said
    assert "what was accepted is safe" in said
    assert "Traceback" not in said
    disk.give_back()
    server.start()
    with Wire(server.port) as bob, Wire(server.port) as ann:
        waiting = bob.join(bob_token).pending.messages
        assert waiting >= accepted
        for number in range(accepted):
            assert bob.message().body == body(number)
        ann.join(ann_token)
        ann.send("bob")
        assert ann.accepted().seq == waiting + 1


def current_segment(server: ServerProcess) -> Path:
    return max((server.data / "log").glob("*.seg"))


def punch(segment: Path, start: int) -> None:
    """Takes away the room of a segment from `start` on. Python has no name for the call."""
    libc = ctypes.CDLL(None, use_errno=True)
    with segment.open("r+b") as file:
        start = -(-start // PAGE) * PAGE
        length = ctypes.c_long(segment.stat().st_size - start)
        if libc.fallocate(file.fileno(), _PUNCH_HOLE, ctypes.c_long(start), length):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(segment))
