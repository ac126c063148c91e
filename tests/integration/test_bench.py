"""`pyrouter bench` as a user runs it, small: every scenario on a real server, and wrong answers that it must notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import leftovers
from tests.frame_proxy import ACCEPTED, MESSAGE, RECEIPT, Change, nth, proxy
from tests.leftovers import BOUND
from tests.server_process import ServerProcess, until

pytestmark = pytest.mark.slow

FIELDS = {
    *("scenario", "connections", "members", "messages", "deliveries", "seconds", "messages_per_s", "deliveries_per_s"),
    *("server_cpu_us_per_message", "server_cpu_us_per_delivery", "client_cpu_us_per_message", "server_rss_bytes"),
    *("rss_bytes_per_connection", "accept_ms", "delivery_ms", "log_bytes_per_message", "log_bytes_per_body_byte"),
    "errors",
}


def bench(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs it; a small run measures the machine rather than the server, so that slow clients are taken."""
    command = [
        *BOUND,
        sys.executable,
        "-m",
        "pyrouter",
        "bench",
        *map(str, arguments),
        "--json",
        "--allow-slow-client",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def told(*arguments: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(bench(*arguments).stdout)
    assert set(result) >= FIELDS
    assert result["errors"] == 0
    return result


def directories() -> set[Path]:
    return set(Path(os.environ.get("TMPDIR", "/tmp")).glob("pyrouter-bench-*"))


class TestScenarios:
    @pytest.mark.parametrize("carrier", ["raw", "ws"])
    def test_pairs_in_a_window(self, carrier: str) -> None:
        before = directories()
        result = told("pair", "--pairs", 5, "--window", 4, "--seconds", 1, "--warmup", 0, "--carrier", carrier)
        assert result["connections"] == 10
        assert result["messages"] > 0
        assert result["deliveries"] > 0
        assert result["server_cpu_us_per_message"] > 0
        assert result["server_rss_bytes"] > 1 << 20
        # Body, names and ids, and the record's frame; also the batch's 40 bytes, if every message had one to itself.
        assert 160 < result["log_bytes_per_message"] < 160 + 80 + 40
        assert result["log_other_bytes_per_message"] >= 0
        assert result["accept_ms"]["p50"] <= result["accept_ms"]["p99"] <= result["accept_ms"]["p999"]
        assert result["delivery_ms"]["p50"] > 0
        assert result["receipt_ms"]["p50"] > 0
        assert directories() == before

    def test_a_number_of_messages_instead_of_seconds(self, tmp_path: Path) -> None:
        config = tmp_path / "small.toml"
        config.write_text('[log]\nsegment = "1MiB"\n')
        result = told(
            *("pair", "--pairs", 4, "--messages", 100, "--body", 1024, "--durability", "none", "--config", config)
        )
        assert (result["messages"], result["deliveries"]) == (100, 100)
        assert result["durability"] == "none"

    def test_idle_connections_and_a_message_now_and_then(self) -> None:
        result = told("idle", "--connections", 60, "--seconds", 1)
        assert (result["connections"], result["carrier"]) == (60, "ws")
        assert result["messages"] == result["deliveries"] > 0

    def test_what_waits_for_people_who_are_away(self) -> None:
        result = told("offline", "--pairs", 4, "--messages", 50)
        assert (result["messages"], result["deliveries"]) == (200, 200)
        assert result["delivery_ms"]["p50"] > 0

    def test_everyone_returns_at_once(self) -> None:
        result = told("storm", "--connections", 120, "--pairs", 4, "--messages", 3, "--warmup", 0.5)
        assert result["deliveries"] == 3 * result["logins"] > 300
        assert result["logins_per_s"] > 0
        assert result["others_delivery_before_ms"]["p50"] > 0

    def test_groups_some_of_whose_members_stall_or_reconnect(self) -> None:
        result = told(
            *("fanout", "--pairs", 2, "--members", 12, "--stalled", 2, "--flapping", 2, "--seconds", 3, "--warmup", 0)
        )
        assert (result["members"], result["connections"]) == (12, 24)
        assert result["deliveries"] > result["messages"] > 0
        assert result["behind_deliveries"] > 0, "those that stalled lacked something, and then had it"
        assert result["reconnects"] >= 4
        assert result["everyone_ms"]["p50"] > 0

    def test_a_day(self) -> None:
        result = told("mixed", "--connections", 64, "--members", 8, "--rate", 200, "--seconds", 2, "--warmup", 0)
        assert (result["members"], result["groups_percent"]) == (8, 20)
        assert result["deliveries"] > 1.5 * result["messages"]

    def test_a_day_without_groups(self) -> None:
        result = told(
            *("mixed", "--groups", 0, "--connections", 60, "--members", 6, "--rate", 200, "--seconds", 2),
            *("--warmup", 0, "--stalled", 2, "--flapping", 2),
        )
        assert result["messages"] > 200
        assert result["logins"] >= 2, "those that flap come back"
        assert result["loop_turn_ms"]["p50"] <= result["longest_turn_ms"]
        assert result["gc_collections"]["generation 2"] == 0

    def test_the_table_is_for_people(self) -> None:
        command = [sys.executable, "-m", "pyrouter", "bench", "pair", "--pairs", "2", "--messages", "10"]
        done = subprocess.run([*command, "--allow-slow-client"], capture_output=True, text=True, check=True, timeout=60)
        assert "every answer was right" in done.stdout
        assert "measuring" in done.stderr

    def test_source_in_the_current_folder_is_not_run(self, tmp_path: Path) -> None:
        (tmp_path / "pyrouter").mkdir()
        (tmp_path / "pyrouter" / "__init__.py").write_text("raise ImportError('another version')")
        command = [
            *BOUND,
            Path(sys.executable).with_name("pyrouter"),
            "bench",
            "pair",
            "--pairs",
            "1",
            "--messages",
            "10",
        ]
        command += ["--allow-slow-client"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
        assert "every answer was right" in done.stdout

    def test_its_server_ends_with_a_run_that_is_killed(self) -> None:
        def servers() -> set[int]:
            return {pid for pid in leftovers.descendants() if " serve " in leftovers.command(pid)}

        before = servers()
        run = leftovers.start([sys.executable, "-m", "pyrouter", "bench", "pair", "--pairs", "1", "--seconds", "60"])
        until(lambda: servers() - before, "its server runs")
        own = servers() - before
        run.kill()
        run.wait()
        assert not leftovers.lasting(own, leftovers.ENDED_WITHIN_S)

    def test_a_server_that_runs_already(self, tmp_path: Path) -> None:
        server = ServerProcess(tmp_path)
        server.start()
        try:
            url, secret = f"ws://127.0.0.1:{server.port}", server.data / "secret"
            server.token("somebody")
            for pid in ([], ["--server-pid", server.pid]):
                result = told("pair", "--pairs", 2, "--messages", 20, "--server", url, "--secret", secret, *pid)
                assert result["server_rss_bytes"] > 1 << 20
                assert result["server_cpu_us_per_message"] >= 0
        finally:
            server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    server.start()
    server.token("somebody")
    yield server
    server.close()


def _damage(frame: bytes) -> list[bytes]:
    """The last byte is the body's."""
    return [frame[:-1] + bytes([frame[-1] ^ 1])]


class TestWrongAnswers:
    """A server behind a proxy that says something else now and then: each time the run must fail, and say why."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (nth(MESSAGE, 20, lambda _: []), "those between are missing"),
            (nth(MESSAGE, 20, lambda frame: [frame, frame]), "on one connection"),
            (nth(MESSAGE, 20, _damage), "is not what was sent"),
            (nth(ACCEPTED, 20, lambda _: []), "accepted out of order"),
            (nth(ACCEPTED, 20, lambda frame: [frame, frame]), "accepted out of order"),
            # A receipt that is not the receipt's: its `delivered`, the field 3, says much.
            (nth(RECEIPT, 20, lambda frame: [_with_field(frame, 3, 1000)]), "a receipt for message 1000"),
            (nth(MESSAGE, 20, lambda _: [b"\x32\x07\x0a\x05abcde"]), "the server says abcde"),
            (nth(MESSAGE, 20, lambda _: [b"\xff"]), "bytes that are no frame"),
        ],
        ids=[
            *("dropped message", "repeated message", "changed body", "dropped accepted", "repeated accepted"),
            *("receipt too far", "error", "no frame"),
        ],
    )
    def test_the_run_fails_and_says_what_was_wrong(self, server: ServerProcess, change: Change, words: str) -> None:
        with proxy(server.port, change) as port:
            done = bench(
                *("pair", "--pairs", 1, "--window", 4, "--messages", 100, "--server", f"tcp://127.0.0.1:{port}"),
                *("--secret", server.data / "secret", "--server-pid", server.pid),
                status=1,
            )
        result = json.loads(done.stdout)
        assert (result["errors"], result["valid"]) == (len(result["trouble"]), False)
        assert result["errors"] > 0
        assert words in result["trouble"][0]
        assert words in done.stderr

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (nth(MESSAGE, 30, lambda _: []), "those between are missing"),
            (nth(MESSAGE, 30, lambda frame: [frame, frame]), "on one connection"),
        ],
        ids=["dropped message", "repeated message"],
    )
    def test_in_a_group_one_member_s_copy_is_enough(self, server: ServerProcess, change: Change, words: str) -> None:
        with proxy(server.port, change) as port:
            done = bench(
                *("fanout", "--members", 5, "--messages", 50, "--server", f"tcp://127.0.0.1:{port}"),
                *("--secret", server.data / "secret"),
                status=1,
            )
        assert words in done.stderr

    def test_a_proxy_that_changes_nothing_is_not_noticed(self, server: ServerProcess) -> None:
        with proxy(server.port, lambda frame: [frame]) as port:
            url, secret = f"tcp://127.0.0.1:{port}", server.data / "secret"
            result = told("pair", "--pairs", 2, "--messages", 100, "--server", url, "--secret", secret)
        assert result["messages"] == 100

    def test_a_server_that_ends_is_noticed(self, tmp_path: Path) -> None:
        server = ServerProcess(tmp_path)
        server.start()
        server.token("somebody")
        command = [sys.executable, "-m", "pyrouter", "bench", "pair", "--pairs", "1", "--seconds", "60", "--json"]
        where = ["--server", f"ws://127.0.0.1:{server.port}", "--secret", str(server.data / "secret")]
        with subprocess.Popen([*command, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            until(lambda: server.metrics()["accepted_total"] > 10, "the run has begun")
            server.kill()
            out, err = run.communicate(timeout=60)
        assert run.returncode == 1
        assert json.loads(out)["errors"] > 0
        assert "wrong: " in err


def _with_field(frame: bytes, number: int, value: int) -> bytes:
    """A frame with one more field of its only member, which is short: the last of a field counts."""
    inner = frame[2:] + bytes([number << 3, value & 0x7F | 0x80, value >> 7])
    assert len(inner) < 128
    return bytes([frame[0], len(inner)]) + inner


class TestRefused:
    def test_options_that_cannot_be(self) -> None:
        assert "--body 5" in bench("pair", "--body", 5, status=1).stderr

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("A" * 43)
        (tmp_path / "secret").chmod(0o600)
        told = bench("pair", "--server", "ws://127.0.0.1:1", "--secret", tmp_path / "secret", status=1)
        assert "refused" in told.stderr
