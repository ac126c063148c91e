"""Tokens in bulk, a process's CPU from outside, and what a server's metrics are called."""

import os
import time
from pathlib import Path

import pytest

from pyrouter.auth import LocalTokens
from pyrouter.bench.errors import BenchError
from pyrouter.bench.target import Target, filesystem, running_server, tokens


async def test_tokens_in_bulk_are_those_of_pyrouter_token(tmp_path: Path) -> None:
    local = LocalTokens.open(tmp_path)
    made = tokens(tmp_path / "secret", ["ann", "bob"])
    assert [(await local(token))[:2] for token in made] == [("ann", 1), ("bob", 1)]


def test_no_secret_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file"):
        tokens(tmp_path / "secret", ["ann"])
    assert not list(tmp_path.iterdir())


def test_cpu_of_a_process_is_what_it_says_of_itself(tmp_path: Path) -> None:
    target = Target("127.0.0.1", 1, tmp_path, os.getpid())
    before, told = time.process_time_ns(), target.cpu_ns()
    assert told is not None
    assert before <= told <= time.process_time_ns()
    resident = target.rss_bytes()
    assert resident is not None
    assert resident > 1 << 20


def test_a_file_system_in_memory_is_known_as_such() -> None:
    assert filesystem(Path("/proc")) == "proc"
    assert filesystem(Path("/dev/shm")) == "tmpfs"  # where it is on Linux


@pytest.mark.parametrize("url", ["wss://example.org", "http://example.org", "example.org:7400", "ws://"])
def test_what_the_load_does_not_speak_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="does not speak TLS"), running_server(url, tmp_path, None):
        pass


def test_the_port_of_a_url_may_be_left_out(tmp_path: Path) -> None:
    with running_server("ws://example.org", tmp_path, None) as target:
        assert (target.host, target.port, target.pid) == ("example.org", 7400, None)
