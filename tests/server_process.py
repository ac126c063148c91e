"""A `pyrouter serve` process that can be killed and started again on the same directory and port."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pyrouter.auth import LocalTokens
from pyrouter.cold import ColdDatabase
from tests import leftovers

READY_WITHIN_S = 60.0
ENDED_WITHIN_S = 60.0
UNTIL_S = 60.0
TOKEN_MS = 24 * 3600 * 1000
SMALL_LOG = '\n[log]\nsegment = "1MiB"\n'  # three are made ahead, and no test wants 200 MB of them


def reached(true: Callable[[], object], within_s: float = UNTIL_S) -> bool:
    """Waits for a state of another process, of which nobody tells, by asking again and again. Whether it came."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # between two questions: there is no event to wait for
    return True


def until(true: Callable[[], object], what: str, within_s: float = UNTIL_S) -> None:
    """The same, for what must come."""
    assert reached(true, within_s), f"{what}: not within {within_s:g} s"


class ServerProcess:
    """At most one process at a time; it dies with the test session, and at the end of a `with`.

    Args:
        directory: for the data, the configuration and what the server says on standard error.
        settings: lines of the configuration file; if they say nothing about the log, its segments are small.
        open_files: how many it may have; as many as this process if not told.
    """

    def __init__(self, directory: Path, settings: str = "", *, open_files: int | None = None) -> None:
        self.data = directory / "data"
        self.port = 0
        self.kills = 0
        self._limits = ["prlimit", f"--nofile={open_files}"] if open_files else []
        self._config = directory / "pyrouter.toml"
        self._config.write_text(settings if "[log]" in settings else settings + SMALL_LOG)
        self._stderr = directory / "server.log"
        self._ready = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Starts it; does not wait."""
        assert self._process is None
        self._ready = False
        listen = f"127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "pyrouter", "serve", "--data", str(self.data), "--listen", listen]
        with self._stderr.open("ab") as stderr:
            self._process = leftovers.start(
                [*self._limits, *command, "--config", str(self._config)], stdout=subprocess.PIPE, stderr=stderr
            )

    def wait_ready(self) -> None:
        """Waits for the ready line, if it has not come, and learns the port from it."""
        if self._ready:
            return
        line = self._line()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, f"no address in {line!r}; see {self._stderr}"
        self.port = int(found[1])
        self._ready = True

    def start(self) -> None:
        """Starts it and waits until it is ready; one that does not become ready is killed."""
        self.spawn()
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        self._end(signal.SIGKILL)
        self.kills += 1

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def exit_status(self) -> int:
        """Waits until it ends by itself; the exit status."""
        assert self._process is not None
        self._process.wait(ENDED_WITHIN_S)
        return self._end(signal.SIGTERM)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """All that its processes have said on standard error so far."""
        return self._stderr.read_text()

    def close(self) -> None:
        """Whatever its state, it ends."""
        if self._process is not None:
            self._end(signal.SIGKILL)

    def token(self, user: str, device: int = 1) -> str:
        """A token for a device of a user, who is made if there is none; as `pyrouter token`."""
        with ColdDatabase(self.data / "cold.db") as database:
            database.create_user(user)
        return LocalTokens.open(self.data).issue(user, device, TOKEN_MS)

    def fsck(self) -> subprocess.CompletedProcess[str]:
        """`pyrouter fsck` on the directory; no server may run."""
        command = [sys.executable, "-m", "pyrouter", "fsck", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def log_bytes(self) -> int:
        """What the log takes on disk: blocks, not lengths, for segments are made ahead."""
        return sum(file.stat().st_blocks * 512 for file in (self.data / "log").iterdir() if file.is_file())

    def metrics(self) -> dict[str, float]:
        """The counters and gauges that have no labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.split() for line in lines if line and not line.startswith("#") and "{" not in line)
        return {name.removeprefix("pyrouter_"): float(value) for name, value in pairs}

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            assert time.monotonic() < deadline, f"the server was not ready within {READY_WITHIN_S:g} s"
        line = self._process.stdout.readline().decode()
        assert line, f"the server exited with {self._process.wait()}; see {self._stderr}"
        return line

    def _end(self, sign: signal.Signals) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(sign)
        status = process.wait()
        assert process.stdout is not None
        process.stdout.close()
        return status
