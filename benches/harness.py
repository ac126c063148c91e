"""Server processes, their users, and what the kernel says of them from outside.

A server under measurement is always a process of its own; it is asked nothing. Data lies below target/bench of this
checkout, so that yardstick and pyrouter write to the same disk.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FLOOR = ROOT / "benches" / "floor"
WORK = ROOT / "target" / "bench"
DOCUMENT = ROOT / "docs" / "performance.md"
PROGRAM = Path(sys.executable).with_name("pyrouter")
START_S = 120.0  # a server with a million messages to recover still starts within this
TOKEN_LIFETIME_MS = 24 * 3600 * 1000


class Memory(NamedTuple):
    """Of one process, bytes."""

    rss: int
    anonymous: int
    """Without pages of files, which others may share."""


class Server:
    """A server process that is ready for connections."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, start_s: float) -> None:
        self.process = process
        self.port = port
        self.start_s = start_s
        """From exec to the ready line, seconds."""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def memory(self) -> Memory:
        """Read once the process has been idle for a moment, so that nothing is measured in passing."""
        self.settle()
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        sizes = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
        return Memory(sizes["Rss"], sizes["Anonymous"])

    def settle(self, timeout_s: float = 30.0) -> None:
        """Waits until it has used less than 1 ms of CPU in 200 ms."""
        end = time.monotonic() + timeout_s
        used = self.cpu_s()
        while time.monotonic() < end:
            time.sleep(0.2)
            before, used = used, self.cpu_s()
            if used - before < 0.001:
                return

    def cpu_s(self) -> float:
        """User and system time of all its threads, seconds."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it with this signal and waits."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str | Path], port: int, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Starts a server, waits for the line with its address on stdout, stops it at the end.

    Args:
        command: the program and its arguments.
        port: that it listens on.
        settings: environment variables.
    """
    with tempfile.TemporaryFile(dir=work()) as errors:
        begin = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(settings or {})},
        )
        try:
            _await_ready(process, f":{port}")
        except BaseException:
            process.kill()
            process.wait()
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace")[-4000:])
            raise
        server = Server(process, port, time.monotonic() - begin)
        try:
            yield server
        finally:
            server.stop()
            assert process.stdout is not None
            process.stdout.close()


def _await_ready(process: subprocess.Popen[bytes], address: str) -> None:
    assert process.stdout is not None
    end, seen = time.monotonic() + START_S, b""
    while address.encode() not in seen:
        left = end - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise RuntimeError(f"{process.args!r} was not ready after {START_S:.0f} s; it printed {seen!r}")
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            raise RuntimeError(f"{process.args!r} ended with {process.wait()} before it was ready")
        seen += chunk


@contextmanager
def relay(log: Path | None) -> Iterator[Server]:
    """The floor under direct messages, with its log or without one."""
    port = free_port()
    with running([FLOOR / "bin" / "relay", "--port", str(port), "--log", log or "none"], port) as server:
        yield server


@contextmanager
def pyrouter(
    data: Path,
    durability: str = "fsync",
    settings: Mapping[str, str] | None = None,
    within: Sequence[str | Path] = (),
) -> Iterator[Server]:
    """`pyrouter serve` on a data directory.

    Args:
        data: the directory.
        durability: as in the configuration.
        settings: others of it, by their environment variables.
        within: a command that runs the rest of its arguments as `pyrouter` does: a server with something around it.
    """
    port = free_port()
    program = within or [PROGRAM]
    flags = ["--data", str(data), "--listen", f"127.0.0.1:{port}", "--durability", durability]
    with running([*program, "serve", *flags], port, settings) as server:
        yield server


def pyrouter_bench(scenario: str, **options: object) -> dict[str, Any]:
    """Runs `pyrouter bench SCENARIO --json` and returns what it printed.

    Args:
        scenario: as in docs/bench.md.
        options: its flags, `members=1024` for `--members 1024`; what is None is left out.

    Raises:
        RuntimeError: it failed, or found something wrong, and says what.
    """
    flags = [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [PROGRAM, "bench", scenario, "--json", *flags], cwd=work(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"pyrouter bench {scenario}: {done.stderr.strip()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result.get("errors"):
        raise RuntimeError(f"pyrouter bench {scenario}: {result['errors']!r} errors")
    return result


def write_users(path: Path, data: Path | None, prefix: str, count: int) -> Path:
    """A file of `NAME TOKEN` lines for the programs in floor/; without a data directory the name is the token."""
    names = [f"{prefix}{number}" for number in range(count)]
    if data is None:
        tokens = names
    else:
        from pyrouter.auth import LocalTokens  # noqa: PLC0415 - the yardsticks alone need no pyrouter

        issuer = LocalTokens.open(data)
        tokens = [issuer.issue(name, 1, TOKEN_LIFETIME_MS) for name in names]
    path.write_text("".join(f"{name} {token}\n" for name, token in zip(names, tokens, strict=True)))
    return path


def floor_program(name: str, *arguments: object) -> dict[str, Any]:
    """Runs one of the programs in floor/ and returns the JSON that it printed.

    Raises:
        RuntimeError: it found something wrong, and says what.
    """
    command = [str(FLOOR / "bin" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def work() -> Path:
    """The directory below which everything temporary goes."""
    WORK.mkdir(parents=True, exist_ok=True)
    return WORK


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory that is gone afterwards."""
    path = Path(tempfile.mkdtemp(dir=work()))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def build_floor() -> None:
    """Compiles the programs in floor/."""
    subprocess.run(["make", "--silent", "-C", str(FLOOR)], check=True)


def raise_file_limit() -> int:
    """As many file descriptors as the system allows, for this process and those that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def drop_cache(paths: Sequence[Path]) -> None:
    """Takes these files out of the page cache (posix_fadvise; needs no privilege)."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # only clean pages can be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def machine() -> str:
    """One line about where this ran."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    parts = [
        f"{os.cpu_count()} × {cpu[1].strip() if cpu else platform.machine()}",
        f"{memory:.0f} GiB",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        f"commit {commit or 'unknown'}",
        time.strftime("%Y-%m-%d"),
        f"load {os.getloadavg()[0]:.1f} at the start",
    ]
    return ", ".join(parts)
