"""The README from top to bottom, as its reader follows it: its commands and its program, in one empty folder."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import leftovers

README = (Path(__file__).parents[2] / "README.md").read_text()
PORT = "7400"
WITHIN_S = 60.0

pytestmark = pytest.mark.slow


def section(title: str) -> str:
    """What stands below a heading."""
    return README.partition(f"## {title}\n")[2].partition("\n## ")[0]


def commands(title: str) -> list[str]:
    """The indented lines of a section."""
    return re.findall(r"^(?: {4}| {7})(\S.*)$", section(title), re.MULTILINE)


class Folder:
    """An empty folder, with the command on the path and another port than the reader's, who has it to himself."""

    def __init__(self, path: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYROUTER_")}
        self._environment = {
            **clean,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "PYROUTER_SERVER_LISTEN": f"127.0.0.1:{self._port}",
            "PYROUTER_SERVER": f"ws://127.0.0.1:{self._port}",
            "PYROUTER_LOG_SEGMENT": "1MiB",
        }
        self.path = path

    def run(self, script: str) -> str:
        """Runs lines as one shell does; what they print."""
        command = [*leftovers.BOUND, "bash", "-euc", script.replace(PORT, self._port)]
        done = subprocess.run(
            command, cwd=self.path, env=self._environment, capture_output=True, text=True, check=False, timeout=WITHIN_S
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, line: str) -> subprocess.Popen[bytes]:
        """Starts a line in a terminal of its own."""
        command = ["bash", "-euc", f"exec {line}".replace(PORT, self._port)]
        return leftovers.start(command, cwd=self.path, env=self._environment, stdout=subprocess.PIPE)


def hears(process: subprocess.Popen[bytes], text: str) -> str:
    """Waits until it prints `text`; all that it printed until then."""
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + WITHIN_S
    while text.encode() not in said:
        assert select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0], f"{text!r}: {said!r}"
        part = os.read(process.stdout.fileno(), 65536)
        assert part, f"it ended before {text!r}: {said!r}"
        said += part
    return said.decode()


def end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    process.wait(WITHIN_S)
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_what_the_readme_tells_to_do_works_in_its_order(folder: Folder) -> None:
    serve, listen, send = commands("A first conversation in five minutes")
    server = folder.start(serve)
    hears(server, " ready on ")
    bob = folder.start(listen)
    said = folder.run(send)
    assert [line.split()[0] for line in said.splitlines()] == ["accepted", "delivered", "read"]
    assert "Hello, Bob" in hears(bob, "Hello, Bob")
    end(bob, signal.SIGINT)

    assert folder.run(send.replace("--wait read", "").replace("Hello", "Later")).startswith("accepted")
    end(server, signal.SIGKILL)
    server = folder.start(serve)
    hears(server, " ready on ")
    bob = folder.start(listen)
    hears(bob, "Later, Bob")  # behind "Hello, Bob" again, if that was acknowledged in the second before the kill (I3)
    end(bob, signal.SIGINT)

    told = folder.run("\n".join(commands("A group in a minute")))
    for line in ('[climbing] ann made the group "climbing" with bob', "[climbing] ann: Sunday?"):
        assert line in told
        assert line in section("A group in a minute")

    program = re.search(r"```python\n(.*?)```", section("The same in Python"), re.DOTALL)
    assert program is not None
    (folder.path / "same.py").write_text(program[1])
    assert "ann b'Hello, Bob'" in folder.run("python same.py")
    assert server.poll() is None, "beside the server"
    end(server, signal.SIGTERM)
