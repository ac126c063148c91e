"""The server under load: a process of the run's own, or one that runs already; and what each is known to use."""

from __future__ import annotations

import base64
import hmac
import http.client
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from pyrouter.bench.errors import BenchError, WrongAnswer
from pyrouter.secret import read_secret

__all__ = ["Target", "filesystem", "own_server", "running_server", "tokens"]

READY_S = 60.0
END_S = 60.0
HTTP_S = 30.0
TOKEN_S = 7 * 24 * 3600
TOLD_BYTES = 4000  # of what its own server said, when that matters


class Target:
    """A server that takes connections."""

    def __init__(
        self,
        host: str,
        port: int,
        secret: Path,
        pid: int | None,
        process: subprocess.Popen[bytes] | None = None,
        log: Path | None = None,
    ) -> None:
        """One that listens on `host` and `port`.

        Args:
            host: a name or an address.
            port: where it listens.
            secret: the file that tokens are made with.
            pid: its process, if that is on this machine.
            process: the same, if it is one of ours.
            log: where that one writes what it has to say.
        """
        self.host, self.port, self.secret, self.pid = host, port, secret, pid
        self._process, self._log = process, log

    def check(self) -> None:
        """Looks whether it still runs, as far as that can be known without asking it.

        Raises:
            WrongAnswer: it does not.
        """
        status = None if self._process is None else self._process.poll()
        if status is not None:
            raise WrongAnswer([f"the server ended with {status}{self.said()}"])

    def cpu_ns(self) -> int | None:
        """User and system time of all its threads so far, those that ended included; None if it is not known."""
        if self.pid is None:
            seconds = self.metrics().get("process_cpu_seconds_total")
            return None if seconds is None else int(seconds * 1e9)
        # What clock_getcpuclockid(3) answers on Linux, for any process.
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def rss_bytes(self) -> int | None:
        """Resident memory; None if it is not known."""
        if self.pid is None:
            resident = self.metrics().get("process_resident_memory_bytes")
            return None if resident is None else int(resident)
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
        return int(found[1]) * 1024 if found else None

    def waited_ns(self) -> int | None:
        """How long its threads were ready to run and had no core, all together; None if it is not on this machine."""
        if self.pid is None:
            return None
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks)

    def settle(self, timeout_s: float = 20.0) -> None:
        """Waits until it has used less than 1 ms of CPU in 200 ms, so that nothing is measured in passing."""
        end = time.monotonic() + timeout_s
        used = self.cpu_ns() or 0
        while time.monotonic() < end:
            time.sleep(0.2)
            before, used = used, self.cpu_ns() or 0
            if used - before < (1_000_000 if self.pid is not None else 10_000_000):
                return

    def metrics(self) -> dict[str, float]:
        """Its metrics by name, without `pyrouter_`; those with labels by what Prometheus would call them.

        Raises:
            WrongAnswer: it does not answer.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=HTTP_S)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise WrongAnswer([f"the server does not tell its metrics: {error}{self.said()}"]) from error
        finally:
            connection.close()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name.removeprefix("pyrouter_"): float(value) for name, value in pairs}

    def said(self) -> str:
        """The end of what it wrote on standard error, if that is known."""
        if self._log is None:
            return ""
        text = self._log.read_bytes()[-TOLD_BYTES:].decode(errors="replace").strip()
        return f"; it said:\n{text}" if text else ""


def filesystem(path: Path) -> str | None:
    """The type of the file system that `path` is on, such as `ext4` or `tmpfs`; None if the kernel does not tell."""
    device = path.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == place:
            return after.split()[0]
    return None


@contextmanager
def own_server(directory: Path | None, durability: str, config: Path | None = None) -> Iterator[Target]:
    """Starts one on an empty directory below `directory`, and ends it and its data afterwards.

    Args:
        directory: None: where temporary files go.
        durability: what `accepted` promises.
        config: its configuration, but for what is told here.

    Raises:
        BenchError: it does not start; says what it said.
    """
    place = Path(tempfile.mkdtemp(prefix="pyrouter-bench-", dir=directory))
    log = place / "server.log"
    # What is set for other servers is not meant for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYROUTER_")}
    # -P: not what happens to lie in the current folder, which may be another version's source.
    command = [sys.executable, "-P", "-m", "pyrouter.bench.child", str(os.getpid())]
    command += ["serve", "--data", str(place / "data"), "--listen", "127.0.0.1:0"]
    command += ["--durability", durability, *(() if config is None else ("--config", str(config)))]
    try:
        with log.open("wb") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        with process:
            try:
                port = _ready(process, log)
                yield Target("127.0.0.1", port, place / "data" / "secret", process.pid, process, log)
            finally:
                _end(process)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _ready(process: subprocess.Popen[bytes], log: Path) -> int:
    """Waits for the line with its address; the port."""
    assert process.stdout is not None
    line = b""
    if select.select([process.stdout], [], [], READY_S)[0]:
        line = process.stdout.readline()
    found = re.search(rb" ready on 127\.0\.0\.1:(\d+),", line)
    if found is None:
        said = log.read_text(errors="replace").strip()
        raise BenchError(f"the server did not start{': ' + said if said else f' within {READY_S:.0f} s'}")
    return int(found[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def running_server(url: str, secret: Path, pid: int | None) -> Iterator[Target]:
    """The server at `url`, which stays as it is.

    Raises:
        BenchError: the URL is none, or is of a kind that the load does not speak.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "tcp") or not parts.hostname:
        raise BenchError(f"--server {url}: ws://HOST:PORT or tcp://HOST:PORT; the load does not speak TLS")
    if pid is not None and not Path(f"/proc/{pid}").exists():
        raise BenchError(f"--server-pid {pid}: there is no such process")
    yield Target(parts.hostname, parts.port or 7400, secret, pid)


def tokens(secret: Path, users: Sequence[str]) -> list[str]:
    """A token for device 1 of each of these users, as `pyrouter token` makes them, but a hundred thousand a second.

    Raises:
        ConfigError: the secret cannot be read.
    """
    key = read_secret(secret) if secret.exists() else None
    if key is None:
        raise BenchError(f"--secret {secret}: there is no such file; it is `secret` in the server's data directory")
    head = _base64(b'{"alg":"HS256","typ":"JWT"}')
    now = int(time.time())
    made = []
    for user in users:
        claims = orjson.dumps({"sub": user, "dev": 1, "iat": now, "exp": now + TOKEN_S})
        signed = head + b"." + _base64(claims)
        made.append((signed + b"." + _base64(hmac.digest(key, signed, "sha256"))).decode())
    return made


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
