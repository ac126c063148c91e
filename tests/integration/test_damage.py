"""A log that was damaged while the server was stopped: what cannot be read is told, what follows it is kept (I12)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrouter.cold import ColdDatabase
from pyrouter.wire import SkipReason
from tests.server_process import ServerProcess, until
from tests.wire_client import Wire, direct_conversation

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

MESSAGES, BODY = 100, 32 << 10
SETTINGS = '[log]\nsegment = "1MiB"\n[limits]\nmemory = "64KiB"\n'
AT = direct_conversation("ann", "bob")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, SETTINGS)
    server.start()
    yield server
    server.close()


def body(number: int) -> bytes:
    return b"%08d" % number * (BODY // 8)


def fsck(server: ServerProcess) -> tuple[int, str]:
    done = server.fsck()
    assert done.stderr == ""
    return done.returncode, done.stdout


def flip(segment: Path, number: int) -> None:
    """Changes some bytes in the middle of a body."""
    data = bytearray(segment.read_bytes())
    place = data.index(body(number)) + BODY // 2
    data[place : place + 8] = bytes(byte ^ 0xFF for byte in data[place : place + 8])
    segment.write_bytes(data)


def segment_of(server: ServerProcess, number: int) -> Path:
    return next(path for path in sorted((server.data / "log").glob("*.seg")) if body(number) in path.read_bytes())


def fill(server: ServerProcess) -> None:
    with Wire(server.port) as bob:
        bob.join(server.token("bob"))
    with Wire(server.port) as ann:
        ann.join(server.token("ann"))
        for number in range(MESSAGES):
            ann.send("bob", body(number))
            assert ann.accepted().seq == number + 1


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_damaged_segment_costs_what_was_damaged_and_everybody_is_told(server: ServerProcess, ending: str) -> None:
    fill(server)
    server.kill() if ending == "kill" else server.stop()
    assert fsck(server)[0] == 0
    flip(segment_of(server, 10), 10)
    flip(segment_of(server, 60), 60)

    status, found = fsck(server)
    assert status == 1
    assert found.endswith("damaged\n")
    for number in (10, 60):
        segment = int(segment_of(server, number + 1).stem)
        assert any(f"segment {segment} offset" in line and "damaged" in line for line in found.splitlines()), found

    server.start()
    lost = {10, 60}
    assert server.metrics()["lost_total"] == 2
    with Wire(server.port) as bob, Wire(server.port) as ann:
        # The author of what is lost is not known any more, so a receiving session of hers would be told a skip as well.
        ann.join(server.token("ann"), receive=False)
        bob.join(server.token("bob"))
        number = 0
        while number < MESSAGES:
            if number in lost:
                skip = bob.skip()
                assert (skip.conversation, skip.reason, skip.user) == (AT, SkipReason.LOST, "")
                assert (getattr(skip, "from"), skip.to) == (number + 1, number + 1)
                number = skip.to
            else:
                message = bob.message()
                assert (message.seq, message.body) == (number + 1, body(number))
                number += 1
            bob.ack(AT, number)
        ann.send("bob", b"on we go")
        assert ann.accepted().seq == MESSAGES + 1, "lost numbers are not given again (I2)"
        told = [(getattr(skip, "from"), skip.to, skip.reason, skip.user) for skip in ann.withheld]
        assert told == [(11, 11, SkipReason.LOST, "bob"), (61, 61, SkipReason.LOST, "bob")], "I7"
        assert bob.message().body == b"on we go"
    said = server.said()
    assert said.count("recovery found") == 2
    assert "set aside as" in said
    assert server.stop() == 0
    status, found = fsck(server)
    assert "set aside by an earlier recovery" in found


def test_bytes_that_go_bad_under_a_running_server_are_told_as_lost(server: ServerProcess) -> None:
    fill(server)
    flip(segment_of(server, 10), 10)
    with Wire(server.port) as bob:
        bob.join(server.token("bob"))
        for number in range(MESSAGES):
            if number == 10:
                skip = bob.skip()
                assert (getattr(skip, "from"), skip.to, skip.reason) == (11, 11, SkipReason.LOST)
            else:
                assert bob.message().body == body(number)
            bob.ack(AT, number + 1)
    assert server.metrics()["lost_total"] == 1


@pytest.mark.parametrize("which", ["first", "middle"])
def test_a_start_without_a_segment_is_refused_until_it_is_put_back(server: ServerProcess, which: str) -> None:
    fill(server)
    server.stop()
    segments = sorted((server.data / "log").glob("*.seg"))
    gone = segments[0] if which == "first" else segment_of(server, 40)
    assert which == "first" or gone not in (segments[0], segments[-1])
    kept = gone.read_bytes()
    gone.unlink()
    before = {path.name: path.read_bytes() for path in sorted((server.data / "log").glob("*.seg"))}
    status, found = fsck(server)
    assert status == 1
    assert "a start is refused" in found
    refusal = f"which belong before segment {int(gone.stem) + 1}, are not there"
    assert refusal in found
    server.spawn()
    assert server.exit_status() == 1
    last = server.said().splitlines()[-1]
    assert refusal in last
    assert "Put it back" in last
    assert {path.name: path.read_bytes() for path in sorted((server.data / "log").glob("*.seg"))} == before
    gone.write_bytes(kept)
    server.start()
    with Wire(server.port) as bob:
        bob.join(server.token("bob"))
        for number in range(MESSAGES):
            assert bob.message().body == body(number)
            bob.ack(AT, number + 1)


@pytest.mark.parametrize("what", ["missing", "empty", "made anew", "another log"])
def test_a_start_beside_a_store_that_is_not_the_log_s_is_refused_until_it_is_put_back(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory, what: str
) -> None:
    server.stop()
    config = server.data.parent / "pyrouter.toml"
    config.write_text(config.read_text().replace("[limits]", '[limits]\nquiet = "1s"'))
    server.start()
    with Wire(server.port) as bob:
        bob.join(server.token("bob"))
    with Wire(server.port) as ann:
        ann.join(server.token("ann"))
        ann.send("ann", body(0))
        ann.accepted()
    until(lambda: server.metrics()["users_in_memory"] <= 1, "bob is put into the store")
    with Wire(server.port) as ann:
        ann.join(server.token("ann"))
        ann.send("ann", body(1))
        ann.accepted()
    assert server.stop() == 0
    store = server.data / "cold.db"
    kept = store.read_bytes()
    store.unlink()
    match what:
        case "empty":
            store.touch()
        case "made anew":
            with ColdDatabase(store) as database:
                database.create_user("bob")
        case "another log":
            with ColdDatabase(store) as database:
                database.create_user("bob")
                database.belong("00000001")
        case _:
            pass
    before = {path.name: path.read_bytes() for path in sorted((server.data / "log").glob("*.seg"))}
    status, found = fsck(server)
    assert status == 1
    assert "a start is refused: the cold store cold.db" in found
    server.spawn()
    assert server.exit_status() == 1
    last = server.said().splitlines()[-1]
    assert f"cold.db is {what}" in last or f"cold.db was {what}" in last or f"cold.db belongs to {what}" in last, last
    assert "restore" in last
    assert {path.name: path.read_bytes() for path in sorted((server.data / "log").glob("*.seg"))} == before
    store.write_bytes(kept)
    server.start()
    with Wire(server.port) as ann:
        ann.join(server.token("ann"))
    assert server.stop() == 0
