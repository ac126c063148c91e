"""`pyrouter serve` as a process: what it says, how it ends, what it refuses, and what it never writes down."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pyrouter import __version__, server
from pyrouter.client import Client, Message
from pyrouter.config import Config, Log, Server
from pyrouter.router import Router
from pyrouter.units import Address, Size
from tests import leftovers

COMMAND = [sys.executable, "-c", "from pyrouter.cli import main; main()"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYROUTER_")}


@dataclass
class Served:
    """A server that said that it is ready."""

    process: asyncio.subprocess.Process
    line: str
    data: Path
    errors: str = ""
    others: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.line.split(" ready on ")[1].split(",")[0]

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits; the exit status."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        self.errors += (await self.process.stderr.read()).decode()
        self.others += (await self.process.stdout.read()).decode().splitlines()
        return await self.process.wait()


@asynccontextmanager
async def served(data: Path, *arguments: str) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        *[*leftovers.BOUND, *COMMAND, "serve", "--data", str(data), "--listen", "127.0.0.1:0", *arguments],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**CLEAN, "PYROUTER_LOG_SEGMENT": "1MiB"},
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode().rstrip("\n")
        one = Served(process, line, data)
        if not line:
            await one.end()
        yield one
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=CLEAN, check=False, timeout=60)


async def token(data: Path, user: str) -> str:
    done = await asyncio.to_thread(run, "token", user, "--data", data)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestReady:
    async def test_one_line_tells_version_address_data_and_durability(self, tmp_path: Path) -> None:
        async with served(tmp_path / "d", "--durability", "none") as one:
            address = Address.parse(one.address)
            assert address.port > 0
            assert one.line == f"pyrouter {__version__} ready on {address}, data {tmp_path}/d, durability none"
            assert await one.end() == 0
            assert one.others == []
            assert f"pyrouter token bob --data {tmp_path}/d" in one.errors

    async def test_flags_win_over_the_environment_and_that_over_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "c.toml").write_text('[log]\ndurability = "none"\n[server]\ndata = "elsewhere"\n')
        monkeypatch.setitem(CLEAN, "PYROUTER_LOG_DURABILITY", "interval")
        async with served(tmp_path / "d", "--config", str(tmp_path / "c.toml")) as one:
            assert one.line.endswith(f"data {tmp_path}/d, durability interval")

    async def test_a_token_made_beside_it_works_at_once(self, tmp_path: Path) -> None:
        async with served(tmp_path) as one:
            alice, bob = await token(tmp_path, "alice"), await token(tmp_path, "bob")
            async with Client(f"ws://{one.address}", alice) as client:
                sent = await client.send("bob", b"hello")  # bob exists from his token on
                await sent.accepted()
            async with Client(f"tcp://{one.address}", bob) as client:
                message = await client.receive()
                assert isinstance(message, Message)
                assert message.body == b"hello"


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_a_signal_ends_it_gracefully_and_clients_are_told(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        async with served(tmp_path) as one:
            events: list[object] = []
            client = Client(f"ws://{one.address}", await token(tmp_path, "alice"), on_event=events.append)
            async with client:
                await client.connected()
                assert await one.end(number) == 0
            assert any("stopping" in str(event) for event in events)
            assert "Traceback" not in one.errors

    async def test_what_was_accepted_survives_sigkill(self, tmp_path: Path) -> None:
        """I1."""
        async with served(tmp_path) as one:
            alice, bob = await token(tmp_path, "alice"), await token(tmp_path, "bob")
            async with Client(f"ws://{one.address}", alice) as client:
                for number in range(20):
                    await (await client.send("bob", b"%d" % number)).accepted()
                assert await one.end(signal.SIGKILL) == -signal.SIGKILL
        async with served(tmp_path) as one, Client(f"ws://{one.address}", bob) as client:
            got = [await client.receive() for _ in range(20)]
            assert [message.body for message in got if isinstance(message, Message)] == [b"%d" % n for n in range(20)]

    def test_a_router_that_failed_ends_the_process_with_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """I10."""
        opened: list[Router] = []
        plain_open = Router.open

        def remember(*arguments: object, **options: object) -> Router:
            opened.append(plain_open(*arguments, **options))  # type: ignore[arg-type]
            return opened[-1]

        def fail() -> None:
            assert opened[0]._core is not None
            opened[0]._core.fail("the disk is gone")

        monkeypatch.setattr(Router, "open", remember)
        monkeypatch.setattr(server, "settle_garbage_collector", fail)
        monkeypatch.setattr(server, "configure", lambda *_: None)
        config = Config(
            server=Server(data=tmp_path / "d", listen=Address("127.0.0.1", 0)), log=Log(segment=Size(1 << 20))
        )
        assert server.run(config) == 1
        assert "the disk is gone" in capsys.readouterr().err


class TestRefusals:
    """Each: a non-zero status, one clear message on standard error, nothing on standard output, no traceback."""

    @staticmethod
    def refused(*arguments: str | Path) -> str:
        done = run("serve", *arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr

    async def test_a_second_server_on_the_directory_names_the_first(self, tmp_path: Path) -> None:
        async with served(tmp_path) as one:
            text = await asyncio.to_thread(self.refused, "--data", tmp_path, "--listen", "127.0.0.1:0")
            assert f"in use by process {one.process.pid}" in text
            assert await one.end() == 0

    async def test_a_port_in_use(self, tmp_path: Path) -> None:
        async with served(tmp_path / "one") as one:
            text = await asyncio.to_thread(self.refused, "--data", tmp_path / "two", "--listen", one.address)
            assert f"{one.address} is in use" in text

    def test_a_broken_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text('[server]\nlisten = "nowhere"\n')
        text = self.refused("--config", tmp_path / "c.toml")
        assert f"{tmp_path}/c.toml, line 2: server.listen: expected HOST:PORT" in text

    def test_a_bad_durability(self, tmp_path: Path) -> None:
        text = self.refused("--data", tmp_path, "--durability", "maybe")
        assert "--durability: log.durability: expected one of fsync, interval, none, got 'maybe'" in text

    def test_a_secret_that_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("x")
        (tmp_path / "secret").chmod(0o600)
        assert "does not hold a secret of ours" in self.refused("--data", tmp_path, "--listen", "127.0.0.1:0")

    def test_a_data_directory_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert f"{tmp_path}/file" in self.refused("--data", tmp_path / "file", "--listen", "127.0.0.1:0")


async def test_neither_tokens_nor_bodies_reach_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLEAN, "PYROUTER_LOGGING_LEVEL", "debug")
    async with served(tmp_path) as one:
        good = await token(tmp_path, "alice")
        async with Client(f"ws://{one.address}", good) as client:
            await (await client.send("alice", b"SECRET-BODY")).accepted()
        bad = good[:-4] + "AAAA"
        async with Client(f"ws://{one.address}", bad) as client:
            with pytest.raises(Exception, match="bad_token"):
                await client.connected()
        async with httpx.AsyncClient() as web:
            await web.get(f"http://{one.address}/", headers={"authorization": f"Bearer {good}"}, params={"t": good})
        assert await one.end() == 0
    assert "SECRET-BODY" not in one.errors
    assert good not in one.errors
    assert bad not in one.errors


def test_garbage_collection_never_looks_at_old_objects() -> None:
    program = """
import gc
from pyrouter.server import settle_garbage_collector
settle_garbage_collector()
assert gc.get_freeze_count() > 1000
seen = []
gc.callbacks.append(lambda phase, info: seen.append(info["generation"]) if phase == "start" else None)
kept = [[number] for number in range(2_000_000)]
print(sorted(set(seen)))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[0, 1]\n"


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    program = """
import resource
from pyrouter.server import _raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
_raise_file_limit()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(soft == hard)
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "True\n"
